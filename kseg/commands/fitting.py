"""A training in its folder: what watches it, what it writes, what it leaves behind."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kseg import callbacks, states
from kseg.callbacks.loggers import logging_to
from kseg.commands.monitoring import MONITOR, EarlyStopping
from kseg.commands.plain_words import in_plain_words
from kseg.commands.predict import comparison, save_picture
from kseg.commands.preparation import Datasets, print_on_chief
from kseg.commands.run_folder import OWN_FILES, remove_remains
from kseg.commands.run_record import write_record
from kseg.data.dataset import SegmentationDataset
from kseg.data.equal_sizes import batches_of_equal_sizes
from kseg.data.headers import image_header
from kseg.disk import remove_partial_files, write_whole
from kseg.distribution import is_chief
from kseg.evaluation import evaluate, write_report
from kseg.inference import load
from kseg.replicas import num_replicas

_SAMPLES = 9  # pictures of the report, the six worst and the three best


def fit_in_folder(
    network: keras.Model,
    datasets: Datasets,
    config: dict,
    output: Path,
    record: dict,
    *,
    resume: bool,
    log: Sequence[str] = (),
) -> callbacks.SaveBest:
    """Train while no other process may write into the folder; return what has saved the best epoch.

    Args:
        network: compiled.
        datasets: to train on and to validate with.
        config: what a state remembers.
        output: the folder.
        record: for its `config.json`.
        resume: whether to say from where the training goes on.
        log: names of `kseg.callbacks.loggers`.
    """
    with states.locked(output) if is_chief() else contextlib.nullcontext():
        if is_chief():
            remove_partial_files(output / name for name in (*OWN_FILES, "predictions.png"))
        if is_chief() and not (output / "states").exists():  # else they are those of the run there is
            names = "\n".join(datasets.crops.class_names) + "\n"
            write_whole(output / "classes.txt", names.encode(), "the names of the classes")
            write_record(record, output)
        with in_plain_words(config["batch_size"], datasets.crop_size, resume):
            told = {name: record[name] for name in ("model", "training", "versions")}
            data = datasets.crops, datasets.validation
            return fit(network, *data, output, config, resume=resume, log=log, told=told)


def fit(
    network: keras.Model,
    crops: SegmentationDataset,
    validation: SegmentationDataset,
    output: Path,
    config: dict,
    *,
    resume: bool = False,
    log: Sequence[str] = (),
    told: Mapping[str, Any] | None = None,
) -> callbacks.SaveBest:
    """Train, and leave nothing behind where there is nothing to keep: the same command may run again."""
    signals = callbacks.StopOnSignal()
    monitor, patience = config.get("monitor", MONITOR), config.get("early_stopping")
    best = callbacks.SaveBest(output / "model.keras", monitor, report=print_on_chief)
    stopping = [] if patience is None else [EarlyStopping(monitor, patience)]
    keys = dict.fromkeys(["loss", "val_loss", MONITOR, monitor])
    watching: list[keras.callbacks.Callback] = [callbacks.StopOnDivergence(crops)]
    if config.get("ema_momentum") is not None:
        watching.append(callbacks.EvaluateEMA())
    try:
        if "tensorboard" in log:
            watching += _for_tensorboard(output / "tensorboard", validation, crops.class_names)
        with logging_to(log, output, told or {}) as loggers:
            network.fit(
                crops,
                validation_data=_at_once(validation, config),
                epochs=config["epochs"],
                shuffle=False,  # the dataset shuffles
                verbose=0,
                callbacks=[
                    *watching,
                    callbacks.EpochLine(list(keys), run=output.resolve().name),
                    best,
                    *stopping,
                    callbacks.LearningCurve(output),
                    *loggers,
                    signals,
                    callbacks.ExactResume(
                        *(output / "states", crops, [best, *stopping], config),
                        report=print_on_chief if resume else _silent,
                    ),
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
    if any(stop.stopped_epoch for stop in stopping):
        print_on_chief(f"stopped early: {patience} epochs without a better {monitor}")
    return best


def _at_once(validation, config):
    """Return whole pictures of files in batches of the pixels of a training step."""
    if num_replicas() > 1 or not hasattr(validation, "image_paths"):
        return validation
    page = config.get("reading", {}).get("page")
    sizes = [image_header(path, page, deep=True, windows=True).size for path in validation.image_paths]
    return batches_of_equal_sizes(validation, sizes, config["batch_size"] * math.prod(config["crop_size"]))


def _silent(text: str) -> None:
    """A new training has no state to go on from, which nobody has asked for."""


def _for_tensorboard(folder, validation, class_names):
    pictures = callbacks.PredictionPictures(folder, validation, class_names)
    return [pictures, keras.callbacks.TensorBoard(folder, write_graph=False)] if is_chief() else [pictures]


def best_epoch(
    output: Path, datasets: Datasets, best: callbacks.SaveBest, told: Mapping[str, Any]
) -> keras.Model:
    """Return the model of the best epoch; leave a picture of what it predicts, and a page of its scores.

    Args:
        output: the folder.
        datasets: of the training.
        best: what has kept the best epoch.
        told: what stands in `config.json`.
    """
    picture = output / "predictions.png"
    print(f"drawing {picture.name}: what the model of the best epoch predicts", flush=True)
    model = load(output / "model.keras")
    save_picture(comparison(model, datasets.validation, datasets.crops.class_names), picture)
    page = output / "report.html"
    print(f"writing {page.name}: its scores, its worst and best pictures", flush=True)
    scores = evaluate(output / "model.keras", datasets.validation, samples=_SAMPLES)
    of_data = {"data_root": told["data"]["root"], "split": "val", "command": told["command"]}
    write_report(page, {"model.keras": scores}, title=output.resolve().name, overwrite=True, **of_data)
    of_epoch = "" if best.best_epoch is None else f" {best.best_epoch}, {best.monitor} {best.best:.4f}"
    print(f"best epoch{of_epoch}: {output / 'model.keras'}\npictures: {picture}\nreport: {page}", flush=True)
    return model
