"""The confusion matrix, and the mean IoU that is made of it."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from kseg.checks import check_choice
from kseg.masks import count_ids
from kseg.metrics.reading import MaskMetric, mean_by_class, nan_where_absent
from kseg.types import IgnoreClass, Tensor


class CountingMetric(MaskMetric):
    """What is made of a confusion matrix, or of counts of each label.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction.
        missed: int64 `(num_classes,)`, pixels of each class whose prediction is none; NaN scores are none.
        counts: with `multilabel` instead of both, int64 `(4, num_classes)`: pixels that truth and prediction
            have, those of the truth, those of the prediction, and all that are counted.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass,
        class_names: Sequence[str] | None,
        from_logits: bool,
        name: str,
        dtype: str | keras.DTypePolicy | None,
        multilabel: bool = False,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype, multilabel)
        if multilabel:
            self.counts = self.add_counts((4, num_classes), "counts")
        else:
            self.matrix = self.add_counts((num_classes, num_classes), "matrix")
            self.missed = self.add_counts((num_classes,), "missed")

    def count(self, true: Tensor, predicted: Tensor, counted: Tensor) -> None:
        if self.multilabel:
            self.counts.assign_add(label_counts(true, predicted, counted))
            return
        counts = cells(true, predicted, counted, self.num_classes, self.num_classes + 1)
        self.matrix.assign_add(counts[:, :-1])
        self.missed.assign_add(counts[:, -1])

    def true_counts(self) -> Tensor:
        if self.multilabel:
            return self.counts[1]
        return ops.sum(self.matrix, axis=1) + ops.convert_to_tensor(self.missed)

    def _labels_off(self):
        return int(ops.convert_to_numpy(ops.sum(self.counts[3] - self.counts[1])))

    def areas(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return per class the pixels that both have, those of the truth and of the prediction, float32."""
        if self.multilabel:
            both, true, predicted, _ = ops.unstack(precise(self.counts), 4)
        else:
            matrix = precise(self.matrix)
            both, predicted = ops.diagonal(matrix), ops.sum(matrix, axis=0)
            true = ops.sum(matrix, axis=1) + precise(self.missed)
        both, true, predicted = (ops.cast(x, "float32") for x in (both, true, predicted))
        return both, true, predicted


@keras.saving.register_keras_serializable(package="kseg")
class ConfusionMatrix(CountingMetric):
    """The confusion matrix over the whole data set, rows truth, columns prediction, void left out.

    Pixels whose true id is no class and not void are kept out of the matrix and counted in `outside`. Where
    the prediction alone is no class, the pixel is in `missed`, and in the shares a miss of its true class.

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
        *,
        multilabel: bool = False,
    ) -> None:
        if multilabel:
            raise ValueError(
                "ConfusionMatrix has no multilabel=True: with several labels per pixel none is taken for "
                "another; use MeanIoU or ClassIoU with multilabel=True"
            )
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype)
        check_choice("normalize", normalize, (None, "true", "predicted", "all"))
        self.normalize = normalize

    def result(self) -> Tensor:
        """Return the matrix `(num_classes, num_classes)`."""
        self.warn_of_masks()
        if self.normalize is None:
            return ops.convert_to_tensor(self.matrix)
        counts, missed = precise(self.matrix), precise(self.missed)
        totals = {
            "true": (ops.sum(counts, axis=1) + missed)[:, None],
            "predicted": ops.sum(counts, axis=0, keepdims=True),
            "all": ops.sum(counts) + ops.sum(missed),
        }
        return ops.cast(ops.divide_no_nan(counts, totals[self.normalize]), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}


@keras.saving.register_keras_serializable(package="kseg")
class MeanIoU(CountingMetric):
    """Mean intersection over union over the whole data set, void left out.

    One int64 confusion matrix is summed over batches and replicas. A class that appears neither in the
    masks nor in the predictions is left out of the mean. Pixels whose true id is no class and not void are
    kept out of the matrix and counted in `outside`; `keras.metrics.MeanIoU` drops them without a word. A
    predicted id that is no class, or a NaN score, is a miss of the true class.

    Reference: Everingham et al. 2010 (PASCAL VOC), section 4.1.3.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class. With names, `result()` (and the logs of `fit`) is a dict:
            `mean_iou`, `pixels_outside`, and `iou_<name>` for each class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: also the first key of the dict.
        multilabel: takes several labels per pixel: masks `(B, H, W, C)` of 0, 1 and void, a label is there
            where its logit is above 0 (its probability above 0.5).

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

    class_key = "iou"

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "mean_iou",
        dtype: str | keras.DTypePolicy | None = None,
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype, multilabel)

    def class_iou(self) -> Tensor:
        """Return the IoU of each class, float32 `(num_classes,)`, NaN for a class that never appeared."""
        both, true, predicted = self.areas()
        return nan_where_absent(both, true + predicted - both)

    def result(self) -> Any:
        """Return the mean IoU, a scalar; with `class_names` a dict that holds it and each class."""
        both, true, predicted = self.areas()
        return mean_by_class(self, both, true + predicted - both)


def cells(true: Tensor, predicted: Tensor, counted: Tensor, rows: int, columns: int) -> Tensor:
    """Return the int64 matrix `(rows, columns)` of the pixels where `counted` is true."""
    bucket = ops.where(counted, true * columns + predicted, rows * columns)
    return ops.reshape(count_ids(bucket, rows * columns + 1)[:-1], (rows, columns))


def label_counts(true: Tensor, predicted: Tensor, counted: Tensor) -> Tensor:
    """Return int64 `(4, C)` of bool `(B, H, W, C)`: both, true, predicted and counted pixels."""
    true, predicted = ops.logical_and(true, counted), ops.logical_and(predicted, counted)
    kinds = (ops.logical_and(true, predicted), true, predicted, counted)
    sums = [ops.sum(ops.cast(x, "int32"), axis=(0, 1, 2)) for x in kinds]
    return ops.cast(ops.stack(sums), "int64")


def precise(counts: Tensor) -> Tensor:
    """Return counts as floats that can tell them apart."""
    return ops.cast(counts, "float64" if keras.backend.backend() != "jax" else "float32")
