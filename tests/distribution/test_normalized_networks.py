"""Deep networks with normalisation train alike on one device and on two, down to what rounding leaves.

A ReLU and a maximum choose: where a value is within rounding of the choice, its whole slope goes one way or
the other, and a single choice moves weights by 1e-4 of the largest, on two devices as on one that
takes its batches in another order. So the networks are compared where no choice hangs on rounding: in float64
as they are, and in float32 with smooth activations and without maxima.
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.losses import CrossEntropy, Dice

CPUS = ["CPU:0", "CPU:1"]
SIZES = (4, 4, 3)  # the last is of 2 + 1


def batches(sizes, seed=0):
    """Pictures of noise with more void from one to the next."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (sum(sizes), 32, 32, 3)).astype("float32")
    masks = rng.integers(0, 3, (sum(sizes), 32, 32)).astype("uint8")
    masks[rng.random(masks.shape) < np.linspace(0, 0.8, sum(sizes))[:, None, None]] = 255
    for part in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]):
        yield images[part], masks[part]


def in_float64(model):
    """Return a copy that computes in float64, fresh weights in the same places."""

    def convert(layer):
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float64"})

    return keras.models.clone_model(model, clone_function=convert)


def smooth(model):
    """Return the model with softplus in place of ReLU."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu:
            layer.activation = keras.activations.softplus
    return model


def trained(build, change, loss, devices=None, sizes=SIZES):
    """Return all weights, moving averages too, before and after a step of each of the sizes."""
    scope = kseg.strategy(devices).scope() if devices else contextlib.nullcontext()
    keras.utils.set_random_seed(0)
    with scope:
        model = change(build())
        model.compile(keras.optimizers.SGD(0.05), loss)
    start = model.get_weights()
    signature = (tf.TensorSpec((None, 32, 32, 3), tf.float32), tf.TensorSpec((None, 32, 32), tf.uint8))
    data = tf.data.Dataset.from_generator(lambda: batches(sizes), output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(len(sizes)))
    model.fit(data, shuffle=False, verbose=0)
    return [np.concatenate([w.ravel() for w in weights]) for weights in (start, model.get_weights())]


def encoder_decoder(normalization="batch", **options):
    return kseg.build_encoder_decoder(
        3, (32, 32, 3), filters=(4, 6, 8), normalization=normalization, **options
    )


NETWORKS = {
    "batch norm, Dice": (encoder_decoder, Dice(), SIZES),
    "batch norm, cross-entropy": (encoder_decoder, CrossEntropy(), SIZES),
    "group norm, Dice": (lambda: encoder_decoder("group"), Dice(), SIZES),
    "five levels": (lambda: kseg.build_encoder_decoder(3, (32, 32, 3), filters=8), Dice(), SIZES),
    # its coarsest maps are single pixels: further steps on statistics of so few would double every difference
    "DDRNet": (lambda: kseg.build_ddrnet(3, (32, 32, 3), filters=4), Dice(), (3,)),
}
SLOW = ("group norm, Dice", "batch norm, cross-entropy", "five levels", "DDRNet")


def assert_alike(start, one, two, precision):
    largest = np.abs(one).max()
    assert np.abs(one - start).max() > 1e-3 * largest
    assert np.abs(two - one).max() <= precision * largest


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in NETWORKS]
)
def test_two_devices_train_a_deep_network_like_one(name):
    build, loss, sizes = NETWORKS[name]
    start, one = trained(build, in_float64, loss, sizes=sizes)
    _, two = trained(build, in_float64, loss, CPUS, sizes)
    assert_alike(start, one, two, 1e-7)  # the loss itself is in float32


@pytest.mark.parametrize("loss", [Dice(), pytest.param(CrossEntropy(), marks=pytest.mark.slow)])
def test_the_statistics_of_two_devices_are_as_precise_as_those_of_one(loss):
    def build():
        return encoder_decoder(downsampling="stride", upsampling="bilinear")

    start, one = trained(build, smooth, loss)
    _, two = trained(build, smooth, loss, CPUS)
    assert_alike(start, one, two, 1e-6)
