"""Metrics over the whole data set, from one confusion matrix."""

import keras
import numpy as np
from keras import ops

from kseg.arguments import check_class_names
from kseg.masks import class_ids, count_ids, holds_ids, is_void, size_checked, sizes_agree, to_mask, void_ids


@keras.saving.register_keras_serializable(package="kseg")
class MeanIoU(keras.metrics.Metric):
    """Mean intersection over union over the whole data set, void left out.

    One int64 confusion matrix is summed over batches and replicas. A class that appears neither in the
    masks nor in the predictions is left out of the mean. Pixels whose id is no class and not void are kept
    out of the matrix and counted in `pixels_outside`; `keras.metrics.MeanIoU` drops them without a word.

    Reference: Everingham et al. 2010 (PASCAL VOC), section 4.1.3.

    Args:
        num_classes: int, 2 or more; 2 for a model with one output channel.
        ignore_class: int, several ints, or `None`: ids that are left out.
        class_names: `None` or one name per class. With names, `result()` (and the logs of `fit`) is a dict:
            `mean_iou`, `pixels_outside`, and `iou_<name>` for each class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: str, also the first key of the dict.

    Raises:
        ValueError: when called on shapes that do not fit; if the names are not one per class; for fewer than
            two classes.

    Example:
        >>> metric = MeanIoU(2)
        >>> metric.update_state(np.array([[[0, 1, 1, 255]]]), np.array([[[0, 1, 0, 0]]]))
        >>> f"{metric.result():.2f}"
        '0.50'
    """

    def __init__(
        self,
        num_classes,
        ignore_class=255,
        class_names=None,
        from_logits=True,
        name="mean_iou",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more (2 for one output channel), got {num_classes}")
        check_class_names(class_names, num_classes)
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.class_names = None if class_names is None else list(class_names)
        self.from_logits = from_logits
        self.matrix = self.add_variable(
            (num_classes, num_classes), "zeros", dtype="int64", aggregation="sum", name="matrix"
        )  # rows: truth, columns: prediction
        self.outside = self.add_variable((), "zeros", dtype="int64", aggregation="sum", name="outside")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Args:
            y_true: ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`, void all zeros.
            y_pred: scores `(B, H, W, C)`, or predicted ids `(B, H, W)` of an integer dtype.
            sample_weight: not taken: a pixel counts or is void.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{self.name} counts pixels: it takes no sample_weight; mark pixels void instead"
            )
        y_pred = ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) == 5:
            y_pred = y_pred[..., 0]  # a training step with auxiliary heads: the main scores stand first
        true, predicted, void = self._ids(ops.convert_to_tensor(y_true), y_pred)
        n = self.num_classes
        inside = ops.logical_and(
            ops.logical_and(true >= 0, true < n), ops.logical_and(predicted >= 0, predicted < n)
        )
        # one bucket per cell of the matrix, then one for void and one for ids outside
        bucket = ops.where(inside, true * n + predicted, n * n + 1)
        bucket = ops.where(void, n * n, bucket)
        counts = count_ids(bucket, n * n + 2)
        self.matrix.assign_add(ops.reshape(counts[: n * n], (n, n)))
        self.outside.assign_add(counts[n * n + 1])

    def _ids(self, y_true, y_pred):
        """Return true ids, predicted ids and the void mask, `(B, H, W)` each."""
        if len(y_pred.shape) == 3:
            if len(y_true.shape) == 4 and y_true.shape[-1] == 1:
                y_true = ops.squeeze(y_true, -1)
            if len(y_true.shape) != 3 or not sizes_agree(y_true, y_pred):
                raise ValueError(
                    f"for predicted ids {tuple(y_pred.shape)}, y_true must be ids of that size too, got "
                    f"{tuple(y_true.shape)}"
                )
            predicted = class_ids(y_pred, False)
            true = class_ids(size_checked(y_true, y_pred), False)
            return true, predicted, is_void(true, self.ignore_class)
        if y_pred.shape[-1] != self.num_classes and (y_pred.shape[-1], self.num_classes) != (1, 2):
            raise ValueError(
                f"{self.name} has num_classes={self.num_classes}, y_pred has {y_pred.shape[-1]} channels"
            )
        predicted = to_mask(y_pred, self.from_logits)
        with_ids = holds_ids(y_true, y_pred)
        y_true = size_checked(y_true, y_pred)
        if with_ids:
            true = class_ids(y_true, len(y_true.shape) == 4)
            return true, predicted, is_void(true, self.ignore_class)
        return to_mask(y_true), predicted, ops.logical_not(ops.any(y_true > 0, axis=-1))

    def class_iou(self):
        """Return the IoU of each class, float32 `(num_classes,)`, NaN for a class that never appeared."""
        intersection, union = self._areas()
        return ops.where(union > 0, intersection / ops.maximum(union, 1.0), float("nan"))

    def _areas(self):
        matrix = ops.cast(self.matrix, "float64" if keras.backend.backend() != "jax" else "float32")
        intersection = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - intersection
        return ops.cast(intersection, "float32"), ops.cast(union, "float32")

    def result(self):
        """Return the mean IoU, a scalar; with `class_names` a dict that holds it and each class."""
        intersection, union = self._areas()
        present = ops.cast(union > 0, "float32")
        iou = intersection / ops.maximum(union, 1.0)  # 0 where the class never appeared
        mean = ops.divide_no_nan(ops.sum(iou), ops.sum(present))
        if self.class_names is None:
            return mean
        by_name = {f"iou_{name}": iou[index] for index, name in enumerate(self.class_names)}
        return {self.name: mean, "pixels_outside": ops.cast(self.outside, "float32"), **by_name}

    def get_config(self):
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "class_names": self.class_names,
            "from_logits": self.from_logits,
            "name": self.name,
            "dtype": self.dtype,
        }


class Confusion:
    """The same counts in NumPy, for models that run outside of Keras.

    Args:
        num_classes: int.
        ignore_class: int, several ints, or `None`.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction.
        outside: int, pixels that are not void and whose true or predicted id is no class.
    """

    def __init__(self, num_classes, ignore_class=255):
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.matrix = np.zeros((num_classes, num_classes), "int64")
        self.outside = 0

    def add(self, mask, predicted):
        """Add ids `(..., H, W)` of the truth and of the prediction; axes of 1 do not matter.

        Raises:
            TypeError: if the mask is not of an integer dtype.
            ValueError: if the sizes differ.
        """
        if mask.dtype.kind not in "iub":
            raise TypeError(f"a mask holds integer class ids, got dtype {mask.dtype}")
        if np.squeeze(mask).shape != np.squeeze(predicted).shape:
            raise ValueError(f"mask {mask.shape} and prediction {predicted.shape} differ in size")
        mask = mask.reshape(predicted.shape).astype("int64")
        valid = ~np.isin(mask, void_ids(self.ignore_class))
        inside = valid.copy()
        for ids in (mask, predicted):
            inside &= (ids >= 0) & (ids < self.num_classes)
        cells = mask[inside] * self.num_classes + predicted[inside]
        self.matrix += np.bincount(cells, minlength=self.matrix.size).reshape(self.matrix.shape)
        self.outside += int(valid.sum() - inside.sum())


def iou_of(matrix):
    """Return the IoU of each class of a NumPy confusion matrix, float64, NaN where a class never appeared."""
    intersection = np.diagonal(matrix).astype("float64")
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)
