import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kseg
from kseg.graphs import ModelFacts
from kseg.litert import conversion, int8_ranges
from kseg.litert.graph import parsed
from kseg.runtime import LiteRTFile

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
    found = int8_ranges.least_squares_range(int8_ranges._histogram(values, low, high), low, high)
    shares = np.linspace(1, 0.5, 20)
    least = min(error(values, low * a, high * b) for a in (shares if low else [1]) for b in shares)
    assert error(values, *found) <= 1.02 * least
    assert not activated or found[0] == 0


def test_values_spread_evenly_keep_their_range():
    counts = np.full(int8_ranges._BINS, 100)
    assert int8_ranges.least_squares_range(counts, -2.0, 3.0) == (-2.0, 3.0)


def test_zeros_are_exact_and_ask_for_no_finer_step():
    seldom = np.zeros(100_000, "float32")
    seldom[:100] = np.linspace(0.01, 1, 100)
    assert int8_ranges.least_squares_range(int8_ranges._histogram(seldom, 0, 1), 0.0, 1.0) == (0.0, 1.0)
    nothing = int8_ranges._histogram(np.zeros(100, "float32"), -1, 1)
    assert int8_ranges.least_squares_range(nothing, -1.0, 1.0) == (-1.0, 1.0)


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50),
    st.floats(0, 1e3),
    st.floats(1e-3, 1e3),
)
def test_ranges_stay_inside_what_was_seen_and_hold_zero(values, below, above):
    values = np.array(values, "float32")
    low, high = min(-below, values.min()), max(above, values.max())
    counts = int8_ranges._histogram(values, low, high)
    assert counts.sum() == np.count_nonzero(values)
    narrow = int8_ranges.least_squares_range(counts, low, high)
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
    activation = None if ModelFacts(model).told else "linear"
    kseg.export_tflite(model, path, quantize="int8", activation=activation, **given)
    return path.read_bytes()


def quantizations(file):
    """Return scale and zero of the image and of what the operators give, in their order."""
    details = file.interpreter._get_tensor_details
    made = [
        each["outputs"][0] for each in file.interpreter._get_ops_details() if each["op_name"] != "QUANTIZE"
    ]
    return [details(index, 0)["quantization"] for index in (file.input["index"], *made)]


@pytest.fixture
def both(in_process, tmp_path, monkeypatch):
    """Return a function that exports with narrower ranges and with whole ones, and gives both files."""

    def export_both(model, pictures):
        export(model, tmp_path / "narrow.tflite", pictures)
        with monkeypatch.context() as patch:
            patch.setattr(conversion, "narrow_ranges", lambda content, pictures: content)
            export(model, tmp_path / "whole.tflite", pictures)
        return [LiteRTFile(tmp_path / f"{name}.tflite") for name in ("narrow", "whole")]

    return export_both


def deviation(model, file, pictures):
    """Return the root mean squared error of the scores of a file."""
    return np.sqrt(np.mean((file.run(pictures) - model.predict(pictures, verbose=0)) ** 2))


def test_rare_values_do_not_make_all_others_coarse(both):
    keras.utils.set_random_seed(0)
    model, pictures = model_and_pictures()
    narrow, whole = both(model, pictures)
    assert deviation(model, narrow, pictures) < 0.7 * deviation(model, whole, pictures)
    for same in (0, 1, -1):  # image, what the first convolution reads, and scores, which are only enlarged
        assert quantizations(narrow)[same] == quantizations(whole)[same]
    assert quantizations(narrow)[2] != quantizations(whole)[2]


def test_pictures_at_the_end_of_the_list_count_as_well(both):
    keras.utils.set_random_seed(0)
    model, pictures = model_and_pictures()
    bright = 255 - pictures
    narrow, whole = both(model, np.concatenate([pictures.clip(0, 10)] * 5 + [bright]))  # 40 dark ones first
    assert deviation(model, narrow, bright) < 1.2 * deviation(model, whole, bright)


ENDS = {  # of what scores come: the layers whose ranges may be narrower, and what follows "second"
    "a convolution": ({"relu"}, lambda first, second: second),
    "a resize": ({"relu"}, lambda first, second: keras.layers.UpSampling2D()(second)),
    "an activation": ({"relu"}, lambda first, second: keras.layers.Softmax()(second)),
    "a sum": (
        {"first", "relu", "second", "other"},
        lambda first, second: second + keras.layers.Conv2D(3, 1, name="other")(first),
    ),
    "a transposed convolution": (
        {"relu", "second"},
        lambda first, second: keras.layers.Conv2DTranspose(3, 2, 2)(second),
    ),
    "a dense layer": ({"relu", "second"}, lambda first, second: keras.layers.Dense(3)(second)),
    "a scalar": (
        {"first", "relu", "second", "mean"},
        lambda first, second: (
            second * keras.layers.Lambda(keras.ops.mean, output_shape=(), name="mean")(first)
        ),
    ),
}


@pytest.mark.parametrize(("layers", "end"), ENDS.values(), ids=ENDS)
@pytest.mark.slow_after(2)
def test_image_and_scores_keep_their_ranges(layers, end, in_process, tmp_path, monkeypatch):
    image = keras.Input((16, 24, 3), name="image")
    first = keras.layers.Conv2D(8, 3, padding="same", name="first")(image)
    second = keras.layers.Conv2D(3, 1, name="second")(keras.layers.ReLU(name="relu")(first))
    found = []

    def narrowed(content, pictures):
        found.extend([content, int8_ranges.narrow_ranges(content, pictures)])
        return found[1]

    monkeypatch.setattr(conversion, "narrow_ranges", narrowed)
    pictures = np.random.default_rng(0).exponential(12, (8, 16, 24, 3)).clip(0, 255).astype("float32")
    export(keras.Model(image, end(first, second)), tmp_path / "m.tflite", pictures)
    changed = set()
    for before, after in zip(*map(ranges_of, found), strict=True):
        if before != after:
            changed.add(before[0].decode().split("/")[1].removesuffix("_1"))
    assert changed and changed <= layers
    assert {"second"} & changed == {"second"} & layers


def ranges_of(content):
    """Return `(name, range)` of every tensor."""
    _, (graph, *_) = parsed(content)
    return [(tensor.name, graph.range(index)) for index, tensor in enumerate(graph.tensors)]


def test_activations_that_are_too_many_are_looked_at_in_parts(in_process, tmp_path, monkeypatch):
    model, pictures = model_and_pictures()
    at_once = export(model, tmp_path / "at_once.tflite", pictures)
    monkeypatch.setattr(int8_ranges, "_BYTES", 400_000)  # one of the first features has 369 KB
    assert export(model, tmp_path / "in_parts.tflite", pictures) == at_once
