"""The steps of kseg's optimizers: against their formulas, and on two devices against one."""

import contextlib

import keras
import numpy as np
import pytest

import kseg
from kseg.callbacks import EvaluateEMA, SaveBest
from kseg.graphs import encoder_layers
from kseg.optimizers import SGD, AdamW, LossScaleOptimizer
from kseg.optimizers.averages import averaged, averages

CPUS = ["CPU:0", "CPU:1"]


def pictures(count=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 8, 8, 3)).astype("float32")
    return images, rng.integers(0, 3, (count, 8, 8)).astype("uint8")


def variables():
    rng = np.random.default_rng(1)
    return [
        keras.Variable(rng.normal(size=size), dtype="float32", name=name)
        for name, size in (("kernel", 4), ("bias", 2))
    ]


def gradients(steps):
    rng = np.random.default_rng(2)
    return [[rng.normal(size=size).astype("float32") for size in (4, 2)] for _ in range(steps)]


def applied(optimizer, steps):
    weights = variables()
    for step in gradients(steps):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], weights)
    return [np.asarray(weight) for weight in weights]


def test_accumulated_clipped_decayed_and_averaged_sgd_follows_its_formula():
    options = {"momentum": 0.9, "weight_decay": 0.5, "rate_factors": [1.0, 0.1], "global_clipnorm": 0.7}
    optimizer = SGD(0.2, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.3, **options)
    got = applied(optimizer, 6)
    weights = [np.array(weight, "float64") for weight in variables()]
    speed, average = [0, 0], None
    steps = gradients(6)
    for update, (one, two) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        mean = [(a + b) / 2 for a, b in zip(one, two, strict=True)]
        norm = np.sqrt(sum(np.sum(g**2) for g in mean))
        for index, (factor, decay) in enumerate([(1.0, 0.5), (0.1, 0.0)]):
            weights[index] = weights[index] * (1 - 0.2 * factor * decay)
            speed[index] = 0.9 * speed[index] - 0.2 * factor * mean[index] * min(1, 0.7 / norm)
            weights[index] = weights[index] + speed[index]
        share = min(0.3, (1 + update) / (10 + update)) if update else 0
        average = [
            w if average is None else share * a + (1 - share) * w
            for a, w in zip(average or weights, weights, strict=True)
        ]
    for value, expected in zip(got, weights, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    for value, expected in zip(optimizer._model_variables_moving_average, average, strict=True):
        np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-5)


@pytest.mark.parametrize("accumulate", [None, 3])
def test_a_plain_step_is_that_of_keras(accumulate):
    options = {"weight_decay": 0.1, "gradient_accumulation_steps": accumulate, "clipnorm": 0.5}
    theirs = keras.optimizers.AdamW(0.1, **options)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    for one, other in zip(applied(AdamW(0.1, **options), 7), applied(theirs, 7), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def network(normalization=False):
    """An encoder and a head of one convolution each."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="encoder_conv")(image / 255)
    x = keras.layers.BatchNormalization(name="encoder_norm")(x) if normalization else x
    return keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(x))


def trained(devices, optimizer="adamw", **options):
    """Weights, averages and logs of a training with three uneven batches."""
    keras.utils.set_random_seed(0)
    with kseg.strategy(devices).scope() if devices else contextlib.nullcontext():
        model = kseg.compile(network(), 6, optimizer=optimizer, **options)
    images, mask = pictures()
    history = model.fit(images, mask, batch_size=3, epochs=2, shuffle=False, verbose=0).history
    with averaged(model):
        return [model.get_weights(), history]


OPTIONS = {
    "clipped": {"global_clipnorm": 0.05},
    "accumulated": {"gradient_accumulation_steps": 2},
    "averaged": {"ema_momentum": 0.6},
    "slow encoder": {"encoder_learning_rate": 1e-4, "schedule": "cosine"},
    "all": {
        "global_clipnorm": 0.05,
        "gradient_accumulation_steps": 2,
        "ema_momentum": 0.6,
        "encoder_learning_rate": 1e-3,
        "optimizer": "sgd",
    },
}


QUICK = ("slow encoder", "all")  # what the others ask for is in "all"; slow, they tell which of it fails


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, options in OPTIONS.items()
    ],
)
@pytest.mark.slow_after(1)
def test_two_devices_take_the_steps_of_one(options):
    one, two = trained(None, **options), trained(CPUS, **options)
    for a, b in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
    assert one[1] == {key: pytest.approx(values, rel=1e-5) for key, values in two[1].items()}


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sgd", marks=pytest.mark.slow)])
def test_all_of_it_survives_saving(tmp_path, optimizer):
    model = kseg.compile(network(), 20, **{**OPTIONS["all"], "optimizer": optimizer})
    model.fit(*pictures(), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for trained_once in (model, again):
        trained_once.fit(*pictures(), batch_size=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_a_slow_encoder_moves_by_its_own_rate():
    options = {"learning_rate": 0.5, "encoder_learning_rate": 0.05, "weight_decay": 0}
    model = kseg.compile(network(), optimizer="sgd", **options)
    weights = model.trainable_variables
    before = [np.asarray(weight) for weight in weights]
    model.optimizer.apply([keras.ops.ones(weight.shape) for weight in weights], weights)
    slow = {id(v) for layer in encoder_layers(model) for v in layer.trainable_variables}
    assert 0 < len(slow) < len(weights)
    for weight, value in zip(weights, before, strict=True):
        rate = 0.05 if id(weight) in slow else 0.5
        np.testing.assert_allclose(value - np.asarray(weight), rate, rtol=1e-4)


def test_a_frozen_encoder_keeps_weights_and_batch_statistics():
    model = network(normalization=True)
    for layer in encoder_layers(model):
        layer.trainable = False
    kseg.compile(model)
    before = {weight.path: np.asarray(weight) for weight in model.weights}
    model.fit(*pictures(), verbose=0)
    frozen = {weight.path for layer in encoder_layers(model) for weight in layer.weights}
    assert any("moving" in path for path in frozen)
    for weight in model.weights:
        same = np.array_equal(before[weight.path], np.asarray(weight))
        assert same == (weight.path in frozen), weight.path
    with pytest.raises(ValueError, match=r"the encoder of .* is frozen; leave it out"):
        kseg.compile(model, encoder_learning_rate=1e-4)


def test_factors_of_another_model_are_refused():
    with pytest.raises(ValueError, match="rate_factors has 1 numbers for 2 trainable variables"):
        SGD(0.1, rate_factors=[1.0]).build(variables())


def test_averages_are_evaluated_saved_and_left(tmp_path):
    images, mask = pictures()
    model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=4, normalization=None)
    kseg.compile(model, learning_rate=0.1, ema_momentum=0.9)
    seen = {}

    class Spy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen["weights"] = self.model.get_weights()
            with averaged(self.model):
                seen["averages"] = self.model.get_weights()
            seen["logs"] = logs

    callbacks = [EvaluateEMA(), SaveBest(tmp_path / "best.keras"), Spy()]
    model.fit(images, mask, batch_size=2, validation_data=(images, mask), verbose=0, callbacks=callbacks)
    assert not np.allclose(seen["weights"][0], seen["averages"][0], atol=1e-3)
    best = keras.models.load_model(tmp_path / "best.keras")
    for (_, average), value in zip(averages(best), seen["averages"], strict=True):
        np.testing.assert_array_equal(average, value)  # not exchanged with the weights
    for network in (model, best):  # fit ends with them
        for a, b in zip(network.get_weights(), seen["averages"], strict=True):
            np.testing.assert_array_equal(a, b)
        logs = network.evaluate(images, mask, verbose=0, return_dict=True)
        assert logs["loss"] == pytest.approx(seen["logs"]["val_loss"], rel=1e-5)


def test_before_the_first_update_there_are_no_averages(tmp_path):
    """Five batches accumulated, two of them there: the averages are zeros, and nobody gets these."""
    images, mask = pictures(4)
    model = kseg.compile(network(), ema_momentum=0.9, gradient_accumulation_steps=5)
    before = model.get_weights()
    callbacks = [EvaluateEMA(), SaveBest(tmp_path / "best.keras")]
    model.fit(images, mask, batch_size=2, validation_data=(images, mask), verbose=0, callbacks=callbacks)
    for trained_once in (model, keras.models.load_model(tmp_path / "best.keras")):
        for a, b in zip(trained_once.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_interrupted_evaluation_leaves_the_weights_to_the_next_fit():
    class Interrupt(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    class Start(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.weights = self.model.get_weights()
            self.model.stop_training = True

    images, mask = pictures()
    model = kseg.compile(network(), learning_rate=0.1, ema_momentum=0.9)
    model.fit(images, mask, batch_size=2, epochs=1, verbose=0)
    weights = [np.asarray(weight) + 1 for weight in model.get_weights()]  # other than the averages
    model.set_weights(weights)
    evaluate, start = EvaluateEMA(), Start()
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(images, mask, verbose=0, callbacks=[evaluate, Interrupt()])
    model.fit(images, mask, verbose=0, callbacks=[evaluate, start])
    for a, b in zip(start.weights, weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weight_decay_is_left_out_by_the_variable_not_by_its_layer():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 1, name="gamma_conv")(image)
    model = kseg.compile(keras.Model(image, x), learning_rate=0.1, weight_decay=0.5)
    kernel, bias = model.trainable_variables
    before = np.asarray(kernel)
    model.fit(np.zeros((2, 8, 8, 3)), np.full((2, 8, 8), 255), verbose=0)  # all void: no gradient
    np.testing.assert_allclose(kernel, before * (1 - 0.1 * 0.5), rtol=1e-5)
    np.testing.assert_array_equal(bias, np.zeros(2))


def test_a_loaded_float16_model_gets_its_loss_scaled(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        kseg.build_conv_stack(2, depth=1, filters=4).save(tmp_path / "half.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(kseg.compile(kseg.load(tmp_path / "half.keras")).optimizer, LossScaleOptimizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1.0}, "weight_decay must be a number of 0 or more, got -1"),
        ({"weight_decay": float("nan")}, "weight_decay must be a number of 0 or more, got nan"),
        ({"global_clipnorm": -1}, "global_clipnorm must be a number above 0"),
        ({"ema_momentum": 1.0}, "ema_momentum must be a number from 0 to below 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps must be a positive int"),
        ({"gradient_accumulation_steps": 2.5}, "gradient_accumulation_steps must be a positive int"),
        ({"gradient_accumulation_steps": 9, "steps": 8}, "=9 is more than all 8 steps"),
        ({"optimizer": keras.optimizers.Adam(), "schedule": "cosine"}, "schedule is for the optimizers of"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kseg.compile(network(), **options)


def test_without_averages_there_is_nothing_to_evaluate():
    model = kseg.compile(kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=4))
    with pytest.raises(ValueError, match=r"compile with ema_momentum=0\.999"):
        model.evaluate(*pictures(), verbose=0, callbacks=[EvaluateEMA()])


@pytest.mark.parametrize("devices", [None, CPUS])
def test_a_step_that_overflows_on_any_device_is_left_out(devices):
    """The last picture, on the second device, has infinite gradients once."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with kseg.strategy(devices).scope() if devices else contextlib.nullcontext():
            model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=4, normalization=None)
            kseg.compile(model, optimizer="sgd")
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, LossScaleOptimizer)
    images, mask = pictures(4)
    model.fit(images, mask, batch_size=4, verbose=0)
    before, scale = model.get_weights(), float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale))
    images[-1] = np.inf
    model.train_on_batch(images, mask)
    assert float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)) == scale / 2
    kept = {id(v) for v in model.trainable_variables}
    for variable, value in zip(model.weights, before, strict=True):
        if id(variable) in kept:
            np.testing.assert_array_equal(np.asarray(variable), value)
