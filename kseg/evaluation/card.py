"""Model cards: what a model reaches, in Markdown, beside what its author writes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kseg.disk import write_whole
from kseg.evaluation.facts import versions, with_file
from kseg.evaluation.figures import Evaluation, check_same_classes
from kseg.evaluation.files import checked_target
from kseg.evaluation.tables import SUMMARY
from kseg.types import PathLike

BEGIN = "<!-- scores: begin (kseg evaluate --card writes them anew) -->"
END = "<!-- scores: end -->"
CONFUSIONS = 5
_SECTION = re.compile(r"<!-- scores: begin.*?-->.*?<!-- scores: end -->", re.DOTALL)
_AUTHORS_PART = """# {name}

*What it is for. What pictures it learned from, their licence, how to cite them. Where it fails.*
"""


def write_card(
    path: PathLike,
    evaluations: Mapping[str, Evaluation],
    *,
    data_root: PathLike | None = None,
    split: str | None = None,
    command: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a model card, Markdown, or renew the scores in the one there is.

    The tools know the scores, the confusions, the files and, where the `config.json` of `kseg train` lies
    beside the first model, the training. They stand between two comments. What is outside of these, the
    purpose, the data's licence, the limits, is its author's and stays as it is.

    Reference: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, section 4.

    Args:
        path: `.md` file.
        evaluations: dict, name of a model → `Evaluation` of the same classes.
        data_root, split, command: what was evaluated, and how, or `None`.
        overwrite: renew the scores in the file there is.

    Raises:
        FileExistsError: if there is something at `path` and `overwrite` is false.
        OSError: if it cannot be written.
        ValueError: if the file there lacks the two comments; if there is no evaluation, or their classes
            differ.

    Example:
        >>> import tempfile
        >>> import kseg
        >>> model = kseg.build_conv_stack(6, depth=1, filters=2)
        >>> result = kseg.evaluate(model, kseg.data.shapes(2, (32, 32)))
        >>> path = Path(tempfile.mkdtemp()) / "card.md"
        >>> write_card(path, {"model.keras": result})
        >>> "| mean IoU |" in path.read_text(encoding="utf-8")
        True
    """
    path, before = checked_card(path, overwrite)
    section = f"{BEGIN}\n{_scores(evaluations, data_root, split, command)}\n{END}"
    if before is None:
        name = path.stem if path.stem.lower() not in ("readme", "card") else path.resolve().parent.name
        text = f"{_AUTHORS_PART.format(name=name)}\n{section}\n"
    else:
        text = _SECTION.sub(lambda found: section, before, count=1)
    write_whole(path, text.encode("utf-8", "replace"), "the model card")


def checked_card(path: PathLike, overwrite: bool) -> tuple[Path, str | None]:
    """Return the path of a card and the text that is there, or `None`.

    Raises:
        FileExistsError, ValueError: as `write_card`.
    """
    path = checked_target(path, overwrite)
    if not path.exists():
        return path, None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8; give the path of a Markdown file") from error
    if _SECTION.search(text) is None:
        raise ValueError(f"{path}: has no lines {BEGIN!r} and {END!r}, between which scores would stand")
    return path, text


def _scores(evaluations, data_root, split, command):
    check_same_classes(evaluations)
    first = next(iter(evaluations.values()))
    facts = {name: with_file(evaluation.facts) for name, evaluation in evaluations.items()}
    parts = [
        "## Scores",
        _pictures(first, data_root, split),
        _table(["", *evaluations], _means(evaluations, facts)),
        _table(["IoU / Dice", "share of pixels", *evaluations], _classes(evaluations)),
        *_confusions(first),
        *_training(first),
        "## Files",
        _table(["file", "SHA-256"], [[name, f"`{told['sha256']}`"] for name, told in facts.items()]),
        "By " + ", ".join(f"{name} {number}" for name, number in versions().items()) + ".",
    ]
    return "\n\n".join(parts + ([] if command is None else [f"```shell\n{command}\n```"]))


def _pictures(evaluation, data_root, split):
    count = "" if evaluation.pictures is None else f"{len(evaluation.pictures.names):,} pictures"
    data = None if data_root is None else f"of `{Path(data_root).name}`"
    parts = [count, data, None if split is None else f"split `{split}`"]
    return ", ".join(part for part in parts if part) + "; in brackets 95 % intervals over pictures."


def _means(evaluations, facts):
    rows = []
    for name, label in SUMMARY.items():
        values = [_mean(evaluation, name) for evaluation in evaluations.values()]
        if any(values):
            rows.append([label, *values])
    errors = [evaluation.calibration_error for evaluation in evaluations.values()]
    rows.append(["calibration error", *("" if error is None else f"{error:.3f}" for error in errors)])
    counts, sizes = ([told.get(key) for told in facts.values()] for key in ("parameters", "size_bytes"))
    rows.append(["parameters", *("" if count is None else f"{count:,}" for count in counts)])
    return [*rows, ["MB", *("" if size is None else f"{size / 1e6:.2f}" for size in sizes)]]


def _mean(evaluation, name):
    value = evaluation.mean_iou if name == "mean_iou" else evaluation.mean_of(name)
    if value is None:
        return ""
    interval = (evaluation.intervals or {}).get(name)
    return _figure(value) + ("" if interval is None else " ({:.3f}–{:.3f})".format(*interval))


def _classes(evaluations):
    first = next(iter(evaluations.values()))
    for index, (label, share) in enumerate(zip(first.class_names, first.class_share, strict=True)):
        scores = [(each.class_iou[index], each.class_dice[index]) for each in evaluations.values()]
        cells = [f"{_figure(iou)} / {_figure(dice)}" for iou, dice in scores]
        yield [label, "n/a" if np.isnan(share) else f"{share:.1%}", *cells]


def _confusions(evaluation):
    """Return what is most often taken for what, by its share of the true class."""
    found = sorted(evaluation.confusions(), key=lambda each: -each.share)[:CONFUSIONS]
    if not found:
        return []
    lines = [f"- {each.share:.1%} of {each.true} is taken for {each.predicted}." for each in found]
    return ["## Confusions", "\n".join(lines)]


def _training(evaluation):
    """Return how the model was trained, where `kseg train` has left a record beside it."""
    path = evaluation.facts.get("path")
    record = None if path is None else Path(path).parent / "config.json"
    if record is None or not record.is_file():
        return []
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        data, steps, command = told["data"], told["training"], told["command"]
        count = steps["epochs"] * steps["steps_per_epoch"]
        crop = "×".join(map(str, steps["crop_size"]))
        line = f"{data['training_pictures']:,} pictures, {steps['epochs']} epochs, {count:,} steps of "
        line += f"{steps['batch_size']} crops of {crop} pixels, kseg {told['versions']['kseg']}."
    except (ValueError, KeyError, TypeError):
        return []  # a file of that name that others wrote
    shell = [] if command is None else [f"```shell\n{command}\n```"]
    return ["## Training", line, *shell]


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text):
    return str(text).replace("|", r"\|").replace("\n", " ")


def _figure(value):
    return "n/a" if np.isnan(value) else f"{value:.3f}"
