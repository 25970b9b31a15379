"""Train two small models in PyTorch and write them as ONNX: run by the Python that has PyTorch and torchvision.

    python pytorch_models.py DATA.npz FOLDER

DATA has ``images`` (N, H, W, 3) uint8 and ``labels`` (N, H, W) uint8, of three classes. FOLDER gets ``unet.onnx``,
whose batch and size are open, and ``deeplab.onnx``, of a fixed size and an old opset.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own word
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

STEPS, BATCH = 60, 4


def block(channels_in, channels, stride=1):
    conv = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Two stages down, two up: bilinear, and a transposed convolution; skips are concatenated."""

    def __init__(self, classes):
        super().__init__()
        self.first, self.second, self.third = block(3, 8), block(8, 16, 2), block(16, 24, 2)
        self.up = nn.ConvTranspose2d(24, 16, 2, 2)
        self.join_second, self.join_first = block(32, 16), block(24, 8)
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(first)
        x = self.join_second(torch.cat([self.up(self.third(second)), second], 1))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(self.join_first(torch.cat([x, first], 1)))


class DeepLab(nn.Module):
    """A small trunk, torchvision's own head (atrous convolutions and image pooling), enlarged to the input."""

    def __init__(self, classes):
        super().__init__()
        self.trunk = nn.Sequential(block(3, 12, 2), block(12, 24, 2), block(24, 32))
        self.head = DeepLabHead(32, classes)

    def forward(self, x):
        return F.interpolate(self.head(self.trunk(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)


def train(model, images, labels):
    """Train on batches in turn."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for step in range(STEPS):
        chosen = [(step * BATCH + i) % len(images) for i in range(BATCH)]
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main(data, folder):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    arrays = np.load(data)
    images = torch.tensor(arrays["images"].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    labels = torch.tensor(arrays["labels"].astype(np.int64))
    open_sizes = {"input": {0: "batch", 2: "height", 3: "width"}, "output": {0: "batch", 2: "height", 3: "width"}}
    for name, make, opset, axes in (("unet", UNet, 13, open_sizes), ("deeplab", DeepLab, 11, None)):
        model = train(make(3), images, labels)
        torch.onnx.export(
            model,
            images[:1],
            str(Path(folder) / f"{name}.onnx"),
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes=axes,
        )


main(*sys.argv[1:])
