# %% [markdown]
# # Your own data, from labels to a file
# Images and label images are checked, a model is trained on them, exported, proven and scored. The data here is drawn
# by a program: rectangles of two colors on a wall. Put a folder of yours in its place.
# `pip install "edgeseg[convert]"`.

# %%
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

import edgeseg

EPOCHS = int(os.environ.get("EPOCHS", "12"))
data, run = Path("shapes"), Path("run")
colors = {"wall": (70, 70, 70), "red": (210, 50, 40), "blue": (40, 60, 210)}
random = np.random.default_rng(0)
for split, count in (("train", 24), ("val", 6), ("test", 6)):
    for folder in ("images", "labels"):
        (data / split / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        label = np.zeros((64, 96), np.uint8)  # a gray value is the id of a class; 255 would be ignored
        for class_id in (1, 2):
            top, left = random.integers(0, 40), random.integers(0, 64)
            label[top : top + 24, left : left + 32] = class_id
        image = np.array(list(colors.values()))[label] + random.normal(0, 12, (64, 96, 3))
        cv2.imwrite(str(data / split / "images" / f"{number}.png"), image.clip(0, 255).astype(np.uint8)[..., ::-1])
        cv2.imwrite(str(data / split / "labels" / f"{number}.png"), label)
(data / "classes.json").write_text(
    json.dumps({"names": list(colors), "palette": list(colors.values()), "ignore_index": 255})
)

# %% [markdown]
# `edgeseg data check shapes` says what is wrong with a data set; here it is asked from Python.

# %%
split = edgeseg.open_split(str(data), "val")
image_rgb, label = split[0]
print(len(split), "images of", split.classes.names)

# %% [markdown]
# The best epoch on `val` is in `run/best.keras`, and every setting in `run/train.toml`, which repeats the run.

# %%
config = edgeseg.TrainConfig(
    model="unet_mini", data=str(data), input_size=(64, 96), epochs=EPOCHS, batch_size=8, learning_rate=5e-3
)
edgeseg.train(config, str(run))

# %% [markdown]
# The file is proven against the Keras model on the images of the data, and then scored on images that neither the
# training nor the choice of the epoch has seen.

# %%
opened = edgeseg.load_model(str(run / "best.keras"))
result = edgeseg.export(opened.model, spec=opened.spec, format="tflite", precision="fp16", data=str(data))
path = result.save(run, overwrite=True)
with edgeseg.Segmenter(path) as segmenter:
    scores = edgeseg.evaluate(segmenter, edgeseg.open_split(str(data), "test"))
print(f"{path}: mIoU {scores.matrix.mean_iou:.3f}")
