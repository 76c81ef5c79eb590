"""What each verb says to models that are not one picture in and one map out: one sentence, before work."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg

PICTURE = np.zeros((8, 8, 3), "uint8")
MASK = np.zeros((1, 8, 8), "int32")


class Subclass(keras.Model):
    """A model whose graph nobody can read."""

    def __init__(self):
        super().__init__(name="mine")
        self.conv = layers.Conv2D(2, 1)

    def call(self, x):
        return self.conv(x)


def of(pack, shape=(8, 8, 3)):
    image = keras.Input(shape)
    return keras.Model(image, pack(image), name="mine")


def scores(x):
    return layers.Conv2D(2, 1)(x)


def two_inputs():
    images = [keras.Input((8, 8, 3)) for _ in "ab"]
    return keras.Model(images, scores(layers.Add()(images)), name="mine")


def named_inputs():
    images = {name: keras.Input((8, 8, 3), name=name) for name in ("image", "depth")}
    return keras.Model(images, scores(layers.Add()(list(images.values()))), name="mine")


def sequential():
    return keras.Sequential([layers.Conv2D(2, 1)], name="mine")


UNFIT = {
    "two inputs": (two_inputs, "model 'mine' takes 2 inputs, kseg takes one picture"),
    "inputs by name": (named_inputs, "model 'mine' takes 2 inputs"),
    "two outputs": (lambda: of(lambda x: [scores(x), scores(x)]), "model 'mine' has 2 outputs.*choose one"),
    "outputs by name": (lambda: of(lambda x: {"a": scores(x), "b": scores(x)}), "model 'mine' has 2 outputs"),
    "channels first": (
        lambda: of(lambda x: layers.Permute((3, 1, 2))(scores(layers.Permute((2, 3, 1))(x))), (3, 8, 8)),
        "model 'mine': channels come first.*Permute",
    ),
    "channels first, open": (
        lambda: of(
            lambda x: layers.Permute((3, 1, 2))(scores(layers.Permute((2, 3, 1))(x))), (3, None, None)
        ),
        "model 'mine': channels come first.*Permute",
    ),
    "a subclass": (
        Subclass,
        r"model 'mine' \(Subclass\) has no graph that can be read.*call it on a picture",
    ),
    "not built": (sequential, r"model 'mine' \(Sequential\) has no graph that can be read"),
    "a classifier": (
        lambda: of(lambda x: layers.Dense(2)(layers.GlobalAveragePooling2D()(x))),
        r"model 'mine': expected \(B, H, W, C\) in",
    ),
    "rows of pixels": (lambda: of(lambda x: layers.Reshape((64, 2))(scores(x))), "Reshape brings them there"),
    "volumes": (lambda: of(lambda x: layers.Conv3D(2, 1)(x), (8, 8, 8, 3)), r"expected \(B, H, W, C\) in"),
    "no model": (lambda: 3, "expected a keras.Model.* got int"),
}
VERBS = {
    "predict": lambda model, path: kseg.predict(model, PICTURE),
    "evaluate": lambda model, path: kseg.evaluate(model, [(PICTURE[None], MASK)]),
    "compile": lambda model, path: kseg.compile(model),
    "tune_crf": lambda model, path: kseg.tune_crf(model, [(PICTURE[None], MASK)]),
    "export_saved_model": lambda model, path: kseg.export_saved_model(model, path / "saved"),
    "export_tflite": lambda model, path: kseg.export_tflite(model, path / "m.tflite", input_size=(8, 8)),
    "export_onnx": lambda model, path: kseg.export_onnx(model, path / "m.onnx"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", UNFIT)
def test_one_sentence_before_any_work(tmp_path, verb, kind):
    make, message = UNFIT[kind]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        VERBS[verb](make(), tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
