"""Normalisations: batch norm by the fused kernel, AlexNet's local response."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kseg.graphs import tell_batch_statistics
from kseg.layers.common import register
from kseg.replicas import moments_over_replicas, replica_context
from kseg.types import Tensor


@register
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, trained by TensorFlow's fused kernel, synchronised over replicas.

    Same arguments, weights and results. Keras computes the moments and the normalisation in separate steps
    and in float32; one kernel makes a training step of a U-Net a fifth to a third shorter. Anywhere else
    (other backends, inference, what the kernel lacks) it is Keras' own. Under several replicas the moments
    are those of the whole batch, `synchronized` or not: they train like one device.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        super().build(input_shape)
        tell_batch_statistics(self)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        fused = (
            training
            and self.trainable
            and self.scale
            and self.center
            and replica_context() is None
            and not self.renorm
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.variable_dtype == "float32"
            and keras.backend.backend() == "tensorflow"
        )
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # the kernel has no name in keras.ops

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma, "float32"),
            tf.cast(self.beta, "float32"),
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs, out_type=tf.int64) // inputs.shape[-1], variance.dtype)
        variance *= (count - 1) / count  # the kernel returns the unbiased estimate, Keras keeps the plain one
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + value * (1.0 - self.momentum))
        return outputs

    def _moments(self, inputs, mask):
        if mask is not None or replica_context() is None:
            return super()._moments(inputs, mask)
        return moments_over_replicas(inputs, self._reduction_axes)


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divide by `(1 + alpha / size * s) ** 0.75`, s the sum of squares over the `size` nearest channels.

    Across channels, as in Caffe; channels beyond the first and the last count as zero. Written so that it
    also runs in int8, which LiteRT's own operator for it does not.

    Args:
        size: odd int, channels.
        alpha: of Caffe; `alpha` of `tf.nn.local_response_normalization` is this over `size`.

    Call arguments:
        inputs: `(B, H, W, C)`; computed in float32, the squares of pixel values overflow float16.

    Returns:
        `(B, H, W, C)` in the layer's compute dtype.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = size
        self.alpha = alpha

    def call(self, inputs: Tensor) -> Tensor:
        channels = np.arange(inputs.shape[-1])
        near = np.abs(channels[:, None] - channels) <= self.size // 2
        kernel = (self.alpha / self.size * near)[None, None].astype("float32")
        x = ops.cast(inputs, "float32")
        y = 1.0 + ops.conv(x * x, ops.convert_to_tensor(kernel))
        root = ops.rsqrt(y)
        return ops.cast(x * root * ops.rsqrt(y * root), self.compute_dtype)  # y ** (-1/2) * y ** (-1/4)

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "alpha": self.alpha}
