"""AdamW and SGD that take the same step on one device and on many, and the schedule of DeepLab.

Keras clips the gradients of each replica before it adds them up, cannot accumulate under several replicas,
decays biases again once a model was loaded, and has one rate for all weights.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kseg.graphs import moving_averages
from kseg.replicas import replica_context
from kseg.types import Tensor

__all__ = ["SGD", "AdamW", "LossScaleOptimizer", "WarmupPoly"]


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


_Optimizer: Any = object  # for type checkers: Keras' optimizer stands behind `_OneStep` in both classes


class _OneStep(_Optimizer):
    """What `AdamW` and `SGD` share: gradients are added up over the replicas before anything else.

    Then they are accumulated, clipped and applied, each variable at its own rate, and averages follow.
    """

    def __init__(self, *args: Any, rate_factors: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.use_ema and self.ema_overwrite_frequency:
            raise ValueError("ema_overwrite_frequency: kseg's optimizers keep averages beside the weights")
        self.rate_factors = None if rate_factors is None else [float(factor) for factor in rate_factors]
        self.exclude_from_weight_decay(var_names=[r"(^|/)(bias|gamma|beta)(:\d+)?$"])

    def build(self, variables: Sequence[Any]) -> None:
        factors = self.rate_factors or [1.0] * len(variables)
        if len(factors) != len(variables):
            raise ValueError(
                f"rate_factors has {len(factors)} numbers for {len(variables)} trainable variables; compile "
                "the model again after layers were frozen or added"
            )
        super().build(variables)
        self._factors = {self._var_key(variable): f for variable, f in zip(variables, factors, strict=True)}

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        rate = learning_rate * self._factors[self._var_key(variable)]
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * ops.cast(self.weight_decay * rate, variable.dtype))
        super().update_step(gradient, variable, rate)

    def _backend_apply_gradients(self, grads, variables):
        """Take a step; the private place where Keras' backends put their own."""
        context = replica_context()
        if context is not None:
            grads = context.all_reduce("SUM", list(grads))
        steps = self.gradient_accumulation_steps or 1
        sums, stores = [], []
        if steps > 1:
            stores = [self._accumulated_gradients[self._get_variable_index(v)] for v in variables]
            sums = [ops.add(g, s) for g, s in zip(grads, stores, strict=True)]
            grads = [total / steps for total in sums]
        grads = self._clip_gradients(grads)

        def update(strategy, grads, sums):  # the variables are the same in every replica
            self._update(strategy.extended.update, grads, sums, variables, stores, steps)

        tf.distribute.get_replica_context().merge_call(update, args=(grads, sums))

    def _update(self, update, grads, sums, variables, stores, steps):
        """Update each device's copies: a condition must stand outside of what runs on the replicas."""

        def apply():
            rate = self.learning_rate  # read once: a schedule is a dozen operations
            for variable, gradient in zip(variables, grads, strict=True):
                update(_plain(variable), self._step, (gradient, rate), group=False)
            for store in stores:
                update(_plain(store), lambda s: s.assign(tf.zeros_like(s)), group=False)
            if self.use_ema:
                pairs = zip(self._model_variables_moving_average, self._trainable_variables, strict=True)
                for average, variable in pairs:
                    update(_plain(average), self._average, (_plain(variable),), group=False)

        def keep():
            for store, total in zip(stores, sums, strict=True):
                update(_plain(store), lambda s, total: s.assign(total), (total,), group=False)

        if steps == 1:
            apply()
        else:
            tf.cond((_plain(self._iterations) + 1) % steps == 0, apply, keep)

    def _step(self, variable, gradient, rate):
        self.update_step(gradient, variable, rate)

    def _average(self, average, variable):
        """Follow a variable, faster at first, as `tf.train.ExponentialMovingAverage` with `num_updates`."""
        done = ops.cast(self.iterations, average.dtype)  # updates, not batches
        momentum = ops.where(done > 0, ops.minimum(self.ema_momentum, (1 + done) / (10 + done)), 0.0)
        average.assign(average * momentum + variable * (1 - momentum))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        if int(ops.convert_to_numpy(self.iterations)):  # before the first update the averages are zeros
            super().finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate_factors": self.rate_factors}


@keras.saving.register_keras_serializable(package="kseg")
class AdamW(_OneStep, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` without weight decay on biases and normalisations, also after a load.

    Under several replicas gradients are clipped and accumulated as those of the whole batch.

    Args:
        rate_factors: `None` or one float per trainable variable, in the order of the model's: what the
            learning rate, and with it the weight decay, is multiplied by.
        *args, **kwargs: as for `keras.optimizers.AdamW`; `ema_overwrite_frequency` stays `None`.
    """


@keras.saving.register_keras_serializable(package="kseg")
class SGD(_OneStep, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with the same differences as `AdamW`; weight decay is decoupled."""


@keras.saving.register_keras_serializable(package="kseg")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """`keras.optimizers.LossScaleOptimizer` that leaves out a step if any replica's gradients overflow.

    Keras asks the first replica alone, and the others' infinities end in the weights.
    """

    def check_finite(self, grads: Sequence[Any]) -> Tensor:
        finite, context = super().check_finite(grads), replica_context()
        if context is None:
            return finite
        return context.all_reduce("SUM", ops.cast(finite, "int32")) == context.num_replicas_in_sync


def _plain(variable):
    """Return the variable of TensorFlow in one of Keras."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def averages(model: keras.Model) -> list[tuple[Any, Any]]:
    """Return `[(variable, average)]` where the optimizer of a model has moving averages by now, else `[]`."""
    optimizer = averaging_optimizer(model)
    if optimizer is None or not optimizer.built or not int(ops.convert_to_numpy(optimizer.iterations)):
        return []
    return moving_averages(optimizer)


def averaging_optimizer(model: keras.Model) -> Any:
    """Return the optimizer of a model if it keeps moving averages, else `None`."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return optimizer if getattr(optimizer, "use_ema", False) else None


def put_averages(model: keras.Model) -> Callable[[], None]:
    """Give a model the averages of its weights; return a function that gives it back the weights."""
    pairs = averages(model)
    weights = [np.array(ops.convert_to_numpy(variable)) for variable, _ in pairs]
    for variable, average in pairs:
        variable.assign(ops.convert_to_numpy(average))

    def restore():
        for (variable, _), weight in zip(pairs, weights, strict=True):
            variable.assign(weight)

    return restore


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[keras.Model]:
    """Within this context the model has the averages of its weights, where its optimizer keeps any."""
    restore = put_averages(model)
    try:
        yield model
    finally:
        restore()
