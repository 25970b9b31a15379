"""Blur the room around the people before a webcam: python examples/webcam_blur.py [SOURCE [VIDEO]].

SOURCE is a webcam's number, a stream, a video or a folder; without VIDEO a window shows it.
"""

import sys

from edgeseg import Camera, Segmenter, open_source
from edgeseg.camera.display import Display
from edgeseg.drawing.look import Look
from edgeseg.sinks import Window, open_sink

source, *video = sys.argv[1:] or ["0"]
with Segmenter("person") as segmenter, Camera(segmenter, open_source(source)) as camera:
    place = {"sinks": [open_sink(video[0], fps=25)]} if video else {"window": Window("edgeseg")}
    stats = Display(camera=camera, spec=segmenter.spec, look=Look(view="blur"), **place).run()
print(f"{stats.shown} frames, {stats.fps():.1f} a second")
