"""Search for the parameters of the dense CRF on a validation set, as the DeepLab authors did."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kseg.crf.mean_field import Smoothness, appearance, check_pair, check_parameters, log_of, mean_field
from kseg.data.batches import batches
from kseg.inference import as_probabilities, collapse, open_model
from kseg.metrics import Confusion
from kseg.pictures import in_pixel_range
from kseg.types import Dataset, IgnoreClass, InputRange, PathLike, StatedActivation

_SMOOTHNESS = {"smoothness_weight": 3.0, "smoothness_xy": 3.0}  # the authors fixed them
_SEARCHED = ("appearance_weight", "appearance_xy", "appearance_rgb")


@dataclass(frozen=True)
class CrfSearch:
    """What `tune_crf` found; printed, a table, the best first.

    Attributes:
        parameters: dict, the best arguments of `dense_crf`; `kseg.predict(..., crf=search.parameters)`.
        mean_iou: float, with them.
        mean_iou_without: float, of the model alone.
        tried: list of `(mean_iou, arguments)`, the best first; on a tie the weaker CRF.
    """

    mean_iou_without: float
    tried: list[tuple[float, dict[str, Any]]]

    @property
    def mean_iou(self) -> float:
        return self.tried[0][0]

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.tried[0][1])

    def __str__(self) -> str:
        rows = [f"{'mean IoU':>8}  " + "  ".join(_SEARCHED), f"{self.mean_iou_without:8.4f}  without the CRF"]
        for mean_iou, arguments in self.tried:
            rows.append(
                f"{mean_iou:8.4f}  " + "  ".join(f"{arguments[name]:{len(name)}.4g}" for name in _SEARCHED)
            )
        return "\n".join(rows)


def tune_crf(
    model_or_path: keras.Model | PathLike,
    dataset: Dataset,
    *,
    pictures: int = 20,
    iterations: int = 10,
    appearance_weight: Sequence[float] = (3, 6, 10),
    appearance_xy: Sequence[float] = (40, 70, 100),
    appearance_rgb: Sequence[float] = (3, 6, 12),
    ignore_class: IgnoreClass = 255,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    progress: Callable[[int, int], object] | None = None,
) -> CrfSearch:
    """Search for the parameters of `dense_crf` with the best mean IoU for a model.

    On pictures that the model was not trained on, and not on those that it is reported on. Every combination
    of the given values is tried, then those half a step around the best. Smoothness stays at weight 3 and
    3 pixels. 53 combinations on 20 pictures of 360 × 480 pixels take about 10 minutes on two cores.

    Reference: Chen et al. 2015 (DeepLab v1), section 4.1, "Learning"; 2017 (v2), section 4.1.2: coarse to
    fine over 100 pictures of the validation set.

    Differences from the reference: their fine grids have steps of 1 (weight, colour) and 10 (pixels).

    Args:
        model_or_path: as for `kseg.predict`.
        dataset: batches `(image (B, H, W, C), mask (B, H, W))`; shuffle those of a video.
        pictures: how many of its first pictures are used; at least 1.
        iterations: of the mean field.
        appearance_weight, appearance_xy, appearance_rgb: values to try, ascending; one value stays fixed.
        ignore_class: int or several, void.
        activation, input_range: as for `kseg.predict`.
        progress: `None` or a function `(done, total)`, called after each combination on each picture.

    Returns:
        `CrfSearch`: `.parameters` for `dense_crf` and `predict(..., crf=)`; printed, a table of all tried.

    Raises:
        FileNotFoundError, ValueError: for a model file, a dataset or values that do not fit.

    Example:
        >>> import kseg
        >>> model = kseg.build_conv_stack(6, depth=1, filters=4)
        >>> scenes = kseg.data.shapes(2, (32, 32), batch_size=2)
        >>> grid = {"appearance_weight": [5], "appearance_xy": [20], "appearance_rgb": [5, 10]}
        >>> search = tune_crf(model, scenes, **grid)
        >>> len(search.tried)
        4
    """
    grid = dict(zip(_SEARCHED, (appearance_weight, appearance_xy, appearance_rgb), strict=True))
    grid = {name: _checked_values(name, values) for name, values in grid.items()}
    check_parameters(iterations=iterations)
    runner = open_model(model_or_path, activation=activation, input_range=input_range).settled(scores=True)
    if runner.multilabel:
        raise ValueError("the dense CRF takes one class per pixel, but the model gives several labels")
    pairs = _first(dataset, pictures)
    tried, fine = {}, [3 if len(values) > 1 else 1 for values in grid.values()]
    total = len(pairs) * (np.prod([len(values) for values in grid.values()]) + np.prod(fine) - 1)
    count = itertools.count(1)

    def measure(combinations):
        def step():
            done = next(count)
            if progress:
                progress(done, int(total))

        return _mean_ious(runner, pairs, combinations, iterations, ignore_class, step)

    without, found = measure(list(itertools.product(*grid.values())))
    tried.update(found)
    best = max(tried, key=lambda combination: tried[combination])
    around = itertools.product(
        *(_around(value, values) for value, values in zip(best, grid.values(), strict=True))
    )
    tried.update(measure([combination for combination in around if combination not in tried])[1])
    order = sorted(tried, key=lambda combination: (-tried[combination], combination))
    return CrfSearch(
        without,
        [
            (
                tried[each],
                {"iterations": iterations, **_SMOOTHNESS, **dict(zip(_SEARCHED, each, strict=True))},
            )
            for each in order
        ],
    )


def _checked_values(name, values):
    """Return the values of one parameter as ascending floats."""
    if np.ndim(values) != 1 or len(values) == 0:
        raise ValueError(f"{name} must be a list of values to try, got {values!r}")
    for value in values:
        check_parameters(iterations=1, **{name: value})
    return sorted({float(value) for value in values})


def _first(dataset, pictures):
    """Return the first pictures and masks of a dataset."""
    if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 1:
        raise ValueError(f"pictures must be an int of 1 or more, got {pictures!r}")
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for images, masks in batches(dataset, "dataset"):
        if masks is None:
            raise ValueError("the dataset holds pictures alone: the search needs masks, (pictures, masks)")
        pairs += zip(images, masks, strict=True)
        if len(pairs) >= pictures:
            break
    pairs = pairs[:pictures]
    if not pairs:
        raise ValueError("the dataset is empty: there is nothing to tune on")
    return pairs


def _around(value, values):
    """Return the value and those half a step to both sides; past an end by the step before it."""
    if len(values) == 1:
        return [value]
    index = values.index(value)
    below = (value - values[index - 1]) if index else min(values[1] - value, value)
    above = (values[index + 1] - value) if index + 1 < len(values) else below
    return [value - below / 2, value, value + above / 2]


def _mean_ious(runner, pairs, combinations, iterations, ignore_class, step):
    """Return the mean IoU without the CRF and a dict, combination → mean IoU."""
    counters: dict[Any, Confusion] = {}
    for image, mask in pairs:
        scores = runner.scores(image[None])
        probabilities = as_probabilities(scores, runner.from_logits)[0]
        classes = probabilities.shape[-1]
        if not counters:
            counters = {each: Confusion(classes, ignore_class) for each in (None, *combinations)}
        counters[None].add(mask, collapse(scores, runner.from_logits)[0])
        image = in_pixel_range(image, runner.input_range)
        for combination, refined in _refined(probabilities, image, combinations, iterations):
            counters[combination].add(mask, refined.argmax(-1))
            step()
    ious = {each: _mean_iou(counter.iou) for each, counter in counters.items()}
    return ious.pop(None), ious


def _refined(probabilities, image, combinations, iterations):
    """Yield each combination and its probabilities; what combinations share is built once."""
    check_pair(probabilities, image)
    logs = log_of(probabilities)
    smoothness = (
        _SMOOTHNESS["smoothness_weight"],
        Smoothness(image.shape[:2], _SMOOTHNESS["smoothness_xy"]),
    )
    widths = sorted({combination[1:] for combination in combinations})
    for width in widths:
        kernel = appearance(image, *width)
        for combination in (each for each in combinations if each[1:] == width):
            kernels: list[tuple[float, Any]] = [smoothness, (combination[0], kernel)]
            yield combination, mean_field(logs, kernels, iterations, probabilities.shape)


def _mean_iou(iou):
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0
