"""What `kseg train` does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kseg import data
from kseg.callbacks.loggers import checked_loggers
from kseg.checks import check_tensorflow, renamed
from kseg.commands import preparation
from kseg.commands.asked import check_arguments, checked_augmentation, model_or_default
from kseg.commands.fitting import best_epoch, fit_in_folder
from kseg.commands.monitoring import MONITOR, check_monitor, metrics_for
from kseg.commands.plain_words import in_plain_words
from kseg.commands.preparation import as_asked
from kseg.commands.run_folder import check_output
from kseg.commands.run_record import run_record
from kseg.distribution import is_chief, strategy
from kseg.training import compile
from kseg.training.named_losses import named_loss
from kseg.types import PathLike


@renamed(weighting="class_weights")
def train(
    root: PathLike,
    output: PathLike,
    *,
    model: str | None = None,
    variant: str | None = None,
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    output_stride: int | None = None,
    filters: int | Sequence[int] | None = None,
    decoder_filters: Sequence[int] | None = None,
    aux_heads: bool | None = None,
    start_from: PathLike | None = None,
    freeze_encoder: bool = False,
    crop_size: tuple[int, int] | None = None,
    batch_size: int = 8,
    epochs: int = 50,
    early_stopping: int | None = None,
    monitor: str = MONITOR,
    loss: str | Sequence[str] | None = None,
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
    log: str | Sequence[str] = (),
    command: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    report: Callable[[str], object] = print,
    **options: Any,
) -> keras.Model:
    """Train a model on a folder and keep its best epoch.

    After every epoch the state of the training is kept too: a training that was stopped, however, goes on
    with `resume=True` and ends as if it had not been. Where `TF_CONFIG` names several workers, run the same
    on each, with `resume=True` from the start; each reads its own copy of the data, the chief writes.

    Args:
        root, label_map, class_names: as for `kseg.data.from_directory`; "train" trains, "val" validates.
        reading: further arguments of it: `layout`, `images`, `masks`, `split_file`, `group`, `fold`,
            `colors`, `channels`, `value_range`, `page`. The model keeps the range.
        augmentation: arguments of `kseg.data.augment` beside the size of a crop; `class_weights` may be a
            method of `kseg.data.class_weights`.
        cache: as for `kseg.data.from_directory`.
        output: new or empty folder: `model.keras`, `classes.txt`, `config.json` (what was asked for),
            `history.csv`, `learning_curve.png`, `predictions.png`, `report.html` (the scores of the best
            epoch), and `states/`, which may be deleted when the training is over.
        model: one of `kseg.list_models()`; `None` is "unet" on a backbone, else "ddrnet", which two cores
            train: 5.7 M parameters.
        variant, backbone, backbone_weights, output_stride, filters, decoder_filters, aux_heads: for its
            builder; `None` leaves its default.
        start_from: `None` or a `.keras` file: its weights are the first ones wherever layers agree.
        freeze_encoder: keep the weights and batch statistics of the encoder.
        crop_size: `(H, W)` of a training crop; `None`: the size of the pictures, 320 at most.
        batch_size, epochs, seed: the batch is that of all devices together.
        early_stopping: `None` or epochs: as many without a better one end the training. The schedule is still
            that of all `epochs`.
        monitor: what tells the best epoch, of which losses are best when small: "val_loss", "val_mean_iou",
            "val_mean_dice", "val_pixel_accuracy", "val_boundary_iou", "val_boundary_f1", "val_iou_" and the
            name of a class, or one of them without "val_", of the training.
        loss: `None`, which is cross-entropy, or one or several names of losses of `kseg.losses` in snake
            case, whose sum it is: `["cross_entropy", "dice"]`.
        class_weights: `None` or a method of `kseg.data.class_weights`; in a sum for the losses over pixels,
            as cross-entropy: those of areas average over classes already.
        precision: `"float32"`, `"mixed_float16"` or `"mixed_bfloat16"`.
        deterministic: operators that give the same sums each time, which may be slower.
        resume: go on with the training in `output`, asked for with the same arguments.
        tensorboard: write curves and predictions for TensorBoard into `output/tensorboard`, as `log` does.
        log: names of services that keep the curves: "tensorboard", "wandb" (`pip install 'kseg[wandb]'`) and
            "mlflow" (`pip install 'kseg[mlflow]'`). A resumed training is a run of its own there.
        command: `None` or the command line, for `config.json`.
        progress: `None` or a function of `(done, total)`, called while the data are checked.
        report: function of a str, told what the check has found.
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
    log = _checked_place(output, resume, ["tensorboard"] * tensorboard, log)
    of_model = {"variant": variant, "backbone": backbone, "backbone_weights": backbone_weights}
    of_model |= {"output_stride": output_stride, "filters": filters, "aux_heads": aux_heads}
    of_model = _without_none({**of_model, "decoder_filters": decoder_filters})
    options, model = _without_none(options), model_or_default(model, of_model)
    checked = (model, of_model, precision, options, start_from, freeze_encoder, seed, cache)
    check_arguments(*checked, loss, monitor, early_stopping)
    augmentation = checked_augmentation(augmentation)
    labels = {"label_map": label_map, "class_names": class_names, **(reading or {})}
    labels["class_names"] = preparation.check_data(root, labels, progress, report, class_weights)
    check_monitor(monitor, labels["class_names"])
    datasets = preparation.read_datasets(root, labels, crop_size, batch_size, seed, augmentation, cache)
    asked = {"model": model, "freeze_encoder": freeze_encoder, "batch_size": int(batch_size), "seed": seed}
    asked |= {"epochs": int(epochs), "class_weights": class_weights, "precision": precision}
    asked |= {"deterministic": deterministic} | as_asked(reading, augmentation, loss, monitor, early_stopping)
    config = preparation.run_config(datasets, of_model, label_map, start_from, options, **asked)
    network = _ready(devices, datasets, config, of_model, options, resume, output)
    record = run_record(command, root, datasets, network, of_model, config, options)
    best = fit_in_folder(network, datasets, config, output, record, resume=resume, log=log)
    return best_epoch(output, datasets, best, record) if is_chief() else network


def _without_none(arguments):
    """Return those that are not `None`."""
    return {name: value for name, value in arguments.items() if value is not None}


def _checked_place(output, resume, tensorboard, log):
    """Refuse a folder that cannot be written, before all else; return the names of what logs."""
    if is_chief():
        check_output(output, resume)
    return checked_loggers([*tensorboard, *([log] if isinstance(log, str) else log)])


def _ready(devices, datasets, config, of_model, options, resume, output):
    """Return the model, compiled, and say what will be done with it."""
    if config["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config["seed"])
    weights = config["class_weights"] and data.class_weights(datasets.pictures, config["class_weights"])
    with in_plain_words(config["batch_size"], datasets.crop_size, resume), devices.scope():
        network = preparation.build_network(datasets, config, of_model)
        _compile(network, datasets.crops, config, weights, options)
        plan = preparation.plan(network, datasets, config, options, output)
    preparation.print_on_chief(plan)
    return network


def _compile(network, crops, config, weights, options):
    if "loss" in config:
        options = {**options, "loss": named_loss(config["loss"], class_weights=weights)}
    else:
        options = {**options, "class_weights": weights}
    metrics = metrics_for(config.get("monitor", MONITOR), crops.class_names)
    of_metrics = {"class_names": crops.class_names} if metrics is None else {"metrics": metrics}
    compile(network, config["epochs"] * len(crops), **options, **of_metrics)
