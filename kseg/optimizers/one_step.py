"""AdamW and SGD that take the same step on one device and on many.

Keras clips the gradients of each replica before it adds them up, cannot accumulate under several replicas,
decays biases again once a model was loaded, and has one rate for all weights.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kseg.graphs import batch_statistics
from kseg.replicas import replica_context
from kseg.types import Tensor

_Optimizer: Any = object  # for type checkers: Keras' optimizer stands behind `_OneStep` in both classes


class _OneStep(_Optimizer):
    """What `AdamW` and `SGD` share: gradients are added up over the replicas before anything else.

    Then they are accumulated, clipped and applied, each variable at its own rate, and averages follow.
    """

    def __init__(self, *args: Any, rate_factors: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.use_ema and self.ema_overwrite_frequency:
            raise ValueError("ema_overwrite_frequency: kseg's optimizers keep averages beside the weights")
        self._statistics_average: list[Any] = []
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
        self._statistics_average = [
            self.add_variable_from_reference(statistic, "average") for statistic in self._statistics()
        ]
        self._factors = {self._var_key(variable): f for variable, f in zip(variables, factors, strict=True)}

    def _statistics(self):
        """Return the batch statistics that belong to the weights, where averages are kept."""
        return batch_statistics(self._trainable_variables) if self.built and self.use_ema else []

    @property
    def averaged_statistics(self) -> list[tuple[Any, Any]]:
        """`[(batch statistic, its average)]`, of an optimizer that is built."""
        return list(zip(self._statistics(), self._statistics_average, strict=True))

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
                averages = self._model_variables_moving_average
                pairs = [*zip(self._trainable_variables, averages, strict=True), *self.averaged_statistics]
                for variable, average in pairs:
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
            for statistic, average in self.averaged_statistics:
                statistic.assign(average)

    def save_own_variables(self, store: Any) -> None:
        """Save averages of statistics by name, all else by number as Keras does; before a step nothing."""
        if not self.built:
            return
        by_name = {average.name for average in self._statistics_average}
        for number, variable in enumerate(self.variables):
            key = variable.name if variable.name in by_name else str(number)
            store[key] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
        """Load what a file holds; averages of statistics that it lacks begin with the statistics.

        Older files have none; of layers that are not kseg's a loaded optimizer does not know them. A file
        without any state, saved before the first step, leaves the optimizer as it is.
        """
        held = list(store.keys())  # of a group of a file, which is no dict
        if not held:
            return
        numbered = {key: store[key] for key in held if key.isdigit()}
        begin = len(self.variables) - len(self._statistics_average)
        for number, (statistic, average) in enumerate(self.averaged_statistics, start=begin):
            name = average.name
            numbered[str(number)] = store[name] if name in held else ops.convert_to_numpy(statistic)
        super().load_own_variables(numbered)

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
