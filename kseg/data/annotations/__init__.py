"""Annotations of other tools, polygons and run lengths, become kseg's folders of pictures and masks."""

from kseg.data.annotations.conversion import convert
from kseg.data.annotations.report import ConversionReport

__all__ = ["ConversionReport", "convert"]
