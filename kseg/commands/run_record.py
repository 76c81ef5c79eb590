"""`config.json` of a training: what was asked for and on what, for people and programs to read."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseg.commands.monitoring import MONITOR
from kseg.commands.preparation import Datasets
from kseg.disk import write_whole
from kseg.optimizers.by_name import RATE_AND_DECAY
from kseg.replicas import num_replicas
from kseg.types import PathLike
from kseg.version import __version__

_OF_DATA = ("classes", "label_map", "pictures", "validation", "reading", "channels", "value_range")


def run_record(
    command: str | None,
    root: PathLike,
    datasets: Datasets,
    network: keras.Model,
    of_model: Mapping[str, Any],
    config: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what stands in `config.json`; nothing of the environment is in it.

    Args:
        command: `None` or the command line.
        root: of the data.
        datasets: of the training.
        network: the model, compiled.
        of_model: arguments of its builder.
        config: what a state remembers.
        options: those of `kseg.compile`.
    """
    rate, decay = RATE_AND_DECAY[options.get("optimizer", "adamw")]
    defaults: dict[str, Any] = {"loss": ["cross_entropy"], "monitor": MONITOR}
    defaults |= {"early_stopping": None, "augmentation": {}}
    defaults |= {"learning_rate": rate, "weight_decay": decay, "optimizer": "adamw", "schedule": "poly"}
    of_builder = {name: config[name] for name in of_model}
    steps = {name: value for name, value in config.items() if name not in (*_OF_DATA, *of_model, "model")}
    return {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"name": config["model"], "arguments": of_builder, "parameters": network.count_params()},
        "data": {
            "root": str(Path(root).expanduser().resolve()),
            "layout": datasets.crops.layout,
            "training_pictures": len(set(datasets.crops.image_paths)),
            "validation_pictures": len(set(datasets.validation.image_paths)),
            **{name: config[name] for name in _OF_DATA if name in config},
        },
        "training": defaults | steps | {"steps_per_epoch": len(datasets.crops), "devices": num_replicas()},
        "versions": {
            "kseg": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def write_record(record: Mapping[str, Any], folder: Path) -> None:
    """Write `config.json`, whole or not at all."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    # a name of a file that is no text becomes an escape of JSON
    write_whole(folder / "config.json", text.encode("utf-8", "backslashreplace"), "the record of the run")
