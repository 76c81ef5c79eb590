"""What `kseg evaluate` does."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kseg.data import from_directory
from kseg.evaluation import Evaluation, evaluate
from kseg.inference import facts_of
from kseg.inference.resizing import Resize
from kseg.types import InputRange, PathLike, StatedActivation


def evaluate_files(
    models: Sequence[PathLike],
    root: PathLike,
    split: str = "val",
    *,
    label_map: dict[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    channels: int | None = None,
    value_range: Any = None,
    page: int | None = None,
    progress: Callable[[str], Callable[[int, int | None], object]] | None = None,
) -> dict[str, Evaluation]:
    """Evaluate models and exported files on a split of a folder, one after the other.

    Args:
        models: paths, as for `kseg.predict`.
        root, split, label_map, class_names: as for `kseg.data.from_directory`.
        activation, input_range, multilabel, resize: as for `kseg.predict`.
        channels, value_range, page: as for `kseg.data.from_directory`; `None` takes channels and range
            of each model.
        progress: `None` or a function of what is done, a str, that returns a function
            `(done, total or None)`.

    Returns:
        dict, name of a file (its path where several have that name) → `kseg.evaluation.Evaluation`.

    Raises:
        FileNotFoundError, ValueError: it names the file.
    """
    labels: dict[str, Any] = {"label_map": label_map, "class_names": class_names, "page": page}
    stated: dict[str, Any] = {
        "activation": activation,
        "input_range": input_range,
        "multilabel": multilabel,
        "resize": resize,
    }
    paths = [Path(path) for path in models]

    def stated_to(path: Path) -> dict[str, Any]:
        tells = facts_of(path).input_range is not None  # a file beside the model that it was made of
        return {**stated, "input_range": None} if tells else stated

    results: dict[str, Evaluation] = {}
    for path in paths:
        name = path.name if sum(path.name == other.name for other in paths) == 1 else str(path)
        told = facts_of(path)
        dataset = from_directory(
            *(root, split),
            batch_size=1,
            shuffle=False,
            channels=channels or told.channels,
            value_range=value_range or told.value_range,
            **labels,
        )
        shown = progress(f"evaluating {name}") if progress else None
        results[name] = evaluate(
            path, dataset, class_names=dataset.class_names, progress=shown, **stated_to(path)
        )
    return results
