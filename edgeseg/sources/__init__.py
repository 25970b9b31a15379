"""Where pictures come from: files, folders, globs and video files, as one stream of named frames."""

from edgeseg.sources.pictures import VIDEO_SUFFIXES, Frame, expand, frames

__all__ = ["Frame", "expand", "frames", "VIDEO_SUFFIXES"]
