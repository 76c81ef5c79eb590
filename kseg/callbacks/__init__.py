"""Callbacks that Keras lacks."""

from kseg.callbacks.averages import EvaluateEMA
from kseg.callbacks.progress import EpochLine, LearningCurve
from kseg.callbacks.resume import ExactResume
from kseg.callbacks.saving import SaveBest, save_model
from kseg.callbacks.stopping import StopOnDivergence, StopOnSignal, TrainingDiverged, TrainingInterrupted

__all__ = [
    "EpochLine",
    "EvaluateEMA",
    "ExactResume",
    "LearningCurve",
    "SaveBest",
    "StopOnDivergence",
    "StopOnSignal",
    "TrainingDiverged",
    "TrainingInterrupted",
    "save_model",
]
