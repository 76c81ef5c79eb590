"""The augmentation as a function of arrays, and of tensors in a graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.data.augmentation.color import change_colors
from kseg.data.augmentation.geometry import sampling_matrix, warp_pair
from kseg.data.augmentation.settings import Settings
from kseg.data.tensors import check_arrays, check_channels, check_specs

_DRAWS = 32  # numbers in [0, 1), more than any settings take


class Augmentation:
    """A function `(image, mask, seed=None) -> (image, mask)`, as `kseg.data.augment` returns it.

    Args:
        settings: what it draws from.

    Attributes:
        takes_arrays: true; `on_arrays` is the whole of it.
        size: `(H, W)` of what it gives.
    """

    takes_arrays = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.size = settings.crop_size

    def __call__(self, image: Any, mask: Any, seed: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the augmented pair as tensors; it runs eagerly and in a graph."""
        if seed is None:
            seed = tf.random.uniform((2,), maxval=2**31, dtype=tf.int64)
        if tf.executing_eagerly():
            image, mask = self.on_arrays(*check_arrays(image, mask), np.asarray(seed))
            return tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
        image, mask = check_specs(image, mask)
        if self.settings.color:
            check_channels(image)
        dtype = tf.float32 if image.dtype.is_floating else tf.uint8
        image = tf.cast(image, dtype) if image.dtype == tf.bfloat16 else image

        def run(image, mask, seed):
            return self.on_arrays(*check_arrays(image, mask), seed)

        channels = image.shape[-1]
        image, mask = tf.numpy_function(run, [image, mask, seed], (dtype, tf.int32), stateful=False)
        return (
            tf.ensure_shape(image, (*self.settings.crop_size, channels)),
            tf.ensure_shape(mask, self.settings.crop_size),
        )

    def on_arrays(
        self, image: np.ndarray, mask: np.ndarray, seed: Sequence[int] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the augmented pair of one that is right: it is not checked.

        Args:
            image: `(h, w, C)` uint8 or float32 of 0–255.
            mask: `(h, w)` integer.
            seed: two int64.

        Returns:
            `(H, W, C)` in the type of the picture, and `(H, W)` int32.
        """
        settings = self.settings
        key = np.array(seed, "int64").view("uint64")
        draw = iter(np.random.Generator(np.random.Philox(key=key)).random(_DRAWS).tolist()).__next__
        image, mask = warp_pair(image, mask, sampling_matrix(settings, draw, mask), settings)
        image = change_colors(image, settings, draw)
        if settings.cutout:
            self._hide(image, mask, draw)
        return image, mask

    def _hide(self, image, mask, draw):
        """Fill a rectangle of the picture and mark it void, in place."""
        sides = [round(side * self.settings.cutout * draw()) for side in mask.shape]
        top, left = (
            int(draw() * (side - length + 1)) for side, length in zip(mask.shape, sides, strict=True)
        )
        hidden = np.s_[top : top + sides[0], left : left + sides[1]]
        fill = np.array(self.settings.fill)
        image[hidden] = np.rint(fill) if image.dtype == np.uint8 else fill
        mask[hidden] = self.settings.ignore_class
