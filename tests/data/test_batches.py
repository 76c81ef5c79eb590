"""Every form in which people hold pictures and masks gives the same batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.data.batches import batches

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 8, 10, 3)).astype("uint8")
Y = RNG.integers(0, 3, (6, 8, 10)).astype("uint8")
W = np.ones((6, 8, 10), "float32")


class Sequence(keras.utils.PyDataset):
    """Never raises IndexError."""

    def __init__(self):
        super().__init__()

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def generator():
    for picture in X:
        yield [picture[None].astype("float32")]


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])


WITHOUT = {
    "array": X,
    "tensor": tf.constant(X),
    "(x,)": (X,),
    "(x, None)": (X, None),
    "generator function": generator,
    "generator": generator(),
    "function that gives an array": lambda: X,
    "list of arrays": [X[:4], X[4:]],
    "list of pictures": list(X),
    "dataset": dataset(X).batch(4),
    "dataset of single pictures": dataset(X),
    "dataset of (x,)": tf.data.Dataset.from_tensor_slices((X,)).batch(4),
}
WITH = {
    "(x, y)": (X, Y),
    "(x, y, w)": (X, Y, W),
    "(x, y) of a channel": (X, Y[..., None]),
    "list of pairs": [(X[:4], Y[:4]), (X[4:], Y[4:])],
    "tuple of pairs": ((X[:4], Y[:4]), (X[4:], Y[4:])),
    "list of lists": [[X[:4], Y[:4]], [X[4:], Y[4:], W[4:]]],
    "single pictures": list(zip(X, Y, strict=True)),
    "single pictures with a channel": list(zip(X, Y[..., None], strict=True)),
    "dataset of (x, y)": dataset(X, Y).batch(4),
    "dataset of (x, y, w)": dataset(X, Y, W).batch(4),
    "PyDataset": Sequence(),
    "function": lambda: iter([(X, Y)]),
}


@pytest.mark.parametrize("form", WITHOUT)
def test_pictures(form):
    found = list(batches(WITHOUT[form]))
    np.testing.assert_array_equal(np.concatenate([pictures for pictures, _ in found]), X)
    assert all(masks is None for _, masks in found)


@pytest.mark.parametrize("form", WITH)
def test_pictures_and_masks(form):
    found = list(batches(WITH[form]))
    np.testing.assert_array_equal(np.concatenate([pictures for pictures, _ in found]), X)
    np.testing.assert_array_equal(np.concatenate([masks for _, masks in found]), Y)


def test_masks_with_several_channels_stay():
    ((_, masks),) = batches((X, np.stack([Y, Y], -1)))
    assert masks.shape == (6, 8, 10, 2)


def test_an_endless_generator_is_taken_bit_by_bit():
    def endless():
        while True:
            yield X

    found = batches(endless)
    assert next(found)[0].shape == next(found)[0].shape == X.shape


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("pictures/", TypeError, "got str"),
        (3, TypeError, "got int"),
        ({"image": X}, TypeError, "got dict"),
        ([{"image": X}], TypeError, "got a batch that is a dict of 1"),
        (tf.data.Dataset.from_tensors({"image": X}), TypeError, "got a batch that is a dict of 1"),
        (lambda batch: X, TypeError, "the function must take no arguments"),
        ([(X, Y, W, W)], TypeError, "got a batch that is a tuple of 4"),
        ([None], TypeError, "got a batch that is a NoneType"),
        (X[0, 0], ValueError, r"numbers \(B, H, W, C\), got uint8 \(10, 3\)"),
        (X[None], ValueError, r"got uint8 \(1, 6, 8, 10, 3\)"),
        (X.astype(str), ValueError, r"numbers \(B, H, W, C\)"),
        ((X, Y[:4]), ValueError, r"got \(4, 8, 10\) for pictures \(6, 8, 10, 3\)"),
        ((X, Y.swapaxes(1, 2)), ValueError, r"got \(6, 10, 8\) for pictures"),
        ([(X[0], Y)], ValueError, r"got \(6, 8, 10\) for pictures \(1, 8, 10, 3\)"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(data, error, message):
    with pytest.raises(error, match=f"representative_data: .*{message}"):
        list(batches(data, "representative_data"))
