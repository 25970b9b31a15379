"""From the frozen function to a TFLite file, float or integer, and the edits of its flatbuffer."""
