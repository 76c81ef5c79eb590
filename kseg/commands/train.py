"""What `kseg train` does."""

import contextlib
import re
from pathlib import Path

import keras
import tensorflow as tf
from PIL import Image

from kseg import callbacks, data, states
from kseg.checks import check_choice, check_tensorflow, unknown_name
from kseg.commands import preparation
from kseg.commands.predict import comparison
from kseg.distribution import is_chief, lost_workers, strategy
from kseg.inference import load
from kseg.models import check_build
from kseg.training import check_optimizer, compile

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def train(
    root,
    output,
    *,
    model="unet",
    backbone=None,
    backbone_weights=None,
    decoder_filters=None,
    aux_heads=None,
    start_from=None,
    freeze_encoder=False,
    crop_size=None,
    batch_size=8,
    epochs=50,
    weighting=None,
    precision="float32",
    label_map=None,
    class_names=None,
    seed=0,
    deterministic=False,
    resume=False,
    tensorboard=False,
    progress=None,
    **options,
):
    """Train a model on a folder and keep its best epoch.

    After every epoch the state of the training is kept too: a training that was stopped, however, goes on
    with `resume=True` and ends as if it had not been. Where `TF_CONFIG` names several workers, run the same
    on each, with `resume=True` from the start; each reads its own copy of the data, the chief writes.

    Args:
        root, label_map, class_names: as for `kseg.data.from_directory`; "train" trains, "val" validates.
        output: new or empty folder: `model.keras`, `classes.txt`, `history.csv`, `learning_curve.png`,
            `predictions.png`, and `states/`, which may be deleted when the training is over.
        model: str, one of `kseg.list_models()`.
        backbone, backbone_weights, decoder_filters, aux_heads: for its builder; `None` leaves its default.
        start_from: `None` or a `.keras` file: its weights are the first ones wherever layers agree.
        freeze_encoder: bool, keep the weights and batch statistics of the encoder.
        crop_size: `(H, W)` of a training crop; `None`: the size of the pictures, 320 at most.
        batch_size, epochs, seed: int; the batch is that of all devices together.
        weighting: `None` or a method of `kseg.data.class_weights`.
        precision: `"float32"`, `"mixed_float16"` or `"mixed_bfloat16"`.
        deterministic: bool, operators that give the same sums each time, which may be slower.
        resume: bool, go on with the training in `output`, asked for with the same arguments.
        tensorboard: bool, write curves and predictions for TensorBoard into `output/tensorboard`.
        progress: `None` or a function `(done, total)`, called while the data are checked.
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
    if is_chief():
        preparation.check_output(output, resume)
    if tensorboard:
        callbacks.check_tensorboard()
    given = {
        "backbone": backbone,
        "backbone_weights": backbone_weights,
        "decoder_filters": decoder_filters,
        "aux_heads": aux_heads,
    }
    given = {name: value for name, value in given.items() if value is not None}
    options = {name: value for name, value in options.items() if value is not None}
    check_build(model, **given)  # a wrong name shows before the data are read
    check_choice("precision", precision, PRECISIONS)
    _check_options(options, start_from, freeze_encoder, backbone_weights, seed)
    labels = {"label_map": label_map, "class_names": class_names}
    labels["class_names"] = preparation.check_data(root, labels, progress)
    validation = data.from_directory(root, "val", batch_size=1, shuffle=False, **labels)
    plain = data.from_directory(root, "train", batch_size=None, shuffle=False, **labels)
    crop_size = tuple(crop_size or preparation.default_crop(plain))
    augment = data.augment(crop_size)
    crops = data.from_directory(root, "train", augment=augment, batch_size=batch_size, seed=seed, **labels)
    config = {
        "model": model,
        **{name: _plain(value) for name, value in given.items()},
        "start_from": None if start_from is None else str(start_from),
        "freeze_encoder": freeze_encoder,
        "classes": crops.class_names,
        "label_map": {str(old): new for old, new in (label_map or {}).items()},
        "pictures": preparation.digest(crops.image_paths),
        "validation": preparation.digest(validation.image_paths),
        "crop_size": [int(side) for side in crop_size],
        "batch_size": int(batch_size),
        "epochs": int(epochs),
        "class_weights": weighting,
        "precision": precision,
        "seed": seed,
        "deterministic": deterministic,
        **options,
    }
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    weights = data.class_weights(plain, weighting) if weighting else None
    with _in_plain_words(batch_size, crop_size, resume), devices.scope():
        network = preparation.build_network(
            model, crops.num_classes, precision, start_from, freeze_encoder, given
        )
        compile(
            network,
            epochs * len(crops),
            class_weights=weights,
            class_names=crops.class_names,
            **options,
        )
        plan = preparation.plan(
            network,
            f"{model}{f' on {_plain(backbone)}' if backbone else ''}",
            crops=crops,
            validation=validation,
            crop_size=crop_size,
            epochs=epochs,
            batch_size=batch_size,
            precision=precision,
            options=options,
            output=output,
        )
    preparation.print_on_chief(plan)
    with states.locked(output) if is_chief() else contextlib.nullcontext():
        if is_chief() and not (output / "states").exists():  # else they are those of the run there is
            (output / "classes.txt").write_text("\n".join(crops.class_names) + "\n", encoding="utf-8")
        with _in_plain_words(batch_size, crop_size, resume):
            _fit(network, crops, validation, epochs, output, config, tensorboard)
    if not is_chief():
        return network
    best = load(output / "model.keras")
    Image.fromarray(comparison(best, validation, crops.class_names)).save(output / "predictions.png")
    print(f"best epoch: {output / 'model.keras'}\npictures: {output / 'predictions.png'}")
    return best


_FOR_COMPILE = (
    *("learning_rate", "encoder_learning_rate", "weight_decay", "optimizer", "schedule", "global_clipnorm"),
    *("gradient_accumulation_steps", "ema_momentum", "jit_compile"),
)


def _check_options(options, start_from, freeze_encoder, backbone_weights, seed):
    """Refuse before the data are read what would be refused after."""
    for name in options:
        if name not in _FOR_COMPILE:
            raise unknown_name("argument", name, _FOR_COMPILE)
    numbers = {name: value for name, value in options.items() if name not in ("optimizer", "jit_compile")}
    check_optimizer(options.get("optimizer", "adamw"), **numbers)
    if start_from is not None and not Path(start_from).is_file():
        raise FileNotFoundError(f"{start_from}: no such file; --start-from takes a .keras file")
    if freeze_encoder and "encoder_learning_rate" in options:
        raise ValueError("freeze_encoder leaves nothing to encoder_learning_rate; give one of them")
    if freeze_encoder and start_from is None and backbone_weights is None:
        raise ValueError(
            "freeze_encoder would keep random weights; give --backbone-weights or --start-from as well"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an int of 0 or more, got {seed!r}")


def _plain(value):
    """Return an argument as JSON can hold it."""
    if isinstance(value, keras.Model):
        return value.name
    if isinstance(value, tuple | list):
        return [int(item) for item in value]
    return str(value) if isinstance(value, Path) else value


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
            message = f"{error}; go on with the same command and --resume"
            raise callbacks.TrainingInterrupted(message, error.signal) from error
        raise
    finally:
        signals.restore()
        if is_chief() and not (output / "model.keras").exists() and not (output / "states").exists():
            preparation.remove_remains(output)


def _for_tensorboard(folder, validation, class_names):
    pictures = callbacks.PredictionPictures(folder, validation, class_names)
    return [pictures, keras.callbacks.TensorBoard(folder, write_graph=False)] if is_chief() else [pictures]


@contextlib.contextmanager
def _in_plain_words(batch_size, crop_size, resume):
    """Turn TensorFlow's walls of text about memory, determinism and lost workers into one line each."""
    try:
        with lost_workers():
            yield
    except tf.errors.ResourceExhaustedError as error:
        smaller = "" if batch_size == 1 else f"--batch-size {batch_size // 2} with --accumulate 2, "
        raise MemoryError(
            f"a batch of {batch_size} crops {crop_size[0]}×{crop_size[1]} does not fit into the memory; try "
            f"{smaller}a smaller --crop or a smaller model"
        ) from error
    except tf.errors.UnimplementedError as error:
        if "determin" not in str(error).lower():
            raise
        place = re.search(r"\{\{node ([^}]*)\}\}", str(error))
        raise ValueError(
            f"--deterministic: {place[1] if place else 'an operator'} has no deterministic form on this "
            "device; train without it"
        ) from error
    except ConnectionError as error:
        if resume:
            raise
        raise ConnectionError(f"{error}, with --resume") from error
