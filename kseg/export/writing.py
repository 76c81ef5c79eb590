"""The way of every export: check the path, write beside it, verify, put in place with its report."""

import contextlib
import fnmatch
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kseg.checks import check_class_names, check_tensorflow
from kseg.disk import put_in_place, size_of, temporary_folder
from kseg.export.report import ExportReport
from kseg.export.verification import verify
from kseg.graphs import ModelFacts
from kseg.inference.files import report_path, told_in
from kseg.pictures import checked_range
from kseg.types import InputRange, StatedActivation


def begin(
    name: str,
    model: Any,
    path: Any,
    suffix: str | None,
    overwrite: bool,
    class_names: Any,
    *,
    activation: StatedActivation,
    input_range: InputRange,
    multilabel: bool | None,
) -> tuple[ModelFacts, Path]:
    """Return the facts of the model and the path, once both are known to be fit for an export.

    Args:
        name: of the exporting function, for the error.
        model: `keras.Model`.
        path: as for the function; `suffix` is its end, `None` a folder.
        overwrite, class_names, activation, input_range, multilabel: as for the function.
    """
    check_tensorflow(name)
    path = check_target(path, overwrite, suffix)
    input_range = checked_range(input_range)
    facts = ModelFacts(model, activation, multilabel).settled(input_range).taking_pixels(input_range)
    count = facts.num_classes  # `None` for ids, which do not tell how many there are
    check_class_names(class_names, len(class_names or ()) if count is None else count)
    return facts, path


def write_verified(
    facts: ModelFacts,
    path: Path,
    write: Callable[[Path], Path],
    *,
    complete: Callable[[ExportReport], None] = lambda report: None,
    **verification: Any,
) -> ExportReport:
    """Write a file or folder, verify it, and put it at `path`, whole and with its report, or not at all.

    Args:
        facts: of the user's model.
        path: where it shall stand.
        write: function of a temporary folder that writes there and returns the path of what it wrote.
        complete: function of the report that adds what the exporter knows.
        **verification: for `verify`.

    Raises:
        OSError: if another process exports to `path`, or the disk is full.
        RuntimeError: if what was written crashes or disagrees with the model.
    """
    with shown_as(path), temporary_folder(path) as folder:
        made = write(folder)
        report = verify(facts, made, shown_path=path, **verification)
        report.size_bytes = size_of(made)
        if made.is_dir():
            complete(report)
            put_in_place(made, path)
            return report
        report.sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
        complete(report)
        put_in_place_with_report(made, report, path)
    return report


@contextlib.contextmanager
def shown_as(path: Path) -> Iterator[None]:
    """Let errors name the path that was asked for, where they name the temporary folder beside it."""
    try:
        yield
    except Exception as error:
        beside = re.escape(f".{path.name}.part") + r"[^\s'\",:;)\]]*"
        named = re.compile(
            rf"({re.escape(str(path.absolute().parent))}/|{re.escape(str(path.parent))}/)?{beside}"
        )
        error.args = tuple(_shown(each, named, path) for each in error.args)
        for name in ("filename", "filename2", "_message"):  # of OSError, of TensorFlow's errors
            if isinstance(getattr(error, name, None), str):
                setattr(error, name, _shown(getattr(error, name), named, path))
        raise


def _shown(value, named, path):
    return named.sub(lambda _: str(path), value) if isinstance(value, str) else value


@contextlib.contextmanager
def path_without_pattern(folder: Path) -> Iterator[Path]:
    """Yield a path of a folder that TensorFlow takes for no pattern: a link where its own path is one."""
    if not is_pattern(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="kseg-") as place:
        link = Path(place, "folder")
        link.symlink_to(folder)
        yield link


def is_pattern(path: Path) -> bool:
    """Tell whether TensorFlow takes a path for a pattern of paths."""
    whole = str(path.absolute())
    return "\\" in whole or not fnmatch.fnmatchcase(whole, whole)


def check_target(path: Any, overwrite: bool, suffix: str | None = None) -> Path:
    """Return `path` as `Path` if something may be written there; a folder only where it is a SavedModel.

    Raises:
        FileExistsError: if it exists and `overwrite` is false, or what is there is of another kind; if
            something else stands where the report goes.
        ValueError: if it lacks the suffix, or TensorFlow would take the path of a SavedModel for a pattern.
    """
    path = Path(path)
    if suffix is None and is_pattern(path):
        raise ValueError(
            f"{path.absolute()}: TensorFlow reads [...] and \\ in a path as a pattern and would not find "
            "what it wrote; choose another path"
        )
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"path must end in {suffix}, got {str(path)!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; remove it, choose another path or add overwrite=True")
    report = report_path(path)
    if suffix is not None and os.path.lexists(report) and not _is_report_of(report, path):
        raise FileExistsError(
            f"{report}: the report goes there, but what is there is no report of {path.name}; move it, or "
            "choose another path"
        )
    same_kind = path.is_file() if suffix else (path / "saved_model.pb").is_file()
    if path.exists() and not same_kind:
        kind = "a file" if suffix else "a SavedModel folder"
        raise FileExistsError(f"{path}: exists and is not {kind}, it is not overwritten; choose another path")
    return path


def _is_report_of(report, path):
    """Tell whether a file is a report of ours, of what stands at `path` or stood there under that name."""
    told = told_in(report) if report.is_file() else None
    if told is None:
        return False
    same_name = Path(told["path"]).name == path.name
    return same_name or (path.is_file() and told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest())


def put_in_place_with_report(made: Path, report: ExportReport, path: Path) -> None:
    """Rename a file and its report; that goes last, and an older one first: none describes another file."""
    written = made.with_suffix(".json")
    written.write_text(report.as_json(), encoding="utf-8")
    report_path(path).unlink(missing_ok=True)
    put_in_place(made, path)
    put_in_place(written, report_path(path))
