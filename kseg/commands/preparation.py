"""What a training needs before its first step: data, what it was asked for, a model, and the plan to read."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseg import data
from kseg.callbacks.saving import best_is
from kseg.commands.monitoring import MONITOR
from kseg.data.dataset import SegmentationDataset
from kseg.distribution import is_chief
from kseg.graphs import encoder_layers
from kseg.models import build
from kseg.optimizers.by_name import RATE_AND_DECAY
from kseg.remembering import with_value_range
from kseg.replicas import num_replicas
from kseg.training.named_losses import checked_losses
from kseg.transfer import copy_weights
from kseg.types import PathLike
from kseg.value_range import ValueRange


def print_on_chief(text: object) -> None:
    """Print, on one worker only."""
    if is_chief():
        print(text, flush=True)


def check_data(
    root: PathLike,
    labels: dict,
    progress: Callable[[int, int], object] | None,
    report: Callable[[str], object] = print,
    class_weights: str | None = None,
) -> list[str]:
    """Check every file, report the table, refuse problems; return the class names.

    Args:
        root, labels: for `kseg.data.check`.
        progress: as for `kseg.data.check`.
        report: told the table, on one worker only.
        class_weights: those that were asked for, which need not be suggested.
    """
    found = data.check(root, **labels, progress=progress if is_chief() else None)
    if class_weights is not None:
        found.suggestions = [line for line in found.suggestions if not line.startswith("class_weights=")]
    if is_chief():
        report(str(found))
    found.raise_for_problems()
    return found.class_names


@dataclass(frozen=True)
class Datasets:
    """The data of a training, of `kseg.data.from_directory`.

    Attributes:
        crops: what is trained on, in batches.
        pictures: those of `crops`, whole and one by one.
        validation: whole pictures, in batches of one.
        crop_size: `(H, W)` in pixels.
    """

    crops: SegmentationDataset
    pictures: SegmentationDataset
    validation: SegmentationDataset
    crop_size: tuple[int, int]


def read_datasets(
    root: PathLike,
    labels: dict,
    crop_size: tuple[int, int] | None,
    batch_size: int,
    seed: int,
    augmentation: Mapping[str, Any],
    cache: PathLike | None,
) -> Datasets:
    """Open the splits of a folder.

    Args:
        root, labels, batch_size, seed, cache: for `kseg.data.from_directory`.
        crop_size: `(H, W)`; `None` is the size of the pictures, 320 at most.
        augmentation: for `kseg.data.augment`; a method of `kseg.data.class_weights` is measured.
    """
    validation = data.from_directory(root, "val", batch_size=1, shuffle=False, cache=cache, **labels)
    pictures = data.from_directory(root, "train", batch_size=None, shuffle=False, **labels)
    crop_size = tuple(crop_size or _default_crop(pictures))
    if isinstance(method := augmentation.get("class_weights"), str):
        augmentation = {**augmentation, "class_weights": data.class_weights(pictures, method)}
    crops = data.from_directory(
        *(root, "train"),
        augment=data.augment(crop_size, **augmentation),
        batch_size=batch_size,
        seed=seed,
        cache=cache,
        **labels,
    )
    return Datasets(crops, pictures, validation, crop_size)


def _default_crop(dataset):
    """Return the median size of the pictures, 320 at most, in multiples of 32."""
    sizes = [mask.shape for _, mask in dataset.take(50).as_numpy_iterator()]
    return tuple(int(np.clip(np.median(side) // 32 * 32, 32, 320)) for side in zip(*sizes, strict=True))


def run_config(
    datasets: Datasets,
    of_model: dict,
    label_map: dict | None,
    start_from: PathLike | None,
    options: dict,
    **asked: Any,
) -> dict:
    """Return what the training was asked for and on which files, as JSON can hold it.

    A state of another config is not resumed: the keys are those of the states that exist.
    """
    return {
        **asked,
        **{name: _plain(value) for name, value in of_model.items()},
        "start_from": None if start_from is None else str(start_from),
        "classes": datasets.crops.class_names,
        "label_map": {str(old): new for old, new in (label_map or {}).items()},
        "pictures": _digest(datasets.crops.image_paths),
        "validation": _digest(datasets.validation.image_paths),
        "crop_size": [int(side) for side in datasets.crop_size],
        **_reading(datasets.crops),
        **options,
    }


def as_asked(
    reading: Mapping[str, Any] | None,
    augmentation: Mapping[str, Any],
    loss: str | Sequence[str] | None = None,
    monitor: str = MONITOR,
    early_stopping: int | None = None,
) -> dict[str, Any]:
    """Return what a run keeps only where it was asked for: states without it go on."""
    kept = {word: value for word, value in (reading or {}).items() if word not in ("channels", "value_range")}
    told: dict[str, Any] = {
        "reading": kept,
        "augmentation": dict(augmentation),
        "early_stopping": early_stopping,
    }
    told["loss"] = None if loss is None else checked_losses(loss)
    told["monitor"] = None if monitor == MONITOR else monitor
    asked = {name: value for name, value in told.items() if value}
    return json.loads(json.dumps(asked, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v)))


def _reading(dataset):
    """Return how pictures are read, where it is otherwise than by default."""
    reading = {"channels": dataset.channels} if dataset.channels != 3 else {}
    if dataset.value_range is None:
        return reading
    return {**reading, "value_range": ValueRange(*dataset.value_range).as_config()}


def _plain(value):
    """Return an argument as JSON can hold it."""
    if isinstance(value, keras.Model):
        return value.name
    if isinstance(value, tuple | list):
        return [int(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _digest(paths):
    """Return how many files there are and a digest of their names: other pictures are another training."""
    names = "\n".join(Path(path).name for path in paths)
    return f"{len(paths)} files, {hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def build_network(datasets: Datasets, config: dict, of_model: dict) -> keras.Model:
    """Build the model in a precision, with the weights of an earlier one and the encoder frozen if asked."""
    name, channels = config["model"], datasets.crops.channels
    if channels != 3:
        of_model = {**of_model, "input_shape": (None, None, channels)}
    with _policy(config["precision"]):
        network = build(name, len(config["classes"]), **of_model)
        if datasets.crops.value_range is not None:
            network = with_value_range(network, datasets.crops.value_range)
    if config["start_from"] is not None:
        print_on_chief(copy_weights(network, config["start_from"]))
    if config["freeze_encoder"]:
        layers = encoder_layers(network)
        if not layers:
            raise ValueError(f"freeze_encoder: {name!r} has no encoder of its own; leave it out")
        for layer in layers:
            layer.trainable = False
    return network


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def plan(network: keras.Model, datasets: Datasets, config: dict, options: dict, output: Path) -> str:
    """Return what will be done, to read before it begins."""
    title = config["model"] + (f" on {config['backbone']}" if "backbone" in config else "")
    learns = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
    frozen = f", of which {learns:,} learn" if config["freeze_encoder"] else ""
    crops, (height, width) = datasets.crops, datasets.crop_size
    rows = {
        "model": f"{title}, {network.count_params():,} parameters{frozen}",
        "data": f"{_several(crops.epochs.count, 'picture')} to train on, "
        f"{datasets.validation.epochs.count} to validate, {_several(crops.num_classes, 'class', 'classes')}",
        "steps": f"{_several(config['epochs'], 'epoch')} of {_several(len(crops), 'step')} of "
        f"{_several(config['batch_size'], 'crop')} {height}×{width}",
        "loss": _loss_in_words(config),
        "optimizer": _optimizer_in_words(network, options),
        "devices": f"{_devices_in_words()}, {config['precision']}",
        "output": str(output),
        "best epoch": _best_in_words(config),
    }
    return "\n".join(f"{name:11}{value}" for name, value in rows.items())


def _several(count, one, many=None):
    return f"{count} {one if count == 1 else many or one + 's'}"


def _loss_in_words(config):
    names = " + ".join(name.replace("_", "-") for name in config.get("loss", ["cross_entropy"]))
    weights = config["class_weights"]
    return names if weights is None else f"{names}, classes weighed by {weights.replace('_', ' ')}"


def _best_in_words(config):
    monitor = config.get("monitor", MONITOR)
    best = f"that of the {'least' if best_is(monitor) == 'min' else 'highest'} {monitor}"
    epochs = config.get("early_stopping")
    return (
        best
        if epochs is None
        else f"{best}; the training stops after {_several(epochs, 'epoch')} without a better one"
    )


def _optimizer_in_words(network, options):
    """Return the optimizer and what it was given or takes by itself, each said once."""
    kind = type(getattr(network.optimizer, "inner_optimizer", network.optimizer)).__name__
    rate, decay = RATE_AND_DECAY[options.get("optimizer", "adamw")]
    known = {"learning_rate": rate, "weight_decay": decay, **options}
    words = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in known.items()
        if name not in ("optimizer", "schedule")
    ]
    return ", ".join([kind, *words, f"{options.get('schedule', 'poly')} schedule"])


def _devices_in_words():
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    count = num_replicas()
    return f"{count} {kind}s in step" if count > 1 else f"1 {kind}"
