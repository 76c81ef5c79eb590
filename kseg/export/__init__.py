"""Export to SavedModel, LiteRT and ONNX; every file is run and compared before it stands at its path."""

from kseg.export.onnx import export_onnx
from kseg.export.report import ExportReport
from kseg.export.saved_model import export_saved_model
from kseg.export.tflite import export_tflite
from kseg.litert.metadata import Metadata, read_metadata

__all__ = ["ExportReport", "Metadata", "export_onnx", "export_saved_model", "export_tflite", "read_metadata"]
