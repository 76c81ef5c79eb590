"""AdamW and SGD that take the same step on one device and on many, and the schedule of DeepLab."""

from kseg.optimizers.one_step import SGD, AdamW, LossScaleOptimizer
from kseg.optimizers.schedule import WarmupPoly

__all__ = ["SGD", "AdamW", "LossScaleOptimizer", "WarmupPoly"]
