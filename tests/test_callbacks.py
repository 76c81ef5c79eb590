import csv
import io
import re
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.callbacks import EpochLine, LearningCurve, PredictionPictures, SaveBest, save_model
from kseg.callbacks.epoch_line import in_words


@pytest.fixture
def model():
    return kseg.build_conv_stack(2, depth=1, filters=2)


def marked(model, number):
    """Mark the model with a number."""
    model.weights[0].assign(np.full(model.weights[0].shape, number))
    return model


def mark_in(path):
    return float(keras.models.load_model(path).weights[0].numpy().mean())


def break_save(monkeypatch, model, error):
    def save(path):
        path.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(model, "save", save)


def save_epochs(callback, model, values):
    callback.set_model(model)
    for epoch, value in enumerate(values, start=1):
        marked(model, epoch)
        callback.on_epoch_end(epoch, {"loss": 1.0, "val_mean_iou": value})


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.1, 0.3, 0.2], 2),
        ([0.3, 0.3], 1),
        ([np.nan, 0.1], 2),
        ([0.2, np.nan, 0.1], 1),
        ([0.2, np.nan, 0.3], 3),
        ([-2.0, -1.0], 2),
    ],
)
def test_save_best_keeps_the_epoch_with_the_highest_value(model, tmp_path, values, best):
    save_epochs(SaveBest(tmp_path / "best.keras"), model, values)
    assert mark_in(tmp_path / "best.keras") == best


def test_save_best_writes_nothing_while_all_values_are_nan(model, tmp_path):
    save_epochs(SaveBest(tmp_path / "best.keras"), model, [np.nan, np.nan])
    assert list(tmp_path.iterdir()) == []


def test_save_best_keeps_the_old_file_when_saving_fails_and_tries_again(model, tmp_path, monkeypatch):
    callback = SaveBest(tmp_path / "best.keras")
    save_epochs(callback, model, [0.1])
    with monkeypatch.context() as patch:
        break_save(patch, model, OSError("disk full"))
        with pytest.raises(OSError, match="disk full"):
            save_epochs(callback, model, [0.1, 0.5])
    assert mark_in(tmp_path / "best.keras") == 1
    callback.on_epoch_end(3, {"val_mean_iou": 0.4})
    assert mark_in(tmp_path / "best.keras") == 2


def test_save_best_names_the_logs_there_are(model, tmp_path):
    callback = SaveBest(tmp_path / "best.keras", monitor="val_iou")
    with pytest.raises(
        ValueError, match="monitor='val_iou' is not in the logs, which have loss, val_mean_iou"
    ):
        save_epochs(callback, model, [0.1])


@pytest.mark.parametrize(
    ("frequency", "marks"),
    [
        (2, [0, 1, 0, 1, 0]),
        pytest.param(3, [0, 0, 1, 0, 0], marks=pytest.mark.slow),
        ([1, 4], [1, 0, 0, 1, 0]),
    ],
)
@pytest.mark.slow_after(1)
def test_epochs_that_are_not_validated_are_passed_over(model, tmp_path, frequency, marks):
    images, mask = np.zeros((2, 32, 32, 3), "float32"), np.zeros((2, 32, 32), "uint8")
    kseg.compile(model)
    callbacks = [SaveBest(tmp_path / "best.keras"), LearningCurve(tmp_path)]
    arguments = {"validation_data": (images, mask), "validation_freq": frequency, "callbacks": callbacks}
    number = marks.index(0) + 1
    with pytest.warns(UserWarning, match=f"epoch {number} was not validated"):
        logs = model.fit(images, mask, epochs=5, verbose=0, **arguments).history
    assert (tmp_path / "best.keras").is_file()
    head, *rows = csv.reader((tmp_path / "history.csv").read_text().splitlines())
    column = [float(row[head.index("val_loss")]) for row in rows]
    assert [value for value in column if np.isfinite(value)] == logs["val_loss"]
    assert np.isfinite(column).tolist() == [bool(mark) for mark in marks]


def test_table_and_curves_count_epochs_as_fit_does(model, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "kseg.callbacks.progress.learning_curve",
        lambda curves: drawn.append(curves) or np.zeros((1, 1, 3), "uint8"),
    )
    images, mask = np.zeros((2, 32, 32, 3), "float32"), np.zeros((2, 32, 32), "uint8")
    kseg.compile(model)
    arguments = {"epochs": 12, "initial_epoch": 10, "callbacks": [LearningCurve(tmp_path)], "verbose": 0}
    logs = model.fit(images, mask, **arguments).history
    head, *rows = csv.reader((tmp_path / "history.csv").read_text().splitlines())
    assert [row[0] for row in rows] == ["11", "12"]
    assert [float(row[head.index("loss")]) for row in rows] == logs["loss"]
    np.testing.assert_array_equal(drawn[-1]["loss"]["loss"], [np.nan] * 10 + logs["loss"])


@pytest.mark.parametrize("key", ["loss", "val_loss"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_save_best_trusts_no_epoch_without_a_finite_loss(model, tmp_path, key, value):
    callback = SaveBest(tmp_path / "best.keras")
    callback.set_model(model)
    callback.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0, "val_mean_iou": 0.5, key: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_save_model_leaves_the_old_file_and_no_other_when_it_fails(model, tmp_path, monkeypatch, error):
    path = tmp_path / "model.keras"
    save_model(marked(model, 1), path)
    break_save(monkeypatch, model, error)
    with pytest.raises(type(error)):
        save_model(model, path)
    assert list(tmp_path.iterdir()) == [path]
    assert mark_in(path) == 1


def test_a_full_disk_is_explained_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.keras"
    large = kseg.build_conv_stack(2, depth=2, filters=64)
    save_model(large, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a full disk: a write fails
    try:
        message = (
            r"model\.keras: the model was not written \(.*\): it needs 0\.2 MB, .* MB are free; an older"
        )
        with pytest.raises(OSError, match=message):
            save_model(large, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_save_model_makes_the_folder_and_writes_one_file(model, tmp_path):
    path = tmp_path / "new" / "folder" / "model.keras"
    for number in (1, 2):
        save_model(marked(model, number), str(path))
        assert list(path.parent.iterdir()) == [path]
        assert mark_in(path) == number


@pytest.mark.parametrize("save", [save_model, lambda _, path: SaveBest(path)], ids=["save_model", "SaveBest"])
def test_only_keras_files_are_written(model, tmp_path, save):
    with pytest.raises(ValueError, match=r"path must end in \.keras"):
        save(model, tmp_path / "model.h5")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fit(model, *callbacks):
    images, mask = np.zeros((4, 8, 6, 3), "float32"), np.zeros((4, 8, 6), "uint8")
    kseg.compile(model)
    return model.fit(
        images, mask, batch_size=2, epochs=2, validation_data=(images, mask), verbose=0, callbacks=callbacks
    )


def test_fit_saves_the_best_and_prints_a_line_per_epoch(model, tmp_path, capsys):
    logs = fit(model, SaveBest(tmp_path / "best.keras"), EpochLine()).history
    assert (tmp_path / "best.keras").is_file()
    before, first_step, speed, *lines = capsys.readouterr().out.splitlines()
    assert before == "first step: building the graph, may take a minute"
    assert re.fullmatch(r"first step after \d+ s", first_step)
    assert re.fullmatch(r"about \d+ s an epoch", speed)
    for epoch, line in enumerate(lines):
        values = [f"{key} {logs[key][epoch]:.4f}" for key in ("loss", "val_loss", "val_mean_iou")]
        assert line.startswith(f"epoch {epoch + 1}/2  {'  '.join(values)}  ")
        assert re.search(r" \d+\.\d min$" if epoch else r" \d+\.\d min, about \d+ s left$", line)
    assert len(lines) == 2


def test_epoch_line_prints_the_keys_there_are(model):
    file = io.StringIO()
    logs = fit(model, EpochLine(["absent", "mean_iou"], file)).history
    assert file.getvalue().splitlines()[-1].startswith(f"epoch 2/2  mean_iou {logs['mean_iou'][1]:.4f}  ")


def test_epoch_line_runs_along_on_a_terminal(model):
    file = Terminal()
    fit(model, EpochLine(file=file, run="first"))
    _, *running = (line.rstrip() for line in file.getvalue().split("\r"))
    assert running[0] == "first: first step: building the graph, may take a minute"
    assert re.fullmatch(r"first: first step after \d+ s", running[1])
    assert re.fullmatch(r"first: epoch 1: step 2/2, loss \d+\.\d{3}, 0 s left", running[2])
    assert [f"first: epoch 1: validating, batch {number}" for number in (1, 2)] == running[3:5]
    assert running[5].startswith("\033[Kfirst: epoch 1/2  loss ")
    assert running[6].startswith("first: epoch 2: step 1/2, loss ") and running[6].endswith(" s left")
    covered = [line for line in file.getvalue().split("\r")[1:] if not line.startswith("\033")]
    assert {len(line) for line in covered} == {len(covered[0])}  # a shorter line covers a longer one


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_a_line_comes_now_and_then_where_none_can_run_along(model, monkeypatch):
    """Steps of 8 s after a first one of 40 s: a line each half minute at most, with what is left."""
    clock, file = Clock(), io.StringIO()
    monkeypatch.setattr("kseg.callbacks.epoch_line.time", clock)
    line = EpochLine(["loss"], file)
    line.set_params({"steps": 12, "epochs": 3})
    line.on_train_begin()
    for epoch in range(2):
        line.on_epoch_begin(epoch)
        for batch in range(12):
            clock.now += 40 if (epoch, batch) == (0, 0) else 8
            line.on_train_batch_end(batch, {"loss": 0.5})
        for batch in range(4):
            clock.now += 15
            line.on_test_batch_end(batch)
        line.on_epoch_end(epoch, {"loss": 0.25})
    expected = """first step: building the graph, may take a minute
first step after 40 s
about 96 s an epoch
epoch 1: step 6/12, loss 0.500, 48 s left
epoch 1: step 10/12, loss 0.500, 16 s left
epoch 1: validating, batch 1
epoch 1: validating, batch 3
epoch 1/3  loss 0.2500  3.1 min, about 6 min left
epoch 2: step 2/12, loss 0.500, 80 s left
epoch 2: step 6/12, loss 0.500, 48 s left
epoch 2: step 10/12, loss 0.500, 16 s left
epoch 2: validating, batch 1
epoch 2: validating, batch 3
epoch 2/3  loss 0.2500  5.7 min, about 3 min left
"""
    assert file.getvalue().splitlines() == expected.replace("about 96 s", "about 2 min").splitlines()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.2, "1 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("monitor", "mode", "values", "best"),
    [
        ("val_loss", "auto", [0.3, 0.1, 0.2], 2),
        ("loss", "auto", [0.3, np.nan, 0.2], 3),
        ("val_iou_gloss", "auto", [0.3, 0.1, 0.2], 1),
        ("val_iou_a_loss", "auto", [0.3, 0.1, 0.2], 1),
        ("val_mean_dice", "auto", [0.1, 0.3, 0.2], 2),
        ("val_loss", "max", [0.3, 0.1, 0.2], 1),
        ("val_error", "min", [0.3, 0.1, 0.2], 2),
    ],
)
def test_save_best_knows_which_way_is_better(model, tmp_path, monitor, mode, values, best):
    told = []
    callback = SaveBest(tmp_path / "best.keras", monitor, mode, report=told.append)
    callback.set_model(model)
    for epoch, value in enumerate(values):
        marked(model, epoch + 1)
        callback.on_epoch_end(epoch, {"val_loss": 1.0, "loss": 1.0} | {monitor: value})
    assert mark_in(tmp_path / "best.keras") == best == callback.best_epoch
    assert callback.best == values[best - 1]
    assert told[-1] == f"{monitor} {values[best - 1]:.4f} is the best so far: writing best.keras"


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown mode 'maximum'; did you mean 'max'"):
        SaveBest(tmp_path / "best.keras", mode="maximum")


def test_tensorboard_gets_pictures_truth_and_predictions(tmp_path):
    scenes = kseg.data.shapes(7, (32, 40), batch_size=2)
    model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=4))
    pictures = PredictionPictures(tmp_path, scenes, scenes.class_names, count=3, every=2)
    model.fit(scenes, epochs=3, shuffle=False, verbose=0, callbacks=[pictures])
    (file,) = (tmp_path / "predictions").iterdir()
    shown = {}
    for record in tf.data.TFRecordDataset([str(file)]).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            shown[event.step] = value.tensor.string_val
    assert list(shown) == [0, 2]
    picture = tf.io.decode_png(shown[2][2]).numpy()  # after its width and height
    assert picture.shape[0] == 28 + 3 * (32 + 8) and picture.shape[1] > 3 * 40
    for row, index in enumerate((0, 3, 6)):  # spread over the dataset
        image = np.concatenate([images for images, _ in scenes.as_numpy_iterator()])[index]
        top = 28 + row * 40
        np.testing.assert_array_equal(picture[top : top + 32, 8:48], image)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", keras.optimizers.Adam])
@pytest.mark.parametrize("multilabel", [False, True])
def test_a_model_saved_without_its_optimizer_predicts_and_trains(tmp_path, optimizer, multilabel):
    """It keeps what tells its scores, and loads without a warning, which would be an error here."""
    model = kseg.build_conv_stack(3, (8, 8, 3), depth=2, filters=8)
    averaged = {"ema_momentum": 0.9} if isinstance(optimizer, str) else {}
    optimizer = optimizer if isinstance(optimizer, str) else optimizer()
    kseg.compile(model, optimizer=optimizer, multilabel=multilabel, **averaged)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 8, 8, 3)).astype("float32")
    shape, highest = ((4, 8, 8, 3), 2) if multilabel else ((4, 8, 8), 3)
    mask = rng.integers(0, highest, shape).astype("uint8")
    model.fit(images, mask, batch_size=2, verbose=0)
    for name, whole in (("whole", True), ("alone", False)):
        save_model(model, tmp_path / f"{name}.keras", include_optimizer=whole)
    sizes = [(tmp_path / f"{name}.keras").stat().st_size for name in ("whole", "alone")]
    assert sizes[1] < sizes[0]
    alone = kseg.load(tmp_path / "alone.keras")
    np.testing.assert_array_equal(alone.predict(images, verbose=0), model.predict(images, verbose=0))
    assert kseg.graphs.trained_multilabel(alone) == multilabel
    assert not alone.optimizer.built or int(alone.optimizer.iterations) == 0
    alone.fit(images, mask, batch_size=2, verbose=0)
    assert int(model.optimizer.iterations) == 2  # what was saved is as it was


def test_a_subclass_is_saved_with_its_optimizer(tmp_path):
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"include_optimizer=False: .* is a subclass of keras\.Model"):
        save_model(Own(), tmp_path / "own.keras", include_optimizer=False)
    assert not list(tmp_path.iterdir())
