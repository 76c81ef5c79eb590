"""The schedule of DeepLab, with a warm-up."""

from typing import Any

import keras
from keras import ops

from kseg.types import Tensor


@keras.saving.register_keras_serializable(package="kseg")
class WarmupPoly(keras.optimizers.schedules.LearningRateSchedule):
    """Polynomial decay to zero, `rate * (1 - step / steps) ** power`, times a linear warm-up.

    Reference: Chen et al. 2018 (DeepLab v2), section 4.1 ("poly"), with power 0.9.

    Args:
        learning_rate: the decay goes on during the warm-up, so it is not quite reached.
        steps: all steps of the training; 0 keeps the rate after the warm-up.
        warmup_steps: steps of the warm-up.
        power: exponent of the decay.
        name: of the schedule.

    Example:
        >>> schedule = WarmupPoly(0.1, steps=100, warmup_steps=10)
        >>> [round(float(schedule(step)), 3) for step in (0, 5, 10, 100)]
        [0.01, 0.057, 0.091, 0.0]
    """

    def __init__(
        self,
        learning_rate: float,
        steps: int = 0,
        warmup_steps: int = 0,
        power: float = 0.9,
        name: str = "warmup_poly",
    ) -> None:
        super().__init__()
        if steps and warmup_steps >= steps:
            raise ValueError(f"warmup_steps={warmup_steps} must be smaller than steps={steps}")
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.power = power
        self.name = name

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        rate = self.learning_rate
        if self.warmup_steps:
            rate = rate * ops.minimum(1.0, (step + 1) / self.warmup_steps)
        if self.steps:
            rate = rate * ops.power(ops.maximum(0.0, 1 - step / self.steps), self.power)
        return ops.cast(rate, "float32")

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "power": self.power,
            "name": self.name,
        }
