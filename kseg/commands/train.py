"""What `kseg train` does."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kseg import callbacks, data, states
from kseg.checks import check_choice, check_tensorflow, renamed, unknown_name
from kseg.commands import preparation
from kseg.commands.plain_words import in_plain_words
from kseg.commands.predict import comparison, save_picture
from kseg.commands.run_folder import OWN_FILES, check_output, remove_remains
from kseg.data.caching import check_cache
from kseg.disk import check_regular, remove_partial_files, write_whole
from kseg.distribution import is_chief, strategy
from kseg.inference import load
from kseg.models import check_build
from kseg.optimizers.by_name import check_optimizer
from kseg.training import compile
from kseg.types import PathLike

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


@renamed(weighting="class_weights")
def train(
    root: PathLike,
    output: PathLike,
    *,
    model: str = "unet",
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    decoder_filters: Sequence[int] | None = None,
    aux_heads: bool | None = None,
    start_from: PathLike | None = None,
    freeze_encoder: bool = False,
    crop_size: tuple[int, int] | None = None,
    batch_size: int = 8,
    epochs: int = 50,
    class_weights: str | None = None,
    precision: str = "float32",
    label_map: dict[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    reading: Mapping[str, Any] | None = None,
    augmentation: Mapping[str, Any] | None = None,
    cache: PathLike | None = None,
    seed: int = 0,
    deterministic: bool = False,
    resume: bool = False,
    tensorboard: bool = False,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> keras.Model:
    """Train a model on a folder and keep its best epoch.

    After every epoch the state of the training is kept too: a training that was stopped, however, goes on
    with `resume=True` and ends as if it had not been. Where `TF_CONFIG` names several workers, run the same
    on each, with `resume=True` from the start; each reads its own copy of the data, the chief writes.

    Args:
        root, label_map, class_names: as for `kseg.data.from_directory`; "train" trains, "val" validates.
        reading: further arguments of it: `layout`, `images`, `masks`, `split_file`, `group`, `colors`,
            `channels`, `value_range`, `page`. The model keeps the range.
        augmentation: arguments of `kseg.data.augment` beside the size of a crop; `class_weights` may be a
            method of `kseg.data.class_weights`.
        cache: as for `kseg.data.from_directory`.
        output: new or empty folder: `model.keras`, `classes.txt`, `history.csv`, `learning_curve.png`,
            `predictions.png`, and `states/`, which may be deleted when the training is over.
        model: one of `kseg.list_models()`.
        backbone, backbone_weights, decoder_filters, aux_heads: for its builder; `None` leaves its default.
        start_from: `None` or a `.keras` file: its weights are the first ones wherever layers agree.
        freeze_encoder: keep the weights and batch statistics of the encoder.
        crop_size: `(H, W)` of a training crop; `None`: the size of the pictures, 320 at most.
        batch_size, epochs, seed: the batch is that of all devices together.
        class_weights: `None` or a method of `kseg.data.class_weights`.
        precision: `"float32"`, `"mixed_float16"` or `"mixed_bfloat16"`.
        deterministic: operators that give the same sums each time, which may be slower.
        resume: go on with the training in `output`, asked for with the same arguments.
        tensorboard: write curves and predictions for TensorBoard into `output/tensorboard`.
        progress: `None` or a function of `(done, total)`, called while the data are checked.
        **options: for `kseg.compile`: `learning_rate`, `encoder_learning_rate`, `weight_decay`, `optimizer`
            and `schedule` by name, `global_clipnorm`, `gradient_accumulation_steps`, `ema_momentum`,
            `jit_compile`.

    Returns:
        `keras.Model`, with the weights of its best epoch; of several workers the others than the chief have
        those of the last one.

    Raises:
        FileExistsError: if `output` has something in it and `resume` is false.
        FileNotFoundError, ValueError: for data that do not fit, it names the file; with `resume` for a state
            of another training.
        MemoryError: if a batch does not fit.
        OSError: if `output` cannot be written, before the training begins or while it runs.
        RuntimeError: if another process trains in `output`.
        ConnectionError: if another worker is lost.
        kseg.callbacks.TrainingDiverged: if the loss is no number any more.
        kseg.callbacks.TrainingInterrupted: after a signal.
    """
    check_tensorflow("kseg.commands.train")
    devices = strategy()  # of several workers: before anything else is asked of TensorFlow
    output = Path(output)
    _check_place(output, resume, tensorboard)
    of_model = {"backbone": backbone, "backbone_weights": backbone_weights}
    of_model = _without_none({**of_model, "decoder_filters": decoder_filters, "aux_heads": aux_heads})
    options = _without_none(options)
    _check_arguments(model, of_model, precision, options, start_from, freeze_encoder, seed, cache)
    augmentation = _checked_augmentation(augmentation)
    labels = {"label_map": label_map, "class_names": class_names, **(reading or {})}
    labels["class_names"] = preparation.check_data(root, labels, progress)
    datasets = preparation.read_datasets(root, labels, crop_size, batch_size, seed, augmentation, cache)
    config = preparation.run_config(
        *(datasets, of_model, label_map, start_from, options),
        model=model,
        freeze_encoder=freeze_encoder,
        batch_size=int(batch_size),
        epochs=int(epochs),
        class_weights=class_weights,
        precision=precision,
        seed=seed,
        deterministic=deterministic,
        **preparation.as_asked(reading, augmentation),
    )
    _seed(seed, deterministic)
    weights = data.class_weights(datasets.pictures, class_weights) if class_weights else None
    with in_plain_words(batch_size, datasets.crop_size, resume), devices.scope():
        network = _build_and_compile(datasets, config, of_model, weights, options)
        plan = preparation.plan(network, datasets, config, options, output)
    preparation.print_on_chief(plan)
    _fit_in_folder(network, datasets, config, output, resume, tensorboard)
    return _best_epoch(output, datasets) if is_chief() else network


def _without_none(arguments):
    """Return those that are not `None`."""
    return {name: value for name, value in arguments.items() if value is not None}


def _check_place(output, resume, tensorboard):
    """Refuse a folder that cannot be written, before all else."""
    if is_chief():
        check_output(output, resume)
    if tensorboard:
        callbacks.check_tensorboard()


_FOR_COMPILE = (
    *("learning_rate", "encoder_learning_rate", "weight_decay", "optimizer", "schedule", "global_clipnorm"),
    *("gradient_accumulation_steps", "ema_momentum", "jit_compile"),
)


def _check_arguments(model, of_model, precision, options, start_from, freeze_encoder, seed, cache):
    """Refuse before the data are read what would be refused after."""
    check_build(model, **of_model)
    check_choice("precision", precision, PRECISIONS)
    for name in options:
        if name not in _FOR_COMPILE:
            raise unknown_name("argument", name, _FOR_COMPILE)
    numbers = {name: value for name, value in options.items() if name not in ("optimizer", "jit_compile")}
    check_optimizer(options.get("optimizer", "adamw"), **numbers)
    if start_from is not None:
        check_regular(Path(start_from))
    if start_from is not None and not Path(start_from).is_file():
        raise FileNotFoundError(f"{start_from}: no such file; start_from= takes a .keras file")
    if freeze_encoder and "encoder_learning_rate" in options:
        raise ValueError("freeze_encoder leaves nothing to encoder_learning_rate; give one of them")
    if freeze_encoder and start_from is None and "backbone_weights" not in of_model:
        raise ValueError(
            "freeze_encoder would keep random weights; give backbone_weights= or start_from= as well"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an int of 0 or more, got {seed!r}")
    check_cache(cache, 0)


def _checked_augmentation(augmentation):
    """Return the arguments of an augmentation; refuse those that `kseg.data.augment` would refuse."""
    if not isinstance(augmentation, Mapping | None):
        raise ValueError(f"augmentation must be arguments of kseg.data.augment, got {augmentation!r}")
    augmentation = dict(augmentation or {})
    known = inspect.signature(data.augment).parameters.keys() - {"crop_size"}
    for name in augmentation:
        if name not in known:
            raise unknown_name("argument of augmentation", name, known)
    numbers = {
        name: v for name, v in augmentation.items() if not isinstance(v, str) or name != "class_weights"
    }
    data.augment((1, 1), **numbers)
    return augmentation


def _seed(seed, deterministic):
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def _build_and_compile(datasets, config, of_model, weights, options):
    network = preparation.build_network(datasets, config, of_model)
    steps, names = config["epochs"] * len(datasets.crops), datasets.crops.class_names
    return compile(network, steps, class_weights=weights, class_names=names, **options)


def _fit_in_folder(network, datasets, config, output, resume, tensorboard):
    """Train while no other process may write into the folder."""
    with states.locked(output) if is_chief() else contextlib.nullcontext():
        if is_chief():
            remove_partial_files(output / name for name in (*OWN_FILES, "predictions.png"))
        if is_chief() and not (output / "states").exists():  # else they are those of the run there is
            names = "\n".join(datasets.crops.class_names) + "\n"
            write_whole(output / "classes.txt", names.encode(), "the names of the classes")
        with in_plain_words(config["batch_size"], datasets.crop_size, resume):
            _fit(network, datasets.crops, datasets.validation, config["epochs"], output, config, tensorboard)


def _fit(network, crops, validation, epochs, output, config, tensorboard):
    """Train, and leave nothing behind where there is nothing to keep: the same command may run again."""
    signals, best = callbacks.StopOnSignal(), callbacks.SaveBest(output / "model.keras")
    watching = [callbacks.StopOnDivergence(crops)]
    if config.get("ema_momentum") is not None:
        watching.append(callbacks.EvaluateEMA())
    try:
        if tensorboard:
            watching += _for_tensorboard(output / "tensorboard", validation, crops.class_names)
        network.fit(
            crops,
            validation_data=validation,
            epochs=epochs,
            shuffle=False,  # the dataset shuffles
            verbose=0,
            callbacks=[
                *watching,
                callbacks.EpochLine(),
                best,
                callbacks.LearningCurve(output),
                signals,
                callbacks.ExactResume(output / "states", crops, [best], config),
            ],
        )
    except callbacks.TrainingInterrupted as error:
        if (output / "states").exists():
            message = f"{error}; go on with the same command and resume=True"
            raise callbacks.TrainingInterrupted(message, error.signal) from error
        raise
    finally:
        signals.restore()
        if is_chief() and not (output / "model.keras").exists() and not (output / "states").exists():
            remove_remains(output)


def _for_tensorboard(folder, validation, class_names):
    pictures = callbacks.PredictionPictures(folder, validation, class_names)
    return [pictures, keras.callbacks.TensorBoard(folder, write_graph=False)] if is_chief() else [pictures]


def _best_epoch(output, datasets):
    """Return the model of the best epoch and leave a picture of what it predicts."""
    best = load(output / "model.keras")
    picture = comparison(best, datasets.validation, datasets.crops.class_names)
    save_picture(picture, output / "predictions.png")
    print(f"best epoch: {output / 'model.keras'}\npictures: {output / 'predictions.png'}")
    return best
