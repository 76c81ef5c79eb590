"""`.keras` files, which may come from anybody: judged by what they declare before they are read."""

from __future__ import annotations

import io
import json
import math
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kseg.disk import check_regular
from kseg.graphs import made_without_values

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", ("model.weights.h5", "model.weights.npz")
_LARGEST_CONFIG = 64 << 20  # bytes; that of the largest of Keras' own models has 2 MB
_COPIES = 8  # of the weights in a file: those of optimizers and averages stand beside them
_PER_VARIABLE, _ALWAYS = 16 << 10, 4 << 20  # bytes of HDF5 around the numbers
_EXPANSION = 20  # sound files are stored as they are, or packed again to some tenths


def load(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file that `model.save` or `kseg train` wrote; one from a stranger cannot run code.

    Layers with Python code of their own (`Lambda`) are refused, as Keras does in safe mode. So is a file that
    would take far more memory than its weights need, before it is read. Where a loss, metric or optimizer is
    one that is not known here, the model is loaded without being compiled, and a warning names it: it
    predicts, and trains after `kseg.compile`.

    Args:
        path: str or `Path`.

    Returns:
        `keras.Model`.

    Raises:
        FileNotFoundError: if there is no such file.
        PermissionError: if it may not be read.
        ValueError: if it is no complete and sound `.keras` file; it says what it is.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir() or path.suffix != ".keras":
        raise ValueError(f"{path}: not a .keras file; SavedModel, .tflite and .onnx only predict")
    check_regular(path)
    with path.open("rb"):  # its own error, where it may not be read
        pass
    if not zipfile.is_zipfile(path):
        size = path.stat().st_size
        raise ValueError(f"{path}: {size} bytes, but no complete .keras archive; was a save interrupted?")
    try:
        _check_sizes(path)
        return _loaded(path)
    except Exception as error:  # of any type: a file can make Keras stumble on anything
        raise ValueError(f"{path}: Keras cannot load this model: {_reason(error)}") from error


def _loaded(path):
    """Load a model, without its compilation where that cannot be had."""
    try:
        return keras.models.load_model(path, safe_mode=True)
    except Exception as error:  # of any type, as above
        try:
            model = keras.models.load_model(path, safe_mode=True, compile=False)
        except Exception:
            raise error from None
        warnings.warn(
            f"{path}: was compiled with what is not known here ({_reason(error)}); it is loaded without: it "
            "predicts, and trains after kseg.compile",
            stacklevel=3,
        )
        return model


def _reason(error):
    text = str(error).strip() or type(error).__name__
    missing = re.search(r"Could not locate (?:class|function) '[^']*'", text)
    return missing[0] if missing else text.splitlines()[0]


def _check_sizes(path):
    """Raise unless the archive declares about what the layers of its config need."""
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if sizes.get(_CONFIG, 0) > _LARGEST_CONFIG:
            raise ValueError(f"its config has {sizes[_CONFIG] / 1e6:.0f} MB")
        needed, variables, are_all = _needs(json.loads(archive.read(_CONFIG)))
        weights = next((name for name in _WEIGHTS if name in sizes), None)
        if weights is None:
            raise ValueError("it holds no weights")
        limit = _COPIES * needed + _PER_VARIABLE * variables + _ALWAYS if are_all else math.inf
        if needed > _EXPANSION * sizes[weights] + _ALWAYS:
            raise _out_of_proportion(needed, sizes[weights])
        if sizes[weights] > limit:
            raise _out_of_proportion(needed, sizes[weights])
        declared = sum(_declared(archive, weights)) if are_all else 0
        if declared > limit:
            raise _out_of_proportion(needed, declared)
        for member in archive.infolist():
            known = member.filename in (_CONFIG, _METADATA, weights)
            if not known and member.file_size > _EXPANSION * member.compress_size + _ALWAYS:
                raise ValueError(f"{member.filename} in it unpacks to {member.file_size / 1e6:.0f} MB")


def _out_of_proportion(needed, held):
    return ValueError(
        f"its layers need {needed / 1e6:.1f} MB of weights, and it declares {held / 1e6:.1f} MB; the file "
        "is not what Keras wrote: save the model again"
    )


def _needs(config: dict[str, Any]) -> tuple[int, int, bool]:
    """Return the bytes and the number of the variables that a config asks for, and whether these are all.

    A layer of the user's own may need values to be built; what comes after it is not counted.
    """

    def make():
        keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)

    variables, error = made_without_values(make)
    return sum(map(_bytes_of, variables)), len(variables), error is None


def _bytes_of(variable):
    item = 2 if variable.dtype == "bfloat16" else np.dtype(variable.dtype).itemsize
    return math.prod(variable.shape) * item


def _declared(archive: zipfile.ZipFile, member: str) -> Iterator[int]:
    """Yield the bytes that each array of a weights member would take."""
    file = io.BytesIO(archive.read(member))
    if member.endswith(".npz"):
        with zipfile.ZipFile(file) as arrays:
            yield from (array.file_size for array in arrays.infolist())
        return
    import h5py  # comes with Keras, which reads weights by it

    sizes: list[int] = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset):
            sizes.append(math.prod(item.shape) * item.dtype.itemsize)

    with h5py.File(file, "r") as weights:
        weights.visititems(visit)
    yield from sizes
