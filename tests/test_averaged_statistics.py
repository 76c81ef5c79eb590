"""Averages of batch statistics, beside those of the weights: formula, evaluation, files, two devices."""

import warnings

import keras
import numpy as np
import pytest

import kseg
from kseg.callbacks import EvaluateEMA, SaveBest
from kseg.graphs import batch_statistics, layers_inside
from kseg.optimizers import AdamW
from kseg.optimizers.averages import averaged, averages

CPUS = ["CPU:0", "CPU:1"]
FIT = {"batch_size": 2, "shuffle": False, "verbose": 0}


def pictures(count=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 8, 8, 3)).astype("float32")
    return images, rng.integers(0, 3, (count, 8, 8)).astype("uint8")


def of_kseg():
    return kseg.build_conv_stack(3, (8, 8, 3), depth=2, filters=4, normalization="batch")


def of_keras():
    """A network of the user's own, with stock batch normalisation, once without its scale."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(scale=False)(keras.layers.Conv2D(4, 3, padding="same")(image / 255))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(x))
    return keras.Model(image, keras.layers.Conv2D(3, 1)(x))


def statistics_of(model):
    return [v for v in model.non_trainable_variables if v.path.rsplit("/")[-1].startswith("moving_")]


class Trace(keras.callbacks.Callback):
    """The statistics after every step."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([np.array(v) for v in statistics_of(self.model)])


@pytest.mark.parametrize("build", [of_kseg, of_keras])
def test_statistics_follow_the_formula_of_the_weights(build):
    model, trace = kseg.compile(build(), learning_rate=0.1, ema_momentum=0.4), Trace()
    assert len(batch_statistics(model.trainable_variables)) == len(statistics_of(model)) > 0
    model.fit(*pictures(), **FIT, epochs=2, callbacks=[trace])
    expected = [np.zeros_like(value, "float64") for value in trace.seen[0]]
    for update, values in enumerate(trace.seen):
        share = min(0.4, (1 + update) / (10 + update)) if update else 0
        expected = [share * a + (1 - share) * v for a, v in zip(expected, values, strict=True)]
    by_path = {v.path: np.array(average) for v, average in averages(model)}
    for variable, value in zip(statistics_of(model), expected, strict=True):
        np.testing.assert_allclose(by_path[variable.path], value, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(by_path[variable.path], np.array(variable))  # fit has ended with them
    assert not np.allclose(trace.seen[-1][0], expected[0], rtol=1e-3)


def of_both():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, of_kseg()(keras.layers.BatchNormalization()(image)))


@pytest.mark.parametrize("build", [of_kseg, of_keras, of_both])
def test_what_is_evaluated_and_saved_has_the_statistics_of_its_own(build, tmp_path):
    """The last batch is much darker: it moves the weights' statistics far, the averages' little."""
    images, mask = pictures(40)
    images[-2:] /= 50
    validation = images[:8], mask[:8]
    model = kseg.compile(build(), learning_rate=1e-3, ema_momentum=0.99)
    for layer in layers_inside(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.1
    seen = {}

    class Spy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen["logs"] = logs
            seen["raw"] = [np.array(v) for v in statistics_of(self.model)]
            with averaged(self.model):
                seen["averages"] = [np.array(v) for v in statistics_of(self.model)]

    watching = [EvaluateEMA(), SaveBest(tmp_path / "best.keras", "val_loss"), Spy()]
    model.fit(images, mask, **FIT, validation_data=validation, callbacks=watching)
    assert not np.allclose(seen["raw"][1], seen["averages"][1], rtol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        best = keras.models.load_model(tmp_path / "best.keras")
    for network in (model, best):
        for variable, value in zip(statistics_of(network), seen["averages"], strict=True):
            np.testing.assert_array_equal(np.array(variable), value)
        logs = network.evaluate(*validation, verbose=0, return_dict=True)
        assert logs["loss"] == pytest.approx(seen["logs"]["val_loss"], rel=1e-5)


def test_a_loaded_model_trains_on_as_the_one_that_was_saved(tmp_path):
    model = kseg.compile(of_kseg(), 20, ema_momentum=0.9)
    model.fit(*pictures(), **FIT)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(*pictures(), **FIT)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_a_file_without_averages_of_statistics_loads(tmp_path, monkeypatch):
    """As kseg wrote it before it kept them: they start from the statistics there are."""
    with monkeypatch.context() as before:
        before.setattr(AdamW, "save_own_variables", keras.optimizers.AdamW.save_own_variables)
        before.setattr("kseg.optimizers.one_step.batch_statistics", lambda variables: [])
        model = kseg.compile(of_kseg(), ema_momentum=0.9)
        model.fit(*pictures(), **FIT)
        model.save(tmp_path / "old.keras")
    again = keras.models.load_model(tmp_path / "old.keras")
    assert int(again.optimizer.iterations) == int(model.optimizer.iterations) == 4
    kept = {v.path: np.array(average) for v, average in averages(again)}
    for variable in statistics_of(again):
        np.testing.assert_array_equal(kept[variable.path], np.array(variable))
        assert np.abs(kept[variable.path]).min() > 0


def test_statistics_of_a_frozen_layer_are_left_alone():
    model = of_kseg()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    norms[0].trainable = False
    kseg.compile(model, ema_momentum=0.9)
    model.fit(*pictures(), **FIT)
    moved = {variable.path for variable, _ in averages(model)} & {v.path for v in statistics_of(model)}
    assert moved == {v.path for v in norms[1].non_trainable_variables}


def test_two_devices_keep_the_averages_of_one():
    def trained(devices):
        keras.utils.set_random_seed(0)
        with kseg.strategy(devices).scope():
            model = kseg.compile(of_kseg(), 8, ema_momentum=0.6)
        model.fit(*pictures(), **{**FIT, "batch_size": 3})
        return model.get_weights()

    for one, two in zip(trained(CPUS[:1]), trained(CPUS), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=3e-6)
