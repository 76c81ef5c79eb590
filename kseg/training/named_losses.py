"""The losses of kseg by name, one or the sum of several."""

import re
from collections.abc import Sequence
from typing import Any

from kseg import losses
from kseg.checks import unknown_name
from kseg.losses.base import MaskLoss
from kseg.losses.combining import Combinable
from kseg.losses.pixel import PixelLoss
from kseg.types import ClassWeights


def list_losses() -> list[str]:
    """Return the names that `named_loss` takes, sorted.

    Example:
        >>> list_losses()[:3]
        ['boundary', 'cross_entropy', 'dice']
    """
    return sorted(_kinds())


def named_loss(names: str | Sequence[str], class_weights: ClassWeights = None, **options: Any) -> Combinable:
    """Return the loss of a name, or the sum of the losses of several, each with weight 1.

    Args:
        names: one or several of `list_losses()`, each once.
        class_weights: as the losses take them. In a sum they are for those that average over pixels, where
            rare classes count little; those of areas, Dice for instance, average over classes already.
        **options: for each of them.

    Raises:
        ValueError: for no name, an unknown one (the nearest is offered), or one that stands twice.

    Example:
        >>> [type(loss).__name__ for loss, weight in named_loss(["cross_entropy", "dice"]).parts]
        ['CrossEntropy', 'Dice']
    """
    kinds = [_kinds()[name] for name in checked_losses(names)]
    over_pixels = [issubclass(kind, PixelLoss) for kind in kinds]
    weights = [class_weights if whole or not any(over_pixels) else None for whole in over_pixels]
    total, *others = (kind(class_weights=w, **options) for kind, w in zip(kinds, weights, strict=True))
    for loss in others:
        total = total + loss
    return total


def checked_losses(names: str | Sequence[str]) -> list[str]:
    """Return the names in a list; raise as `named_loss` does."""
    known, several = _kinds(), [names] if isinstance(names, str) else list(names)
    for name in several:
        if name not in known:
            raise unknown_name("loss", name, known)
    if not several or len(set(several)) < len(several):
        raise ValueError(f"loss must be names of losses, each once, got {names!r}")
    return several


def _kinds() -> dict[str, type[MaskLoss]]:
    """Return name → loss: the class's own name in snake case."""
    kinds = [getattr(losses, name) for name in losses.__all__]
    return {_snake(kind.__name__): kind for kind in kinds if issubclass(kind, MaskLoss)}


def _snake(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
