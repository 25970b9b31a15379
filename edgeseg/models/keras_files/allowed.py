"""List the classes and functions of Keras and KerasHub that a model file may name: those that only compute.

Keras calls what a file names while it loads the file, with arguments from the file, in its safe mode too. What is not
listed is refused before Keras sees the file. What Keras has and this list has not, with the reason:

    Lambda                                            Python bytecode, see ``lambdas``
    TFSMLayer                                         opens a SavedModel, which may read and write files
    TorchModuleWrapper                                unpickles, which runs code
    JaxLayer, FlaxLayer                               call any function as their layer
    StringLookup, IntegerLookup, TextVectorization    read a vocabulary from any file
    Cond, Switch, Map, Scan, JVP and the like         call any function that the file names, while it is loaded
    __typespec__                                      makes objects of TensorFlow by their names
    base classes                                      do nothing by themselves
    keras.utils, saving, config, datasets, export,    act on files, on the network, on the settings of the process
    callbacks, preprocessing, distribution, ...
    KerasHub's tokenizers, samplers and functions     read vocabularies; ``upload_preset`` is among the functions

A new layer of Keras is added here once its source is read: it opens no file, imports nothing, and calls of its
arguments only what is listed itself.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Mapping
from types import FunctionType, MappingProxyType
from typing import Any

import keras

#: Values that Keras writes as objects; it makes them without looking a class up.
VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The names of classes in Keras' public modules.
_CLASSES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "keras": _words("Model Sequential"),
        "keras.layers": _words("""
            Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
            AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention
            AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
            BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
            ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
            Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D
            Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense
            DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten
            GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
            GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D
            GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
            GroupQueryAttention HashedCrossing Hashing Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU
            Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum
            MelSpectrogram Minimum MixUp MultiHeadAttention Multiply Normalization PReLU Permute Pipeline
            RMSNormalization RNN RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast
            RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
            RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
            RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding
            STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN
            SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
            StackedRNNCells Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
            ZeroPadding1D ZeroPadding2D ZeroPadding3D"""),
        "keras.initializers": _words("""
            Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform
            Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT STFTInitializer TruncatedNormal
            VarianceScaling Zeros constant glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal
            lecun_uniform ones orthogonal random_normal random_uniform stft truncated_normal variance_scaling zeros"""),
        "keras.regularizers": _words("L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 orthogonal_regularizer"),
        "keras.constraints": _words("MaxNorm MinMaxNorm NonNeg UnitNorm max_norm min_max_norm non_neg unit_norm"),
        "keras.losses": _words("""
            BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
            CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence
            LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
            SparseCategoricalCrossentropy SquaredHinge Tversky"""),
        "keras.metrics": _words("""
            AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy
            CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives
            Hinge IoU KLDivergence LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU
            MeanMetricWrapper MeanSquaredError MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation
            Poisson Precision PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
            SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
            SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum TopKCategoricalAccuracy
            TrueNegatives TruePositives"""),
        "keras.optimizers": _words("""
            Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer MultiOptimizer Muon Nadam
            RMSprop SGD ScheduleFreeAdamW"""),
        "keras.optimizers.schedules": _words("""
            CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
            PolynomialDecay"""),
        "keras.dtype_policies": _words("""
            AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy Int4DTypePolicy
            QuantizedDTypePolicy QuantizedFloat8DTypePolicy"""),
        "keras.quantizers": _words("""
            AWQConfig AbsMaxQuantizer Float8QuantizationConfig GPTQConfig Int4QuantizationConfig
            Int8QuantizationConfig"""),
        "keras.random": _words("SeedGenerator"),
    }
)

#: Classes that Keras writes into files and does not export, by their modules.
_UNEXPORTED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "keras.src.models.functional": _words("Functional"),
        "keras.src.applications.convnext": _words("LayerScale StochasticDepth"),
        "keras.src.applications.inception_resnet_v2": _words("CustomScaleLayer"),
    }
)

#: The classes of ``keras.ops`` of which each element of the result is computed from tensors and plain values.
_OPERATIONS = _words(
    """
    Abs Absolute AdaptiveAveragePool AdaptiveMaxPool Add AffineTransform All AllClose Amax Amin Angle Any Append Arange
    Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Average
    AveragePool BatchNorm BinaryCrossentropy Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr
    BitwiseRightShift BitwiseXor BroadcastTo CDist CTCDecode CTCLoss Cast CategoricalCrossentropy Cbrt Ceil Celu
    Cholesky CholeskyInverse Clip Concatenate Conj Conjugate Conv ConvTranspose ConvertToTensor Copy Corrcoef Correlate
    Cos Cosh CountNonzero CropImages Cross Cumprod Cumsum Deg2rad DepthToSpace DepthwiseConv Det Diag Diagflat Diagonal
    Diff Digitize Divide DivideNoNan Dot DotProductAttention Dsplit Dstack Eig Eigh Einsum ElasticTransform Elu
    EmptyLike Equal Erf Erfc Erfinv Exp Exp2 ExpandDims Expm1 ExtractPatches ExtractSequences FFT FFT2 Fabs
    FakeQuantWithMinMaxVars Flip Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Fold Full FullLike GaussianBlur Gcd Gelu
    Geomspace GetItem Glu Greater GreaterEqual HSVToRGB HardShrink HardSigmoid HardSilu HardTanh Heaviside Histogram
    Hsplit Hstack Hypot I0 IFFT2 IRFFT ISTFT Imag InTopK Inner Inv IsIn Isclose Isfinite Isinf Isnan Isneginf Isposinf
    Isreal Kron LayerNorm Lcm Ldexp LeakyRelu LeftShift Less LessEqual Linspace Log Log10 Log1p Log2 LogSigmoid
    LogSoftmax Logaddexp Logaddexp2 Logdet LogicalAnd LogicalNot LogicalOr LogicalXor Logspace Logsumexp Lstsq LuFactor
    MapCoordinates Matmul MatrixRank Max MaxPool Maximum Mean Median Meshgrid Min Minimum Mish Mod Moments Moveaxis
    MultiHot Multiply NanToNum Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile
    Nanprod Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero Norm Normalize NotEqual OneHot OnesLike
    Outer PSNR Pad PadImages Percentile PerspectiveTransform Pinv Polar Power Prod Ptp Qr Quantile RFFT RGBToGrayscale
    RGBToHSV RMSNorm Rad2deg Ravel ReLU Real Rearrange Reciprocal Relu Relu6 Repeat Reshape Resize RightShift Roll Rot90
    Round Rsqrt SSIM STFT SVD SaturateCast ScaleAndTranslate Scatter ScatterUpdate SearchSorted SegmentMax SegmentMin
    SegmentProd SegmentSum Select Selu SeparableConv Sigmoid Sign Signbit Silu Sin Sinc Sinh Size Slice SliceUpdate
    Slogdet SobelEdges SoftShrink Softmax Softplus Softsign Solve SolveTriangular Sort SpaceToDepth
    SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Split Sqrt Square Squareplus Squeeze Stack Std
    StopGradient Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh TanhShrink Tensordot Threshold Tile TopK Trace
    Transpose Trapezoid Tril Triu TrueDivide Trunc Unfold Unique UnravelIndex Unstack Vander Var Vdot View ViewAsComplex
    ViewAsReal Vsplit Vstack Where ZerosLike
    """
)
_OPERATION_MODULES = ("keras.src.ops.", "keras.src.activations.", "keras.src.quantizers.")

#: Functions: activations, and the losses and metrics that a compiled model names. Keras finds them by name alone.
FUNCTIONS = _words(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
    categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity ctc dice hinge huber kl_divergence
    log_cosh mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
    poisson sparse_categorical_crossentropy squared_hinge tversky
    binary_accuracy categorical_accuracy concordance_correlation pearson_correlation sparse_categorical_accuracy
    sparse_top_k_categorical_accuracy top_k_categorical_accuracy
    """
)

#: Classes of KerasHub and its predecessors: segmenters, their encoders, and what scales images for them.
_HUB = _words(
    """
    BASNetBackbone BASNetImageConverter BASNetImageSegmenter BASNetPreprocessor CSPNetBackbone CSPNetImageConverter
    DINOV2Backbone DINOV2ImageConverter DINOV3Backbone DINOV3ImageConverter DeepLabV3Backbone DeepLabV3ImageConverter
    DeepLabV3ImageSegmenter DeepLabV3ImageSegmenterPreprocessor DeiTBackbone DeiTImageConverter DenseNetBackbone
    DenseNetImageConverter EfficientNetBackbone EfficientNetImageConverter FeaturePyramidBackbone HGNetV2Backbone
    HGNetV2ImageConverter ImageConverter ImageSegmenter ImageSegmenterPreprocessor MiTBackbone MiTImageConverter
    MobileNetBackbone MobileNetImageConverter MobileNetV5Backbone MobileNetV5ImageConverter ResNetBackbone
    ResNetImageConverter SAMBackbone SAMImageConverter SAMImageSegmenter SAMImageSegmenterPreprocessor SAMMaskDecoder
    SAMPromptEncoder SegFormerBackbone SegFormerImageConverter SegFormerImageSegmenter
    SegFormerImageSegmenterPreprocessor SwinTransformerBackbone SwinTransformerImageConverter VGGBackbone
    VGGImageConverter ViTBackbone ViTDetBackbone ViTImageConverter XceptionBackbone XceptionImageConverter
    BASNet CSPDarkNetBackbone DeepLabV3Plus EfficientNetLiteBackbone EfficientNetV1Backbone EfficientNetV2Backbone
    MobileNetV3Backbone ResNetV2Backbone SegFormer
    """
)
_HUB_PACKAGES = ("keras_hub", "keras_cv", "keras_nlp")
#: The packages whose registered classes count only where they are listed. Others are registered by the program itself.
_LISTED_PACKAGES = ("keras", "tensorflow", "tensorflow_text", *_HUB_PACKAGES)

#: Where Keras looks for a class without a module.
_BY_NAME = tuple(name for name in _CLASSES if name not in ("keras", "keras.random"))
_MODELS = ("Functional", "Model", "Sequential")


def is_listed_name(name: str) -> bool:
    """Return whether a class without a module is listed wherever Keras looks for it."""
    having = [module for module in _BY_NAME if hasattr(_public(module), name)]
    return name in _MODELS or (bool(having) and all(name in _CLASSES[module] for module in having))


def is_keras_name(name: str) -> bool:
    """Return whether Keras has a class or function of a name in a module that it searches by names alone."""
    return any(hasattr(_public(module), name) for module in (*_BY_NAME, "keras.activations"))


def is_listed_class(module: str, name: str) -> bool:
    """Return whether Keras' class in a module is listed, under this or another of its public names.

    Args:
        module: as in the file, ``keras.layers``; nothing is imported.
        name: of the class.
    """
    value = getattr(sys.modules.get(module), name, None)
    if not isinstance(value, type):
        return False
    if module.startswith(_OPERATION_MODULES) and value.__module__ == module:
        return name in _OPERATIONS
    return value in _listed_classes()


def is_listed_function(module: str, name: str) -> bool:
    """Return whether a function is listed, and Keras finds it in the module without importing more."""
    return name in FUNCTIONS and module in sys.modules


def is_listed_object(value: Any) -> bool:
    """Return whether an object that is registered with Keras may be named by a file.

    KerasHub registers all that it has when it is imported, so only what is listed counts. What the program itself has
    registered is its own word, as ``custom_objects`` are.
    """
    package = str(getattr(value, "__module__", "")).partition(".")[0]
    if package in _HUB_PACKAGES:
        return isinstance(value, type) and value.__name__ in _HUB
    if package in _LISTED_PACKAGES:
        return value in _listed_classes() or (isinstance(value, FunctionType) and value.__name__ in FUNCTIONS)
    return True


@functools.cache
def _listed_classes() -> frozenset[type]:
    found = [getattr(_public(module), name, None) for module, names in _CLASSES.items() for name in names]
    for module, names in _UNEXPORTED.items():
        found += [getattr(sys.modules.get(module), name, None) for name in names]
    return frozenset(value for value in found if isinstance(value, type))


def _public(module: str) -> Any:
    return keras if module == "keras" else operator.attrgetter(module.removeprefix("keras."))(keras)
