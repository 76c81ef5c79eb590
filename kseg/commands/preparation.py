"""What a training needs before its first step: checks, data, a model, and the plan to read."""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

from kseg import data
from kseg.distribution import is_chief
from kseg.models import build
from kseg.replicas import num_replicas
from kseg.training import encoder_layers
from kseg.transfer import copy_weights

OWN_FILES = ("classes.txt", "history.csv", "learning_curve.png", "tensorboard", ".lock")  # beside a model


def print_on_chief(text):
    """Print, on one worker only."""
    if is_chief():
        print(text, flush=True)


def check_output(path, resume):
    """Raise unless a training may write into the folder: it is new or empty, or is resumed; a file is tried.

    Raises:
        FileExistsError: if something is in it and `resume` is false.
        OSError: if nothing can be written there.
        ValueError: if there is nothing to resume but a model.
    """
    if resume and path.is_dir() and not (path / "states").exists():
        there = sorted(file.name for file in path.iterdir() if file.name not in OWN_FILES)
        if there:
            raise ValueError(
                f"{path}: holds {there[0]}, but no states to resume from; choose another --output"
            )
    elif not resume and path.exists() and (not path.is_dir() or any(path.iterdir())):
        mend = "add --resume to go on" if (path / "states").exists() else "remove it"
        raise FileExistsError(f"{path}: exists already and is not empty; {mend}, or choose another --output")
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"kseg")
    except OSError as error:
        message = f"{existing}: nothing can be written there ({error.strerror}); choose another --output"
        raise OSError(error.errno, message) from error


def remove_remains(path):
    """Remove what a training without a model or state left behind, and nothing else."""
    for name in OWN_FILES:
        if (path / name).is_dir():
            shutil.rmtree(path / name, ignore_errors=True)
        else:
            (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()


def check_data(root, options, progress):
    """Check every file, print the table, refuse problems; return the class names."""
    report = data.check(root, **options, progress=progress if is_chief() else None)
    print_on_chief(report)
    report.raise_for_problems()
    return report.class_names


def default_crop(dataset):
    """Return the median size of the pictures, 320 at most, in multiples of 32."""
    sizes = [mask.shape for _, mask in dataset.take(50).as_numpy_iterator()]
    return tuple(int(np.clip(np.median(side) // 32 * 32, 32, 320)) for side in zip(*sizes, strict=True))


def digest(paths):
    """Return how many files there are and a digest of their names: other pictures are another training."""
    names = "\n".join(Path(path).name for path in paths)
    return f"{len(paths)} files, {hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def build_network(name, num_classes, precision, start_from, freeze_encoder, arguments):
    """Build the model in a precision, with the weights of an earlier one and the encoder frozen if asked."""
    with _policy(precision):
        network = build(name, num_classes, **arguments)
    if start_from is not None:
        print_on_chief(copy_weights(network, start_from))
    if freeze_encoder:
        layers = encoder_layers(network)
        if not layers:
            raise ValueError(f"freeze_encoder: {name!r} has no encoder of its own; leave it out")
        for layer in layers:
            layer.trainable = False
    return network


@contextlib.contextmanager
def _policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def plan(network, title, *, crops, validation, crop_size, epochs, batch_size, precision, options, output):
    """Return what will be done, to read before it begins."""
    learns = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
    kind = type(getattr(network.optimizer, "inner_optimizer", network.optimizer)).__name__
    given = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items())
    rows = {
        "model": f"{title}: {network.count_params():,} parameters, {learns:,} of them learn",
        "data": f"{crops.epochs.count} pictures to train on, {validation.epochs.count} to validate, "
        f"{crops.num_classes} classes",
        "steps": f"{epochs} epochs of {len(crops)} steps of {batch_size} crops {crop_size[0]}×{crop_size[1]}",
        "optimizer": f"{kind}; {given or 'defaults'}",
        "devices": f"{num_replicas()} in step, {precision}",
        "output": str(output),
    }
    return "\n".join(f"{name:10} {value}" for name, value in rows.items())
