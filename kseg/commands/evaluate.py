"""What `kseg evaluate` does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from kseg.data import from_directory
from kseg.evaluation import Evaluation, evaluate, write_card, write_csv, write_json, write_report
from kseg.evaluation.card import checked_card
from kseg.evaluation.files import checked_target
from kseg.inference import facts_of
from kseg.inference.resizing import Resize
from kseg.inference.views import TestTimeAugmentation
from kseg.inference.windows import Blend
from kseg.types import InputRange, PathLike, Size, StatedActivation

_SAMPLES = 9  # pictures of a report: the six worst and the three best


def evaluate_files(
    models: Sequence[PathLike],
    root: PathLike,
    split: str = "val",
    *,
    label_map: dict[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    reading: Mapping[str, Any] | None = None,
    window: Literal["auto"] | Size | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | dict = False,
    average: bool = False,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    json: PathLike | None = None,
    csv: PathLike | None = None,
    card: PathLike | None = None,
    report: PathLike | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Callable[[str], Callable[[int, int | None], object]] | None = None,
) -> dict[str, Evaluation]:
    """Evaluate models and exported files on a split of a folder, one after the other.

    Args:
        models: paths, as for `kseg.predict`.
        root, split, label_map, class_names: as for `kseg.data.from_directory`.
        reading: further arguments of `kseg.data.from_directory`: `layout`, `images`, `masks`, `split_file`,
            `group`, `fold`, `colors`, `channels`, `value_range`, `page`. Channels and range that it leaves
            out are those of each model.
        window, overlap, blend, tta, crf, activation, input_range, multilabel, resize: as for `kseg.predict`.
        average: whether the average of all models is evaluated as well.
        json, csv: `None` or a new file for the figures, as `kseg.evaluation.write_json` and `write_csv`.
        card: `None` or the file of a model card, as `kseg.evaluation.write_card`.
        report: `None` or a new file for a page that shows them, as `kseg.evaluation.write_report`.
        overwrite: replace files that exist, in a card its scores.
        command: what the files say of how they were made.
        progress: `None` or a function of what is done, a str, that returns a function
            `(done, total or None)`.

    Returns:
        dict, name of a file (its path where several have that name) → `kseg.evaluation.Evaluation`.

    Raises:
        FileExistsError: if a file exists and `overwrite` is false; nothing is then evaluated.
        FileNotFoundError, ValueError: it names the file.
    """
    labels: dict[str, Any] = {"label_map": label_map, "class_names": class_names}
    stated: dict[str, Any] = {"activation": activation, "input_range": input_range}
    stated |= {"multilabel": multilabel, "resize": resize}
    stated |= {"window": window, "overlap": overlap, "blend": blend, "tta": tta, "crf": crf}
    paths = [Path(path) for path in models]
    _check_targets({"json": json, "csv": csv, "card": card, "report": report}, paths, overwrite)
    if card is not None:
        checked_card(card, overwrite)

    results: dict[str, Evaluation] = {}
    for name, those in _judged(paths, average).items():
        told = facts_of(those[0])
        of_model = {"channels": told.channels, "value_range": told.value_range}
        dataset = from_directory(
            root, split, batch_size=1, shuffle=False, **labels, **of_model | dict(reading or {})
        )
        tells = all(facts_of(path).input_range is not None for path in those)  # as files of kseg do
        results[name] = evaluate(
            those if len(those) > 1 else those[0],
            dataset,
            class_names=dataset.class_names,
            samples=_SAMPLES if report is not None else 0,
            progress=progress(f"evaluating {name}") if progress else None,
            **{**stated, "input_range": None} if tells else stated,
        )
    origin: dict[str, Any] = {"data_root": root, "split": split, "command": command, "overwrite": overwrite}
    if json is not None:
        write_json(json, results, **origin)
    if csv is not None:
        write_csv(csv, results, overwrite=overwrite)
    if card is not None:
        write_card(card, results, **origin)
    if report is not None:
        write_report(report, results, **origin)
    return results


def _judged(paths: list[Path], average: bool) -> dict[str, list[Path]]:
    """Return the heading of each column, and the models that are averaged in it."""
    if average and len(paths) < 2:
        raise ValueError("average= takes two models or more")
    names = [path.name for path in paths]
    judged = {path.name if names.count(path.name) == 1 else str(path): [path] for path in paths}
    return judged | ({f"average of {len(paths)}": paths} if average else {})


def _check_targets(targets: Mapping[str, PathLike | None], models: Sequence[Path], overwrite: bool) -> None:
    """Raise where a new file may not be written, before the evaluation takes its time."""
    taken = {path.resolve(): "a model" for path in models}
    for word, target in targets.items():
        if target is None:
            continue
        path = checked_target(target, overwrite)
        if path.resolve() in taken:
            raise ValueError(f"{path}: is {taken[path.resolve()]} already; choose another {word}=")
        taken[path.resolve()] = f"the file of {word}="
