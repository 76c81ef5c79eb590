"""What is known of a model that was evaluated."""

from __future__ import annotations

import hashlib
import os
import platform
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kseg.disk import size_of
from kseg.inference import Predictor, load
from kseg.types import PathLike
from kseg.version import __version__

_FORMATS = {".keras": "Keras", ".tflite": "LiteRT", ".onnx": "ONNX"}


def facts_of_model(model_or_path: keras.Model | PathLike | list, predictor: Predictor) -> dict[str, Any]:
    """Return what a model tells at once, and how pictures go through it, as what JSON holds.

    `None` is not known.
    """
    runner = predictor.runner
    facts: dict[str, Any] = {
        "name": runner.name,
        "path": None,
        "format": "Keras",
        "architecture": None,
        "parameters": None,
        "input_size": None if runner.input_size is None else [int(side) for side in runner.input_size],
        "channels": runner.channels,
        "output_kind": runner.output_kind,
        "multilabel": runner.multilabel,
        **_of_predictor(predictor),
    }
    if isinstance(model_or_path, list | tuple):
        if len(model_or_path) > 1:
            return facts | {"name": ", ".join(each.name for each in predictor.runners), "format": "several"}
        (model_or_path,) = model_or_path
    if isinstance(model_or_path, keras.Model):
        return facts | _of_keras(model_or_path)
    path = Path(os.fspath(model_or_path))
    return facts | {"path": str(path), "format": _FORMATS.get(path.suffix, "SavedModel")}


def with_file(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with those that take a while: bytes, sha256, what a `.keras` file holds."""
    found = {"size_bytes": None, "sha256": None, **facts}
    path = None if facts.get("path") is None else Path(facts["path"])
    if path is None or not path.exists():
        return found
    found |= {"size_bytes": size_of(path), "sha256": sha256_of(path)}
    if path.suffix == ".keras":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was said when the file was evaluated
            found |= _of_keras(load(path))
    return found


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file; of a folder that of the names and digests of its files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of what an evaluation runs on."""
    return {
        "kseg": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }


def _of_predictor(predictor):
    """Return how a picture goes through a model, where that is not as a whole and once."""
    told: dict[str, Any] = {}
    if predictor.window is not None:
        window = predictor.window if isinstance(predictor.window, str) else list(predictor.window)
        told = {"window": window, "overlap": predictor.overlap, "blend": predictor.blend}
    if len(predictor.views) > 1:
        told["views"] = len(predictor.views)
    return told | ({} if predictor.crf is None else {"crf": dict(predictor.crf)})


def _of_keras(model):
    return {"architecture": model.name, "parameters": model.count_params() if model.built else None}
