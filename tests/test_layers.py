import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.layers import (
    AuxiliaryOutputs,
    BatchNormalization,
    BinPooling,
    CropLike,
    LocalResponseNormalization,
    MaxPoolWithIndices,
    MaxUnpool,
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


def summed_where_it_came_from(slope, source):
    """What a pixel of the small map gets back: the sum over the places that it filled, one axis at a time."""
    for axis, filled in zip((1, 2), source, strict=True):
        matrix = filled[:, None] == np.arange(filled.max() + 1)
        slope = np.moveaxis(np.tensordot(slope, matrix.astype("float64"), (axis, 0)), -1, axis)
    return slope


def value_and_slope(layer, inputs, slope, xla):
    def function(inputs):
        first = inputs[0] if isinstance(inputs, list) else inputs
        with tf.GradientTape() as tape:
            tape.watch(first)
            value = (
                layer(*inputs, training=True) if isinstance(inputs, list) else layer(inputs, training=True)
            )
        return value, tape.gradient(value, first, tf.cast(slope, value.dtype))

    return tf.function(function, jit_compile=xla)(inputs)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("xla", [False, True])
def test_nearest_trains_with_xla_and_without(xla, dtype):
    image, slope = picture(2, 3, 5, 2), picture(2, 9, 15, 2, seed=1)
    image = tf.cast(image, dtype)
    value, back = value_and_slope(Upsample(3, "nearest"), image, slope, xla)
    np.testing.assert_array_equal(value, Upsample(3, "nearest")(image))
    assert value.dtype == back.dtype == dtype
    expected = summed_where_it_came_from(slope, (np.arange(9) // 3, np.arange(15) // 3))
    precision = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}[dtype]
    np.testing.assert_allclose(tf.cast(back, "float32"), expected, atol=precision)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("layer", [Upsample(2), ResizeLike()], ids=["upsample", "resize_like"])
def test_bilinear_trains_with_xla_as_without(layer, dtype):
    """What is resized has a slope of its own dtype, which what comes before it can take."""

    def after_relu(image, *reference, training):
        return layer(tf.nn.relu(image), *reference, training=training)

    image, slope = tf.cast(picture(2, 3, 5, 2), dtype), picture(2, 6, 10, 2, seed=1)
    inputs = [image, tf.zeros((1, 6, 10, 1))] if isinstance(layer, ResizeLike) else image
    plain, fast = (value_and_slope(after_relu, inputs, slope, xla) for xla in (False, True))
    expected = tf.image.resize(tf.nn.relu(image), (6, 10))
    precision = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}[dtype]
    for value, back in (plain, fast):
        assert value.dtype == back.dtype == dtype
        np.testing.assert_allclose(tf.cast(value, "float32"), expected, atol=precision)
        np.testing.assert_allclose(tf.cast(back, "float32"), tf.cast(plain[1], "float32"), atol=precision)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
def test_nearest_resizes_to_any_size_alike_in_training(height, width, new_height, new_width):
    """Enlarged, shrunk, or each on one axis."""
    image, reference = picture(1, height, width, 2), picture(1, new_height, new_width, 1)
    layer = ResizeLike("nearest")
    size = (new_height, new_width)
    places = tf.image.resize(np.arange(height * width).reshape(1, height, width, 1), size, "nearest")
    source = places[0, :, 0, 0].numpy() // width, places[0, 0, :, 0].numpy() % width
    source = [np.append(each, count - 1) for each, count in zip(source, (height, width), strict=True)]
    slope = picture(1, new_height, new_width, 2, seed=1)
    padded = np.pad(slope, ((0, 0), (0, 1), (0, 1), (0, 0)))  # a row and a column of zeros: all counts appear
    for xla in (False, True):
        value, back = value_and_slope(layer, [tf.constant(image), tf.constant(reference)], slope, xla)
        np.testing.assert_array_equal(value, tf.image.resize(image, size, "nearest"))
        np.testing.assert_allclose(back, summed_where_it_came_from(padded, source), atol=1e-5)
    for training in (False, True):
        open_sizes = tf.function(
            functools.partial(layer, training=training),
            input_signature=[ANY_SIZE, tf.TensorSpec((None, None, None, 1))],
        )
        np.testing.assert_array_equal(open_sizes(image, reference), value)


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


def adaptive_average(image, bins):
    """PyTorch's adaptive average pooling, window by window."""
    height, width = image.shape[1:3]
    result = np.zeros((len(image), bins, bins, image.shape[-1]), "float32")
    for i in range(bins):
        for j in range(bins):
            rows = slice(math.floor(i * height / bins), math.ceil((i + 1) * height / bins))
            columns = slice(math.floor(j * width / bins), math.ceil((j + 1) * width / bins))
            result[:, i, j] = image[:, rows, columns].mean((1, 2))
    return result


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 6]))
def test_bins_cover_maps_of_any_size(height, width, bins):
    image = picture(2, height, width, 2)
    expected = adaptive_average(image, bins)
    layer = BinPooling(bins)
    open_sizes = tf.function(layer, input_signature=[ANY_SIZE])
    for pooled in (layer(image), layer(image, training=True), open_sizes(image)):
        np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_bins_know_their_size_and_pass_gradients():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, BinPooling(3)(inputs))
    assert model.output_shape == (None, 3, 3, 2)
    image = tf.constant(picture(1, 7, 4, 2))
    gradients = []
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_sum(BinPooling(3)(image, training=training) ** 2)
        gradients.append(tape.gradient(loss, image))
    np.testing.assert_allclose(*gradients, atol=1e-6)


def test_bins_of_half_precision_are_summed_in_single(mixed_precision):
    image = tf.fill((1, 90, 91, 1), tf.constant(100.125, "float16"))  # the sums exceed float16
    for training in (True, False):
        pooled = BinPooling(2)(image, training=training)
        assert pooled.dtype == "float16"
        np.testing.assert_allclose(pooled, 100.125, atol=0.07)


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


LAYERS = [
    BinPooling(6),
    Upsample(3, "nearest"),
    PadToMultiple(8),
    CropLike(),
    BatchNormalization(momentum=0.5, scale=False),
]


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


def pooled_by_hand(image):
    """Return the maxima and the place 0..3 of the first, window by window; cells outside do not count."""
    batch, height, width, channels = image.shape
    size = (batch, -(-height // 2), -(-width // 2), channels)
    maxima, places = np.full(size, -np.inf), np.zeros(size, int)
    for row, column in np.ndindex(height, width):
        here = (slice(None), row // 2, column // 2)
        better = image[:, row, column] > maxima[here]
        maxima[here] = np.where(better, image[:, row, column], maxima[here])
        places[here] = np.where(better, row % 2 * 2 + column % 2, places[here])
    return maxima, places


def unpooled_by_hand(values, places, height, width):
    result = np.zeros((values.shape[0], height, width, values.shape[3]))
    for batch, row, column, channel in np.ndindex(values.shape):
        down, right = divmod(places[batch, row, column, channel], 2)
        result[batch, 2 * row + down, 2 * column + right, channel] = values[batch, row, column, channel]
    return result


def pool_and_unpool(image, values):
    pooled, mask = MaxPoolWithIndices()(image)
    return pooled, mask, MaxUnpool()(values, mask, image)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_pooling_with_indices_and_back_is_that_of_the_definition(height, width, levels, seed):
    """Few distinct values, also negative ones: ties in nearly every window; all sizes, odd ones too."""
    rng = np.random.default_rng(seed)
    image = rng.integers(-1, levels, (2, height, width, 2)).astype("float32")
    maxima, places = pooled_by_hand(image)
    values = rng.standard_normal(maxima.shape).astype("float32")
    expected = unpooled_by_hand(values, places, height, width)
    spec = tf.TensorSpec((None, None, None, 2))
    for function in (pool_and_unpool, tf.function(pool_and_unpool, input_signature=[spec, spec])):
        pooled, mask, back = function(image, values)
        np.testing.assert_array_equal(pooled, maxima)
        one_hot = np.asarray(mask).reshape(*maxima.shape[:3], 4, 2)
        np.testing.assert_array_equal(one_hot.sum(3), 1)
        np.testing.assert_array_equal(one_hot.argmax(3), places)
        np.testing.assert_array_equal(back, expected)


def test_rounding_does_not_choose_the_cell():
    """Flat areas tie but for rounding: the first cell is taken; a difference that means something counts."""
    rng = np.random.default_rng(0)
    flat = (3 + 2e-5 * rng.uniform(-1, 1, (1, 5, 6, 2))).astype("float32")
    pooled, mask = MaxPoolWithIndices()(flat)
    assert np.all(np.asarray(mask)[..., :2]) and not np.any(np.asarray(mask)[..., 2:])
    assert np.asarray(pooled)[0, 0, 0, 0] == flat[0, :2, :2, 0].max()
    flat[0, 1, 1] += 1e-3
    assert np.all(np.asarray(MaxPoolWithIndices()(flat)[1])[0, 0, 0, 6:])


@pytest.mark.parametrize("size", [(5, 8), (None, None)])
def test_pooling_with_indices_declares_its_sizes(size):
    inputs = keras.Input((*size, 3))
    pooled, mask = MaxPoolWithIndices()(inputs)
    back = MaxUnpool()(pooled, mask, inputs)
    small = tuple(side and -(-side // 2) for side in size)
    assert pooled.shape == (None, *small, 3) and mask.shape == (None, *small, 12)
    assert back.shape == (None, *size, 3)


def test_the_gradient_of_pooling_goes_to_the_first_maximum():
    image = tf.zeros((1, 2, 2, 1))
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(MaxPoolWithIndices()(image)[0])
    np.testing.assert_array_equal(tape.gradient(total, image)[0, ..., 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize(("size", "alpha"), [(5, 1e-4), (3, 0.2)])
def test_local_response_normalization_is_that_of_the_definition(channels, size, alpha):
    image = 100 * picture(1, 3, 2, channels)
    expected = np.zeros_like(image)
    for channel in range(channels):
        near = image[..., max(channel - size // 2, 0) : channel + size // 2 + 1]
        expected[..., channel] = image[..., channel] / (1 + alpha / size * (near**2).sum(-1)) ** 0.75
    layer = LocalResponseNormalization(size, alpha)
    np.testing.assert_allclose(layer(image), expected, rtol=1e-5)
    of_tensorflow = tf.nn.local_response_normalization(image, size // 2, 1.0, alpha / size, 0.75)
    np.testing.assert_allclose(layer(image), of_tensorflow, rtol=1e-5)


def test_local_response_normalization_survives_float16(mixed_precision):
    inputs = keras.Input((1, 1, 3))
    model = keras.Model(inputs, LocalResponseNormalization()(inputs))
    bright = model(np.full((1, 1, 1, 3), 255, "float32"))
    assert bright.dtype == "float16" and model.output.dtype == "float16"
    np.testing.assert_allclose(bright, 255 / (1 + 2e-5 * 3 * 255**2) ** 0.75, rtol=1e-3)


def test_a_centred_crop_cuts_the_same_from_each_side():
    image = picture(1, 8, 9, 2)
    like = np.zeros((1, 4, 3, 1), "float32")
    np.testing.assert_array_equal(CropLike(centered=True)(image, like), image[:, 2:6, 3:6])
    with pytest.raises(ValueError, match=r"cannot cut \(8, 9\) to \(4, 4\) about its centre"):
        CropLike(centered=True)(image, np.zeros((1, 4, 4, 1)))
    centred = CropLike.from_config(CropLike(centered=True).get_config())
    assert centred.centered
