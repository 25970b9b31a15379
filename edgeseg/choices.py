"""Define the closed sets of names that a user chooses from, for the command line, dataclasses and error texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

# A model's input and output.
Layout = Literal["nhwc", "nchw"]
InputDtype = Literal["float32", "uint8"]
ColorOrder = Literal["rgb", "bgr"]
Fit = Literal["letterbox", "stretch"]
#: How an image is scaled: by OpenCV's ``INTER_LINEAR``, ``INTER_CUBIC`` (a = -0.75) or ``INTER_AREA``; by Pillow's
#: ``BILINEAR`` or ``BICUBIC`` (a = -0.5), which average where they shrink; or by the nearest pixel, the same in both.
Resize = Literal["bilinear", "bilinear-antialias", "bicubic", "bicubic-antialias", "area", "nearest"]
#: How the sides of a letterboxed image become whole pixels: to the nearest, or cut off as by ``int()``.
LetterboxRounding = Literal["round", "floor"]
OutputKind = Literal["argmax", "softmax", "logits"]

# An export.
Format = Literal["tflite", "onnx", "mnn", "openvino"]
#: The ending of each format's file; an OpenVINO model is an ``.xml`` with a ``.bin`` beside it.
FORMAT_SUFFIXES: Mapping[Format, str] = {"tflite": ".tflite", "onnx": ".onnx", "mnn": ".mnn", "openvino": ".xml"}
Precision = Literal["fp32", "fp16", "dynamic", "int8", "w8a16"]
#: The precisions whose weights are integers.
INTEGERS: frozenset[Precision] = frozenset({"dynamic", "int8", "w8a16"})
#: What will run an artifact: any runtime, or a delegate whose own ops and limits the export takes into account.
Target = Literal["generic", "xnnpack", "gpu", "nnapi", "coreml", "edgetpu", "qnn"]
CalibrationMethod = Literal["minmax", "entropy", "percentile", "mse"]
#: What prepares a float file for int8, in the order in which it is tried.
PtqStep = Literal["equalize", "head", "ranges", "rounding", "bias"]

# A run on a device.
#: The runtimes that run a file; the first three run a .tflite.
BackendName = Literal["litert", "litert-compiled", "tflite-runtime", "onnx", "mnn", "openvino", "keras"]
#: What OpenVINO computes the floats of a file in.
RuntimePrecision = Literal["fp32", "fp16", "bf16"]
#: What a .tflite file may be run on.
Accelerator = Literal["cpu", "gpu", "npu"]
#: How frames come from a webcam: compressed one by one, or as pixels.
CameraFormat = Literal["mjpeg", "yuyv", "nv12"]
#: Ways to draw a class map.
View = Literal["overlay", "mask", "cutout", "blur", "replace"]
#: What is written of a segmented image: a view, or its class ids as 8-bit gray values.
SavedView = Literal[View, "ids"]
#: Files that other tools read polygons from.
PolygonFormat = Literal["geojson", "coco", "labelme"]
#: What a length in an image is measured in: pixels, or units of the coordinate reference system that the image has.
LengthUnit = Literal["px", "crs"]
#: What a latency measures: the runtime's call alone, or everything from an image to its class map.
Scope = Literal["inference", "end-to-end"]
#: What two benchmark results must have in common; otherwise their ratio says nothing about the artifact.
Alike = Literal["device", "machine", "threads", "scope", "accelerator", "runtime", "model"]

# What a command prints.
#: The languages that a program for an artifact is written in.
SnippetLanguage = Literal["python", "kotlin", "swift", "cpp", "js"]
TableStyle = Literal["table", "md"]
ComparisonStyle = Literal["table", "md", "csv", "html"]

# A data set.
#: How a data set keeps its files. ``folders``: ``{split}/{images,labels}``. ``flat``: ``images`` and ``labels``.
#: ``voc``: PASCAL VOC's ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation/{split}.txt``. ``lists``:
#: ``{split}.txt``, each line an image and its label.
DataLayout = Literal["folders", "flat", "voc", "lists"]
#: How a label image encodes the class of a pixel: by the number that is stored (gray value or palette index), by its
#: color, or by being above (``binary``) or not above (``binary-dark``) a threshold, which is class 1.
LabelEncoding = Literal["ids", "colors", "binary", "binary-dark"]
#: Tables of classes that are known by name, to ``--classes`` and ``--labels``.
ClassPreset = Literal["voc", "camvid", "cityscapes"]
#: Which images a split takes: random ones, or the last by number.
SplitOrder = Literal["random", "name"]

# A training run.
EncoderWeights = Literal["none", "imagenet"]
FrequencyWeights = Literal["none", "median-frequency", "sqrt-median-frequency"]
LossKind = Literal["cross-entropy", "focal", "dice", "cross-entropy+dice", "focal+dice"]
Optimizer = Literal["adamw", "adam", "sgd", "rmsprop"]
MixedPrecision = Literal["float16", "bfloat16"]
Schedule = Literal["cosine", "step", "exponential", "constant"]
Warmup = Literal["linear", "staircase"]
#: ``crop``: pieces of images that are larger than the model's input, at up to twice or half their own scale.
#: ``jitter``: the whole image, jittered and put on gray. ``unet``: what the U-Net tutorial draws. ``hrnet``: what the
#: repository of the HRNet tutorial draws today. ``notes``: the ``ImageDataGenerator`` of the notes on Keras.
AugmentationPreset = Literal["crop", "jitter", "unet", "hrnet", "notes"]
#: What a training image has beside the image that it was made from: a color, or the image's border repeated.
Border = Literal["pad", "repeat"]
#: How a drawn change of the hue is applied: added, around the color circle; added, and cut at its ends; or multiplied.
HueChange = Literal["around", "cut", "times"]
#: What is watched beside the losses: of the training batches, and of the validation.
WatchedMetric = Literal["f-score", "pixel-accuracy", "mean-iou"]
#: The column of the history that early stopping watches.
StoppingColumn = Literal["val_mean_iou", "val_loss", "loss"]
#: The packaged recipes, which do what a tutorial does.
TutorialRecipe = Literal["segnet-tutorial", "hrnet-tutorial", "deeplab-tutorial", "unet-tutorial", "notes-tutorial"]
#: Who shares each batch: nobody, the GPUs of this machine, or other processes.
Distribute = Literal["none", "auto", "workers"]
#: The precisions that a training can round to, and the formats whose kernels it follows.
TrainedPrecision = Literal["int8", "w8a16"]
TrainedFormat = Literal["tflite", "onnx"]
