import keras
import numpy as np
import pytest

import kseg
from kseg import blocks
from kseg.graphs import ModelFacts
from kseg.losses import Auxiliary, CrossEntropy, Dice
from kseg.metrics import MeanIoU
from kseg.optimizers import WarmupPoly


def network(num_classes=2, activation=None, filters=2):
    return kseg.build_conv_stack(num_classes, depth=1, filters=filters, activation=activation)


def example():
    """Pictures whose red pixels are class 1, the first column void."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3)).astype("float32")
    mask = (images[..., 0] > 127).astype("uint8")
    mask[:, :, 0] = 255
    return images, mask


@pytest.mark.parametrize("warmup_steps", [0, 1, 30])
@pytest.mark.parametrize("power", [0.9, 2.0])
def test_warmup_poly_follows_its_formula(warmup_steps, power):
    schedule = WarmupPoly(0.1, steps=100, warmup_steps=warmup_steps, power=power)
    step = np.arange(130)
    expected = 0.1 * np.minimum(1, (step + 1) / max(warmup_steps, 1)) * np.maximum(0, 1 - step / 100) ** power
    np.testing.assert_allclose([float(schedule(s)) for s in step], expected, rtol=1e-5, atol=1e-9)


def test_warmup_poly_without_steps_stays_at_the_peak():
    schedule = WarmupPoly(0.1, warmup_steps=4)
    np.testing.assert_allclose([float(schedule(s)) for s in (0, 1, 3, 10**6)], [0.025, 0.05, 0.1, 0.1])


def test_warmup_poly_comes_back_from_its_config():
    schedule = WarmupPoly(0.1, steps=100, warmup_steps=10, power=2.0, name="mine")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert isinstance(again, WarmupPoly) and again.get_config() == schedule.get_config()


def test_warmup_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match="warmup_steps=10 must be smaller than steps=10"):
        WarmupPoly(0.1, steps=10, warmup_steps=10)


@pytest.mark.parametrize(("steps", "warmup_steps"), [(1, 0), (50, 5), (9000, 200)])
def test_steps_set_the_schedule(steps, warmup_steps):
    schedule = kseg.compile(network(), steps, learning_rate=0.01).optimizer._learning_rate
    assert (schedule.learning_rate, schedule.steps, schedule.warmup_steps) == (0.01, steps, warmup_steps)


def test_without_steps_the_rate_is_constant():
    optimizer = kseg.compile(network(), learning_rate=0.01).optimizer
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def decayed(model):
    """The names of the weights that a step without any gradient changes, and by how much."""
    weights = model.trainable_variables
    before = [np.array(weight.value) + 1 for weight in weights]
    for weight, value in zip(weights, before, strict=True):
        weight.assign(value)
    model.optimizer.apply([np.zeros(weight.shape, "float32") for weight in weights], weights)
    factors = {}
    for weight, value in zip(weights, before, strict=True):
        factors.setdefault(weight.name, []).append(np.mean(weight.value / value))
    return {name: pytest.approx(values[0]) for name, values in factors.items() if np.ptp(values) < 1e-6}


def test_weight_decay_spares_biases_and_normalizations_also_after_a_load(tmp_path):
    model = kseg.compile(network(), learning_rate=0.1, weight_decay=0.5)
    expected = {"kernel": 0.95, "gamma": 1, "beta": 1, "bias": 1}
    assert decayed(model) == expected
    model.save(tmp_path / "model.keras")
    assert decayed(keras.models.load_model(tmp_path / "model.keras")) == expected


def test_a_training_goes_on_after_a_load(tmp_path):
    model = kseg.compile(network(), steps=20, class_names=["a", "b"])
    model.fit(*example(), verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    logs, expected = (m.fit(*example(), verbose=0, shuffle=False).history for m in (again, model))
    assert logs.keys() == expected.keys()
    assert logs["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize(("activation", "classes"), [(None, 3), (None, 1), ("softmax", 3), ("sigmoid", 1)])
def test_the_activation_decides_whether_scores_are_logits(activation, classes):
    model = kseg.compile(network(classes, activation), ignore_class=(254, 255))
    (metric,) = model._compile_metrics._user_metrics
    assert ModelFacts(model).activation == activation
    assert model.loss.from_logits == metric.from_logits == (activation is None)
    assert model.loss.ignore_class == metric.ignore_class == (254, 255)
    assert metric.num_classes == max(classes, 2)


def test_the_activation_is_that_of_a_model_or_a_softmax_layer_at_the_end():
    image = keras.Input((None, None, 3))
    assert ModelFacts(keras.Model(image, network(1, "sigmoid")(image))).activation == "sigmoid"
    assert ModelFacts(keras.Model(image, keras.layers.Softmax()(network()(image)))).activation == "softmax"


@pytest.mark.parametrize("classes", [1, 2])
def test_the_defaults_learn(classes):
    images, mask = example()
    keras.utils.set_random_seed(0)
    model = kseg.compile(network(classes, filters=8), steps=60, learning_rate=0.05)
    model.fit(np.tile(images, (60, 1, 1, 1)), np.tile(mask, (60, 1, 1)), batch_size=4, verbose=0)
    assert model.evaluate(images, mask, verbose=0, return_dict=True)["mean_iou"] > 0.9


def test_class_names_stand_in_the_logs():
    model = kseg.compile(network(), class_names=["sky", "road"])
    logs = model.evaluate(*example(), verbose=0, return_dict=True)
    assert set(logs) == {"loss", "mean_iou", "pixels_outside", "iou_sky", "iou_road"}


def test_what_you_give_takes_the_place_of_the_defaults():
    optimizer, loss, metric = keras.optimizers.SGD(), Dice(), MeanIoU(2, name="mine")
    model = network()
    given = {"optimizer": optimizer, "loss": loss, "metrics": [metric], "jit_compile": False}
    assert kseg.compile(model, **given) is model
    assert model.optimizer is optimizer and model.loss is loss and model.jit_compile is False
    assert set(model.evaluate(*example(), verbose=0, return_dict=True)) == {"loss", "mine"}


def test_class_weights_go_to_the_default_loss():
    assert kseg.compile(network(), class_weights=[1, 2]).loss.class_weights == [1, 2]


@pytest.mark.parametrize(
    ("classes", "activation", "options", "message"),
    [
        (
            3,
            "softmax",
            {"loss": CrossEntropy()},
            "'cross_entropy' has from_logits=True.*set from_logits=False",
        ),
        (3, "softmax", {"loss": CrossEntropy(from_logits=False) + Dice()}, "'dice' has from_logits=True"),
        (3, None, {"loss": Dice(from_logits=False)}, "the model gives logits; set from_logits=True"),
        (3, None, {"loss": keras.losses.SparseCategoricalCrossentropy()}, "has from_logits=False"),
        (3, None, {"loss": "sparse_categorical_crossentropy"}, "has from_logits=False"),
        (3, "softmax", {"loss": "SparseCategoricalCrossentropy", "steps": 0}, "steps must be"),
        (3, "sigmoid", {}, "cross-entropy on sigmoid trains every one of the 3 channels to 1"),
        (3, None, {"steps": 0}, "steps must be a positive int"),
        (3, None, {"steps": -5}, "steps must be a positive int"),
        (3, None, {"steps": 5, "optimizer": keras.optimizers.SGD()}, "steps is for the optimizers of kseg"),
        (3, None, {"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
        (3, None, {"steps": 5, "schedule": "step"}, "unknown schedule 'step'"),
        (3, None, {"encoder_learning_rate": 0.1}, "the encoder of 'conv_stack' is missing"),
        (3, None, {"encoder_learning_rate": 0}, "encoder_learning_rate must be a number above 0"),
        (3, None, {"class_weights": [1, 2]}, "2 weights for 3 classes"),
        (1, None, {"class_weights": [1]}, "1 weights for 2 classes"),
        (3, None, {"class_weights": [1, 2, 3], "loss": Dice()}, "class_weights is for the default loss"),
        (3, None, {"class_names": ["a", "b"]}, "2 names for num_classes=3"),
        (2, None, {"class_names": ["a", "b"], "metrics": []}, "class_names is for the default metric"),
    ],
)
def test_what_does_not_fit_is_refused(classes, activation, options, message):
    with pytest.raises(ValueError, match=message):
        kseg.compile(network(classes, activation), **options)


def with_auxiliary_head(activation=None):
    image = keras.Input((None, None, 3), name="image")
    features = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="features")(
        blocks.rescale(image)
    )
    main = blocks.finish(features, 2, activation=activation)
    head = blocks.finish(features, 2, activation=activation, name="auxiliary")
    return keras.Model(image, blocks.with_auxiliary(main, [head]))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_an_auxiliary_head_trains_and_shows_nowhere_else(activation):
    model = kseg.compile(with_auxiliary_head(activation), weight_decay=0.0)
    assert isinstance(model.loss, Auxiliary) and ModelFacts(model).activation == activation
    head = model.get_layer("auxiliary").get_weights()[0]
    images, mask = example()
    logs = model.fit(images, mask, verbose=0).history
    assert np.abs(model.get_layer("auxiliary").get_weights()[0] - head).max() > 0
    assert model.predict(images, verbose=0).shape == (4, 8, 6, 2)
    assert logs["loss"][0] > model.evaluate(images, mask, verbose=0)[0]
    assert 0 <= logs["mean_iou"][0] <= 1


def test_an_auxiliary_head_survives_saving(tmp_path):
    model = kseg.compile(with_auxiliary_head())
    images, mask = example()
    model.fit(images, mask, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.loss, Auxiliary)
    np.testing.assert_allclose(again(images, training=True), model(images, training=True), atol=1e-6)


def test_plain_keras_losses_refuse_an_auxiliary_head():
    model = with_auxiliary_head()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="shape"):
        model.fit(*example(), verbose=0)


@pytest.mark.parametrize(
    ("last", "activation"),
    [
        (keras.ops.softmax, "softmax"),
        (keras.ops.sigmoid, "sigmoid"),
        (keras.activations.softmax, "softmax"),
        (lambda x: keras.layers.Identity()(keras.layers.Softmax()(x)), "softmax"),
        (lambda x: keras.layers.Activation("linear")(keras.ops.sigmoid(x)), "sigmoid"),
        (lambda x: kseg.layers.Upsample(2)(keras.layers.Activation("softmax")(x)), "softmax"),
        (lambda x: kseg.layers.Upsample(2)(x), None),
    ],
)
def test_the_activation_is_found_however_it_is_applied(last, activation):
    image = keras.Input((8, 8, 3))
    assert ModelFacts(keras.Model(image, last(keras.layers.Conv2D(3, 1)(image)))).activation == activation


def test_a_model_with_two_outputs_and_a_schedule_are_refused():
    image = keras.Input((8, 8, 3))
    two = keras.Model(image, [keras.layers.Conv2D(2, 1)(image), keras.layers.Conv2D(2, 1)(image)])
    with pytest.raises(ValueError, match="has 2 outputs"):
        kseg.compile(two)
    with pytest.raises(ValueError, match="a schedule goes into optimizer="):
        kseg.compile(network(), learning_rate=kseg.optimizers.WarmupPoly(0.1))
