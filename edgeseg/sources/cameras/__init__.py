"""Read cameras: by OpenCV, by the programs and the package of Raspberry Pi's camera, and by GStreamer."""
