"""Moving averages of the weights, where they are evaluated."""

from collections.abc import Callable
from typing import Any

import keras

from kseg.optimizers.averages import averaging_optimizer, put_averages


class EvaluateEMA(keras.callbacks.Callback):
    """Evaluate the moving averages of the weights instead of the weights.

    For models compiled with `kseg.compile(..., ema_momentum=)` or any optimizer with `use_ema=True`. Those of
    kseg average the statistics of batch normalisation too: with those of the last ten steps, averaged weights
    can lose twenty points of mean IoU from one epoch to the next. Training goes on with the weights
    themselves; `SaveBest` saves the averages, `fit` ends with them.

    `keras.callbacks.SwapEMAWeights` leaves the averages in the model between epochs, where a state of
    `ExactResume` would take the one for the other.

    Raises:
        ValueError: out of `fit` and `evaluate`, if the optimizer keeps no averages.

    Example:
        >>> import kseg
        >>> scenes = kseg.data.shapes(4, (32, 32), batch_size=2)
        >>> model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=4), ema_momentum=0.99)
        >>> history = model.fit(scenes, validation_data=scenes, shuffle=False, verbose=0,
        ...                     callbacks=[EvaluateEMA()])
    """

    def __init__(self) -> None:
        super().__init__()
        self.restore: Callable[[], None] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()  # an evaluation was interrupted

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if averaging_optimizer(self.model) is None:
            raise ValueError(
                "the optimizer keeps no averages to evaluate: compile with ema_momentum=0.999, or leave "
                "EvaluateEMA out"
            )
        self._restore()
        self.restore = put_averages(self.model)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def _restore(self):
        if self.restore is not None:
            self.restore()
        self.restore = None
