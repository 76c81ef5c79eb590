"""What `augment=` may be, tried on a few pairs before it is used."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.data.augmentation.foreign import Arrays, as_pair, check_two, of_kind, several_sizes
from kseg.data.augmentation.function import Augmentation
from kseg.data.tensors import check_specs

_DRAWS = 4  # of each pair that is tried
# lines about the error of a library
_FRAMES = ("Exception encountered", "in user code", "File ", "Arguments received", "Traceback")
_DARKER = 16  # times, than what colour changes make of a picture
_SCALE = 2  # pictures of 0–255 reach beyond it


def adapted(
    augment: Any,
    pairs: Callable[[], Sequence[Arrays]],
    *,
    class_names: Sequence[str],
    void: Sequence[int],
    channels: int,
    batched: bool,
) -> Augmentation | Adapted:
    """Return a function of tensors `(image, mask, seed) -> (image, mask)` for `dataset.map`.

    Args:
        augment: as for `kseg.data.from_directory`.
        pairs: gives some pictures and masks of the data, which it is tried on.
        class_names: one per class.
        void: ids of void.
        channels: of a picture.
        batched: whether several pictures must have one size.

    Raises:
        ValueError: for what is no augmentation, or gives no picture of 0–255 and the ids that it took.
    """
    if not isinstance(augment, Augmentation):
        return Adapted(augment, pairs(), class_names, tuple(void), batched)
    settings = augment.settings
    own = settings.ignore_class
    if settings.class_weights is not None and len(settings.class_weights) != len(class_names):
        raise ValueError(
            f"augment has {len(settings.class_weights)} class_weights, and there are {len(class_names)} "
            "classes; give one for each"
        )
    if len(settings.fill) not in (1, channels):
        raise ValueError(
            f"augment has a fill of {len(settings.fill)} numbers, and pictures have {channels} channels; "
            "give one number, or one for each"
        )
    if void and own not in void:
        raise ValueError(
            f"augment marks what lies beyond the picture with {own}, and void is {list(void)}; give "
            f"kseg.data.augment(..., ignore_class={void[0]})"
        )
    return augment


class Adapted:
    """An augmentation that is not kseg's; arguments as for `adapted`.

    Attributes:
        takes_arrays: whether `on_arrays` is for it; else it is of tensors in a graph.
        size: `(H, W)` of what it gives, `None` where that differs.
    """

    size: tuple[int, int] | None = None

    def __init__(
        self,
        augment: Any,
        pairs: Sequence[Arrays],
        class_names: Sequence[str],
        void: tuple[int, ...],
        batched: bool,
    ) -> None:
        self.num_classes, self.void = len(class_names), void
        self.function, self.takes_arrays = of_kind(augment, void[0] if void else None)
        tried = self._tried(pairs)
        fills = self._fills_with_zero(pairs, class_names, void)
        if fills:
            warnings.warn(
                f"augment fills masks beyond the picture with 0, which is {class_names[0]!r}; where that is "
                f"not meant, let it fill them with void ({void[0]}): of albumentations, fill_mask={void[0]}",
                stacklevel=5,
            )
        for (image, mask), results in zip(pairs, tried, strict=True):
            _check_scale(image, results)
            _check_ids({*np.unique(mask).tolist(), *void, *([0] if fills else [])}, results)
        sizes = {np.shape(ids)[:2] for results in tried for _, ids in results}
        if batched and len(sizes) > 1:
            raise ValueError(several_sizes(sorted(sizes)))
        self.size = sizes.pop() if batched else None

    def __call__(self, image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the augmented pair of tensors, of the dtypes that they were."""
        channels, sides = image.shape[-1], self.size or (None, None)
        if self.takes_arrays:
            pair = tf.numpy_function(
                self.on_arrays, [image, mask, seed], (image.dtype, tf.int32), stateful=False
            )
        else:
            pair = self._traced(image, mask, seed)
            if pair[0].dtype != image.dtype:
                new = tf.clip_by_value(tf.cast(pair[0], tf.float32), 0.0, 255.0)
                pair = tf.cast(tf.round(new) if image.dtype == tf.uint8 else new, image.dtype), pair[1]
        image, mask = pair[0], tf.cast(pair[1], tf.int32)
        return tf.ensure_shape(image, (*sides, channels)), tf.ensure_shape(mask, sides)

    def on_arrays(self, image: np.ndarray, mask: np.ndarray, seed: np.ndarray) -> Arrays:
        """Return the augmented pair of arrays, where `takes_arrays`."""
        given = self.function(image.copy(), mask.astype("int32"), seed)  # it may write into them
        image, mask = as_pair(given, image, self.size)
        outside = mask[(mask < 0) | (mask >= self.num_classes)]
        strange = set(np.unique(outside).tolist()) - set(self.void) if outside.size else None
        if strange:
            raise ValueError(f"augment gives ids {sorted(strange)[:5]} that are no class and not void")
        return image, mask

    def _traced(self, image, mask, seed):
        """Return what a function of tensors gives, checked as far as a graph knows it."""
        given = self.function(image, mask, seed)
        check_two(given)
        new, ids = (tf.convert_to_tensor(each) for each in given)
        if new.shape.rank is None:  # of tf.numpy_function
            new = tf.ensure_shape(new, (None, None, image.shape[-1]))
        if ids.shape.rank is None:
            ids = tf.ensure_shape(ids, (None, None))
        return check_specs(new, ids)

    def _tried(self, pairs):
        """Return what the pairs become by several draws: for each a list of `(image, mask)`.

        A function of the one kind may be written for the other, for NumPy knows no tensors of a graph.
        """
        try:
            return [self._draws(*pair) for pair in pairs]
        except Exception as error:
            self.takes_arrays = not self.takes_arrays
            try:
                return [self._draws(*pair) for pair in pairs]
            except Exception:
                raise _failed(error) from error

    def _draws(self, image, mask):
        seeds = np.random.default_rng(0).integers(0, 2**31, (_DRAWS, 2))
        if self.takes_arrays:
            given = [self.function(image.copy(), mask.copy(), seed) for seed in seeds]
        else:
            picture, ids = tf.constant(image), tf.constant(mask)
            draws = tf.data.Dataset.from_tensor_slices(seeds)
            given = list(draws.map(lambda seed: self._traced(picture, ids, seed)).as_numpy_iterator())
        for pair in given:
            as_pair(pair, image)
        return [(np.asarray(new), np.asarray(ids)) for new, ids in given]

    def _fills_with_zero(self, pairs, class_names, void):
        """Tell whether masks of one id come back with 0 in them, beyond the picture."""
        if not void or 0 in void:
            return False
        image, mask = pairs[0]
        marked = np.full_like(mask, void[0])
        return any((np.asarray(ids) == 0).any() for _, ids in self._draws(image, marked))


def _check_scale(image, results):
    """Refuse pictures that are not 0–255 any more."""
    highs = [float(new.max()) for new, _ in results]
    if image.max() > _DARKER * max(highs):
        raise ValueError(
            f"augment gives pictures up to {max(highs):g} of one up to {image.max():g}, models take 0–255; "
            "leave out of it what normalizes or rescales"
        )
    for new, _ in results:
        low, high = float(new.min()), float(new.max())
        is_small = new.dtype.kind == "f" and image.max() > _SCALE >= high > 0
        if is_small or (low < -1 and high < 255 / _SCALE):
            raise ValueError(
                f"augment gives pictures of {low:g} to {high:g}, models take 0–255; leave out of it what "
                "normalizes or rescales"
            )


def _check_ids(known, results):
    """Refuse ids that the mask did not hold, as interpolation makes them."""
    for _, ids in results:
        strange = sorted(set(np.unique(ids).astype(int).tolist()) - known)
        if strange:
            raise ValueError(
                f"augment gives ids {strange[:5]} that the mask did not hold; resample masks by nearest "
                "neighbour, and fill them with void"
            )


def _failed(error):
    """Return the error of an augmentation that could not be tried."""
    if isinstance(error, ValueError) and str(error).startswith("augment "):
        return error
    text = re.sub(r"\x1b\[\d*m", "", str(error))  # Keras prints some words bold
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_FRAMES)] or [""]
    told = next((line for line in reversed(lines) if re.match(r"\w*Error: ", line)), lines[0])
    return ValueError(
        f"augment failed on a picture of the data: {type(error).__name__}: {told[:200]}; it takes (image, "
        "mask) or (image, mask, seed), a Keras layer a dict of images and segmentation_masks"
    )
