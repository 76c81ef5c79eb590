"""What `kseg predict` does, and the picture of what a model predicts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from kseg import visualization
from kseg.checks import check_choice
from kseg.data.headers import image_header
from kseg.data.sampling import sample_evenly
from kseg.disk import remove_partial_files, whole_file
from kseg.inference import as_picture, open_model, range_asked_of
from kseg.inference.resizing import Resize
from kseg.types import Dataset, InputRange, PathLike, StatedActivation


def comparison(
    model_or_path: keras.Model | PathLike,
    dataset: Dataset,
    class_names: Sequence[str],
    count: int = 4,
    zoom: int = 1,
) -> np.ndarray:
    """Return rows image | truth | prediction of `count` pictures spread over a dataset."""
    runner, pairs = open_model(model_or_path), sample_evenly(dataset, count)
    masks = [runner.masks(image[None])[0] for image, _ in pairs]
    return visualization.comparison(pairs, masks, class_names, zoom)


def predict_files(
    model: PathLike,
    images: Sequence[PathLike],
    output: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    crf: bool | dict = False,
    output_kind: str = "classes",
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Segment picture files into `output`: `NAME.png` with class ids and `NAME_overlay.png`.

    Probabilities, and several labels per pixel, go into `NAME.npy` instead of `NAME.png`.

    Args:
        model: path of a `.keras`, `.tflite` or `.onnx` file or a SavedModel folder.
        images: paths of pictures.
        output: folder, made where it is missing.
        class_names: `None` or names for the legend.
        crf, output_kind, activation, input_range, multilabel, resize: as for `kseg.predict`.
        overwrite: replace results that exist.
        progress: `None` or a function `(done, total)`.

    Raises:
        FileExistsError: if a result exists and `overwrite` is false; nothing is then written.
        FileNotFoundError, ValueError: if a picture cannot be read, or two would write the same file.
    """
    output, paths = Path(output), [Path(path) for path in images]
    check_choice("output_kind", output_kind, ("classes", "probabilities"))
    for path in paths:
        image_header(path, deep=True)
    _check_targets(output, paths, [".png", ".npy"][output_kind != "classes"], overwrite)
    stated: dict[str, Any] = {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    runner = open_model(model, **stated, resize=resize)
    with range_asked_of(runner):
        for path in paths:
            image_header(path, deep=runner.value_range is not None)
    end = ".png" if output_kind == "classes" and not runner.multilabel else ".npy"
    targets = _check_targets(output, paths, end, overwrite)
    remove_partial_files([target for pair in targets.values() for target in pair])
    runner = runner.settled(scores=output_kind == "probabilities")
    for done, (path, (target, overlay_path)) in enumerate(targets.items(), start=1):
        with range_asked_of(runner):
            image = as_picture(path, runner.channels, runner.value_range)
        give = runner.masks if output_kind == "classes" else runner.probabilities
        result = give(image[None], crf)[0]
        mask = _shown(result, runner.multilabel)
        names = class_names or [f"class {number}" for number in range(_count(runner, mask))]
        save_picture(visualization.overlay(image, mask, names), overlay_path)
        if end == ".png":
            save_picture(result, target)
        else:
            with whole_file(target, "the result", needed=result.nbytes) as partial:
                np.save(partial, result)
        print(target)
        if progress:
            progress(done, len(paths))


def _check_targets(output, paths, end, overwrite):
    """Return picture → `(result, overlay)`; raise where something is in the way."""
    targets = {path: (output / f"{path.stem}{end}", output / f"{path.stem}_overlay.png") for path in paths}
    pictures = {path.resolve() for path in paths}
    results = [target for pair in targets.values() for target in pair]
    if len(set(results)) < 2 * len(paths):
        raise ValueError(
            "the results of two pictures would have the same name; predict them into two folders"
        )
    for target in results:
        if target.resolve() in pictures:
            raise ValueError(f"{target}: would overwrite a picture; choose another output=")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target}: exists already; add overwrite=True or choose another output=")
    return targets


def _count(runner, mask):
    """Return how many names a legend needs."""
    return max(runner.num_classes or 0, 2) if runner.num_classes else int(mask.max()) + 1


def _shown(result, multilabel):
    """Return the ids that an overlay shows: of several labels the likeliest, none where none is on."""
    if result.ndim == 2:
        return result
    ids = result.argmax(-1)
    return np.where((result >= 0.5).any(-1), ids, 255) if multilabel else ids


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG whole or not at all."""
    with whole_file(path, "the picture") as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
