"""Batches of whole pictures of several sizes: every picture once, and the scores of one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.data.equal_sizes import batches_of_equal_sizes

SIZES = [(8, 8), (8, 12), (12, 8), (32, 32)]


def one_by_one(sizes):
    import tensorflow as tf

    def pairs():
        for number, (height, width) in enumerate(sizes):
            image = np.full((1, height, width, 3), number, "uint8")
            yield image, np.full((1, height, width), number % 3, "int32")

    spec = tf.TensorSpec((1, None, None, 3), tf.uint8), tf.TensorSpec((1, None, None), tf.int32)
    return tf.data.Dataset.from_generator(pairs, output_signature=spec)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=20), pixels=st.integers(1, 500))
def test_every_picture_comes_once_with_its_mask(sizes, pixels):
    seen = []
    for images, masks in batches_of_equal_sizes(one_by_one(sizes), sizes, pixels).as_numpy_iterator():
        assert images.shape[:3] == masks.shape
        assert len(images) == 1 or images[..., 0].size <= pixels
        for image, mask in zip(images, masks, strict=True):
            number = int(image[0, 0, 0])
            assert image.shape[:2] == sizes[number] and (image == number).all() and (mask == number % 3).all()
            seen.append(number)
    assert sorted(seen) == list(range(len(sizes)))


def test_as_many_as_fit_share_a_batch():
    sizes = [(8, 8)] * 5 + [(32, 32)]
    shapes = [images.shape[:3] for images, _ in batches_of_equal_sizes(one_by_one(sizes), sizes, 128)]
    assert sorted(map(tuple, shapes)) == [(1, 8, 8), (1, 32, 32), (2, 8, 8), (2, 8, 8)]


def test_scores_are_those_of_one_by_one():
    sizes = [SIZES[number % 4] for number in range(9)]
    pictures = list(one_by_one(sizes))
    model = kseg.build_conv_stack(3, depth=1, filters=4)
    kseg.compile(model)
    metric = kseg.metrics.MeanIoU(3)
    for image, mask in pictures:
        metric.update_state(mask, model(image))
    batches = batches_of_equal_sizes(one_by_one(sizes), sizes, 300)
    found = model.evaluate(batches, verbose=0, return_dict=True)["mean_iou"]
    assert found == pytest.approx(float(metric.result()), rel=1e-6)
