"""The float32 copy of a mixed precision model: every layer comes whole, or is named."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kseg
from kseg import graphs
from kseg.export import verification

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 24, 32, 3)).astype("float32")
POLICIES = ["mixed_float16", "mixed_bfloat16", "bfloat16"]


@pytest.fixture(autouse=True)
def policy():
    keras.utils.set_random_seed(1)
    yield
    keras.config.set_dtype_policy("float32")


def adapted():
    norm = layers.Normalization(axis=-1, name="norm")
    norm.adapt(PICTURES)
    return norm


class Counted(layers.Layer):
    """Has a variable that no config tells, and layers inside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = layers.Conv2D(4, 3, padding="same")

    def build(self, shape):
        self.conv.build(shape)
        self.scale = self.add_weight(shape=(4,), initializer="zeros", trainable=False, name="scale")

    def call(self, x):
        return self.conv(x) * self.scale


class Tabled(layers.Layer):
    """Has attributes that no config tells: one from the start, one set later, a half tensor."""

    factor = None

    def call(self, x):
        return x * self.factor + self.offsets["all"]


class Untracked(layers.Layer):
    """Has a variable of TensorFlow's own in a dict of another object."""

    def call(self, x):
        return x * tf.cast(self.held["variable"], x.dtype)


class Forgetful(layers.Layer):
    """Cannot be rebuilt: its config lacks what it is built with."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def get_config(self):
        return super().get_config()

    def call(self, x):
        return x * self.factor


def with_layers(*middle, policy):
    """Return a model built under a policy, and the layers set up by functions that come after them."""
    keras.config.set_dtype_policy(policy)
    x = image = keras.Input((24, 32, 3))
    for make in middle:
        x = make()(x)
    model = keras.Model(image, layers.Conv2D(3, 1, dtype="float32", name="scores")(x))
    keras.config.set_dtype_policy("float32")
    return model


def nested():
    image = keras.Input((24, 32, 3))
    return keras.Model(image, adapted()(image), name="inside")


def counted():
    layer = Counted(name="counted")
    layer.build((None, 24, 32, 3))
    layer.scale.assign([0.01, 0.02, -0.01, 0.03])
    return layer


def tabled():
    layer = Tabled(name="tabled")
    layer.factor = np.array([0.01, 0.02, -0.01], "float16")
    layer.offsets = {"all": tf.constant([0.5, -0.5, 1], layer.compute_dtype)}
    return layer


def untracked():
    layer = Untracked(name="untracked")
    layer.held = {"variable": tf.Variable([0.01, 0.02, -0.01])}
    return layer


def lambda_layer():
    return layers.Lambda(lambda x, by: x * by, arguments={"by": 0.01}, name="lambda")


MIDDLES = [adapted, nested, counted, tabled, untracked, lambda_layer]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("make", MIDDLES)
def test_layers_come_whole(make, policy):
    model = with_layers(make, lambda: layers.Conv2D(4, 3, padding="same", activation="relu"), policy=policy)
    before = [np.asarray(weight) for weight in model.weights]
    copy = graphs.in_float32(model)
    assert graphs.half_precision(model) == policy.removeprefix("mixed_")
    assert graphs.half_precision(copy) is None and keras.config.dtype_policy().name == "float32"
    expected = np.asarray(model(PICTURES, training=False)).astype("float32")
    given = np.asarray(copy(PICTURES, training=False))
    coarse = 2e-3 if "bfloat16" not in policy else 2e-2
    assert np.abs(given - expected).max() <= coarse * np.ptp(expected)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), old)


def test_the_policy_of_the_moment_does_not_reach_layers_inside():
    model = with_layers(counted, policy="mixed_float16")
    keras.config.set_dtype_policy("mixed_float16")
    assert graphs.half_precision(graphs.in_float32(model)) is None
    assert keras.config.dtype_policy().name == "mixed_float16"


def test_operations_and_compiling_with_a_loss_of_ones_own_are_no_hindrance():
    keras.config.set_dtype_policy("mixed_float16")
    image = keras.Input((24, 32, 3))
    x = keras.ops.multiply(layers.Conv2D(3, 1)(image), 0.5)
    model = keras.Model(image, keras.ops.cast(x, "float32"))
    model.compile(loss=lambda y_true, y_pred: keras.ops.mean(y_pred))
    copy = graphs.in_float32(model)
    expected = np.asarray(model(PICTURES))
    assert np.abs(np.asarray(copy(PICTURES)) - expected).max() <= 2e-3 * np.ptp(expected)


def own_activation(x):
    return keras.ops.relu(x)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Forgetful(2.0, name="forgetful"), "'forgetful' \\(Forgetful\\)"),
        (lambda: layers.Conv2D(4, 1, activation=own_activation, name="odd"), "'odd' \\(Conv2D\\)"),
    ],
)
def test_what_cannot_be_rebuilt_is_named(make, name, tmp_path):
    model = with_layers(make, policy="mixed_float16")
    with pytest.raises(ValueError, match=f"layer {name} cannot be copied in float32.*get_config"):
        kseg.export_tflite(model, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


# Each kind of layer has one policy in turn, the other is slow.
FILES = [
    pytest.param(make, policy, marks=[] if number % 2 == turn else pytest.mark.slow)
    for number, make in enumerate((adapted, tabled, untracked))
    for turn, policy in enumerate(("mixed_float16", "mixed_bfloat16"))
]


@pytest.mark.parametrize(("make", "policy"), FILES)
def test_files_keep_the_classes_of_the_users_own_model(make, policy, tmp_path):
    model = with_layers(make, policy=policy)
    want = np.asarray(model(PICTURES, training=False)).argmax(-1)
    report = kseg.export_tflite(model, tmp_path / "m.tflite", validation_data=PICTURES)
    assert (report.largest_difference > 1e-5) and report.same_class > 0.98
    same = np.mean([kseg.predict(tmp_path / "m.tflite", each) for each in PICTURES] == want)
    assert same == pytest.approx(report.same_class, abs=1e-6)


def test_a_copy_that_lost_something_is_refused(tmp_path, monkeypatch):
    """The file then agrees with its float32 copy, and not with the user's own model."""
    keras.config.set_dtype_policy("mixed_float16")
    image = keras.Input((24, 32, 3))
    model = keras.Model(image, layers.Conv2D(3, 1, dtype="float32")(adapted()(image)))
    keras.config.set_dtype_policy("float32")
    monkeypatch.setattr(graphs.precision, "_bring_state", lambda layer, copy: None)
    with pytest.raises(RuntimeError, match="disagrees with the Keras model, nothing was written"):
        kseg.export_tflite(model, tmp_path / "m.tflite", validation_data=PICTURES)
    assert not list(tmp_path.iterdir())


def test_a_coarse_file_is_not_excused_by_half_precision(tmp_path, monkeypatch):
    """What half precision may differ by is no room for the conversion: the float32 copy judges that."""
    model = with_layers(counted, policy="mixed_bfloat16")
    run = verification.run_file

    def rough(path, images):
        values, seconds = run(path, images)
        return values * 1.005, seconds

    monkeypatch.setattr(verification.sandbox, "call", lambda function, *given: function(*given))
    monkeypatch.setattr(verification, "run_file", rough)
    with pytest.raises(RuntimeError, match=r"differ by 0\.00.* of their range \(at most 0\.001\)"):
        kseg.export_onnx(model, tmp_path / "m.onnx", validation_data=PICTURES)


@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_classes_before_the_last_resize_of_a_mixed_model(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = kseg.build_deeplabv1(3, (40, 48, 3), filters=2)
    keras.config.set_dtype_policy("float32")
    given = {"output_kind": "fast_classes", "validation_data": np.tile(PICTURES, (1, 2, 2, 1))[:, :40, :48]}
    report = kseg.export_tflite(model, tmp_path / "m.tflite", **given)
    assert report.output_kind == "classes"


@pytest.mark.parametrize("kind", [None, "classes"])
def test_models_that_crop_after_their_activation(kind, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    image = keras.Input((24, 32, 3))
    x = layers.Conv2D(3, 1, activation="softmax", dtype="float32")(adapted()(layers.ZeroPadding2D(4)(image)))
    model = keras.Model(image, layers.Cropping2D(4, dtype="float32")(x))
    keras.config.set_dtype_policy("float32")
    report = kseg.export_tflite(
        model, tmp_path / "m.tflite", output_kind=kind, validation_data=PICTURES.astype("uint8")
    )
    assert report.same_class > 0.98
