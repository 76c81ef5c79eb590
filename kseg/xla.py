"""Sums over pixels in one pass over memory, by XLA, where TensorFlow's own CPU kernels take several."""

import functools
from collections.abc import Callable
from typing import Any

import keras

_LEAST_PIXELS = 2**14  # of a picture; below, XLA would compile for longer than it saves


def fused(function: Callable[..., Any], otherwise: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return `function`, of tensors `(B, H, W, ...)`, compiled by XLA where that pays.

    XLA compiles anew for each size of a batch, in a tenth of a second or two. So it does only inside of a
    graph of TensorFlow, on a machine without other devices than CPUs, for pictures of a known size and of
    128×128 pixels or more. Elsewhere `otherwise` runs, by default `function` as it is.
    """

    def call(first, *rest):
        chosen = _by_xla(function) if _pays(first.shape) else otherwise or function
        return chosen(first, *rest)

    return call


@functools.cache
def _by_xla(function):
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def _pays(shape):
    if keras.backend.backend() != "tensorflow" or None in shape[1:3] or shape[1] * shape[2] < _LEAST_PIXELS:
        return False
    import tensorflow as tf

    on_cpu = all(device.device_type == "CPU" for device in tf.config.list_logical_devices())
    return on_cpu and not tf.executing_eagerly()
