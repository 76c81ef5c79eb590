"""A model run over a whole data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kseg.checks import check_class_names
from kseg.data.batches import batches
from kseg.evaluation.counting import Tally
from kseg.evaluation.facts import facts_of_model
from kseg.evaluation.figures import Evaluation
from kseg.evaluation.judging import Judge
from kseg.evaluation.samples import Samples
from kseg.inference import open_predictor
from kseg.inference.resizing import Resize
from kseg.inference.views import TestTimeAugmentation
from kseg.inference.windows import Blend
from kseg.metrics import LabelCounts, warn_of_void_foreground
from kseg.pictures import in_pixel_range
from kseg.types import Dataset, IgnoreClass, InputRange, PathLike, Size, StatedActivation
from kseg.value_range import checked_value_range


def evaluate(
    model_or_path: keras.Model | PathLike | list[Any],
    dataset: Dataset,
    *,
    window: Literal["auto"] | Size | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | Mapping[str, Any] | None = False,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: IgnoreClass = 255,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    boundaries: bool = True,
    samples: int = 0,
    progress: Callable[[int, int | None], object] | None = None,
) -> Evaluation:
    """Evaluate a model or an exported file over a whole data set, at the size of its masks.

    Args:
        model_or_path: as for `predict`; a list of several is averaged.
        window, overlap, blend, tta, crf: as for `kseg.predict`.
        dataset: batches `(pictures (B, H, W, C), masks (B, H, W))`, in whatever holds them: a
            `tf.data.Dataset`, a list, a generator or a function that gives one, Keras' `(x, y)` of arrays.
            Masks of several labels are `(B, H, W, C)` of 0 and 1.
        num_classes: `None` takes the number of the model's channels (2 for one channel).
        class_names: `None` or one name per class; else the dataset's attribute, else "class 0", ...
        ignore_class: int or several, void; `None` for a model of more than 255 classes.
        activation, input_range, multilabel, resize: as for `kseg.predict`.
        boundaries: whether borders are scored, which takes some time of its own.
        samples: how many of the worst and best pictures are kept, small, for a report: of 9 the 6 worst.
        progress: `None` or a function called with `(batches done, all batches or None)`.

    Returns:
        `kseg.evaluation.Evaluation`: scores of each class, means, intervals over pictures, calibration.

    Raises:
        TypeError: if the masks hold no integers, or `dataset` no batches.
        ValueError: if the dataset is empty or the names are not one per class; if `ignore_class` is one of
            the classes; for what `kseg.predict` refuses; if the
            dataset was read by another `value_range` than the model keeps.

    Example:
        >>> import kseg
        >>> result = evaluate(kseg.build_conv_stack(6, depth=1, filters=2), kseg.data.shapes(2, (32, 32)))
        >>> result.class_dice.shape, result.intervals["class_iou"].shape
        ((6,), (6, 2))
    """
    predictor = open_predictor(
        model_or_path,
        window=window,
        overlap=overlap,
        blend=blend,
        tta=tta,
        crf=crf,
        activation=activation,
        input_range=input_range,
        multilabel=multilabel,
        resize=resize,
    )
    runner = predictor.runner
    _check_range(runner, dataset)
    names = _file_names(dataset)
    judge, run = Judge(predictor, getattr(dataset, "value_range", None) is not None), None
    total = dataset.cardinality().numpy() if hasattr(dataset, "cardinality") else -1
    for done, (images, masks) in enumerate(batches(dataset, "dataset"), start=1):
        if masks is None:
            raise ValueError("the dataset holds pictures alone: an evaluation needs masks, (pictures, masks)")
        if run is None:
            count = num_classes or _classes_of(runner, class_names, dataset)
            tally = Tally(count, ignore_class, runner.multilabel, boundaries)
            run = _Run(tally, names, Samples(samples) if samples else None, runner.input_range)
        run.add(images, masks, judge(images))
        if progress:
            progress(done, total if total > 0 else None)
    if run is None or not run.seconds:
        raise ValueError("the dataset is empty: there is nothing to evaluate")
    class_names = class_names or getattr(dataset, "class_names", None)
    return run.evaluation(class_names, facts_of_model(model_or_path, predictor))


class _Run:
    """The pictures of a data set, as they come."""

    def __init__(self, tally, names, samples, input_range):
        self.tally, self.names, self.samples, self.input_range = tally, names, samples, input_range
        self.seconds = []

    def add(self, images, masks, judged):
        """Add a batch: pictures, their masks, and what the model makes of them."""
        for index, image in enumerate(images):
            one, number = slice(index, index + 1), len(self.seconds)
            confidence = None if judged.confidence is None else judged.confidence[one]
            counted = self.tally.add(masks[one], judged.ids[one], confidence)
            if number == len(self.names):
                self.names.append(f"picture {number + 1}")
            if self.samples is not None:
                sure = None if confidence is None else confidence[0]
                shown = in_pixel_range(image, self.input_range)
                self.samples.offer(number, self.names[number], shown, counted, sure)
            self.seconds.append(judged.seconds)

    def evaluation(self, names, facts):
        """Return the `Evaluation` of all that was added."""
        counter, calibration = self.tally.counter, self.tally.calibration
        names = list(names or [f"class {number}" for number in range(counter.num_classes)])
        check_class_names(names, counter.num_classes)
        found = {
            "pictures": self.tally.pictures(self.names[: len(self.seconds)], self.seconds),
            "calibration": calibration if calibration.counts.any() else None,
            "worst": self.samples.worst if self.samples else (),
            "best": self.samples.best if self.samples else (),
            "facts": facts,
        }
        if isinstance(counter, LabelCounts):
            on, counted = counter.true.sum(), counter.counted.sum()
            warn_of_void_foreground(np.array([counted - on, on]), counter.void, counter.ignore_class)
            return Evaluation(None, names, counter.outside, labels=counter, **found)
        warn_of_void_foreground(counter.true_counts, counter.void, counter.ignore_class)
        return Evaluation(counter.matrix, names, counter.outside, counter.missed, **found)


def _classes_of(runner, class_names, dataset):
    """Return how many classes a model tells apart; of a file that gives ids, the names tell."""
    if runner.num_classes is not None:
        return max(runner.num_classes, 2)
    names = class_names or getattr(dataset, "class_names", None)
    if not names:
        raise ValueError("num_classes is missing: the file gives class ids, which do not tell how many")
    return len(names)


def _check_range(runner, dataset):
    """Raise where the pictures of a data set were read by another range than the model keeps."""
    kept, used = runner.value_range, checked_value_range(getattr(dataset, "value_range", None))
    if kept is not None and used is not None and kept != used:
        raise ValueError(
            f"the dataset was read by value_range={used}, and {runner.name} was trained with {kept}; read it "
            "by the range of the model"
        )


def _file_names(dataset):
    """Return the files of the pictures in the order in which they come next, below the folder they share."""
    paths, epochs = getattr(dataset, "image_paths", None), getattr(dataset, "epochs", None)
    if not paths or epochs is None:
        return []
    paths = [str(path) for path in paths]
    folder = os.path.commonpath([Path(path).parent for path in paths])
    names = [
        os.fsencode(Path(path).relative_to(folder).as_posix()).decode("utf-8", "replace") for path in paths
    ]
    return [names[index] for index in epochs.order(epochs.next)]
