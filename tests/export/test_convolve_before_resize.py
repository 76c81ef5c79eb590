import keras
import numpy as np
import pytest

import kseg
from kseg.export.convolve_before_resize import names_in_split, split_convolutions
from kseg.layers import BatchNormalization, CropLike, ResizeLike, Upsample

SIZE = (24, 33)


def joined(conv, *enlarged, normalize=True, norm=BatchNormalization, given=lambda image: image):
    """Return a model that joins its picture with what each function makes of it, and convolves."""
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    branches = [x, *(function(x) for function in enlarged)]
    copy = conv.from_config(conv.get_config())  # a layer called twice is another case
    x = copy(keras.layers.Concatenate(name="concat")(branches))
    if normalize:
        x = norm(name="norm")(x)
        x = keras.layers.ReLU(name="relu")(x)
    model = keras.Model(given(image), keras.layers.Conv2D(4, 1, name="logits")(x))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.2, 1.0, weight.shape) for weight in model.get_weights()])
    return model


def pooled(stride, interpolation="bilinear", filters=12):
    """Return a function that pools and enlarges to the size of what it was given."""

    def function(x):
        small = keras.layers.AveragePooling2D(stride, padding="same")(x)
        small = keras.layers.Conv2D(filters, 1, activation="relu")(small)
        return ResizeLike(interpolation)(small, x)

    return function


def mean(x):
    small = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return ResizeLike()(keras.layers.Conv2D(12, 1)(small), x)


def upsampled_and_cut(x, interpolation="bilinear", centered=False):
    small = keras.layers.Conv2D(64, 5, strides=5, padding="same")(x)  # rounds up
    return CropLike(centered)(Upsample(5, interpolation)(small), x)


class OwnConv2D(keras.layers.Conv2D):
    """What a subclass does nobody knows."""


def conv(kernel_size, **options):
    return keras.layers.Conv2D(16, kernel_size, padding="same", name="conv", **options)


def is_split(model):
    return any(type(layer).__name__ == "SplitConvolution" for layer in model.layers)


SPLIT = {
    "PSPNet's": [conv(3, use_bias=False), mean, pooled(12), pooled(8), pooled(6)],
    "DeepLab's": [conv(1, use_bias=False), mean],
    "1×1 of a map": [conv(1), pooled(4, filters=64)],
    "nearest, cut": [conv(3), pooled(5, "nearest"), upsampled_and_cut],
    "1×1, nearest, cut": [conv(1), lambda x: upsampled_and_cut(x, "nearest")],
    "dilated": [conv((3, 5), dilation_rate=(2, 1)), pooled(8)],
    "an even kernel": [conv((2, 4)), pooled(8)],
    "activated": [conv(3, activation="tanh"), mean],
}


@pytest.mark.parametrize("parts", SPLIT.values(), ids=SPLIT)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("size", [SIZE, (48, 17)])
def test_a_split_convolution_gives_the_same(parts, normalize, size):
    model = joined(*parts, normalize=normalize)
    before, calls = model.get_weights(), calls_of(model)
    split = split_convolutions(model, size)
    names = {layer.name for layer in split.layers}
    activated = parts[0].activation is not keras.activations.linear
    assert is_split(split) and ("norm" in names) == (normalize and activated)
    assert "concat" not in names and split.input_shape == (1, *size, 3)
    agree(model, split, size)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert calls_of(model) == calls


def calls_of(model):
    return {each.name: (len(each._inbound_nodes), len(each._outbound_nodes)) for each in model.operations}


NORMS = {
    "Keras' own": keras.layers.BatchNormalization,
    "without a factor": lambda name: BatchNormalization(scale=False, name=name),
    "without a shift": lambda name: BatchNormalization(center=False, name=name),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_normalization_goes_into_the_kernel(norm):
    model = joined(conv(3), mean, norm=norm)
    split = split_convolutions(model, SIZE)
    assert is_split(split) and "norm" not in {layer.name for layer in split.layers}
    agree(model, split)


def agree(model, split, size=SIZE):
    image = np.random.default_rng(1).uniform(0, 255, (1, *size, 3)).astype("float32")
    expected = np.asarray(model(image, training=False))
    np.testing.assert_allclose(
        split(image, training=False), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")  # Keras', of any such model
@pytest.mark.parametrize("given", [lambda image: [image], lambda image: {"image": image}])
def test_the_picture_may_come_in_a_list_or_dict(given, tmp_path):
    model = joined(conv(3), mean, given=given)
    assert is_split(split_convolutions(model, SIZE))
    assert kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE).largest_difference < 1e-3


def test_a_dtype_of_the_input_is_kept():
    image = keras.Input((None, None, 3), dtype="uint8", name="picture")
    x = keras.layers.Rescaling(1 / 255, name="image")(image)
    x = conv(3)(keras.layers.Concatenate()([x, mean(x)]))
    model = keras.Model(image, x)
    split = split_convolutions(model, SIZE)
    assert is_split(split) and split.inputs[0].dtype == "uint8"


def test_a_normalization_that_was_adapted_is_copied_as_well():
    adapted = keras.layers.Normalization()
    adapted.adapt(np.random.default_rng(0).uniform(0, 255, (8, 8, 8, 3)))
    image = keras.Input((None, None, 3), name="image")
    x = adapted(image)
    x = keras.Model(image, conv(3)(keras.layers.Concatenate()([x, mean(x)])))
    split = split_convolutions(x, SIZE)
    assert is_split(split)
    agree(x, split)


def test_state_that_is_no_weight_keeps_the_model_whole():
    class Factor(keras.layers.Layer):
        factor = 1.0

        def call(self, inputs):
            return inputs * self.factor

    own = Factor()
    own.factor = 3.0  # a copy knows nothing of it
    model = joined(conv(3), lambda x: mean(own(x)))
    assert split_convolutions(model, SIZE) is model


def small_backbone():
    """Return an encoder of one convolution per stride."""
    x = image = keras.Input((None, None, 3))
    for _ in range(5):
        x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(image, x, name="small_backbone")


@pytest.mark.parametrize("output_kind", ["classes", "probabilities", "fast_classes"])
@pytest.mark.parametrize(
    "backbone", [small_backbone, pytest.param(None, id="resnet50", marks=pytest.mark.slow)]
)
@pytest.mark.slow_after(1)
def test_what_the_file_gives_is_as_before(backbone, output_kind, tmp_path):
    keras.utils.set_random_seed(0)
    model = kseg.build_pspnet(4, filters=4, **({"backbone": backbone()} if backbone else {}))
    given = {"input_size": (64, 96), "output_kind": output_kind}
    report = kseg.export_tflite(model, tmp_path / "m.tflite", **given)
    assert report.same_class > (0.3 if output_kind == "fast_classes" else 0.999)
    assert "TRANSPOSE" in report.operators  # of what was split


KEPT = {
    "nothing enlarged": [conv(3), keras.layers.Conv2D(8, 3, padding="same")],
    "strided": [conv(3, strides=2), mean],
    "in groups": [keras.layers.Conv2D(15, 3, groups=5, padding="same"), mean],
    "unpadded": [keras.layers.Conv2D(16, 3), mean],
    "hardly smaller": [conv(3), pooled(2)],
    "cut from the middle": [conv(3), lambda x: upsampled_and_cut(x, centered=True)],
    "of a user's class": [OwnConv2D(16, 3, padding="same"), mean],
    "1×1 to more channels": [conv(1), pooled(4, filters=12)],
}


@pytest.mark.parametrize("parts", KEPT.values(), ids=KEPT)
def test_others_are_left_alone(parts):
    assert not is_split(split_convolutions(joined(*parts), (24, 34)))


def test_a_convolution_that_is_called_twice_is_left_alone():
    image = keras.Input((24, 32, 3), name="image")
    shared = conv(3)
    x = shared(keras.layers.Concatenate()([image, mean(image)]))
    y = shared(keras.layers.Concatenate()([image, mean(keras.layers.ReLU()(image))]))
    model = keras.Model(image, keras.layers.Add()([x, y]))
    assert split_convolutions(model, (24, 32)) is model


def stated_range(model):
    return kseg.with_value_range(model, (0, 4095))


def stated_scale(model):
    return kseg.graphs.ModelFacts(model).taking_pixels((-1, 1)).model


def layer_by_layer(model):
    other = keras.Input((None, None, 3), name="other")
    scores = kseg.graphs.run_through(model, other, lambda op: op, lambda op, *a, **k: op(*a, **k))
    return keras.Model(other, scores)


@pytest.mark.parametrize("again", [stated_range, stated_scale, layer_by_layer])
@pytest.mark.parametrize("which", ["the first model", "the second model"])
def test_calls_in_another_model_do_not_count(again, which):
    first = joined(conv(3), mean)
    second = again(first)
    model = first if which == "the first model" else second
    split = split_convolutions(model, SIZE)
    names = {layer.name for layer in split.layers}
    assert is_split(split) and "norm" not in names
    agree(model, split)
    assert names_in_split(model, split)["norm"] == "conv"


def test_what_another_model_reads_does_not_count():
    first = joined(conv(3), mean)
    keras.Model(first.input, keras.layers.ReLU(name="another")(first.get_layer("conv").output))
    split = split_convolutions(first, SIZE)
    assert "norm" not in {layer.name for layer in split.layers}
    assert "another" not in names_in_split(first, split)


def test_a_model_with_a_range_is_exported_as_fast(tmp_path):
    model = kseg.build_pspnet(4, filters=4, backbone=small_backbone())
    kept = kseg.with_value_range(model, (0, 4095))
    reports = [
        kseg.export_tflite(each, tmp_path / f"{index}.tflite", input_size=(64, 96))
        for index, each in enumerate((model, kept))
    ]
    assert reports[0].operators == reports[1].operators and "TRANSPOSE" in reports[1].operators


def test_what_others_read_as_well_stays():
    image = keras.Input((24, 32, 3), name="image")
    concat = keras.layers.Concatenate()([image, mean(image)])
    x = conv(3)(concat)
    others = keras.layers.Conv2D(16, 1)(keras.layers.ReLU()(concat))
    model = keras.Model(image, [keras.layers.Add()([BatchNormalization()(x), x, others])])
    split = split_convolutions(model, (24, 32))
    assert is_split(split)
    agree(model, split, (24, 32))


def test_a_model_with_a_layer_that_cannot_be_copied_is_exported_whole(tmp_path):
    class Scaled(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    model = joined(conv(3), lambda x: Scaled(lambda inputs: inputs / 255)(x), mean)
    assert split_convolutions(model, SIZE) is model
    assert kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE).operators["RESIZE_BILINEAR"] == 1


def test_a_compiled_model_is_split_whatever_the_policy_now():
    model = joined(conv(3), mean)
    model.compile("sgd", loss=lambda truth, scores: 0.0)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        split = split_convolutions(model, SIZE)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert is_split(split) and split.output.dtype == "float32"
    assert all(layer.compute_dtype == "float32" for layer in split.layers[1:])


SLOW = [pytest.param(mode, marks=pytest.mark.slow) for mode in ("float16", "dynamic", "int16x8")]


@pytest.mark.parametrize("mode", [None, "int8", *SLOW])
@pytest.mark.slow_after(1)
def test_a_pyramid_is_convolved_small(mode, tmp_path):
    keras.utils.set_random_seed(0)
    maps = (mean, pooled(12), pooled(8), pooled(4))
    model = joined(conv(3, use_bias=False), *maps)
    pictures = np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3)).astype("uint8")
    given = {"input_size": SIZE, "quantize": mode, "validation_data": pictures}
    given["representative_data"] = pictures if mode in ("int8", "int16x8") else None
    report = kseg.export_tflite(model, tmp_path / "m.tflite", **given)
    assert "RESIZE_BILINEAR" not in report.operators and report.not_on_gpu == []
    error = report.largest_difference / report.score_range
    assert error < {None: 1e-5, "float16": 1e-2, "dynamic": 5e-2, "int8": 5e-2, "int16x8": 5e-2}[mode]
    if mode == "int8":
        for number, name in enumerate(("conv", "norm", "concat")):
            kept = kseg.export_tflite(model, tmp_path / f"{number}.tflite", **given, float_layers=[name])
            assert kept.float_layers == ["conv"]
