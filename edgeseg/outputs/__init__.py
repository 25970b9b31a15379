"""Read the outputs of models without ModelSpec."""

from edgeseg.outputs.reading import Reading, ReadOutput, read_output

__all__ = ["ReadOutput", "Reading", "read_output"]
