import numpy as np
import pytest
import tensorflow as tf

from kseg.data import augment, shapes
from kseg.data.shapes import scene


def arrays(dataset):
    return tuple(np.concatenate(part) for part in zip(*dataset.as_numpy_iterator(), strict=True))


def test_batches_and_attributes():
    dataset = shapes(5, (32, 48), batch_size=2)
    assert dataset.element_spec == (
        tf.TensorSpec((None, 32, 48, 3), tf.uint8),
        tf.TensorSpec((None, 32, 48), tf.int32),
    )
    assert [len(images) for images, _ in dataset] == [2, 2, 1]
    assert dataset.class_names[0] == "background"
    assert dataset.num_classes == len(set(dataset.class_names)) == 6


def test_seed_and_index_fix_a_scene():
    images, masks = arrays(shapes(6, (40, 40), batch_size=4, seed=3))
    for index, (image, mask) in enumerate(shapes(9, [40, 40], batch_size=None, seed=3).take(6)):
        np.testing.assert_array_equal(image, images[index])
        np.testing.assert_array_equal(mask, masks[index])
    again = scene(5, (40, 40), seed=3)
    np.testing.assert_array_equal(again[0], images[5])
    np.testing.assert_array_equal(again[1], masks[5])


def test_scenes_of_other_seeds_and_indices_differ():
    images = np.concatenate([arrays(shapes(4, (32, 32), seed=seed))[0] for seed in range(4)])
    assert len(np.unique(images.reshape(16, -1), axis=0)) == 16


def test_every_class_and_void_occur_often():
    masks = arrays(shapes(100, (64, 64), batch_size=20))[1]
    shown_in = {label: int((masks == label).any(axis=(1, 2)).sum()) for label in np.unique(masks)}
    assert shown_in.keys() == {0, 1, 2, 3, 4, 5, 255}
    assert min(shown_in.values()) > 30


def test_shuffled_epochs_hold_whole_batches_in_another_order():
    dataset = shapes(10, (32, 32), batch_size=4, shuffle=True)
    first, second = arrays(dataset)[0], arrays(dataset)[0]
    assert first.shape == second.shape == (8, 32, 32, 3)
    assert not np.array_equal(first, second)


def test_augmented_scenes_have_the_size_of_the_crop():
    images, masks = arrays(shapes(4, (40, 40), augment=augment((24, 56))))
    assert images.shape == (4, 24, 56, 3)
    assert set(np.unique(masks)) <= {0, 1, 2, 3, 4, 5, 255}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0,), {}, "count must be a positive int, got 0"),
        ((2.5,), {}, "count"),
        ((4, 64), {}, "image_size must be .* got 64"),
        ((4, (31, 64)), {}, "image_size .* 32 or more"),
        ((4, (64, 64, 3)), {}, "image_size"),
        ((4,), {"batch_size": 0}, "batch_size must be a positive int or None"),
        ((4,), {"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        shapes(*arguments, **options)
