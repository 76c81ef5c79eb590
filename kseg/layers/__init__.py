"""Layers that stock Keras lacks, each registered, so that a saved model loads after `import kseg`."""

from kseg.layers.auxiliary import AuxiliaryOutputs
from kseg.layers.normalization import BatchNormalization, LocalResponseNormalization
from kseg.layers.pixel_values import PixelValues
from kseg.layers.pooling import AtrousPooling2D, BinPooling, MaxPoolWithIndices, MaxUnpool
from kseg.layers.sizes import CropLike, PadToMultiple, ResizeLike, Upsample

__all__ = [
    "AtrousPooling2D",
    "AuxiliaryOutputs",
    "BatchNormalization",
    "BinPooling",
    "CropLike",
    "LocalResponseNormalization",
    "MaxPoolWithIndices",
    "MaxUnpool",
    "PadToMultiple",
    "PixelValues",
    "ResizeLike",
    "Upsample",
]
