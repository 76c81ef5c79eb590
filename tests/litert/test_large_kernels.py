import keras
import numpy as np
import pytest

import kseg
from kseg.litert import conversion
from kseg.litert.description import describe
from kseg.litert.passes import large_kernels
from kseg.runtime import LiteRTFile

pytestmark = pytest.mark.filterwarnings("ignore")  # of the converter, which runs in this process here

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 12, 20, 3)).astype("float32")
CONVOLUTIONS = {
    "activated": [{"padding": "same", "activation": "relu"}],
    "without bias": [{"padding": "same", "use_bias": False}],
    "valid, in strides": [{"strides": 2}],
    "dilated": [{"padding": "same", "dilation_rate": 2}],
    "one after another, with equal biases": [{"padding": "same"}, {"padding": "same", "activation": "relu6"}],
}


@pytest.fixture
def exported(in_process, monkeypatch, tmp_path):
    """Return a function that exports a model with its kernels cut to 16 channels, and whole."""

    def export(model, mode=None):
        def cut(content):
            (tmp_path / "whole.tflite").write_bytes(content)
            return large_kernels.cut_kernels(content)

        given = PICTURES if mode == "int8" else None
        with monkeypatch.context() as patch:
            patch.setattr(large_kernels, "_BYTES", 1)
            patch.setattr(conversion, "cut_kernels", cut)
            kseg.export_tflite(
                model, tmp_path / "cut.tflite", quantize=mode, representative_data=given, overwrite=True
            )
        return LiteRTFile(tmp_path / "cut.tflite"), LiteRTFile(tmp_path / "whole.tflite")

    return export


def kernels(file):
    """Return the shapes of the kernels of a file, sorted."""
    shapes = file.interpreter._get_tensor_details
    operators = [each for each in file.interpreter._get_ops_details() if each["op_name"] == "CONV_2D"]
    return sorted(tuple(shapes(each["inputs"][1], 0)["shape"].tolist()) for each in operators)


def convolved(layers):
    image = keras.Input((12, 20, 3), name="image")
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, keras.layers.Conv2D(3, 1)(x))


MODES = [(name, mode) for mode in (None, "float16") for name in CONVOLUTIONS]
QUICK = [*MODES[: len(CONVOLUTIONS)], ("activated", "float16"), ("dilated", "float16")]


@pytest.mark.parametrize(
    ("name", "mode"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in MODES],
)
@pytest.mark.slow_after(2)
def test_pieces_give_the_same_bit_by_bit(name, mode, exported, tmp_path):
    keras.utils.set_random_seed(0)
    options = CONVOLUTIONS[name]
    layers = [keras.layers.Conv2D(24, 1), *(keras.layers.Conv2D(40, 3, **each) for each in options)]
    cut, whole = exported(convolved(layers), mode)
    pieces, others = kernels(cut), kernels(whole)
    assert [shape[0] for shape in pieces] == sorted([3, 24] + len(options) * [8, 16, 16])
    assert [shape[0] for shape in others] == sorted([3, 24] + len(options) * [40])
    assert (cut.run(PICTURES) == whole.run(PICTURES)).all()
    assert describe(str(tmp_path / "cut.tflite"))["not_on_xnnpack"] == {}
    sizes = [(tmp_path / f"{each}.tflite").stat().st_size for each in ("cut", "whole")]
    assert sizes[0] < sizes[1] + 2500 * len(options)  # a kernel is 17 KB or more, in the file once


@pytest.mark.parametrize("channels", [17, 80, 96, 416])
@pytest.mark.slow_after(1)
def test_many_pieces_are_joined_in_xnnpack(channels, exported, tmp_path):
    cut, whole = exported(convolved([keras.layers.Conv2D(channels, 3)]))
    assert len(kernels(cut)) == 1 + -(-channels // 16)
    assert (cut.run(PICTURES) == whole.run(PICTURES)).all()
    assert describe(str(tmp_path / "cut.tflite"))["not_on_xnnpack"] == {}


def test_kernels_in_8_bits_or_of_one_pixel_stay_whole(exported):
    model = convolved([keras.layers.Conv2D(40, 3), keras.layers.Conv2D(40, 1)])
    for mode in ("int8", "dynamic"):
        cut, whole = exported(model, mode)
        assert kernels(cut) == kernels(whole)
    cut, _ = exported(model)
    assert sorted(shape[1:3] for shape in kernels(cut)) == 2 * [(1, 1)] + 3 * [(3, 3)]


def test_convolutions_in_groups_stay_whole(exported):
    cut, whole = exported(convolved([keras.layers.Conv2D(8, 1), keras.layers.Conv2D(40, 3, groups=2)]))
    assert kernels(cut) == kernels(whole)
    assert (cut.run(PICTURES) == whole.run(PICTURES)).all()


def test_a_kernel_that_two_convolutions_read_stays_whole(exported):
    shared = keras.layers.Conv2D(40, 3, padding="same")
    image = keras.Input((12, 20, 3), name="image")
    both = keras.layers.Add()([shared(image), shared(keras.layers.ReLU()(shared(image)[..., :3]))])
    cut, whole = exported(keras.Model(image, keras.layers.Conv2D(3, 3)(both)))
    assert kernels(cut) == kernels(whole)
    assert (cut.run(PICTURES) == whole.run(PICTURES)).all()


def test_pieces_are_as_large_as_the_cache_allows(tmp_path):
    model = convolved([keras.layers.Conv2D(1024, 1), keras.layers.Conv2D(256, 3)])
    kseg.export_tflite(model, tmp_path / "m.tflite")  # 4 MB are 108 of the 256 channels, 6 times 16
    pieces = kernels(LiteRTFile(tmp_path / "m.tflite"))
    assert [shape[0] for shape in pieces] == [3, 64, 96, 96, 1024]
