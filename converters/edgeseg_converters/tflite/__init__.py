"""Convert the frozen function to a TFLite file, float or integer, and edit its flatbuffer."""
