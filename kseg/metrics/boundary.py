"""Metrics of the pixels near a border between classes."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras
from keras import ops

from kseg.masks import count_ids
from kseg.metrics.confusion import cells, label_counts
from kseg.metrics.reading import MaskMetric, mean_by_class, nan_where_absent
from kseg.types import IgnoreClass, Tensor


@keras.saving.register_keras_serializable(package="kseg")
class BoundaryIoU(MaskMetric):
    """Mean IoU of the bands along the borders of the classes, over the whole data set, void left out.

    The band of a class are its pixels within `tolerance` of a pixel of another class or of the edge of the
    picture. Large regions do not drown thin ones and errors of the outline, as they do in the mean IoU.

    Reference: Cheng et al. 2021 ("Boundary IoU"), section 4, equation 2.

    Differences from the reference: pixels are summed over the data set, not averaged over instances; the
    distance is the larger of both axes', as in the authors' program (3×3 erosions); what borders on void
    alone is no border.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        tolerance: width of the band as a share of the picture's diagonal, at least 1 pixel; 0.02 in
            the reference, 0.005 for Cityscapes.
        class_names: `None` or one name per class. With names, `result()` is a dict: `boundary_iou`,
            `pixels_outside`, and `boundary_iou_<name>` for each class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: also the first key of the dict.
        multilabel: takes several labels per pixel: masks `(B, H, W, C)` of 0, 1 and void; each label has
            borders of its own, where it is there and its neighbour is without it.

    Raises:
        TypeError: when called on a mask of floats.
        ValueError: when called on shapes that do not fit; for a tolerance outside (0, 1).

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((1, 8, 8), "int32")
        >>> mask[:, 2:6, 2:6] = 1
        >>> metric = BoundaryIoU(2)
        >>> metric.update_state(mask, mask)
        >>> f"{metric.result():.2f}"
        '1.00'
    """

    class_key = "boundary_iou"

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        tolerance: float = 0.02,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "boundary_iou",
        dtype: str | keras.DTypePolicy | None = None,
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype, multilabel)
        self.tolerance = _checked(tolerance)
        # per class: pixels of both bands, of the true one, of the predicted one
        self.bands = self.add_counts((3, num_classes), "bands")
        self.truths = self.add_counts((num_classes,), "truths")

    def count(self, true: Tensor, predicted: Tensor, counted: Tensor) -> None:
        pixels, beyond = _pixels(true, self.tolerance), self.num_classes
        if self.multilabel:
            true, predicted = (_borders_of_labels(x, counted, pixels, 2) for x in (true, predicted))
            self.bands.assign_add(label_counts(true, predicted, counted)[:3])
            return
        self.truths.assign_add(_true_counts(true, counted, self.num_classes))
        true, predicted = (  # `beyond` where there is no band
            ops.where(_near_border(ids, counted, pixels, beyond), ids, beyond) for ids in (true, predicted)
        )
        matrix = cells(true, predicted, counted, beyond + 1, beyond + 1)
        sums = ops.diagonal(matrix), ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
        self.bands.assign_add(ops.stack(sums)[:, :-1])

    def true_counts(self) -> Tensor:
        return self.truths

    def class_iou(self) -> Tensor:
        """Return the IoU of each class's band, float32 `(num_classes,)`, NaN where it has none."""
        both, union = self._areas()
        return nan_where_absent(both, union)

    def result(self) -> Any:
        """Return the mean, a scalar; with `class_names` a dict that holds it and each class."""
        return mean_by_class(self, *self._areas())

    def _areas(self):
        both, true, predicted = ops.unstack(ops.cast(self.bands, "float32"), 3)
        return both, true + predicted - both

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tolerance": self.tolerance}


@keras.saving.register_keras_serializable(package="kseg")
class BoundaryF1(MaskMetric):
    """Mean F1 of the border pixels of the classes over the whole data set, void left out.

    Border pixels of a class touch another class. Precision is the share of the predicted ones that lie
    within `tolerance` of a true one of the same class, recall the share of the true ones near a predicted
    one.

    Reference: Csurka, Larlus, Perronnin 2013 ("What is a good evaluation measure for semantic
    segmentation?"), section 3.

    Differences from the reference: pixels are summed over the data set, not averaged over pictures; the
    distance is the larger of both axes'; the edge of the picture is no border.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        tolerance: as a share of the picture's diagonal, at least 1 pixel; 0.0075 in the reference.
        by_class: where false, borders alone, whichever classes meet there, as contours are judged (Martin,
            Fowlkes, Malik 2004).
        class_names: `None` or one name per class. With names, `result()` is a dict: `boundary_f1`,
            `pixels_outside`, and `boundary_f1_<name>` for each class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: also the first key of the dict.
        multilabel: takes several labels per pixel: masks `(B, H, W, C)` of 0, 1 and void; each label has
            borders of its own, where it is there and its neighbour is without it.

    Raises:
        TypeError: when called on a mask of floats.
        ValueError: when called on shapes that do not fit; for a tolerance outside (0, 1).

    Example:
        >>> import numpy as np
        >>> mask, predicted = np.zeros((2, 1, 8, 8), "int32")
        >>> mask[:, :, 4:] = predicted[:, :, 5:] = 1  # one pixel apart
        >>> metric = BoundaryF1(2)
        >>> metric.update_state(mask, predicted)
        >>> f"{metric.result():.2f}"
        '1.00'
    """

    class_key = "boundary_f1"

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        tolerance: float = 0.0075,
        by_class: bool = True,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "boundary_f1",
        dtype: str | keras.DTypePolicy | None = None,
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype, multilabel)
        self.tolerance = _checked(tolerance)
        # border pixels: predicted, of them near a true one; true, of them near a predicted one
        if class_names is not None and not by_class:
            raise ValueError("class_names have no use with by_class=False")
        if multilabel and not by_class:
            raise ValueError(
                "by_class=False is for one class per pixel: borders of labels are each their own"
            )
        self.by_class = bool(by_class)
        self.counts = self.add_counts((4, num_classes if by_class else 1), "counts")
        self.truths = self.add_counts((num_classes,), "truths")

    def count(self, true: Tensor, predicted: Tensor, counted: Tensor) -> None:
        pixels = _pixels(true, self.tolerance)
        if not self.multilabel:
            self.truths.assign_add(_true_counts(true, counted, self.num_classes))
        borders = [self._borders(ids, counted) for ids in (predicted, true)]
        sums = []
        for border, other in (borders, borders[::-1]):
            for counting in (border, border * _widened(other, pixels)):
                sums.append(ops.sum(ops.cast(counting, "int32"), axis=(0, 1, 2)))
        self.counts.assign_add(ops.cast(ops.stack(sums), "int64"))

    def _borders(self, ids, counted):
        """Return 1 on the border of a class, `(B, H, W, C)`, or of any class, `(B, H, W, 1)`."""
        if self.multilabel:
            return ops.cast(_borders_of_labels(ids, counted, 1), "float32")
        counts = ops.logical_and(counted, ids < self.num_classes)
        border = ops.logical_and(counts, _near_border(ids, counted, 1))
        if not self.by_class:
            return ops.cast(border, "float32")[..., None]
        return ops.one_hot(ops.where(border, ids, -1), self.num_classes)

    def true_counts(self) -> Tensor:
        return self.truths

    def class_f1(self) -> Tensor:
        """Return the F1 of each class, float32 `(num_classes,)`, NaN for a class without a border."""
        return nan_where_absent(*self._shares())

    def result(self) -> Any:
        """Return the mean, a scalar; with `class_names` a dict that holds it and each class."""
        return mean_by_class(self, *self._shares())

    def _shares(self):
        """Return F1 as a fraction: twice precision times recall, and 1 where there is a border."""
        predicted, near_true, true, near_predicted = ops.unstack(ops.cast(self.counts, "float32"), 4)
        precision = ops.divide_no_nan(near_true, predicted)
        recall = ops.divide_no_nan(near_predicted, true)
        f1 = ops.divide_no_nan(2 * precision * recall, precision + recall)
        return f1, ops.cast(predicted + true > 0, "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tolerance": self.tolerance, "by_class": self.by_class}


def _checked(tolerance):
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 < float(tolerance) < 1:
        raise ValueError(f"tolerance must be a share of the diagonal in (0, 1), got {tolerance!r}")
    return float(tolerance)


def _pixels(ids, tolerance):
    """Return the tolerance in pixels, an int32 tensor or an int."""
    height, width = ops.shape(ids)[1:3]
    diagonal = ops.sqrt(ops.cast(height, "float32") ** 2 + ops.cast(width, "float32") ** 2)
    return ops.maximum(ops.cast(ops.round(tolerance * diagonal), "int32"), 1)


def _true_counts(true, counted, num_classes):
    return count_ids(ops.where(counted, true, num_classes), num_classes + 1)[:-1]


def _borders_of_labels(labels, counted, pixels, beyond=None):
    """Return where a label is and within `pixels` it is not, bool `(B, H, W, C)`: label by label as ids."""
    size = ops.shape(labels)
    ids, known = (
        ops.reshape(ops.transpose(x, (3, 0, 1, 2)), (-1, size[1], size[2]))
        for x in (ops.cast(labels, "int32"), counted)
    )
    near = ops.reshape(_near_border(ids, known, pixels, beyond), (labels.shape[3], -1, size[1], size[2]))
    near = ops.transpose(near, (1, 2, 3, 0))
    return ops.logical_and(near, ops.logical_and(labels, counted))


def _near_border(ids, counted, pixels, beyond=None):
    """Return where a pixel of another id lies within `pixels`, bool `(B, H, W)`.

    Pixels that are not counted are no neighbours. `beyond` is the id of what lies outside of the picture,
    `None`: nothing does.
    """
    ids, counted = ops.cast(ids, "float32")[..., None], counted[..., None]
    far = 1e9
    highest, lowest = ops.where(counted, ids, -far), ops.where(counted, -ids, -far)
    if beyond is not None:
        ring = ((0, 0), (1, 1), (1, 1), (0, 0))
        highest = ops.pad(highest, ring, constant_values=beyond)
        lowest = ops.pad(lowest, ring, constant_values=-beyond)
    highest, lowest = _widened(highest, pixels), _widened(lowest, pixels)
    differ = highest[..., 0] != -lowest[..., 0]
    return differ if beyond is None else differ[:, 1:-1, 1:-1]


def _widened(x, pixels):
    """Return the maximum over the square of `2 * pixels + 1` around each pixel: `(B, H, W, C)`."""
    return ops.fori_loop(0, pixels, lambda _, y: ops.max_pool(y, 3, strides=1, padding="same"), x)
