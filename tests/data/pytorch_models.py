"""Train two small models in PyTorch on what ``draw`` makes, and write them as ONNX, beside this file by default.

    apt install python3-torch python3-torchvision python3-onnx
    /usr/bin/python3 tests/data/pytorch_models.py [FOLDER]

``pytorch_unet.onnx`` leaves its batch and its size open, ``pytorch_deeplab.onnx`` has fixed ones and opset 11. The test
of edgeseg quantize takes the committed files, which PyTorch 1.13.1 wrote, and makes them anew where PyTorch is there.
"""

import sys
from pathlib import Path

import numpy as np

SIZE = (48, 64)
COLORS = np.array([(70, 70, 70), (210, 50, 40), (40, 60, 210)])
STEPS, BATCH = 60, 4


def draw(seed):
    """Draw an image (H, W, 3) uint8 with a rectangle of each of two colors, and its label (H, W) uint8."""
    rng = np.random.default_rng(seed)
    label = np.zeros(SIZE, np.uint8)
    for class_id in (1, 2):
        height, width = rng.integers(12, 30, 2)
        top, left = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
        label[top : top + height, left : left + width] = class_id
    image = COLORS[label] + rng.normal(0, 12, (*SIZE, 3))
    return image.clip(0, 255).astype(np.uint8), label


def networks():
    """Return the two models, by name."""
    import torch
    from torch import nn
    from torch.nn.functional import interpolate
    from torchvision.models.segmentation.deeplabv3 import ASPP

    def block(before, channels, stride=1):
        conv = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

    class UNet(nn.Module):
        """Two stages down, two up: bilinear, and a transposed convolution; skips are concatenated."""

        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = block(3, 8), block(8, 16, 2), block(16, 24, 2)
            self.up = nn.ConvTranspose2d(24, 16, 2, 2)
            self.join_second, self.join_first = block(32, 16), block(24, 8)
            self.head = nn.Conv2d(8, len(COLORS), 1)

        def forward(self, x):
            first = self.first(x)
            second = self.second(first)
            x = self.join_second(torch.cat([self.up(self.third(second)), second], 1))
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            return self.head(self.join_first(torch.cat([x, first], 1)))

    class DeepLab(nn.Module):
        """A small trunk, torchvision's atrous convolutions and image pooling, enlarged to the input."""

        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(block(3, 12, 2), block(12, 24, 2), block(24, 32))
            self.head = nn.Sequential(ASPP(32, [2, 4, 6], 24), block(24, 24), nn.Conv2d(24, len(COLORS), 1))

        def forward(self, x):
            return interpolate(self.head(self.trunk(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)

    return {"unet": UNet(), "deeplab": DeepLab()}


def train(model, images, labels):
    """Train on batches in turn."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for step in range(STEPS):
        chosen = [(step * BATCH + index) % len(images) for index in range(BATCH)]
        loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main(folder=Path(__file__).parent):
    """Write the two files."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    pairs = [draw(seed) for seed in range(24)]
    images = torch.tensor(np.stack([image for image, _ in pairs]).transpose(0, 3, 1, 2).astype(np.float32) / 255)
    labels = torch.tensor(np.stack([label for _, label in pairs]).astype(np.int64))
    sides = {0: "batch", 2: "height", 3: "width"}
    for name, model in networks().items():
        trained = train(model, images, labels)
        torch.onnx.export(
            trained,
            images[:1],
            str(Path(folder) / f"pytorch_{name}.onnx"),
            opset_version=13 if name == "unet" else 11,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": sides, "output": sides} if name == "unet" else None,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
