"""The Lovász losses, which are convex extensions of the Jaccard index."""

from typing import Any

import keras
from keras import ops

from kseg.losses.base import MaskLoss, by_channel, weighted
from kseg.replicas import gather_from_replicas, local_slice, sum_over_replicas
from kseg.types import ClassWeights, IgnoreClass, Tensor


@keras.saving.register_keras_serializable(package="kseg")
class Lovasz(MaskLoss):
    """Lovász-softmax loss: trains the Jaccard index itself, mean over the classes present in the batch.

    The errors of all pixels of the batch, over all replicas, are sorted; each counts by what it takes away
    from the index. Start from a model trained with cross-entropy, or add the two.

    Reference: Berman, Rannen Triki, Blaschko 2018 ("The Lovász-Softmax loss"), equations 9 and 11; hinge:
    section 2.2.

    Differences from the reference: none (`classes="present"`, over the batch). The class of a soft target is
    its largest; sample weights only choose pixels, those above 0.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class: weights of the mean; not for the hinge.
        hinge: takes the binary Lovász hinge on the margin of the logits, of the foreground alone; for one
            or two channels of logits, or of each label.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; the
            mean of the binary loss of each label's foreground, of labels that the batch does not show too.

    Raises:
        ValueError: for a hinge on probabilities or on more than two classes; when called on shapes that do
            not fit.
        TypeError: when called on a mask of floats.

    Example:
        >>> import numpy as np
        >>> mask, logits = np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2))
        >>> f"{Lovasz()(mask, logits):.4f}"
        '0.5000'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        hinge: bool = False,
        from_logits: bool = True,
        name: str = "lovasz",
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, multilabel)
        if hinge and (not from_logits or class_weights is not None):
            raise ValueError("hinge=True needs logits (from_logits=True) and takes no class_weights")
        self.hinge = bool(hinge)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        true, errors = self._errors(target, scores)
        counted = ops.cast(weight > 0, "float32")
        true, errors, counted = (
            ops.transpose(ops.reshape(x, [-1, x.shape[-1]])) for x in (true, errors, by_channel(counted))
        )
        true, errors = true * counted, errors * counted  # (C, N)
        losses = sum_over_replicas(ops.sum(errors * _slopes(true, errors, counted), axis=1))
        if self.hinge and not self.multilabel:
            return losses[0]
        # One class per pixel: another one pays for a false pixel of an absent class. Of labels none would.
        seen = counted if self.multilabel else true
        present = ops.cast(sum_over_replicas(ops.sum(seen, axis=1)) > 0, "float32")
        share = weighted(present, self.class_weights)
        return ops.divide_no_nan(ops.sum(share * losses), ops.sum(share))

    def _errors(self, target, scores):
        """Return where each class or label is, and the error of each pixel, `(B, H, W, C)` both."""
        num_classes = scores.shape[-1]
        if self.multilabel:
            true = ops.cast(target > 0.5, "float32")
        else:
            ids = target if len(target.shape) == 3 else ops.argmax(target, axis=-1)
            true = ops.one_hot(ids, num_classes)
        if not self.hinge:
            return true, ops.abs(true - self.probabilities(scores))
        if not self.multilabel:
            if num_classes != 2:
                raise ValueError(
                    f"hinge=True is for one or two channels, or multilabel=True; y_pred has {num_classes}"
                )
            true, scores = true[..., 1:], scores[..., 1:] - scores[..., :1]
        return true, ops.relu(1 - scores * (2 * true - 1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hinge": self.hinge}


def _slopes(true, errors, counted):
    """Return what each error weighs: the gradient of the Lovász extension, `(C, N)` of this replica."""
    counted = ops.broadcast_to(counted, ops.shape(true))
    keys = ops.where(counted > 0, errors, -1.0)  # what does not count comes last, behind all errors
    own = ops.shape(keys)[1]
    keys, true, counted = (
        ops.transpose(gather_from_replicas(ops.stop_gradient(ops.transpose(x))))
        for x in (keys, true, counted)
    )
    order = ops.argsort(-keys, axis=1)  # (C, N of all replicas)
    true, counted = (ops.take_along_axis(x, order, axis=1) for x in (true, counted))
    total = ops.sum(true, axis=1, keepdims=True)
    overlap = total - _running_count(true)
    union = total + _running_count(counted - true)
    jaccard = 1 - overlap / ops.maximum(union, 1.0)
    steps = jaccard - ops.pad(jaccard[:, :-1], ((0, 0), (1, 0)))
    steps = ops.take_along_axis(steps, ops.argsort(order, axis=1), axis=1)  # back to where they came from
    return ops.transpose(local_slice(ops.transpose(steps), own))


def _running_count(ones):
    """Return the running sum of zeros and ones; float32 cannot count beyond 2 ** 24."""
    return ops.cast(ops.cumsum(ops.cast(ones, "int32"), axis=1), "float32")
