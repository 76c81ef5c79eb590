"""A model on a whole data set: scores of each class, intervals, calibration; side by side with others."""

from kseg.evaluation.calibration import Calibration
from kseg.evaluation.card import write_card
from kseg.evaluation.counting import Pictures
from kseg.evaluation.figures import Evaluation
from kseg.evaluation.files import write_csv, write_json
from kseg.evaluation.report import write_report
from kseg.evaluation.running import evaluate
from kseg.evaluation.samples import Sample
from kseg.evaluation.tables import table

__all__ = [
    "Calibration",
    "Evaluation",
    "Pictures",
    "Sample",
    "evaluate",
    "table",
    "write_card",
    "write_csv",
    "write_json",
    "write_report",
]
