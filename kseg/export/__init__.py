"""Export to SavedModel and LiteRT; every file is run and compared before it stands at its path."""

from kseg.export.litert import export_tflite
from kseg.export.metadata import Metadata, read_metadata
from kseg.export.report import ExportReport
from kseg.export.saved_model import export_saved_model

__all__ = ["ExportReport", "Metadata", "export_saved_model", "export_tflite", "read_metadata"]
