"""What `kseg evaluate` does."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from kseg.data import from_directory
from kseg.evaluation import Evaluation, evaluate


def evaluate_files(
    models: Sequence[str | PathLike],
    root: str | PathLike,
    split: str = "val",
    *,
    label_map: dict[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    progress: Callable[[str], Callable[[int, int], None]] | None = None,
) -> dict[str, Evaluation]:
    """Evaluate models and exported files on a split of a folder, one after the other.

    Args:
        models: paths, as for `kseg.predict`.
        root, split, label_map, class_names: as for `kseg.data.from_directory`.
        progress: `None` or a function of what is done, a str, that returns a function `(done, total)`.

    Returns:
        dict, name of a file (its path where several have that name) → `kseg.evaluation.Evaluation`.

    Raises:
        FileNotFoundError, ValueError: it names the file.
    """
    labels = {"label_map": label_map, "class_names": class_names}
    dataset = from_directory(root, split, batch_size=1, shuffle=False, **labels)
    models, results = [Path(path) for path in models], {}
    for path in models:
        name = path.name if sum(path.name == other.name for other in models) == 1 else str(path)
        shown = progress(f"evaluating {name}") if progress else None
        results[name] = evaluate(path, dataset, class_names=dataset.class_names, progress=shown)
    return results
