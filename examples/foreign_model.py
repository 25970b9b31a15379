"""Run a model that edgeseg did not make, such as PyTorch's: python examples/foreign_model.py MODEL IMAGE OUT.png.

A file from elsewhere does not say how it is fed. What it was trained with is said here once: change it for yours.
`edgeseg inspect MODEL` shows what the file says itself, and `edgeseg quantize MODEL` makes an int8 file of it.
"""

import sys

from edgeseg.imaging import read_image
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.runtime import RuntimeOptions

model, image, out = sys.argv[1:]
description = InputDescription(
    mean=(0, 0, 0),  # pixels / 255, as torchvision's ToTensor() gives them
    std=(255, 255, 255),
    input_size=(96, 128),  # of a model that leaves its size open; omit it for others
    class_names=("wall", "red", "blue"),
)
image_rgb = read_image(image)
with open_segmenter(model, RuntimeOptions(num_threads=2), description) as segmenter:
    segmentation = segmenter(image_rgb)
print(segmentation.counts())
print("saved:", segmentation.save(out, image_rgb))
