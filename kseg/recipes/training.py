"""What `kseg train` does."""

import hashlib
import shutil
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from kseg import data, states
from kseg.arguments import check_tensorflow
from kseg.callbacks import (
    EpochLine,
    ExactResume,
    LearningCurve,
    SaveBest,
    StopOnDivergence,
    StopOnSignal,
    TrainingInterrupted,
)
from kseg.distribution import strategy
from kseg.distribution.cluster import read_cluster
from kseg.inference import load
from kseg.models import build, check_build
from kseg.recipes.files import comparison
from kseg.training import compile


def train(
    root,
    output,
    *,
    model="unet",
    backbone=None,
    backbone_weights=None,
    decoder_filters=None,
    aux_heads=None,
    crop_size=None,
    batch_size=8,
    epochs=50,
    learning_rate=1e-3,
    weighting=None,
    label_map=None,
    class_names=None,
    seed=0,
    resume=False,
    progress=None,
):
    """Train a model on a folder and keep its best epoch.

    After every epoch the state of the training is kept too: a training that was stopped, however, goes on
    with `resume=True` and ends as if it had not been.

    Args:
        root, label_map, class_names: as for `kseg.data.from_directory`; "train" trains, "val" validates.
        output: new or empty folder: `model.keras`, `classes.txt`, `history.csv`, `learning_curve.png`,
            `predictions.png`, and `states/`, which may be deleted when the training is over.
        model: str, one of `kseg.list_models()`.
        backbone, backbone_weights, decoder_filters, aux_heads: for its builder; `None` leaves its default.
        crop_size: `(H, W)` of a training crop; `None`: the size of the pictures, 320 at most.
        batch_size, epochs, seed: int.
        learning_rate: float, the peak.
        weighting: `None` or a method of `kseg.data.class_weights`.
        resume: bool, go on with the training in `output`, asked for with the same arguments.
        progress: `None` or a function `(done, total)`, called while the data are checked.

    Returns:
        `keras.Model`, with the weights of its best epoch.

    Raises:
        FileExistsError: if `output` has something in it and `resume` is false.
        FileNotFoundError, ValueError: for data that do not fit, it names the file; with `resume` for a state
            of another training.
        RuntimeError: if another process trains in `output`.
        kseg.callbacks.TrainingDiverged: if the loss is no number any more.
        kseg.callbacks.TrainingInterrupted: after a signal.
    """
    check_tensorflow("kseg.recipes.train")
    if read_cluster() is not None:
        raise ValueError(
            "TF_CONFIG names several workers, and kseg train takes one machine: call model.fit in the "
            "scope of kseg.strategy() in a script of your own, or unset TF_CONFIG"
        )
    devices = strategy()
    output = Path(output)
    _check_folder(output, resume)
    given = {
        "backbone": backbone,
        "backbone_weights": backbone_weights,
        "decoder_filters": decoder_filters,
        "aux_heads": aux_heads,
    }
    given = {name: value for name, value in given.items() if value is not None}
    check_build(model, **given)  # a wrong name shows before the data are read
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate!r}")
    options = {"label_map": label_map, "class_names": class_names}
    options["class_names"] = _check_data(root, options, progress)
    validation = data.from_directory(root, "val", batch_size=1, shuffle=False, **options)
    plain = data.from_directory(root, "train", batch_size=None, shuffle=False, **options)
    crop_size = crop_size or _default_crop(plain)
    augment = data.augment(crop_size)
    crops = data.from_directory(root, "train", augment=augment, batch_size=batch_size, seed=seed, **options)
    config = {
        "model": model,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in given.items()},
        "classes": crops.class_names,
        "label_map": {str(old): new for old, new in (label_map or {}).items()},
        "pictures": _digest(crops.image_paths),
        "crop_size": list(crop_size),
        "batch_size": batch_size,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "class_weights": weighting,
        "seed": seed,
    }
    keras.utils.set_random_seed(seed)
    weights = data.class_weights(plain, weighting) if weighting else None
    with devices.scope():
        network = build(model, crops.num_classes, **given)
        compile(
            network,
            epochs * len(crops),
            learning_rate=learning_rate,
            class_weights=weights,
            class_names=crops.class_names,
        )
    print(
        f"{model}{f' on {backbone}' if backbone else ''}: {network.count_params():,} parameters; "
        f"crops {crop_size[0]}×{crop_size[1]}, {epochs} epochs of {len(crops)} steps of {batch_size}",
        flush=True,
    )
    with states.locked(output):
        (output / "classes.txt").write_text("\n".join(crops.class_names) + "\n", encoding="utf-8")
        _fit(network, crops, validation, epochs, output, config)
    best = load(output / "model.keras")
    Image.fromarray(comparison(best, validation, crops.class_names)).save(output / "predictions.png")
    print(f"best epoch: {output / 'model.keras'}\npictures: {output / 'predictions.png'}")
    return best


def _fit(network, crops, validation, epochs, output, config):
    """Train, and leave nothing behind where there is nothing to keep: the same command may run again."""
    kept = [EpochLine(), SaveBest(output / "model.keras"), LearningCurve(output)]
    signals = StopOnSignal()
    resume = ExactResume(output / "states", crops, kept, config)
    try:
        network.fit(
            crops,
            validation_data=validation,
            epochs=epochs,
            shuffle=False,  # the dataset shuffles
            verbose=0,
            callbacks=[StopOnDivergence(crops), *kept, signals, resume],
        )
    except TrainingInterrupted as error:
        if (output / "states").exists():
            message = f"{error}; go on with the same command and --resume"
            raise TrainingInterrupted(message, error.signal) from error
        raise
    finally:
        signals.restore()
        if not (output / "model.keras").exists() and not (output / "states").exists():
            shutil.rmtree(output)


def _check_data(root, options, progress):
    """Check every file, print the table, refuse problems; return the class names."""
    report = data.check(root, **options, progress=progress)
    print(report, flush=True)
    report.raise_for_problems()
    return report.class_names


def _check_folder(path, resume):
    if resume:
        if (path / "model.keras").exists() and not (path / "states").exists():
            raise ValueError(f"{path}: holds a model, but no states to resume from; choose another --output")
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        mend = "add --resume to go on" if (path / "states").exists() else "remove it"
        raise FileExistsError(f"{path}: exists already and is not empty; {mend}, or choose another --output")


def _default_crop(dataset):
    """Return the median size of the pictures, 320 at most, in multiples of 32."""
    sizes = [mask.shape for _, mask in dataset.take(50).as_numpy_iterator()]
    return tuple(int(np.clip(np.median(side) // 32 * 32, 32, 320)) for side in zip(*sizes, strict=True))


def _digest(paths):
    """Return how many files there are and a digest of their names: other pictures are another training."""
    names = "\n".join(Path(path).name for path in paths)
    return f"{len(paths)} files, {hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
