import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg import build_segnet


def test_maps_have_the_sizes_of_the_released_model():
    """360 × 480: the fourth and fifth pools meet odd sides, 45 and 23."""
    model = build_segnet(11, (360, 480, 3), filters=4)
    pools = [model.get_layer(f"encoder_pool{block}").output[0].shape[1:3] for block in range(1, 6)]
    unpools = [model.get_layer(f"decoder_block{block}_unpool").output.shape[1:3] for block in range(5, 0, -1)]
    assert pools == [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]
    assert unpools == [(23, 30), (45, 60), (90, 120), (180, 240), (360, 480)]


def test_the_decoder_narrows_as_the_released_model():
    model = build_segnet(11)
    widths = [
        [model.get_layer(f"decoder_block{block}_conv{number}").filters for number in range(1, last + 1)]
        for block, last in ((5, 3), (4, 3), (3, 3), (2, 2), (1, 1))
    ]
    assert widths == [[512, 512, 512], [512, 512, 256], [256, 256, 128], [128, 64], [64]]
    assert model.get_layer("logits").kernel.shape == (3, 3, 64, 11)


def test_one_cell_of_four_is_filled():
    """Each window of what is unpooled holds one value of the map below, at any size."""
    for variant, level in (("vgg16", "block3"), ("basic", "level2")):
        model = build_segnet(2, variant=variant, filters=4)
        unpool = model.get_layer(f"decoder_{level}_unpool")
        values = unpool._inbound_nodes[0].arguments.args[0]
        image = np.random.default_rng(0).integers(0, 256, (1, 45, 70, 3)).astype("float32")
        below, back = keras.Model(model.input, [values, unpool.output])(image)
        np.testing.assert_allclose(np.sum(back), np.sum(below), rtol=1e-4)
        assert np.count_nonzero(back) == np.count_nonzero(below)


def test_the_basic_decoder_is_linear():
    names = [layer.name for layer in build_segnet(2, variant="basic", filters=4).layers]
    assert not [name for name in names if name.startswith("decoder") and name.endswith("relu")]
    assert sum(name.endswith("relu") for name in names) == 4


def test_dropout_acts_on_the_three_deepest_blocks_of_both_paths(count):
    model = build_segnet(2, filters=2, dropout=0.5)
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert names == [f"encoder_block{block}_dropout" for block in (3, 4, 5)] + [
        f"decoder_block{block}_dropout" for block in (5, 4, 3)
    ]
    assert count(build_segnet, 11, dropout=0.5)[0] == 29_449_355


def test_int8_fills_one_cell_of_four(tmp_path):
    image = keras.Input((15, 16, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    pooled, mask = kseg.layers.MaxPoolWithIndices()(x)
    model = keras.Model(image, kseg.layers.MaxUnpool()(pooled, mask, x))
    pictures = np.random.default_rng(0).integers(0, 256, (8, 15, 16, 3)).astype("uint8")
    path = tmp_path / "m.tflite"
    given = {"quantize": "int8", "representative_data": pictures, "activation": "linear"}
    report = kseg.export_tflite(model, path, **given)
    assert not {"DEQUANTIZE", "CAST"} & set(report.operators)  # no step back to floats
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], pictures[:1])
    interpreter.invoke()
    filled = interpreter.get_tensor(wanted["index"]) != wanted["quantization"][1]
    filled = np.pad(filled, [(0, 0), (0, 1), (0, 0), (0, 0)]).reshape(1, 8, 2, 8, 2, 4).sum((2, 4))
    assert filled.max() == 1 and filled.mean() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "base"}, "did you mean 'basic'"),
        ({"variant": "basic", "backbone_weights": "imagenet"}, "backbone_weights is for variant='vgg16'"),
        ({"backbone_weights": "imagenet", "use_bias": False}, "they need use_bias=True"),
        ({"filters": 0}, "filters must be a positive int"),
        ({"filters": (4, 8)}, "filters must be a positive int"),
        ({"normalization": "bach"}, "did you mean 'batch'"),
        ({"filters": 2, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_segnet(2, **arguments)
