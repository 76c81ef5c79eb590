"""Callbacks that Keras lacks."""

from kseg.callbacks.averages import EvaluateEMA
from kseg.callbacks.epoch_line import EpochLine
from kseg.callbacks.progress import LearningCurve
from kseg.callbacks.resume import ExactResume
from kseg.callbacks.saving import SaveBest, save_model
from kseg.callbacks.stopping import StopOnDivergence, StopOnSignal, TrainingDiverged, TrainingInterrupted
from kseg.callbacks.tensorboard import PredictionPictures, check_tensorboard

__all__ = [
    "EpochLine",
    "EvaluateEMA",
    "ExactResume",
    "LearningCurve",
    "PredictionPictures",
    "SaveBest",
    "StopOnDivergence",
    "StopOnSignal",
    "TrainingDiverged",
    "TrainingInterrupted",
    "check_tensorboard",
    "save_model",
]
