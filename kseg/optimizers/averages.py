"""Moving averages of the weights that an optimizer keeps: read, and put in the place of the weights."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from kseg.graphs import moving_averages


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


def averaged_statistics(model: keras.Model) -> list[tuple[Any, Any]]:
    """Return `[(batch statistic, average)]`, the last variables of the optimizer, where it keeps any."""
    return getattr(averaging_optimizer(model), "averaged_statistics", [])


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
