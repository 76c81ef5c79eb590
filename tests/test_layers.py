import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.layers import (
    AuxiliaryOutputs,
    BatchNormalization,
    CropLike,
    PadToMultiple,
    ResizeLike,
    Upsample,
)

ANY_SIZE = tf.TensorSpec((None, None, None, 2))


def picture(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("size", [(4, 5), (1, 7)])
def test_upsample_is_keras_own_for_static_and_for_open_sizes(interpolation, factor, size):
    image = picture(2, *size, 3)
    expected = keras.layers.UpSampling2D(factor, interpolation=interpolation)(image)
    layer = Upsample(factor, interpolation)
    np.testing.assert_allclose(layer(image), expected, atol=1e-6)
    for height, width in (size, (None, None)):
        inputs = keras.Input((height, width, 3))
        model = keras.Model(inputs, layer(inputs))
        assert model.output_shape[1:3] == tuple(side and side * factor for side in (height, width))
        np.testing.assert_allclose(model(image), expected, atol=1e-6)


def pad_and_crop(multiple):
    pad, crop = PadToMultiple(multiple), CropLike()

    def both(image):
        padded = pad(image)
        return padded, crop(padded, image)

    return both


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 33))
def test_pad_goes_to_the_next_multiple_and_crop_goes_back(height, width, multiple):
    image = picture(1, height, width, 2)
    size = tuple(-(-side // multiple) * multiple for side in (height, width))
    expected = np.pad(image, [(0, 0), (0, size[0] - height), (0, size[1] - width), (0, 0)])
    inputs = keras.Input((height, width, 2))
    static = keras.Model(inputs, pad_and_crop(multiple)(inputs))
    assert [shape[1:3] for shape in static.output_shape] == [size, (height, width)]
    for function in (static, tf.function(pad_and_crop(multiple), input_signature=[ANY_SIZE])):
        padded, cropped = function(image)
        np.testing.assert_array_equal(padded, expected)
        np.testing.assert_array_equal(cropped, image)


def test_pad_and_crop_fit_into_a_model_of_open_sizes():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, pad_and_crop(8)(inputs))
    assert model.output_shape == [(None, None, None, 2)] * 2
    padded, cropped = model(picture(1, 13, 16, 2))
    assert padded.shape == (1, 16, 16, 2) and cropped.shape == (1, 13, 16, 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
def test_resize_like_takes_any_size(height, width, new_height, new_width):
    image, reference = picture(1, height, width, 2), picture(1, new_height, new_width, 1)
    expected = tf.image.resize(image, (new_height, new_width))
    inputs = [keras.Input((height, width, 2)), keras.Input((new_height, new_width, 1))]
    static = keras.Model(inputs, ResizeLike()(*inputs))
    assert static.output_shape == (None, new_height, new_width, 2)
    np.testing.assert_allclose(static([image, reference]), expected, atol=1e-6)
    open_sizes = tf.function(ResizeLike(), input_signature=[ANY_SIZE, tf.TensorSpec((None, None, None, 1))])
    np.testing.assert_allclose(open_sizes(image, reference), expected, atol=1e-6)


def test_auxiliary_scores_reach_a_training_step_alone():
    main, head = picture(2, 3, 4, 5), picture(2, 3, 4, 5, seed=1)
    layer = AuxiliaryOutputs()
    np.testing.assert_array_equal(layer(main, head), main)
    np.testing.assert_array_equal(layer(main, head, training=True), np.stack([main, head], -1))


def step(layer, image, training, mask=None):
    """Outputs, gradients and weights of one forward and backward pass."""
    layer.build(image.shape)
    for number, weight in enumerate(layer.weights):
        weight.assign(0.5 + np.abs(picture(*weight.shape, seed=number)))
    image = tf.cast(image, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(image)
        outputs = layer(image, training=training, mask=mask)
        loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
    trained = [weight.value for weight in layer.trainable_weights]
    gradients = tape.gradient(loss, [image, *trained])
    return [tf.cast(tensor, "float64") for tensor in (outputs, *gradients, *layer.weights)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"momentum": 0.5, "epsilon": 1e-7},
        {"scale": False},
        {"center": False},
        {"trainable": False},
        {"axis": 1},
        {"axis": 3},
        {"renorm": True},
        {"dtype": "float64"},
        {"dtype": "mixed_bfloat16"},
    ],
    ids=str,
)
def test_batch_normalization_is_keras_own(arguments, training):
    image = picture(4, 6, 5, 3) * [1, 5, 2] + [0, 3, -8]
    expected = step(keras.layers.BatchNormalization(**arguments), image, training)
    tolerance = 0.02 if "bfloat16" in str(arguments) else 1e-5
    for actual, value in zip(step(BatchNormalization(**arguments), image, training), expected, strict=True):
        assert np.abs(actual - value).max() <= tolerance * np.abs(value).max()


def test_batch_normalization_with_a_mask_is_keras_own():
    image, mask = picture(4, 6, 5, 3), picture(4, 6, 5) > 0
    ours, expected = (
        step(layer(), image, True, mask) for layer in (BatchNormalization, keras.layers.BatchNormalization)
    )
    for actual, value in zip(ours, expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-4)


def test_batch_normalization_trains_in_one_kernel():
    layer = BatchNormalization()
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec((2, 4, 4, 3)))
    assert "FusedBatchNormV3" in {operation.type for operation in graph.graph.get_operations()}


LAYERS = [Upsample(3, "nearest"), PadToMultiple(8), CropLike(), BatchNormalization(momentum=0.5, scale=False)]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_config_makes_the_same_layer(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("training", [True, False])
def test_under_mixed_precision_activations_are_half_and_statistics_are_float(mixed_precision, training):
    inputs = keras.Input((None, None, 2), dtype="float16")
    layer = BatchNormalization()
    outputs = CropLike()(PadToMultiple(8)(layer(Upsample()(inputs), training=training)), inputs)
    model = keras.Model(inputs, outputs)
    assert model(picture(1, 5, 7, 2)).dtype == outputs.dtype == "float16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_resizing_and_padding_keep_the_dtype_under_mixed_precision(mixed_precision, interpolation, dtype):
    image = tf.cast(picture(1, 5, 7, 2), dtype)
    resized = Upsample(2, interpolation)(image)
    padded = PadToMultiple(8)(resized)
    assert resized.dtype == padded.dtype == CropLike()(padded, image).dtype == dtype
