import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kseg
from kseg import child
from kseg.child import conversion, ranges
from kseg.child.graph import Graph
from kseg.child.running import LiteRTFile

pytestmark = pytest.mark.filterwarnings("ignore")  # of the converter, which runs in this process here


def error(values, low, high):
    """Return the mean squared error of values that are rounded to 256 steps of a range."""
    step = (high - low) / 255
    zero = np.round(-low / step)
    return np.mean((np.clip(np.round(values / step) + zero, 0, 255) * step - zero * step - values) ** 2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tail", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("activated", [False, True])
def test_the_range_is_where_rounding_and_cutting_err_least(seed, tail, activated):
    draw = np.random.default_rng(seed)
    values = np.concatenate([draw.standard_normal(100_000), tail * draw.standard_normal(20)])
    values = np.maximum(values, 0) if activated else values
    low, high = values.min(), values.max()
    found = ranges.least_squares_range(ranges._histogram(values, low, high), low, high)
    shares = np.linspace(1, 0.5, 20)
    least = min(error(values, low * a, high * b) for a in (shares if low else [1]) for b in shares)
    assert error(values, *found) <= 1.02 * least
    assert not activated or found[0] == 0


def test_values_spread_evenly_keep_their_range():
    counts = np.full(ranges._BINS, 100)
    assert ranges.least_squares_range(counts, -2.0, 3.0) == (-2.0, 3.0)


def test_zeros_are_exact_and_ask_for_no_finer_step():
    seldom = np.zeros(100_000, "float32")
    seldom[:100] = np.linspace(0.01, 1, 100)
    assert ranges.least_squares_range(ranges._histogram(seldom, 0, 1), 0.0, 1.0) == (0.0, 1.0)
    nothing = ranges._histogram(np.zeros(100, "float32"), -1, 1)
    assert ranges.least_squares_range(nothing, -1.0, 1.0) == (-1.0, 1.0)


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50),
    st.floats(0, 1e3),
    st.floats(1e-3, 1e3),
)
def test_ranges_stay_inside_what_was_seen_and_hold_zero(values, below, above):
    values = np.array(values, "float32")
    low, high = min(-below, values.min()), max(above, values.max())
    counts = ranges._histogram(values, low, high)
    assert counts.sum() == np.count_nonzero(values)
    narrow = ranges.least_squares_range(counts, low, high)
    assert low <= narrow[0] <= low / 2 <= 0 <= high / 2 <= narrow[1] <= high


def model_and_pictures():
    """Return a model of products, and pictures whose values are the seldomer the larger they are."""
    draw = np.random.default_rng(0)
    image = keras.Input((96, 120, 3), name="image")
    x = keras.layers.Rescaling(1 / 12, -0.25)(image)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(8, 1, activation="tanh")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.Conv2D(3, 2, strides=2)(x))
    model = keras.Model(image, x)
    kernel = np.pad(draw.normal(0, 1.2, (1, 1, 3, 8)), ((1, 1), (1, 1), (0, 0), (0, 0)))
    model.layers[2].set_weights([kernel, np.full(8, 0.25)])
    return model, draw.exponential(12, (8, 96, 120, 3)).round().clip(0, 255).astype("float32")


def export(model, path, pictures):
    given = {"representative_data": pictures, "validation_data": pictures[:1]}
    kseg.export_tflite(model, path, quantize="int8", **given)
    return path.read_bytes()


def quantizations(file):
    """Return scale and zero of the image and of what the operators give, in their order."""
    details = file.interpreter._get_tensor_details
    made = [
        each["outputs"][0] for each in file.interpreter._get_ops_details() if each["op_name"] != "QUANTIZE"
    ]
    return [details(index, 0)["quantization"] for index in (file.given["index"], *made)]


@pytest.fixture
def here(monkeypatch):
    """Let jobs run in this process."""
    monkeypatch.setattr(child, "call", lambda function, *arguments: function(*arguments))


def test_rare_values_do_not_make_all_others_coarse(here, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    model, pictures = model_and_pictures()
    export(model, tmp_path / "narrow.tflite", pictures)
    monkeypatch.setattr(conversion, "narrow_ranges", lambda content, pictures: content)
    export(model, tmp_path / "whole.tflite", pictures)
    narrow, whole = (LiteRTFile(tmp_path / f"{name}.tflite") for name in ("narrow", "whole"))
    expected = model.predict(pictures, verbose=0)
    errors = [np.sqrt(np.mean((file.run(pictures) - expected) ** 2)) for file in (narrow, whole)]
    assert errors[0] < 0.7 * errors[1]
    for same in (0, 1, -1):  # image, what the first convolution reads, and scores, which are only enlarged
        assert quantizations(narrow)[same] == quantizations(whole)[same]
    assert quantizations(narrow)[2] != quantizations(whole)[2]


def test_pictures_at_the_end_of_the_list_count_as_well(here, tmp_path, monkeypatch):
    model, pictures = model_and_pictures()
    pictures = np.concatenate([pictures.clip(0, 10)] * 5 + [255 - pictures])  # 40 dark ones, 8 bright ones
    export(model, tmp_path / "narrow.tflite", pictures)
    monkeypatch.setattr(conversion, "narrow_ranges", lambda content, pictures: content)
    export(model, tmp_path / "whole.tflite", pictures)
    expected = model.predict(pictures[-8:], verbose=0)
    files = [LiteRTFile(tmp_path / f"{name}.tflite") for name in ("narrow", "whole")]
    errors = [np.sqrt(np.mean((file.run(pictures[-8:]) - expected) ** 2)) for file in files]
    assert errors[0] < 1.2 * errors[1]


def ends():
    """Return models by what their scores come from, with the layers whose ranges may be narrower."""
    image = keras.Input((16, 24, 3), name="image")
    first = keras.layers.Conv2D(8, 3, padding="same", name="first")(image)
    second = keras.layers.Conv2D(3, 1, name="second")(keras.layers.ReLU(name="relu")(first))
    other = keras.layers.Conv2D(3, 1, name="other")(first)
    scalar = keras.layers.Lambda(keras.ops.mean, output_shape=(), name="mean")(first)
    return {
        "a convolution": (keras.Model(image, second), {"relu"}),
        "a resize": (keras.Model(image, keras.layers.UpSampling2D()(second)), {"relu"}),
        "an activation": (keras.Model(image, keras.layers.Softmax()(second)), {"relu"}),
        "a sum": (
            keras.Model(image, keras.layers.Add()([second, other])),
            {"first", "relu", "second", "other"},
        ),
        "a transposed convolution": (
            keras.Model(image, keras.layers.Conv2DTranspose(3, 2, 2)(second)),
            {"relu", "second"},
        ),
        "a dense layer": (keras.Model(image, keras.layers.Dense(3)(second)), {"relu", "second"}),
        "a scalar": (
            keras.Model(image, keras.layers.Lambda(lambda both: both[0] * both[1])([second, scalar])),
            {"first", "relu", "second", "mean"},
        ),
    }


@pytest.mark.parametrize("end", ends())
def test_image_and_scores_keep_their_ranges(end, here, tmp_path, monkeypatch):
    model, layers = ends()[end]
    found = []

    def narrowed(content, pictures):
        found.extend([content, ranges.narrow_ranges(content, pictures)])
        return found[1]

    monkeypatch.setattr(conversion, "narrow_ranges", narrowed)
    pictures = np.random.default_rng(0).exponential(12, (8, 16, 24, 3)).clip(0, 255).astype("float32")
    export(model, tmp_path / "m.tflite", pictures)
    changed = set()
    for before, after in zip(*map(ranges_of, found), strict=True):
        if before != after:
            changed.add(before[0].decode().split("/")[1].removesuffix("_1"))
    assert changed and changed <= layers
    assert {"second"} & changed == {"second"} & layers


def ranges_of(content):
    """Return `(name, range)` of every tensor."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    graph = Graph(model, schema, model.subgraphs[0])
    return [(tensor.name, graph.range(index)) for index, tensor in enumerate(graph.tensors)]


def test_activations_that_are_too_many_are_looked_at_in_parts(here, tmp_path, monkeypatch):
    model, pictures = model_and_pictures()
    at_once = export(model, tmp_path / "at_once.tflite", pictures)
    monkeypatch.setattr(ranges, "_BYTES", 400_000)  # one of the first features has 369 KB
    assert export(model, tmp_path / "in_parts.tflite", pictures) == at_once
