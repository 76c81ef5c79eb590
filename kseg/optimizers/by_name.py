"""The optimizers of `kseg.compile` by name, their arguments checked."""

import math
from numbers import Real
from typing import Any

import keras

from kseg.checks import check_choice, is_count
from kseg.graphs import encoder_layers
from kseg.optimizers.one_step import SGD, AdamW
from kseg.optimizers.schedule import WarmupPoly

RATE_AND_DECAY = {"adamw": (1e-3, 0.05), "sgd": (1e-2, 1e-3)}  # by default


def named_optimizer(
    model: keras.Model,
    name: str,
    steps: int | None,
    *,
    schedule: str | None,
    learning_rate: float | None,
    encoder_learning_rate: float | None,
    **options: Any,
) -> keras.optimizers.Optimizer:
    """Return kseg's AdamW or SGD. Arguments are those of `kseg.compile`."""
    check_optimizer(name, schedule, steps, learning_rate, encoder_learning_rate, **options)
    kind: Any = AdamW if name == "adamw" else SGD
    rate, decay = RATE_AND_DECAY[name]
    rate = rate if learning_rate is None else float(learning_rate)
    factors = None
    if encoder_learning_rate is not None:
        factors = _factors(model, encoder_learning_rate / rate)
    if options["gradient_accumulation_steps"] == 1:
        options["gradient_accumulation_steps"] = None  # Keras takes 2 or more
    if options["weight_decay"] is None:
        options["weight_decay"] = decay
    if name == "sgd":
        options["momentum"] = 0.9
    ema_momentum = options.pop("ema_momentum")
    if ema_momentum is not None:
        options |= {"use_ema": True, "ema_momentum": ema_momentum}
    return kind(_schedule(schedule or "poly", rate, steps), rate_factors=factors, **options)


def check_optimizer(
    name: str = "adamw",
    schedule: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    encoder_learning_rate: float | None = None,
    weight_decay: float | None = None,
    global_clipnorm: float | None = None,
    gradient_accumulation_steps: int | None = None,
    ema_momentum: float | None = None,
) -> None:
    """Raise `ValueError` unless the arguments of `kseg.compile` name an optimizer and are in their range."""
    check_choice("optimizer", name, ("adamw", "sgd"))
    check_choice("schedule", schedule, (None, "poly", "cosine"))
    _check_number("learning_rate", learning_rate, "above 0", lambda x: x > 0)
    _check_number("encoder_learning_rate", encoder_learning_rate, "above 0", lambda x: x > 0)
    _check_number("global_clipnorm", global_clipnorm, "above 0", lambda x: x > 0)
    _check_number("weight_decay", weight_decay, "of 0 or more", lambda x: x >= 0)
    _check_number("ema_momentum", ema_momentum, "from 0 to below 1", lambda x: 0 <= x < 1)
    accumulate = gradient_accumulation_steps
    if accumulate is not None and not is_count(accumulate):
        raise ValueError(f"gradient_accumulation_steps must be a positive int, got {accumulate!r}")
    if steps is not None and not is_count(steps):
        raise ValueError(f"steps must be a positive int: epochs * len(dataset), got {steps!r}")
    if steps is not None and accumulate is not None and steps < accumulate:
        raise ValueError(
            f"gradient_accumulation_steps={accumulate} is more than all {steps} steps; take fewer"
        )


def _check_number(argument, value, which, fits):
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or not fits(value):
        hint = "; a schedule goes into optimizer=" if argument == "learning_rate" else ""
        raise ValueError(f"{argument} must be a number {which}, got {value!r}{hint}")


def _schedule(name, rate, steps):
    if steps is None:
        return rate
    warmup = min(200, steps // 10)
    if name == "poly":
        return WarmupPoly(rate, steps, warmup_steps=warmup)
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        rate / warmup, steps - warmup, warmup_target=rate, warmup_steps=warmup
    )


def _factors(model, factor):
    """Return one factor per trainable variable: this one in the encoder, else 1."""
    layers = encoder_layers(model)
    encoder = {id(variable) for layer in layers for variable in layer.trainable_variables}
    if not encoder:
        why = "is frozen" if layers else "is missing"
        raise ValueError(f"encoder_learning_rate: the encoder of {model.name!r} {why}; leave it out")
    return [factor if id(variable) in encoder else 1.0 for variable in model.trainable_variables]
