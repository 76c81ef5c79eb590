import keras
import numpy as np
import pytest

import kseg
from kseg.export import tflite
from kseg.inference import open_model
from kseg.litert import passes
from kseg.litert.graph import parsed
from kseg.litert.passes.dilations import join_dilations

layers = keras.layers
BN, ReLU = layers.BatchNormalization, layers.ReLU


def conv(size=3, rate=2, padding="same", kind=layers.Conv2D, filters=16, **more):
    """Return a function of a tensor that makes a new layer each time."""
    width = () if kind is layers.DepthwiseConv2D else (filters,)
    return lambda x: kind(*width, size, dilation_rate=rate, padding=padding, **more)(x)


def depthwise(**more):
    return conv(kind=layers.DepthwiseConv2D, **more)


def followed(branch, *after):
    """Return the function of a tensor that makes a branch and a new layer of each kind after it."""

    def make(x):
        x = branch(x)
        for kind in after:
            x = kind()(x)
        return x

    return make


def joined(branches):
    """Return a model whose branches read one tensor; one that gives several tensors joins them all."""
    keras.utils.set_random_seed(0)
    image = keras.Input((31, 44, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    made = keras.tree.flatten([branch(x) for branch in branches])
    model = keras.Model(image, layers.Conv2D(3, 1)(layers.Concatenate()(made)))
    for layer in model.layers:
        if isinstance(layer, BN):
            shape = (4, layer.gamma.shape[0])
            layer.set_weights([*np.random.default_rng(0).uniform(0.5, 2, shape)])
    return model


def exported(branches, path, mode=None, **more):
    """Export a model of branches; return the report and the largest difference, as a share of the range."""
    model = joined(branches)
    pictures = np.random.default_rng(2).integers(0, 256, (8, 31, 44, 3)).astype("uint8")
    given = pictures if mode in ("int8", "int16x8") else None
    report = kseg.export_tflite(model, path, quantize=mode, representative_data=given, **more)
    picture = np.random.default_rng(1).integers(0, 256, (1, 31, 44, 3)).astype("float32")
    expected, made = model(picture).numpy(), open_model(path).run(picture)
    assert not {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(report.operators)
    return report, np.abs(made - expected).max() / np.ptp(expected)


PARALLEL = {
    "alike": [conv(), conv()],
    "of two sizes": [conv(rate=3), conv(size=5, rate=3)],
    "with even kernels": [conv(size=2, rate=3), conv(size=2, rate=3)],
    "with rates per side": [conv(rate=(1, 4)), conv(rate=(1, 4))],
    "per channel": [depthwise(depth_multiplier=2), conv(kind=layers.SeparableConv2D)],
    "without padding": [conv(padding="valid"), conv(padding="valid")],
    "in two ways": [conv(), conv(), lambda x: layers.ZeroPadding2D(2)(conv(padding="valid")(x))],
    "in groups": [conv(groups=2), conv(groups=4)],
}


@pytest.mark.parametrize("branches", PARALLEL.values(), ids=PARALLEL)
@pytest.mark.slow_after(4)
def test_convolutions_of_one_map_at_one_rate_keep_their_dilation(branches, tmp_path):
    _, difference = exported(branches, tmp_path / "model.tflite")
    assert difference <= 1e-5


AFTER = {
    "normalised and activated": [BN, ReLU],
    "normalised": [BN],
    "up to six": [BN, lambda: ReLU(6.0)],
    "activated, then normalised": [ReLU, BN],
}


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
@pytest.mark.slow_after(2)
def test_what_follows_goes_into_the_convolution(after, tmp_path):
    branches = [followed(each, *after) for each in (conv(), conv(filters=1), depthwise())]
    report, difference = exported(branches, tmp_path / "model.tflite")
    beyond = {"MUL", "ADD"} if after[0] is ReLU else set()  # what follows an activation
    assert set(report.operators) <= {"CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"} | beyond
    assert difference <= 1e-5


MODES = [("float16", 2e-3, 0), ("dynamic", 2e-2, 2), ("int8", 5e-2, 0), ("int16x8", 2e-2, 3)]


@pytest.mark.parametrize(("mode", "most", "outside"), MODES)
@pytest.mark.slow_after(2)
def test_dilation_is_kept_in_every_mode(mode, most, outside, tmp_path):
    branches = [followed(each, BN, ReLU) for each in (conv(), conv(), depthwise())]
    report, difference = exported(branches, tmp_path / "model.tflite", mode)
    assert difference <= most
    assert report.operators.get("MUL", 0) == outside  # of kernels that come in 8 bits


def test_what_turns_the_scores_back_to_float_stays(tmp_path):
    _, difference = exported(
        [followed(conv(use_bias=False), ReLU) for _ in range(2)], tmp_path / "model.tflite", "int16x8"
    )
    assert difference <= 2e-2


def test_a_convolution_that_took_its_normalization_in_can_stay_in_float(tmp_path):
    branches = [
        followed(
            lambda x, name=name: layers.Conv2D(8, 3, dilation_rate=2, padding="same", name=name)(x), BN, ReLU
        )
        for name in ("first", "second")
    ]
    report, _ = exported(branches, tmp_path / "model.tflite", "int8", float_layers=["first"])
    assert report.float_layers == ["first"]


def one_kernel(x):
    """Two normalisations read the same convolution of two maps."""
    shared, other = (
        layers.Conv2D(8, 3, dilation_rate=2, padding="same", use_bias=False),
        layers.Conv2D(8, 1)(x),
    )
    return [ReLU()(BN()(shared(x))), conv()(x), ReLU()(BN()(shared(other))), conv()(other)]


def one_layer_twice(x):
    shared = layers.Conv2D(8, 3, dilation_rate=2, padding="same", use_bias=False)
    return [ReLU()(BN()(shared(x))), ReLU()(BN()(shared(x))), BN()(conv()(x))]


def read_twice(x):
    first, second = conv()(x), conv(use_bias=False)(x)
    return [first, ReLU()(first), second, BN()(second), ReLU()(second)]


def spread_over_channels(x):
    values = np.arange(1.0, 9.0, dtype="float32")
    return [conv(filters=1)(x) * values, conv(filters=1)(x) + values, conv(filters=8)(x) * values]


def of_two_maps(x):
    first, second, third = (conv()(x) for _ in range(3))
    gate = layers.Dense(16, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return [
        layers.Multiply()([first, gate]),
        layers.Add()([second, third]),
        layers.Multiply()([third, third]),
    ]


SHARED = (one_kernel, one_layer_twice, read_twice, spread_over_channels, of_two_maps)
CASES = [(make, mode) for mode in (None, "int8") for make in SHARED]
QUICK = [*CASES[: len(SHARED)], (one_layer_twice, "int8")]


@pytest.mark.parametrize(
    ("make", "mode"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES],
)
@pytest.mark.slow_after(2)
def test_only_what_belongs_to_one_convolution_goes_into_it(make, mode, tmp_path):
    _, difference = exported([make], tmp_path / "model.tflite", mode)
    assert difference <= (1e-5 if mode is None else 5e-2)


def padding_same(graph, convolution, gather, spread):
    convolution.builtinOptions.padding = graph.schema.Padding.SAME


def stride(graph, convolution, gather, spread):
    convolution.builtinOptions.strideH = 2


def dilation(graph, convolution, gather, spread):
    convolution.builtinOptions.dilationWFactor = 2


def other_operator(graph, convolution, gather, spread):
    convolution.opcodeIndex = graph.code(graph.schema.BuiltinOperator.AVERAGE_POOL_2D)


def changed(graph, index, place, value):
    values = graph.integers(index).copy()
    values[place] = value
    graph.model.buffers[graph.tensors[index].buffer].data = np.frombuffer(values.tobytes(), "uint8")


def crop_at_the_start(graph, convolution, gather, spread):
    changed(graph, gather.inputs[2], (0, 0), 1)


def pad_of_another_size(graph, convolution, gather, spread):
    changed(graph, spread.inputs[2], (1, 0), 5)


def other_rate(graph, convolution, gather, spread):
    gather.inputs = [gather.inputs[0], spread.inputs[2], gather.inputs[2]]


def other_reader(graph, convolution, gather, spread):
    gather.opcodeIndex = graph.code(graph.schema.BuiltinOperator.DEPTH_TO_SPACE)


UNLIKE = [
    padding_same,
    stride,
    dilation,
    other_operator,
    crop_at_the_start,
    pad_of_another_size,
    other_rate,
    other_reader,
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The bytes of a file as the converter leaves it."""
    path = tmp_path_factory.mktemp("raw") / "model.tflite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kseg.sandbox.call", lambda function, *arguments: function(*arguments))
        patch.setattr(passes, "join_dilations", lambda graph: 0)
        patch.setattr(tflite, "_FORBIDDEN", ())
        kseg.export_tflite(joined([conv(), conv()]), path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore")  # of the converter, which runs in this process here
@pytest.mark.parametrize("change", [None, *UNLIKE])
def test_operators_that_are_no_dilated_convolution_stay(change, raw):
    _, (graph, *_) = parsed(raw)
    kinds = graph.schema.BuiltinOperator
    (spread,) = [each for each in graph.operators if graph.kind(each) == kinds.SPACE_TO_BATCH_ND]
    convolution, _ = graph.readers(spread.outputs[0])
    if change is not None:
        change(graph, convolution, graph.readers(convolution.outputs[0])[0], spread)
    before = list(graph.operators)
    assert join_dilations(graph) == (2 if change is None else 0)
    assert (list(graph.operators) == before) == (change is not None)
