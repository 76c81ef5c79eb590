"""kseg: semantic segmentation for Keras 3, from a folder of pictures and masks to a checked file for a phone.

One way through: **builder → `keras.Model` → `fit` → `export` → `predict`**. A builder is a function, what it
returns is stock Keras. The contracts that hold everywhere:

image
    `(B, H, W, C)`, RGB, `uint8` or `float32`, values 0–255. Normalisation is a layer inside the graph, so
    the same picture goes into `fit`, SavedModel, LiteRT and the phone. C is 3 unless `input_shape` says
    otherwise.
mask
    `(B, H, W)` integer class ids. `ignore_class=255` is void in losses, metrics, augmentation and evaluation.
model output
    `(B, H, W, num_classes)` float32 logits at the input's own size, for every H and W, also under mixed
    precision; `activation="softmax"` or `"sigmoid"` on request.
features
    `{stride: tensor}` with integer strides in pixels.
"""

from typing import TYPE_CHECKING

from kseg.quiet import in_shell as _in_shell
from kseg.quiet import quiet_libraries as _quiet_libraries
from kseg.quiet import quiet_matplotlib as _quiet_matplotlib
from kseg.version import __version__

with _quiet_libraries() if _in_shell() else _quiet_matplotlib():  # TensorFlow talks while it loads
    from kseg import losses, metrics
    from kseg.distribution import strategy
    from kseg.encoders import list_backbones
    from kseg.masks import one_hot, to_mask
    from kseg.models import (
        build,
        build_conv_stack,
        build_ddrnet,
        build_deeplabv1,
        build_deeplabv2,
        build_deeplabv3,
        build_deeplabv3plus,
        build_dilatednet,
        build_encoder_decoder,
        build_fcn,
        build_pspnet,
        build_segnet,
        build_unet,
        list_models,
    )
    from kseg.training import compile

if TYPE_CHECKING:  # what loads when first used, for editors and type checkers
    from kseg import callbacks, costs, data, evaluation, export, inference, optimizers, visualization
    from kseg.crf import dense_crf
    from kseg.crf_tuning import tune_crf
    from kseg.evaluation import evaluate
    from kseg.export import export_onnx, export_saved_model, export_tflite
    from kseg.inference import load, predict
    from kseg.remembering import with_value_range
    from kseg.transfer import copy_weights

__all__ = [
    "__version__",
    "build",
    "build_conv_stack",
    "build_ddrnet",
    "build_deeplabv1",
    "build_deeplabv2",
    "build_deeplabv3",
    "build_deeplabv3plus",
    "build_dilatednet",
    "build_encoder_decoder",
    "build_fcn",
    "build_pspnet",
    "build_segnet",
    "build_unet",
    "callbacks",
    "compile",
    "copy_weights",
    "costs",
    "data",
    "dense_crf",
    "evaluate",
    "evaluation",
    "export",
    "export_onnx",
    "export_saved_model",
    "export_tflite",
    "inference",
    "list_backbones",
    "list_models",
    "load",
    "losses",
    "metrics",
    "one_hot",
    "optimizers",
    "predict",
    "strategy",
    "to_mask",
    "tune_crf",
    "visualization",
    "with_value_range",
]

# What needs tf.data, LiteRT or Pillow loads when first used: the builders run on any Keras backend.
_LAZY_MODULES = (
    "callbacks",
    "costs",
    "data",
    "evaluation",
    "export",
    "inference",
    "optimizers",
    "visualization",
)
_LAZY_NAMES = {
    "copy_weights": "transfer",
    "dense_crf": "crf",
    "evaluate": "evaluation",
    "export_onnx": "export",
    "export_saved_model": "export",
    "export_tflite": "export",
    "load": "inference",
    "predict": "inference",
    "tune_crf": "crf_tuning",
    "with_value_range": "remembering",
}

if not TYPE_CHECKING:  # or a checker would take every name for one of these

    def __getattr__(name):
        import importlib

        if name in _LAZY_MODULES:
            return importlib.import_module(f"kseg.{name}")
        if name in _LAZY_NAMES:
            return getattr(importlib.import_module(f"kseg.{_LAZY_NAMES[name]}"), name)
        raise AttributeError(f"module 'kseg' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
