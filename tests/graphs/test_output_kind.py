"""What a model gives is found through whatever only moves, cuts, pads or resizes, and never guessed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import kseg
from kseg.graphs import ModelFacts


class OwnSigmoid(layers.Layer):
    def call(self, x):
        return ops.sigmoid(x)


class OwnPadding(layers.Layer):
    def call(self, x):
        return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=0.5)


class OwnCrop(keras.Model):
    """A model inside with a call of its own."""

    def call(self, x):
        return x[:, 1:-1, 1:-1]


MOVES = {
    "nothing": lambda x: x,
    "UpSampling2D": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x),
    "UpSampling2D nearest": lambda x: layers.UpSampling2D(2)(x),
    "Resizing": lambda x: layers.Resizing(20, 24)(x),
    "CenterCrop": lambda x: layers.CenterCrop(8, 8)(x),
    "Cropping2D": lambda x: layers.Cropping2D(1)(x),
    "ZeroPadding2D": lambda x: layers.ZeroPadding2D(1)(x),
    "slice": lambda x: x[:, 1:-1, 1:-1],
    "Reshape": lambda x: layers.Reshape((8, 32, x.shape[-1]))(x),
    "Permute": lambda x: layers.Permute((2, 1, 3))(x),
    "Dropout": lambda x: layers.Dropout(0.1)(x),
    "SpatialDropout2D": lambda x: layers.SpatialDropout2D(0.1)(x),
    "AveragePooling2D": lambda x: layers.AveragePooling2D(2)(x),
    "MaxPooling2D": lambda x: layers.MaxPooling2D(2)(x),
    "Identity": lambda x: layers.Identity()(x),
    "GaussianNoise": lambda x: layers.GaussianNoise(0.1)(x),
    "ops.image.resize": lambda x: ops.image.resize(x, (32, 32)),
    "ops.image.crop_images": lambda x: ops.image.crop_images(x, 1, 1, 1, 1),
    "ops.image.affine_transform": lambda x: ops.image.affine_transform(x, np.eye(3).ravel()[:8]),
    "ops.pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
    "ops.flip": lambda x: ops.flip(x, 1),
    "ops.split": lambda x: ops.split(x, 2, axis=1)[1],
    "ops.cast": lambda x: ops.cast(x, "float16"),
    "nested": lambda x: keras.Sequential([layers.Cropping2D(1), layers.UpSampling2D(2), layers.Dropout(0.1)])(
        x
    ),
    "own layer": lambda x: OwnPadding()(x),
    "own model": lambda x: OwnCrop()(x),
    "Lambda": lambda x: layers.Lambda(lambda t: tf.image.flip_left_right(t))(x),
    "Upsample": lambda x: kseg.layers.Upsample(2)(x),
    "several": lambda x: layers.Cropping2D(1)(layers.Dropout(0.1)(ops.image.resize(x, (20, 20)))),
}
ENDS = {  # what stands before the moves, and what it gives
    "sigmoid of a convolution": (lambda x: layers.Conv2D(1, 1, activation="sigmoid")(x), "sigmoid"),
    "own sigmoid": (lambda x: OwnSigmoid()(layers.Conv2D(1, 1)(x)), "sigmoid"),
    "Softmax": (lambda x: layers.Softmax()(layers.Conv2D(3, 1)(x)), "softmax"),
    "softmax in a Lambda": (
        lambda x: layers.Lambda(lambda t: tf.nn.softmax(t))(layers.Conv2D(3, 1)(x)),
        "softmax",
    ),
    "softmax over rows": (
        lambda x: layers.Reshape((16, 16, 3))(
            layers.Softmax()(layers.Reshape((256, 3))(layers.Conv2D(3, 1)(x)))
        ),
        "softmax",
    ),
    "a kseg model": (
        lambda x: kseg.build_conv_stack(3, depth=1, filters=4, activation="softmax")(x),
        "softmax",
    ),
    "logits": (lambda x: layers.Conv2D(3, 1)(x), "linear"),
    "scaled logits": (lambda x: layers.Rescaling(2.0, offset=1.0)(layers.Conv2D(1, 1)(x)), "linear"),
    "normalised logits": (lambda x: layers.BatchNormalization()(layers.Conv2D(3, 1)(x)), "linear"),
    "a sum of logits": (lambda x: layers.Conv2D(3, 1)(x) + layers.Conv2D(3, 1)(x), "linear"),
    "a convolution of features": (
        lambda x: layers.Conv2D(3, 1)(layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))),
        "linear",
    ),
    "logarithms": (lambda x: ops.log_softmax(layers.Conv2D(3, 1)(x)), "linear"),
    "clipped probabilities": (
        lambda x: ops.clip(layers.Conv2D(1, 1, activation="sigmoid")(x), 1e-6, 1),
        "sigmoid",
    ),
}


def model_of(end, move):
    image = keras.Input((16, 16, 3))
    return keras.Model(image, move(end(image)))


@pytest.mark.parametrize("move", MOVES)
def test_the_kind_is_found_behind(move):
    for end in ("sigmoid of a convolution", "Softmax", "logits"):
        make, kind = ENDS[end]
        assert ModelFacts(model_of(make, MOVES[move])).found == kind, end


@pytest.mark.parametrize("end", ENDS)
def test_the_kind_is_that_of(end):
    make, kind = ENDS[end]
    for move in ("nothing", "Cropping2D", "several"):
        assert ModelFacts(model_of(make, MOVES[move])).found == kind, move


UNTOLD = {
    "tanh": lambda x: layers.Conv2D(1, 1, activation="tanh")(x),
    "relu": lambda x: layers.ReLU()(layers.Conv2D(3, 1)(x)),
    "hard sigmoid": lambda x: layers.Activation("hard_sigmoid")(layers.Conv2D(1, 1)(x)),
    "scaled probabilities": lambda x: layers.Rescaling(2.0)(layers.Conv2D(1, 1, activation="sigmoid")(x)),
    "softmax over the width": lambda x: layers.Softmax(axis=2)(layers.Conv2D(3, 1)(x)),
    "a mean over channels": lambda x: ops.mean(layers.Softmax()(layers.Conv2D(3, 1)(x)), -1, keepdims=True),
    "an average of two": lambda x: layers.Average()([layers.Softmax()(layers.Conv2D(3, 1)(x)) for _ in "ab"]),
    "probabilities and logits": lambda x: layers.Concatenate()([layers.Conv2D(1, 1)(x), OwnSigmoid()(x)]),
    "the picture": lambda x: layers.Dropout(0.1)(x),
    "a blurred sigmoid": lambda x: layers.DepthwiseConv2D(3)(layers.Conv2D(1, 1, activation="sigmoid")(x)),
    "a blurred softmax": lambda x: layers.DepthwiseConv2D(3)(layers.Softmax()(layers.Conv2D(3, 1)(x))),
    "an enlarged sigmoid": lambda x: layers.Conv2DTranspose(1, 2, 2)(OwnSigmoid()(layers.Conv2D(1, 1)(x))),
    "blurred and cut": lambda x: layers.Conv2D(1, 3)(
        layers.Cropping2D(1)(OwnSigmoid()(layers.Conv2D(1, 1)(x)))
    ),
    "a palette": lambda x: ops.take(ops.arange(3.0) / 3, ops.argmax(layers.Conv2D(3, 1)(x), -1))[..., None],
}


@pytest.mark.parametrize("end", UNTOLD)
def test_what_the_graph_does_not_tell_is_not_guessed(end):
    for move in ("nothing", "Cropping2D"):
        assert ModelFacts(model_of(UNTOLD[end], MOVES[move])).found is None


IDS = {
    "ops.argmax": lambda x: ops.argmax(layers.Conv2D(300, 1)(x), -1),
    "as floats": lambda x: ops.cast(ops.argmax(layers.Conv2D(3, 1)(x), -1, keepdims=True), "float32"),
    "threshold": lambda x: layers.Conv2D(1, 1, kernel_initializer="ones")(x) > 300,
    "resized": lambda x: ops.image.resize(
        ops.cast(ops.argmax(layers.Conv2D(3, 1)(x), -1, keepdims=True), "float32"), (8, 8), "nearest"
    ),
}


@pytest.mark.parametrize("end", IDS)
def test_an_arg_max_inside_gives_ids(end):
    keras.utils.set_random_seed(3)
    model = model_of(IDS[end], MOVES["nothing"])
    assert ModelFacts(model).output_kind == "classes"
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype("uint8")
    ids = np.asarray(model(picture[None].astype("float32")))[0].reshape(model.output_shape[1:3])
    mask = kseg.predict(model, picture)
    assert ids.max() > 0 and mask.dtype == ("uint16" if ids.max() > 255 else "uint8")
    if end != "resized":
        np.testing.assert_array_equal(mask, ids)


def test_one_class_cut_out_of_a_softmax_is_a_probability():
    for cut in (
        lambda x: x[..., 1:2],
        lambda x: ops.take(x, [1], axis=-1),
        lambda x: ops.split(x, 3, axis=-1)[1],
    ):
        model = model_of(ENDS["Softmax"][0], cut)
        assert ModelFacts(model).found == "sigmoid"
    assert ModelFacts(model_of(ENDS["Softmax"][0], lambda x: x[..., 1:])).found is None
