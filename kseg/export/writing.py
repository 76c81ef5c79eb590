"""What both formats share: the float32 inference graph, and writing whole or not at all."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from kseg.training import output_activation


def write_archive(model, path, size):
    """Write a SavedModel that takes float32 `image` of `size` `(B, H, W)` and gives the model's scores.

    The output is named "logits" or "probabilities": what the file gives can be read from it.
    """
    model = in_float32(model)
    key = "logits" if output_activation(model) is None else "probabilities"
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {key: model(image, training=False)},
        input_signature=[tf.TensorSpec((*size, model.input_shape[-1]), tf.float32, name="image")],
    )
    archive.write_out(str(path), verbose=False)


def in_float32(model):
    """Return the model, or a float32 copy of one built under a mixed precision policy."""
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in _layers(model)):
        return model

    def convert(layer):
        config = layer.get_config()
        config["dtype"] = "float32"
        if isinstance(layer, keras.Model):
            return in_float32(layer)
        return layer.__class__.from_config(config)

    clone = keras.models.clone_model(model, clone_function=convert)
    clone.set_weights(model.get_weights())
    return clone


def _layers(model):
    return [
        layer for layer in model._flatten_layers(include_self=False) if not isinstance(layer, keras.Model)
    ]


def check_target(path, overwrite, suffix=None):
    """Return `path` as `Path` if something may be written there; a folder only where it is a SavedModel.

    Raises:
        FileExistsError: if it exists and `overwrite` is false, or what is there is of another kind.
        ValueError: if it lacks the suffix.
    """
    path = Path(path)
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"path must end in {suffix}, got {str(path)!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; remove it, choose another path or overwrite it")
    same_kind = path.is_file() if suffix else (path / "saved_model.pb").is_file()
    if path.exists() and not same_kind:
        kind = "a file" if suffix else "a SavedModel folder"
        raise FileExistsError(f"{path}: exists and is not {kind}, it is not overwritten; choose another path")
    return path


@contextlib.contextmanager
def workshop(path):
    """Yield an empty temporary folder beside `path`; it is removed whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".kseg-", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(made, path):
    """Rename what was made and verified to its path; an older folder goes last, and back if that fails."""
    if not path.is_dir():
        made.replace(path)
        return
    old = made.with_name("old")
    path.rename(old)
    try:
        made.rename(path)
    except OSError:
        old.rename(path)
        raise


def size_of(path):
    """Return the bytes of a file or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
