"""Tune a model for a device: make every file, drop those that miss a gate, and measure the others in turns.

Not called ``tune``: a submodule of that name would hide the function of the package.
"""
