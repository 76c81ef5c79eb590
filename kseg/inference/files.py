"""Models and files opened: `.keras`, SavedModel, `.tflite`, `.onnx`; damaged ones refused."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path

import keras
import tensorflow as tf

from kseg import sandbox
from kseg.disk import check_regular
from kseg.graphs import ModelFacts
from kseg.inference.loading import load
from kseg.inference.runner import Runner
from kseg.runtime import opened, try_out


def open_model(model_or_path: keras.Model | str | os.PathLike) -> Runner:
    """Return the `Runner` of a Keras model or of a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for an `.onnx` file, if ONNX Runtime is missing.
        ValueError: if it is none of `.keras`, SavedModel folder, `.tflite` and `.onnx`, or is damaged.
    """
    if isinstance(model_or_path, keras.Model):
        if getattr(model_or_path, "_kseg_runner", None) is None:
            model_or_path._kseg_runner = _keras_runner(model_or_path)  # traced once, for as long as it lives
        return model_or_path._kseg_runner
    path = Path(model_or_path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; expected a .keras, .tflite or .onnx file or a SavedModel folder"
        )
    return _open_file(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _open_file(path, _changed):
    """Open a file; a loop over pictures opens it once, a file written anew is opened anew."""
    for each in (path, *path.rglob("*")):  # of a folder all that is in it
        check_regular(each)
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                f"{path}: no SavedModel (saved_model.pb is missing); give the folder that was exported"
            )
        return _file_runner(opened(path))
    if path.suffix in (".tflite", ".onnx"):
        check_file(path)
        return _file_runner(opened(path))
    return _keras_runner(load(path))


def _keras_runner(model):
    facts = ModelFacts(model)
    facts.check_one_picture()
    function = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return Runner(
        run=lambda images: function(images).numpy(),
        input_size=facts.fixed_size,
        channels=facts.channels,
        output_kind=facts.output_kind,
        num_classes=facts.num_scores,
        scores_only_centre=facts.scores_only_centre,
    )


def _file_runner(file):
    return Runner(file.run, file.input_size, file.channels, file.output_kind, file.num_classes)


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
    try:
        return json.loads(report.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
