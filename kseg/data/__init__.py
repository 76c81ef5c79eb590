"""Data as `tf.data`: batches of pictures `(B, H, W, C)` uint8 and masks `(B, H, W)` int32."""

from kseg.data.annotations import convert
from kseg.data.augmentation import augment
from kseg.data.checking import check
from kseg.data.directory import from_directory
from kseg.data.layouts import list_layouts
from kseg.data.lists import from_files
from kseg.data.shapes import shapes
from kseg.data.tfds import from_tfds
from kseg.data.weights import class_weights

__all__ = [
    "augment",
    "check",
    "class_weights",
    "convert",
    "from_directory",
    "from_files",
    "from_tfds",
    "list_layouts",
    "shapes",
]
