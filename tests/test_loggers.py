"""Services that keep curves, by name; both are played here by modules of the same names."""

import json
import sys
import types

import keras
import numpy as np
import pytest

import kseg
from kseg.callbacks.loggers import checked_loggers, logging_to
from kseg.cli import main


class Service:
    """What W&B and MLflow have in common: a run that begins, takes curves and ends."""

    def __init__(self):
        self.run, self.told, self.logs = None, [], []

    def callback(self):
        service = self

        class Logger(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                service.logs.append((epoch, dict(logs)))

            def on_test_end(self, logs=None):
                service.logs.append(("test", dict(logs)))

        return Logger()

    def init(self, name, dir, config):
        self.told.append(("init", name, dir, config))
        self.run = self
        return self

    def finish(self, exit_code=0):
        self.told.append(("finish", exit_code))
        self.run = None

    def start_run(self, run_name):
        self.told.append(("start", run_name))
        self.run = self
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.told.append(("end", kind))
        self.run = None


@pytest.fixture
def services(monkeypatch):
    """The two services, in the place of the packages."""
    found = {"wandb": Service(), "mlflow": Service()}
    for name, inner in (("wandb", "integration.keras"), ("mlflow", "keras")):
        module, service = types.ModuleType(name), found[name]
        module.init, module.start_run = service.init, service.start_run
        module.active_run = lambda service=service: service.run
        module.log_params = lambda params, service=service: service.told.append(("params", params))
        module.__getattr__ = lambda word, service=service: {"run": service.run}[word]
        callbacks = types.ModuleType(f"{name}.{inner}")
        callbacks.WandbMetricsLogger = callbacks.MlflowCallback = service.callback
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, f"{name}.{inner}", callbacks)
    return found


FACTS = {"model": {"name": "unet", "arguments": {}}, "training": {"epochs": 3, "loss": ["dice"]}}


def fit(loggers):
    model = kseg.build_conv_stack(2, depth=1, filters=2)
    kseg.compile(model, class_names=["a (b), c", "d"])
    images, masks = np.zeros((2, 8, 8, 3), "float32"), np.eye(8, dtype="uint8")[None].repeat(2, 0)
    model.fit(images, masks, epochs=2, validation_data=(images, masks), verbose=0, callbacks=loggers)


def test_a_run_begins_takes_the_curves_and_ends(services, tmp_path):
    with logging_to(["wandb", "tensorboard", "mlflow"], tmp_path / "first", FACTS) as loggers:
        assert len(loggers) == 2  # TensorBoard has no run
        fit(loggers)
    for service in services.values():
        assert [epoch for epoch, _ in service.logs] == ["test", 0, "test", 1]
    assert services["wandb"].told == [
        ("init", "first", str(tmp_path / "first"), FACTS),
        ("finish", 0),
    ]
    assert "val_iou_a (b), c" in services["wandb"].logs[1][1]
    params = {"model.name": "unet", "training.epochs": "3", "training.loss": "['dice']"}
    assert services["mlflow"].told == [("start", "first"), ("params", params), ("end", None)]
    names = [name for _, logs in services["mlflow"].logs for name in logs]  # which MLflow takes
    assert "val_iou_a _b__ c" in names and "iou_d" in names
    assert not any(letter in name for name in names for letter in "(),")


def test_a_run_of_a_training_that_breaks_ends_as_broken(services, tmp_path):
    with pytest.raises(LookupError), logging_to(["mlflow", "wandb"], tmp_path, FACTS):
        raise LookupError("broken")
    assert services["wandb"].told[-1] == ("finish", 1)
    assert services["mlflow"].told[-1] == ("end", LookupError)


def test_a_run_that_is_open_is_taken_and_stays_open(services, tmp_path):
    for service in services.values():
        service.run = "mine"
    with logging_to(["mlflow", "wandb"], tmp_path, FACTS):
        pass
    assert services["wandb"].told == []
    assert [word for word, *_ in services["mlflow"].told] == ["params"]
    assert {service.run for service in services.values()} == {"mine"}


def test_of_several_workers_the_chief_alone_logs(services, tmp_path, monkeypatch):
    monkeypatch.setattr("kseg.callbacks.loggers.is_chief", lambda: False)
    with logging_to(["wandb", "mlflow"], tmp_path, FACTS) as loggers:
        assert loggers == []
    assert services["wandb"].told == services["mlflow"].told == []


def test_a_service_that_begins_no_run_says_why(services, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise KeyError("no key\nand more lines")

    for module, word in (("wandb", "init"), ("mlflow", "start_run")):
        monkeypatch.setattr(sys.modules[module], word, refuse)
        with (
            pytest.raises(RuntimeError, match=f"log='{module}': no run began .*no key.*(WANDB_MODE|MLFLOW_)"),
            logging_to([module], tmp_path, FACTS),
        ):
            pass


def test_names_are_judged_at_once(services, monkeypatch):
    assert checked_loggers(["wandb", "tensorboard", "wandb"]) == ["wandb", "tensorboard"]
    assert checked_loggers("mlflow") == ["mlflow"] and checked_loggers(()) == []
    with pytest.raises(ValueError, match="unknown log 'wandbb'; did you mean 'wandb'"):
        checked_loggers(["wandbb"])
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf"^log='{name}' needs {name}: pip install 'kseg\[{name}\]'$"):
            checked_loggers([name])


def test_the_shell_takes_them(services, tmp_path, capsys, monkeypatch):
    for split in ("train", "val"):
        images, masks = tmp_path / "data" / split / "images", tmp_path / "data" / split / "masks"
        for folder, pixels in ((images, np.zeros((32, 32, 3))), (masks, np.eye(32))):
            folder.mkdir(parents=True)
            keras.utils.save_img(folder / "0.png", np.atleast_3d(pixels), scale=False)
    arguments = ["train", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "run")]
    arguments += ["--model", "conv_stack", "--filters", "2", "--crop-size", "32x32", "--epochs", "1"]
    arguments += ["--batch-size", "1", "--log", "wandb", "mlflow"]
    assert main(arguments) == 0, capsys.readouterr().err
    ((_, name, _, config), *_) = services["wandb"].told
    assert name == "run" and set(config) == {"model", "training", "versions"}
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config == {key: record[key] for key in config}  # and neither the command nor the data's place
    assert [epoch for epoch, _ in services["mlflow"].logs] == ["test", 0]
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main([*arguments, "--output", str(tmp_path / "other")]) == 1
    assert "--log mlflow needs mlflow: pip install" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
