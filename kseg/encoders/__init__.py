"""Encoders: a picture becomes `{stride: map}`, by the papers' own networks or by a backbone."""

from kseg.encoders.backbones import pyramid, stages
from kseg.encoders.named import list_backbones

__all__ = ["list_backbones", "pyramid", "stages"]
