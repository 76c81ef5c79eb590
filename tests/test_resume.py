"""A training that is killed and resumed ends with the weights of one that is not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg import states
from kseg.callbacks import EpochLine, ExactResume, SaveBest, StopOnDivergence, StopOnSignal, TrainingDiverged

SIZE, EPOCHS = (32, 40), 4


def training(folder, epochs=EPOCHS, seed=0, filters=4, **config):
    """A training in which everything that can be forgotten takes part: dropout, momentum, order, chance."""
    keras.utils.set_random_seed(seed)
    augment = kseg.data.augment((32, 32))
    scenes = kseg.data.shapes(8, (32, 40), batch_size=2, shuffle=True, seed=3, augment=augment)
    layers = keras.layers
    x = image = keras.Input((32, 32, 3))
    for layer in (layers.Rescaling(1 / 255), layers.Conv2D(filters, 3, padding="same")):
        x = layer(x)
    for layer in (layers.BatchNormalization(), layers.Dropout(0.3), layers.Conv2D(scenes.num_classes, 1)):
        x = layer(x)
    model = keras.Model(image, x)
    options = {"ema_momentum": 0.7, "gradient_accumulation_steps": 2}
    kseg.compile(model, EPOCHS * len(scenes), learning_rate=1e-2, **options)
    best = SaveBest(folder / "best.keras", monitor="mean_iou")
    stop = keras.callbacks.EarlyStopping("loss", patience=50)
    resume = ExactResume(folder / "states", scenes, [best, stop], config, report=lambda text: None)
    history = model.fit(
        scenes, epochs=epochs, shuffle=False, verbose=0, callbacks=[best, stop, resume, StopOnSignal()]
    )
    return model, history.history, best, stop


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return training(tmp_path_factory.mktemp("whole"))


def assert_same(resumed, whole):
    for variable, expected in zip(resumed[0].variables, whole[0].variables, strict=True):
        np.testing.assert_array_equal(variable, expected)
    for variable, expected in zip(resumed[0].optimizer.variables, whole[0].optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)
    assert resumed[1] == whole[1]
    assert resumed[2].best == whole[2].best and resumed[3].best == whole[3].best


@pytest.mark.parametrize("stops", [pytest.param((3,), marks=pytest.mark.slow), (1, 2)], ids=str)
def test_it_ends_where_it_would_have(tmp_path, uninterrupted, stops):
    for epochs in stops:
        training(tmp_path, epochs)
        keras.utils.set_random_seed(99)
    assert_same(training(tmp_path), uninterrupted)


def test_a_torn_state_costs_one_epoch(tmp_path, uninterrupted):
    training(tmp_path, 3)
    (tmp_path / "states" / "epoch-000003" / "arrays.npz").write_bytes(b"torn")
    assert_same(training(tmp_path), uninterrupted)


def test_it_says_where_it_starts(tmp_path):
    told = []
    scenes = kseg.data.shapes(2, SIZE, batch_size=2)
    model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2))
    resume = ExactResume(tmp_path, scenes, report=told.append)
    for epochs in (1, 2, 3):
        model.fit(scenes, epochs=epochs, shuffle=False, verbose=0, callbacks=[resume])
    (tmp_path / "epoch-000003" / "state.json").unlink()
    model.fit(scenes, epochs=3, shuffle=False, verbose=0, callbacks=[resume])
    assert told[:3] == [
        "no state to resume: starting with epoch 1",
        "resuming after epoch 1",
        "resuming after epoch 2",
    ]
    assert "epoch-000003 is damaged" in told[3] and told[4] == "resuming after epoch 2"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a training of one epoch."""
    folder = tmp_path_factory.mktemp("begun")
    training(folder, 1, crop=32)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 6}, r"is of another model: .*\[3, 3, 3, 4\].* there, .*\[3, 3, 3, 6\].* here"),
        ({"crop": 48}, "is of another training: crop: 32 before, 48 now"),
    ],
)
def test_a_state_of_another_training_is_refused(begun, change, message):
    with pytest.raises(ValueError, match=message):
        training(begun, **{"crop": 32, **change})


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    scenes = kseg.data.shapes(2, SIZE, batch_size=2)
    model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2))
    model.layers[-1].bias.assign([np.inf] * 6)
    callbacks = [ExactResume(tmp_path, scenes, report=lambda text: None)]
    with pytest.raises(TrainingDiverged, match=r"epoch 1: the weight .* is not finite"):
        model.fit(scenes, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    assert states.newest(tmp_path) == (None, [])


def test_a_loss_that_is_no_number_names_the_pictures(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    for name in "abcd":
        color = "white" if name == "c" else "black"
        Image.new("RGB", SIZE, color).save(tmp_path / "train" / "images" / f"{name}.png")
        Image.new("L", SIZE).save(tmp_path / "train" / "masks" / f"{name}.png")
    dataset = kseg.data.from_directory(tmp_path, class_names=["a", "b"], batch_size=1, seed=1)
    image = keras.Input((None, None, 3))
    scores = keras.layers.Conv2D(2, 1, kernel_initializer="ones")(image)  # 0 of black, 765 of white
    model = keras.Model(image, scores)
    model.compile(keras.optimizers.SGD(0.0), lambda _, scores: keras.ops.sqrt(1 - scores[..., 0]))
    with pytest.raises(
        TrainingDiverged, match=r"epoch 1, step \d: the loss is nan; its pictures: .*/c\.png;"
    ):
        callbacks = [StopOnDivergence(dataset), ExactResume(tmp_path / "states", dataset)]
        model.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks)


KILLED = """
import sys, json
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
)
from test_resume import training
from kseg.callbacks import TrainingInterrupted
print("ready", flush=True)
try:
    model, *_ = training(Path(sys.argv[1]))
except TrainingInterrupted as error:
    print(error)
    sys.exit(128 + error.signal)
print(json.dumps([float(abs(w).sum()) for w in model.get_weights()]))
"""


def start(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder, Path(__file__).parent], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)


def test_arguments_of_callbacks_are_those_of_now(tmp_path, capsys):
    """What they have counted goes on; what they were asked for, and their clocks, do not."""
    scenes = kseg.data.shapes(4, (32, 32), batch_size=2, shuffle=True)
    for epochs, patience in ((1, 2), (2, 9)):
        model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2))
        stop, line = keras.callbacks.EarlyStopping("loss", patience=patience), EpochLine()
        resume = ExactResume(tmp_path, scenes, [stop, line])
        model.fit(scenes, epochs=epochs, shuffle=False, verbose=0, callbacks=[stop, line, resume])
    assert stop.patience == 9 and stop.best == min(model.history.history["loss"])
    assert line.epoch == 1
    with pytest.raises(ValueError, match="has the numbers of 2 callbacks, and callbacks= has 1"):
        model.fit(
            scenes, epochs=3, verbose=0, shuffle=False, callbacks=[ExactResume(tmp_path, scenes, [stop])]
        )


def test_a_training_that_was_stopped_early_goes_on_with_more_patience_alone(tmp_path):
    told = []
    scenes = kseg.data.shapes(2, (32, 32), batch_size=2)
    for patience, epochs in ((1, 2), (1, 2), (3, 4)):
        model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2))
        stop = keras.callbacks.EarlyStopping("mean_iou", patience=patience, mode="max", min_delta=2)
        resume = ExactResume(tmp_path, scenes, [stop], report=told.append)
        model.fit(scenes, epochs=9, shuffle=False, verbose=0, callbacks=[stop, resume])
        assert states.newest(tmp_path)[0].epoch == epochs
    assert told[1:] == [
        "resuming after epoch 2, where it was stopped early: nothing is left to train",
        "resuming after epoch 2",
    ]
    model.fit(scenes, epochs=1, shuffle=False, verbose=0)  # another fit begins with its own first epoch
    assert len(model.history.epoch) == 1


def test_a_fit_after_nothing_was_left_begins_with_its_own_first_epoch(tmp_path):
    scenes = kseg.data.shapes(2, (32, 32), batch_size=2)
    for _ in range(2):
        model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2))
        resume = ExactResume(tmp_path, scenes, report=lambda text: None)
        model.fit(scenes, epochs=1, shuffle=False, verbose=0, callbacks=[resume])
    assert model.fit(scenes, epochs=1, shuffle=False, verbose=0).epoch == [0]


def test_what_json_cannot_hold_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"config\['weights'\] must be what JSON can hold, got PosixPath"):
        ExactResume(tmp_path, config={"weights": tmp_path})
    with pytest.raises(ValueError, match="keep must be 1 or more, got 0"):
        ExactResume(tmp_path, keep=0)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_where_it_would_have(tmp_path):
    """Each life is ended by SIGKILL a little after it wrote a state; the last one by nothing."""
    whole = json.loads(start(tmp_path / "whole").communicate()[0])
    for epoch in (1, 3):
        process = start(tmp_path / "killed")
        wait_for(tmp_path / "killed" / "states" / f"epoch-{epoch:06d}", process)
        process.kill()
        process.communicate()
    assert json.loads(start(tmp_path / "killed").communicate()[0]) == whole


def test_a_signal_ends_it_after_a_whole_step(tmp_path):
    process = start(tmp_path)
    wait_for(tmp_path / "states" / "epoch-000001", process)
    process.send_signal(signal.SIGINT)  # SIGTERM: tests/cli
    said, _ = process.communicate()
    assert process.returncode == 130
    assert "stopped by SIGINT in" in said
    assert states.newest(tmp_path / "states")[0].epoch >= 1
