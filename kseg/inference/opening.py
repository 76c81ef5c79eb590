"""One or several models opened as a `Predictor`: arguments checked, models that do not agree refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kseg.checks import check_choice, checked_size
from kseg.inference.files import open_model
from kseg.inference.predictor import Predictor, Window
from kseg.inference.resizing import Resize
from kseg.inference.runner import Runner
from kseg.inference.scores import crf_arguments
from kseg.inference.views import TestTimeAugmentation, views_of
from kseg.inference.windows import Blend, checked_overlap
from kseg.types import InputRange, StatedActivation


def open_predictor(
    model_or_models: Any,
    *,
    window: Window = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | Mapping[str, Any] | None = False,
    scores: bool = False,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
) -> Predictor:
    """Return the `Predictor` of one model or file, or of several; arguments are those of `kseg.predict`.

    Args:
        scores: whether probabilities or confidence will be asked for.

    Raises:
        ValueError: for what `kseg.predict` refuses.
    """
    several = isinstance(model_or_models, list | tuple)
    if several and not model_or_models:
        raise ValueError("model_or_path is an empty list: give a model or a file, or several")
    if not (window is None or (isinstance(window, str) and window == "auto")):
        if isinstance(window, str):
            raise ValueError(f"window must be None, 'auto' or (H, W) in pixels, got {window!r}")
        window = checked_size("window", window)
    overlap = checked_overlap(overlap)
    check_choice("blend", blend, ("gaussian", "mean"))
    views = views_of(tta)
    stated: dict[str, Any] = {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    runners = [
        open_model(each, **stated, resize=resize)
        for each in (model_or_models if several else [model_or_models])
    ]
    arguments = crf_arguments(crf)
    many = len(runners) > 1 or len(views) > 1 or arguments is not None or scores
    runners = [runner.settled(scores=many) for runner in runners]
    _check_agreement(runners, many)
    if arguments is not None and runners[0].multilabel:
        raise ValueError(
            "the dense CRF takes one class per pixel, but the model gives several labels; leave crf out"
        )
    judged = tuple(dataclasses.replace(runner, pixels_checked=True) for runner in runners)
    return Predictor(judged, window, overlap, blend, views, arguments)


def _check_agreement(runners: Sequence[Runner], scores: bool) -> None:
    """Raise where models cannot be averaged, or scores are asked of one that gives ids."""
    first = runners[0]
    for runner in runners:
        runner.check_whole()
        if scores and runner.output_kind == "classes":
            raise ValueError(f"{runner.name}: gives class ids alone, no scores and no probabilities")
        for what in ("channels", "multilabel", "value_range"):
            if getattr(runner, what) != getattr(first, what):
                raise ValueError(
                    f"averaged models must agree, but {first.name} has {what}={getattr(first, what)} "
                    f"and {runner.name} {what}={getattr(runner, what)}"
                )
        counts = [max(each.num_classes or 0, 1 if each.multilabel else 2) for each in (first, runner)]
        if counts[0] != counts[1]:
            raise ValueError(
                f"averaged models must agree, but {first.name} has {counts[0]} classes and "
                f"{runner.name} has {counts[1]}"
            )
