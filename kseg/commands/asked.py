"""What a training is asked for, judged before its data are read."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kseg import data
from kseg.checks import check_choice, is_count, unknown_name
from kseg.commands.monitoring import MONITOR, check_monitor
from kseg.data.caching import check_cache
from kseg.disk import check_regular
from kseg.models import builder_parameters, check_build, list_models
from kseg.optimizers.by_name import check_optimizer
from kseg.training.named_losses import checked_losses
from kseg.types import PathLike

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
_OWN_WIDTH = ("fcn", "unet")  # whose filters have no meaning on a backbone
_FOR_COMPILE = (
    *("learning_rate", "encoder_learning_rate", "weight_decay", "optimizer", "schedule", "global_clipnorm"),
    *("gradient_accumulation_steps", "ema_momentum", "jit_compile"),
)


def model_or_default(model: str | None, of_model: dict) -> str:
    """Return the model, where none is named one that two cores train: a U-Net on a backbone, else DDRNet.

    DDRNet-23-slim takes half the time of a step of a U-Net of 16 filters, and as many minutes of two cores
    bring either to like scores; the paper's U-Net takes a step where these take a dozen and more.
    """
    if model is not None:
        return model
    return "unet" if {"backbone", "decoder_filters"} & of_model.keys() else "ddrnet"


def check_arguments(
    model: object,
    of_model: dict,
    precision: object,
    options: dict,
    start_from: PathLike | None,
    freeze_encoder: bool,
    seed: object,
    cache: PathLike | None,
    loss: str | Sequence[str] | None = None,
    monitor: object = MONITOR,
    early_stopping: object = None,
) -> None:
    """Refuse before the data are read what would be refused after."""
    _check_filters(model, of_model)
    check_build(model, **of_model)
    if loss is not None:
        checked_losses(loss)
    check_monitor(monitor)
    if early_stopping is not None and not is_count(early_stopping):
        raise ValueError(f"early_stopping must be a number of epochs of 1 or more, got {early_stopping!r}")
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


def _check_filters(model, of_model):
    """Refuse a width that the model would not take, or would not heed."""
    if "filters" not in of_model or model not in list_models():
        return
    takes = [name for name in list_models() if "filters" in builder_parameters(name)]
    if model not in takes:
        raise ValueError(f"filters= is for {', '.join(takes)}, and model {model!r} has no such width")
    filters = of_model["filters"]
    widths = filters if isinstance(filters, list | tuple) and filters else [filters]
    if not all(map(is_count, widths)):
        raise ValueError(f"filters must be a number of 1 or more, or several of them, got {filters!r}")
    if "backbone" in of_model and model in _OWN_WIDTH:
        raise ValueError(
            "filters= is the width of the model's own encoder, which a backbone takes the place of; give one "
            "of them, or decoder_filters= for the decoder"
        )


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
