"""Decode video with FFmpeg's libraries, by way of PyAV: the one door to them.

``library`` says whether PyAV is there, ``container`` opens a file or a stream, ``decode`` gives its images.
"""
