import re

import numpy as np
import pytest
import tensorflow as tf

from kseg.data import class_weights, shapes


def batches(masks, batch_size=2):
    masks = np.asarray(masks, "int32")
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((*masks.shape, 3), "uint8"), masks))
    return dataset if batch_size is None else dataset.batch(batch_size)


def median_frequency(masks, num_classes, void=255):
    """Eigen & Fergus 2015, section 6, word by word."""
    frequency = np.full(num_classes, np.nan)
    for label in range(num_classes):
        showing = [mask for mask in masks if (mask == label).any()]
        if showing:
            frequency[label] = np.sum(np.equal(showing, label)) / np.sum(np.not_equal(showing, void))
    return np.nan_to_num(np.nanmedian(frequency) / frequency, nan=0.0)


@pytest.fixture(scope="module")
def masks():
    """Seven masks of five classes: one rare, one absent (3), void here and there."""
    rng = np.random.default_rng(0)
    masks = rng.choice([0, 1, 2, 4, 255], (7, 9, 11), p=[0.5, 0.3, 0.1, 0.02, 0.08])
    masks[2:, :, :6] = 0
    masks[masks == 4] *= np.arange(7)[np.nonzero(masks == 4)[0]] < 3  # in the first pictures alone
    return masks


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("method", ["median_frequency", "sqrt_median_frequency"])
def test_weights_are_those_of_the_paper(masks, method, batch_size):
    expected = median_frequency(masks, 5)
    expected = np.sqrt(expected) if method.startswith("sqrt") else expected
    weights = class_weights(batches(masks, batch_size), method, num_classes=5)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert weights[3] == 0.0
    assert all(type(weight) is float for weight in weights)


def test_void_may_have_another_id(masks):
    weights = class_weights(
        batches(np.where(masks == 255, -1, masks)), "median_frequency", num_classes=5, ignore_class=-1
    )
    np.testing.assert_allclose(weights, median_frequency(masks, 5), rtol=1e-12)


def test_equal_classes_weigh_one():
    assert class_weights(batches(np.resize([0, 1], (4, 6, 6))), num_classes=2) == [1.0, 1.0]


def test_the_dataset_knows_its_number_of_classes():
    dataset = shapes(10, (48, 48))
    assert class_weights(dataset) == class_weights(dataset, "sqrt_median_frequency", 6)


def test_unknown_method_offers_the_nearest(masks):
    with pytest.raises(ValueError, match=re.escape("did you mean 'median_frequency'")):
        class_weights(batches(masks), "median_frequencies", num_classes=5)


def test_number_of_classes_must_be_known(masks):
    with pytest.raises(ValueError, match="num_classes is not known"):
        class_weights(batches(masks))


def test_id_above_the_number_of_classes_is_refused(masks):
    with pytest.raises(ValueError, match="the masks hold class id 4, num_classes is 3"):
        class_weights(batches(masks), num_classes=3)


@pytest.mark.parametrize("count", [0, 3])
def test_dataset_without_a_pixel_of_any_class_is_refused(count):
    with pytest.raises(ValueError, match="no pixel of any class"):
        class_weights(batches(np.full((count, 4, 4), 255)), num_classes=2)


def test_ids_may_have_a_last_axis_of_one(masks):
    expected = class_weights(batches(masks), num_classes=5)
    for batch_size in (None, 2):
        images = np.zeros((*masks.shape, 3), "uint8")
        dataset = tf.data.Dataset.from_tensor_slices((images, masks.astype("int32")[..., None]))
        dataset = dataset if batch_size is None else dataset.batch(batch_size)
        assert class_weights(dataset, num_classes=5) == expected


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_one_hot_masks_weigh_as_their_ids(masks, dtype, batch_size):
    one_hot = (masks[..., None] == np.arange(5)).astype(dtype)  # void is all zeros
    images = np.zeros((*masks.shape, 3), "uint8")
    dataset = tf.data.Dataset.from_tensor_slices((images, one_hot))
    dataset = dataset if batch_size is None else dataset.batch(batch_size)
    expected = class_weights(batches(masks), num_classes=5)
    assert class_weights(dataset) == class_weights(dataset, num_classes=5) == expected
    with pytest.raises(ValueError, match="one-hot masks of 5 classes, num_classes is 4"):
        class_weights(dataset, num_classes=4)


def test_several_ids_may_be_void(masks):
    several = np.where(masks == 255, np.resize([255, -1, 7], masks.shape), masks)
    weights = class_weights(batches(several), "median_frequency", num_classes=5, ignore_class=(255, -1, 7))
    np.testing.assert_allclose(weights, median_frequency(masks, 5), rtol=1e-12)
    shown = np.where(masks == 255, 2, masks)
    weights = class_weights(batches(shown), "median_frequency", num_classes=5, ignore_class=None)
    np.testing.assert_allclose(weights, median_frequency(shown, 5), rtol=1e-12)


def test_elements_may_carry_sample_weights(masks):
    dataset = batches(masks).map(lambda image, mask: (image, mask, tf.ones_like(mask)))
    assert class_weights(dataset, num_classes=5) == class_weights(batches(masks), num_classes=5)


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (np.full((2, 4, 4), 0.5, "float32"), TypeError, "integer class ids.*float32"),
        (np.full((2, 4, 4), -1, "int32"), ValueError, "hold class id -1"),
        (np.ones((2, 4, 4, 3), "uint8"), ValueError, "several labels"),
        (np.full((2, 4, 4, 3), 0.3, "float32"), ValueError, "0 and 1"),
        (np.zeros((2, 4), "int32"), ValueError, r"shape \(4,\)"),
    ],
)
def test_what_is_no_mask_is_refused(mask, error, words):
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((2, 4, 4, 3), "uint8"), mask))
    with pytest.raises(error, match=words):
        class_weights(dataset, num_classes=3)
