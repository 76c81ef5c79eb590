"""Services that keep the curves of trainings, by name: each by its own callback for Keras."""

import contextlib
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kseg.callbacks.tensorboard import check_tensorboard
from kseg.checks import unknown_name
from kseg.distribution import is_chief

LOGGERS = ("mlflow", "tensorboard", "wandb")
_NO_NAME = re.compile(r"[^\w\-. /]")  # of MLflow's metrics
_LONGEST = 500  # characters of MLflow's parameters


def checked_loggers(names: str | Sequence[str]) -> list[str]:
    """Return the names in a list, each once.

    Raises:
        ValueError: for an unknown name; the nearest is offered.
        ImportError: if what a name needs is missing.
    """
    several = list(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in several:
        if name not in LOGGERS:
            raise unknown_name("log", name, LOGGERS)
        if name == "tensorboard":
            check_tensorboard()
        else:
            _module(name)
    return several


@contextlib.contextmanager
def logging_to(
    names: Sequence[str], folder: Path, facts: Mapping[str, Any]
) -> Iterator[list[keras.callbacks.Callback]]:
    """Yield the callbacks of W&B and MLflow for a training; their runs end with the block.

    A run that is open already is taken and stays open. Where and as whom they log is theirs to say:
    `WANDB_PROJECT`, `WANDB_MODE`, `MLFLOW_TRACKING_URI` and the like. Of several workers the chief logs.

    Args:
        names: those of `LOGGERS`; TensorBoard, which has no run, is passed over.
        folder: of the training; its name is that of the run.
        facts: what the run was asked for.
    """
    with contextlib.ExitStack() as stack:
        given: list[keras.callbacks.Callback] = []
        if is_chief():
            for name in names:
                if name == "wandb":
                    given.append(stack.enter_context(_wandb(folder, facts)))
                elif name == "mlflow":
                    given.append(stack.enter_context(_mlflow(folder, facts)))
        yield given


@contextlib.contextmanager
def _wandb(folder, facts):
    wandb = _module("wandb")
    begun = None
    if wandb.run is None:
        try:
            begun = wandb.init(name=folder.resolve().name, dir=str(folder), config=dict(facts))
        except Exception as error:
            message = "log in with `wandb login`, or keep the curves here with WANDB_MODE=offline"
            raise RuntimeError(f"log='wandb': no run began ({_first_line(error)}); {message}") from error
    try:
        yield importlib.import_module("wandb.integration.keras").WandbMetricsLogger()
    except BaseException:
        if begun is not None:
            begun.finish(exit_code=1)
        raise
    if begun is not None:
        begun.finish()


@contextlib.contextmanager
def _mlflow(folder, facts):
    mlflow = _module("mlflow")
    callback = importlib.import_module("mlflow.keras").MlflowCallback()
    log_epoch, log_test = callback.on_epoch_end, callback.on_test_end
    callback.on_epoch_end = lambda epoch, logs=None: log_epoch(epoch, _with_plain_names(logs))
    callback.on_test_end = lambda logs=None: log_test(_with_plain_names(logs))
    opened = contextlib.nullcontext()
    if mlflow.active_run() is None:
        try:
            opened = mlflow.start_run(run_name=folder.resolve().name)
        except Exception as error:
            message = "see MLFLOW_TRACKING_URI"
            raise RuntimeError(f"log='mlflow': no run began ({_first_line(error)}); {message}") from error
    with opened:
        mlflow.log_params({key: str(value)[:_LONGEST] for key, value in _flat(facts).items()})
        yield callback


def _module(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"log={name!r} needs {name}: pip install 'kseg[{name}]'") from None


def _with_plain_names(logs):
    """Return logs under names that MLflow takes: for one of a class it would refuse them all."""
    return {_NO_NAME.sub("_", key): value for key, value in (logs or {}).items()}


def _flat(facts, start=""):
    """Return nested facts as one dict, `{"training.epochs": 50}`."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{start}{key}.") if isinstance(value, Mapping) else {f"{start}{key}": value}
    return flat


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
