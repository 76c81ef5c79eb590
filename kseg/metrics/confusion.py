"""Metrics of one confusion matrix."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from kseg.checks import check_choice
from kseg.masks import count_ids
from kseg.metrics.reading import MaskMetric, mean_by_class, nan_where_absent
from kseg.types import IgnoreClass, Tensor


class _FromMatrix(MaskMetric):
    """What is made of a confusion matrix."""

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass,
        class_names: Sequence[str] | None,
        from_logits: bool,
        name: str,
        dtype: str | keras.DTypePolicy | None,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype)
        self.matrix = self.add_counts((num_classes, num_classes), "matrix")

    def count(self, true: Tensor, predicted: Tensor, counted: Tensor) -> None:
        self.matrix.assign_add(cells(true, predicted, counted, self.num_classes))

    def _areas(self):
        """Return per class the pixels that both have, those of the truth and those of the prediction."""
        return areas(self.matrix)


@keras.saving.register_keras_serializable(package="kseg")
class ConfusionMatrix(_FromMatrix):
    """The confusion matrix over the whole data set, rows truth, columns prediction, void left out.

    Pixels whose id is no class and not void are kept out of the matrix and counted in `outside`.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        normalize: `None` (pixels, int64), or shares, float32: `"true"` of each class's true pixels,
            `"predicted"` of its predicted ones, `"all"` of all pixels; 0 where there are none.
        class_names: `None` or one name per class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: of the metric.

    Raises:
        TypeError: when called on a mask of floats.
        ValueError: when called on shapes that do not fit; if the names are not one per class; for fewer than
            two classes.

    Example:
        >>> metric = ConfusionMatrix(2, normalize="true")
        >>> metric.update_state([[[0, 1, 1, 255]]], [[[0, 1, 0, 0]]])
        >>> metric.result().numpy().tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        normalize: Literal["true", "predicted", "all"] | None = None,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "confusion_matrix",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype)
        check_choice("normalize", normalize, (None, "true", "predicted", "all"))
        self.normalize = normalize

    def result(self) -> Tensor:
        """Return the matrix `(num_classes, num_classes)`."""
        if self.normalize is None:
            return ops.convert_to_tensor(self.matrix)
        counts = _precise(self.matrix)
        axis = {"true": 1, "predicted": 0, "all": None}[self.normalize]
        return ops.cast(ops.divide_no_nan(counts, ops.sum(counts, axis=axis, keepdims=True)), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}


@keras.saving.register_keras_serializable(package="kseg")
class MeanIoU(_FromMatrix):
    """Mean intersection over union over the whole data set, void left out.

    One int64 confusion matrix is summed over batches and replicas. A class that appears neither in the
    masks nor in the predictions is left out of the mean. Pixels whose id is no class and not void are kept
    out of the matrix and counted in `outside`; `keras.metrics.MeanIoU` drops them without a word.

    Reference: Everingham et al. 2010 (PASCAL VOC), section 4.1.3.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class. With names, `result()` (and the logs of `fit`) is a dict:
            `mean_iou`, `pixels_outside`, and `iou_<name>` for each class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: also the first key of the dict.

    Raises:
        TypeError: when called on a mask of floats.
        ValueError: when called on shapes that do not fit; if the names are not one per class; for fewer than
            two classes.

    Example:
        >>> metric = MeanIoU(2)
        >>> metric.update_state([[[0, 1, 1, 255]]], [[[0, 1, 0, 0]]])
        >>> f"{metric.result():.2f}"
        '0.50'
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "mean_iou",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype)

    def class_iou(self) -> Tensor:
        """Return the IoU of each class, float32 `(num_classes,)`, NaN for a class that never appeared."""
        both, true, predicted = self._areas()
        return nan_where_absent(both, true + predicted - both)

    def result(self) -> Any:
        """Return the mean IoU, a scalar; with `class_names` a dict that holds it and each class."""
        both, true, predicted = self._areas()
        return mean_by_class(self, "iou", both, true + predicted - both)


@keras.saving.register_keras_serializable(package="kseg")
class MeanDice(_FromMatrix):
    """Mean Dice coefficient (F1 of pixels) over the whole data set, void left out.

    Per class `2 * overlap / (true area + predicted area)`; a class that appears in neither is left out.

    Reference: Dice 1945; the same as the F1 score of a class against the others.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class. With names, `result()` is a dict: `mean_dice`,
            `pixels_outside`, and `dice_<name>` for each class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: also the first key of the dict.

    Example:
        >>> metric = MeanDice(2)
        >>> metric.update_state([[[0, 1, 1, 255]]], [[[0, 1, 0, 0]]])
        >>> f"{metric.result():.4f}"
        '0.6667'
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "mean_dice",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype)

    def class_dice(self) -> Tensor:
        """Return the coefficient of each class, float32 `(num_classes,)`, NaN where it never appeared."""
        both, true, predicted = self._areas()
        return nan_where_absent(2 * both, true + predicted)

    def result(self) -> Any:
        """Return the mean, a scalar; with `class_names` a dict that holds it and each class."""
        both, true, predicted = self._areas()
        return mean_by_class(self, "dice", 2 * both, true + predicted)


@keras.saving.register_keras_serializable(package="kseg")
class PixelAccuracy(_FromMatrix):
    """Share of the pixels that got their class, over the whole data set, void left out.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: of the metric.

    Example:
        >>> metric = PixelAccuracy(2)
        >>> metric.update_state([[[0, 1, 1, 255]]], [[[0, 1, 0, 0]]])
        >>> f"{metric.result():.4f}"
        '0.6667'
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        from_logits: bool = True,
        name: str = "pixel_accuracy",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, None, from_logits, name, dtype)

    def result(self) -> Tensor:
        """Return the share, 0 where no pixel was counted."""
        counts = _precise(self.matrix)
        share = ops.divide_no_nan(ops.sum(ops.diagonal(counts)), ops.sum(counts))
        return ops.cast(share, "float32")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["class_names"]
        return config


@keras.saving.register_keras_serializable(package="kseg")
class ClassIoU(_FromMatrix):
    """Intersection over union of one class over the whole data set, void left out.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        target_class: its id, or one of `class_names`.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: `None` is `iou_` and the class.

    Raises:
        ValueError: for a class that is not there.

    Example:
        >>> metric = ClassIoU(2, "road", class_names=["sky", "road"])
        >>> metric.update_state([[[0, 1, 1, 255]]], [[[0, 1, 0, 0]]])
        >>> metric.name, f"{metric.result():.2f}"
        ('iou_road', '0.50')
    """

    def __init__(
        self,
        num_classes: int,
        target_class: int | str,
        ignore_class: IgnoreClass = 255,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str | None = None,
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        name = name or f"iou_{target_class}"
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype)
        self.target_class = target_class
        if isinstance(target_class, str):
            names = self.class_names or ["a name of class_names"]
            check_choice("target_class", target_class, names)
            self.index = names.index(target_class)
        elif isinstance(target_class, bool) or target_class not in range(num_classes):
            raise ValueError(
                f"target_class must be one of 0..{num_classes - 1} or a name of class_names, "
                f"got {target_class!r}"
            )
        else:
            self.index = int(target_class)

    def result(self) -> Tensor:
        """Return the IoU, 0 where the class never appeared."""
        both, true, predicted = (area[self.index] for area in self._areas())
        return ops.divide_no_nan(both, true + predicted - both)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_class": self.target_class}


def cells(true: Tensor, predicted: Tensor, counted: Tensor, size: int) -> Tensor:
    """Return the int64 matrix `(size, size)` of the pixels where `counted` is true."""
    bucket = ops.where(counted, true * size + predicted, size * size)
    return ops.reshape(count_ids(bucket, size * size + 1)[:-1], (size, size))


def areas(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `(both, true, predicted)` pixels per class of a matrix, float32 `(size,)` each."""
    matrix = _precise(matrix)
    sums = ops.diagonal(matrix), ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
    return tuple(ops.cast(x, "float32") for x in sums)


def _precise(matrix):
    return ops.cast(matrix, "float64" if keras.backend.backend() != "jax" else "float32")
