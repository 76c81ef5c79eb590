"""Models and files opened: `.keras`, SavedModel, `.tflite`, `.onnx`; damaged ones refused."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path

import keras
import tensorflow as tf

from kseg import sandbox
from kseg.checks import check_choice
from kseg.disk import check_regular
from kseg.graphs import ACTIVATIONS, ModelFacts, trained_multilabel
from kseg.inference.foreign import told_by
from kseg.inference.loading import load
from kseg.inference.resizing import Resize
from kseg.inference.runner import Runner
from kseg.pictures import checked_range
from kseg.runtime import opened, try_out
from kseg.types import InputRange, StatedActivation

_KINDS = {"linear": "logits", "softmax": "probabilities", "sigmoid": "probabilities"}


def open_model(
    model_or_path: keras.Model | str | os.PathLike,
    *,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
) -> Runner:
    """Return the `Runner` of a Keras model or of a file.

    Args:
        model_or_path, activation, input_range, multilabel, resize: as for `kseg.predict`.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for an `.onnx` file, if ONNX Runtime is missing.
        TypeError: if it is neither a model nor a path.
        ValueError: if it is none of `.keras`, SavedModel folder, `.tflite` and `.onnx`, or is damaged; if
            what is stated contradicts the model, or is missing for a file that does not tell.
    """
    check_choice("activation", activation, (None, *ACTIVATIONS))
    check_choice("resize", resize, ("antialias", "bilinear"))
    if isinstance(model_or_path, keras.Model):
        runner = _as_compiled(_keras_runner(model_or_path), model_or_path)
    elif isinstance(model_or_path, str | os.PathLike):
        runner = facts_of(model_or_path)
    else:
        raise TypeError(
            f"expected a keras.Model, or the path of a file or folder, got {type(model_or_path).__name__}"
        )
    labels = runner.multilabel if multilabel is None else multilabel
    return runner.stating(activation, checked_range(input_range), labels, resize)


def facts_of(path: str | os.PathLike) -> Runner:
    """Return what a file tells of itself, without what must be stated to run it.

    Raises:
        FileNotFoundError, ImportError, ValueError: as for `open_model`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; expected a .keras, .tflite or .onnx file or a SavedModel folder"
        )
    return _open_file(path.resolve(), identity(path), str(path))


def identity(path: Path) -> tuple:
    """Return what tells a file, or all files of a folder, from what stood or stands elsewhere.

    Size, inode and times of change: a copy that keeps its time of writing has a change time of its own.
    """
    path = path.resolve()
    files = [path, *sorted(each for each in path.rglob("*") if each.is_file())] if path.is_dir() else [path]
    found = []
    for file in files:
        stat = file.stat()
        found.append((str(file), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=8)
def _open_file(path, _identity, shown):
    """Open a file; a loop over pictures opens it once, another file is opened anew."""
    for each in (path, *path.rglob("*")):  # of a folder all that is in it
        check_regular(each)
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                f"{shown}: no SavedModel (saved_model.pb is missing); give the folder that was exported"
            )
        return _file_runner(path, opened(path), shown)
    if path.suffix in (".tflite", ".onnx"):
        check_file(path)
        return _file_runner(path, opened(path), shown)
    model = load(path)
    return dataclasses.replace(_as_compiled(_keras_runner(model), model), name=shown)


def _as_compiled(runner, model):
    """Return a runner that knows what the loss of the model says."""
    compiled = dataclasses.replace(runner, multilabel=trained_multilabel(model))
    if runner.output_kind is None:
        kind = ModelFacts(model).stated
        compiled = dataclasses.replace(compiled, output_kind=_KINDS.get(kind), activation=kind)
    return runner if compiled == runner else compiled


def _keras_runner(model):
    """Return the runner of a model, traced once for as long as it lives."""
    if getattr(model, "_kseg_runner", None) is None:
        facts = ModelFacts(model, multilabel=False)
        function = tf.function(lambda images: facts.model(images, training=False), reduce_retracing=True)
        model._kseg_runner = Runner(
            run=lambda images: function(images).numpy(),
            input_size=facts.fixed_size,
            channels=facts.channels,
            output_kind=facts.output_kind if facts.found else None,
            num_classes=facts.num_scores,
            scores_only_centre=facts.scores_only_centre,
            activation=facts.found,
            value_range=facts.value_range,
            name=f"model {model.name!r}",
        )
    return model._kseg_runner


def _file_runner(path, file, shown):
    told = told_by(path, file)
    return Runner(
        run=file.run,
        input_size=file.input_size,
        channels=file.channels,
        output_kind=told.output_kind,
        num_classes=file.num_classes,
        input_range=told.input_range,
        activation=told.activation,
        asks_range=told.input_range is None,
        multilabel=told.multilabel,
        value_range=told.value_range,
        name=shown,
    )


def check_file(path: Path) -> None:
    """Make sure that a `.tflite` or `.onnx` file can be run without a crash of this process.

    It is the file that its report beside it, `NAME.json`, describes, or it runs in a child.

    Raises:
        ValueError: if it is damaged.
    """
    report = report_path(path)
    check_regular(report)
    expected = digest_in(report)
    if expected is not None:
        if hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            return
        raise ValueError(
            f"{path}: is not the file that {report.name} describes: it is damaged, or was replaced; export "
            f"it again, or remove {report.name}"
        )
    try:
        sandbox.call(try_out, str(path))
    except sandbox.ChildDied as error:
        raise ValueError(
            f"{path}: the interpreter died on this file ({error.reason}): it is damaged; export it again"
        ) from None
    except sandbox.JobFailed as error:
        raise ValueError(str(error)) from None


def report_path(path: Path) -> Path:
    """Return where the report of a `.tflite` or `.onnx` file stands: beside it."""
    return path.with_name(f"{path.name}.json")


def digest_in(report: Path) -> str | None:
    """Return the sha256 a report gives its file, `None` without a report of ours."""
    told = told_in(report)
    return None if told is None else told["sha256"]


def told_in(report: Path) -> dict | None:
    """Return what a report of an export tells, `None` for any other file: others write digests too."""
    try:
        told = json.loads(report.read_text(encoding="utf-8"))
        ours = all(isinstance(told[name], str) for name in ("path", "format", "sha256"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return told if ours else None
