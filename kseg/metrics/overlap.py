"""What else is made of the same counts: Dice, accuracy, the IoU of one class."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kseg.checks import check_choice
from kseg.metrics.confusion import CountingMetric, precise
from kseg.metrics.reading import mean_by_class, nan_where_absent
from kseg.types import IgnoreClass, Tensor


@keras.saving.register_keras_serializable(package="kseg")
class MeanDice(CountingMetric):
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
        multilabel: takes several labels per pixel: masks `(B, H, W, C)` of 0, 1 and void, a label is there
            where its logit is above 0 (its probability above 0.5).

    Example:
        >>> metric = MeanDice(2)
        >>> metric.update_state([[[0, 1, 1, 255]]], [[[0, 1, 0, 0]]])
        >>> f"{metric.result():.4f}"
        '0.6667'
    """

    class_key = "dice"

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass = 255,
        class_names: Sequence[str] | None = None,
        from_logits: bool = True,
        name: str = "mean_dice",
        dtype: str | keras.DTypePolicy | None = None,
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype, multilabel)

    def class_dice(self) -> Tensor:
        """Return the coefficient of each class, float32 `(num_classes,)`, NaN where it never appeared."""
        both, true, predicted = self.areas()
        return nan_where_absent(2 * both, true + predicted)

    def result(self) -> Any:
        """Return the mean, a scalar; with `class_names` a dict that holds it and each class."""
        both, true, predicted = self.areas()
        return mean_by_class(self, 2 * both, true + predicted)


@keras.saving.register_keras_serializable(package="kseg")
class PixelAccuracy(CountingMetric):
    """Share of the pixels that got their class, over the whole data set, void left out.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: of the metric.
        multilabel: takes several labels per pixel: masks `(B, H, W, C)` of 0, 1 and void, a label is there
            where its logit is above 0 (its probability above 0.5); the share is that of all labels.

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
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(num_classes, ignore_class, None, from_logits, name, dtype, multilabel)

    def result(self) -> Tensor:
        """Return the share, 0 where no pixel was counted."""
        self.warn_of_masks()
        if self.multilabel:
            both, true, predicted, counted = ops.unstack(precise(self.counts), 4)
            right = counted - true - predicted + 2 * both
        else:
            right = ops.diagonal(precise(self.matrix))
            counted = precise(self.true_counts())
        return ops.cast(ops.divide_no_nan(ops.sum(right), ops.sum(counted)), "float32")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["class_names"]
        return config


@keras.saving.register_keras_serializable(package="kseg")
class ClassIoU(CountingMetric):
    """Intersection over union of one class over the whole data set, void left out.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        target_class: its id, or one of `class_names`.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: `None` is `iou_` and the class.
        multilabel: takes several labels per pixel: masks `(B, H, W, C)` of 0, 1 and void, a label is there
            where its logit is above 0 (its probability above 0.5).

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
        *,
        multilabel: bool = False,
    ) -> None:
        name = name or f"iou_{target_class}"
        super().__init__(num_classes, ignore_class, class_names, from_logits, name, dtype, multilabel)
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
        self.warn_of_masks()
        both, true, predicted = (area[self.index] for area in self.areas())
        return ops.divide_no_nan(both, true + predicted - both)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_class": self.target_class}
