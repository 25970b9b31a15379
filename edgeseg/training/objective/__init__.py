"""Define what a run minimizes and reports, and the schedule of its learning rate."""
