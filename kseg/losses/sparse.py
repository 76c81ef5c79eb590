"""Cross-entropy of class ids from logits, with a gradient of its own.

On a CPU this takes less than half the time of TensorFlow's kernel: the exponentials serve the gradient too,
and scores of nearly all networks need no shift by their maximum. One pixel beyond exp(±41), and the whole
batch is shifted, in two thirds of the kernel's time.
"""

import keras
from keras import ops


def cross_entropies(target, scores):
    """Return the cross-entropy of each pixel with its id, `(B, H, W)`."""
    if keras.backend.backend() != "tensorflow":
        return ops.sparse_categorical_crossentropy(target, scores, from_logits=True)
    import tensorflow as tf

    @tf.custom_gradient
    def losses_of(scores):
        exponentials, total, losses = _forward(target, scores)

        def gradient(upstream):
            upstream, hot = upstream[..., None], tf.one_hot(target, scores.shape[-1])
            return exponentials * (upstream / total[..., None]) - upstream * hot

        return losses, gradient

    return losses_of(scores)


def sum_of_cross_entropies(target, scores, weight, binary):
    """Return the sum of the cross-entropies, each times its weight, a scalar; any of weight 0 may be NaN.

    Args:
        target: int32 `(B, H, W)`.
        scores: float32 `(B, H, W, C)`.
        weight: float32 `(B, H, W)`, 0 or more.
        binary: bool, whether all weights are 0 or 1, which spares a product over all scores.
    """
    counted = weight > 0
    if keras.backend.backend() != "tensorflow":
        return ops.sum(ops.where(counted, cross_entropies(target, scores) * weight, 0.0))
    import tensorflow as tf

    @tf.custom_gradient
    def hot_times(factor):  # tf.one_hot has no gradient, which second derivatives need
        hot = tf.one_hot(tf.where(counted, target, -1), scores.shape[-1], factor, 0.0)
        return hot, lambda upstream: tf.reduce_sum(tf.where(counted, _own(upstream, target), 0.0))

    @tf.custom_gradient
    def sum_of(scores, weight):
        exponentials, total, losses = _forward(target, scores)
        losses = tf.where(counted, losses, 0.0)

        def gradient(upstream):
            hot = hot_times(upstream)
            hot = hot if binary else hot * weight[..., None]
            return exponentials * (upstream * weight / total)[..., None] - hot, upstream * losses

        return tf.reduce_sum(losses if binary else losses * weight), gradient

    return sum_of(scores, weight)


def _own(x, target):
    """Return what `x`, `(B, H, W, C)`, holds for each pixel's id."""
    import tensorflow as tf

    return tf.gather(x, target[..., None], batch_dims=3)[..., 0]


def _forward(target, scores):
    """Return the exponentials of the scores, perhaps of shifted ones, their sum by pixel, and the losses."""
    import tensorflow as tf

    def shifted():
        x = scores - tf.reduce_max(scores, axis=-1, keepdims=True)
        exponentials = tf.exp(x)
        total = tf.reduce_sum(exponentials, axis=-1)
        return exponentials, total, tf.math.log(total) - _own(x, target)

    exponentials = tf.exp(scores)
    total, right = tf.reduce_sum(exponentials, axis=-1), _own(exponentials, target)
    exact = tf.reduce_all(tf.logical_and(right > 1e-18, total < 1e18))  # and so is their quotient
    return tf.cond(exact, lambda: (exponentials, total, tf.math.log(total / right)), shifted)
