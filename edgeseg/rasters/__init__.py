"""Segment rasters that are too large for the memory: GeoTIFFs and whole slides, read and written window by window.

Needs the extra ``[geo]``. ``open_raster`` opens one, ``Bands`` makes RGB of its bands, ``segment_raster`` writes its
class map as a Cloud Optimized GeoTIFF. ``RasterImages`` reads smaller ones as a whole.
"""

from edgeseg.rasters.bands import BandReader, Bands
from edgeseg.rasters.base import Raster
from edgeseg.rasters.opening import RASTER_SUFFIXES, open_raster
from edgeseg.rasters.streaming import RasterResult, segment_raster
from edgeseg.rasters.whole import RasterImages

__all__ = [
    "Raster",
    "RASTER_SUFFIXES",
    "open_raster",
    "Bands",
    "BandReader",
    "RasterResult",
    "segment_raster",
    "RasterImages",
]
