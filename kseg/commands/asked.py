"""What a training is asked for, judged before its data are read."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kseg import data
from kseg.checks import check_choice, unknown_name
from kseg.data.caching import check_cache
from kseg.disk import check_regular
from kseg.models import check_build
from kseg.optimizers.by_name import check_optimizer
from kseg.types import PathLike

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
_FOR_COMPILE = (
    *("learning_rate", "encoder_learning_rate", "weight_decay", "optimizer", "schedule", "global_clipnorm"),
    *("gradient_accumulation_steps", "ema_momentum", "jit_compile"),
)


def check_arguments(
    model: object,
    of_model: dict,
    precision: object,
    options: dict,
    start_from: PathLike | None,
    freeze_encoder: bool,
    seed: object,
    cache: PathLike | None,
) -> None:
    """Refuse before the data are read what would be refused after."""
    check_build(model, **of_model)
    check_choice("precision", precision, PRECISIONS)
    for name in options:
        if name not in _FOR_COMPILE:
            raise unknown_name("argument", name, _FOR_COMPILE)
    numbers = {name: value for name, value in options.items() if name not in ("optimizer", "jit_compile")}
    check_optimizer(options.get("optimizer", "adamw"), **numbers)
    if start_from is not None:
        check_regular(Path(start_from))
    if start_from is not None and not Path(start_from).is_file():
        raise FileNotFoundError(f"{start_from}: no such file; start_from= takes a .keras file")
    if freeze_encoder and "encoder_learning_rate" in options:
        raise ValueError("freeze_encoder leaves nothing to encoder_learning_rate; give one of them")
    if freeze_encoder and start_from is None and "backbone_weights" not in of_model:
        raise ValueError(
            "freeze_encoder would keep random weights; give backbone_weights= or start_from= as well"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an int of 0 or more, got {seed!r}")
    check_cache(cache, 0)


def checked_augmentation(augmentation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of an augmentation; refuse those that `kseg.data.augment` would refuse."""
    if not isinstance(augmentation, Mapping | None):
        raise ValueError(f"augmentation must be arguments of kseg.data.augment, got {augmentation!r}")
    augmentation = dict(augmentation or {})
    known = inspect.signature(data.augment).parameters.keys() - {"crop_size"}
    for name in augmentation:
        if name not in known:
            raise unknown_name("argument of augmentation", name, known)
    numbers = {
        name: v for name, v in augmentation.items() if not isinstance(v, str) or name != "class_weights"
    }
    data.augment((1, 1), **numbers)
    return augmentation
