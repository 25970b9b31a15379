"""Load weights from any file into a model: by name, shape and place, with a report of what fitted."""
