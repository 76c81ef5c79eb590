"""Albumentations, Keras layers and functions as `augment=`: aligned, typed, reproducible, or refused."""

import random

import albumentations as A
import keras
import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kseg.data import augment, from_directory
from kseg.data.augmentation.foreign import as_pair, of_kind

SIZE = (24, 32)
RNG = np.random.default_rng(0)
# The picture tells the id of each pixel, and its row and column, so what was moved can be known.
MASK = RNG.integers(0, 3, SIZE).repeat(4, 0)[: SIZE[0]].repeat(4, 1)[:, : SIZE[1]]
PICTURE = np.stack([MASK * 60 + 60, MASK * 60 + 60, MASK * 60 + 60], -1)


@pytest.fixture
def root(make_files):
    root = make_files("abcd", "train", SIZE)
    for stem in "abcd":
        Image.fromarray(PICTURE.astype("uint8")).save(root / f"train/images/{stem}.png")
        Image.fromarray(MASK.astype("uint8")).save(root / f"train/masks/{stem}.png")
    return root


def batches(root, function, **options):
    options = {"batch_size": 2, "shuffle": False, "class_names": ["a", "b", "c"], **options}
    return list(from_directory(root, augment=function, **options).as_numpy_iterator())


def assert_aligned(batches, fill=None):
    """The ids are those that the picture tells, and void where it was filled."""
    for image, mask in batches:
        assert image.dtype == np.uint8 and mask.dtype == np.int32
        told = np.rint((image[..., 0].astype(float) - 60) / 60)
        sure = np.abs((image[..., 0].astype(float) - 60) / 60 - told) < 0.02  # not between two pixels
        known = sure & (mask != 255)
        assert known.mean() > 0.3
        np.testing.assert_array_equal(mask[known], told[known])
        assert set(np.unique(mask)) <= {0, 1, 2, 255}


def mirrored(image, mask):
    return image[:, ::-1], mask[:, ::-1]


class Turned:
    """A callable with an option that is no seed."""

    def __call__(self, image, mask, times=2):
        return np.rot90(image, times), np.rot90(mask, times)


def with_seed(image, mask, seed):
    flips = tf.random.stateless_uniform((), seed) < 0.5
    return tf.where(flips, image[::-1], image), tf.where(flips, mask[::-1], mask)


def through_numpy(image, mask, seed):
    return tf.numpy_function(
        lambda a, b: (a[:, ::-1].copy(), b[:, ::-1].copy()), [image, mask], (tf.uint8, tf.int32)
    )


LAYER = keras.layers.RandomFlip("horizontal", seed=1)


def by_layer(image, mask, seed):
    both = LAYER({"images": image, "segmentation_masks": mask[..., None]}, training=True)
    return both["images"], both["segmentation_masks"]


FUNCTIONS = {
    "tensors or arrays": mirrored,
    "arrays": lambda image, mask: (np.fliplr(image), np.fliplr(mask)),
    "callable": Turned(),
    "seed": with_seed,
    "seed and arrays": lambda image, mask, seed: (np.flip(image, 0), np.flip(mask, 0)),
    "numpy_function": through_numpy,
    "layer inside": by_layer,
    "floats": lambda image, mask: (image.astype("float32"), mask[..., None].astype("float32")),
    "layer": LAYER,
    "rotation": keras.layers.RandomRotation(0.2, fill_mode="constant", interpolation="nearest"),
    "pipeline": keras.layers.Pipeline(
        [
            keras.layers.RandomFlip("vertical"),
            keras.layers.RandomZoom(0.3, fill_mode="constant", interpolation="nearest"),
        ]
    ),
    "keras_cv": keras_cv.layers.RandomFlip("horizontal"),
    "albumentations": A.Compose(
        [
            A.HorizontalFlip(),
            A.Affine(rotate=(-30, 30), shear=(-5, 5), interpolation=0, border_mode=0, fill_mask=255, p=1),
            A.RandomCrop(16, 20),
        ]
    ),
    "one transform": A.VerticalFlip(p=1),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_picture_and_mask_stay_together(root, kind):
    assert_aligned(batches(root, FUNCTIONS[kind]))


@pytest.mark.parametrize("kind", ["seed", "rotation", "pipeline", "albumentations"])
def test_the_same_seed_gives_the_same_batches_and_each_epoch_others(root, kind):
    make = lambda seed: from_directory(root, augment=FUNCTIONS[kind], batch_size=2, seed=seed)  # noqa: E731
    first, again, other = make(1), make(1), make(2)
    epochs = [list(data.as_numpy_iterator()) for data in (first, again, other, first)]
    for (image, mask), (same_image, same_mask) in zip(epochs[0], epochs[1], strict=True):
        np.testing.assert_array_equal(image, same_image)
        np.testing.assert_array_equal(mask, same_mask)
    for different in (epochs[2], epochs[3]):
        assert any((a[1] != b[1]).any() for a, b in zip(epochs[0], different, strict=True))


def test_python_draws_for_every_picture(root):
    """A graph would have drawn once."""
    rng = random.Random(0)

    def sometimes(image, mask):
        return (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)

    seen = [mask for _ in range(5) for _, masks in batches(root, sometimes) for mask in masks]
    assert len({mask.tobytes() for mask in seen}) == 2


def test_what_keras_layers_paint_beyond_the_picture_is_void(root):
    shift = keras.layers.RandomTranslation((0.5, 0.5), (0.0, 0.0), fill_mode="constant")
    for _, masks in batches(root, shift):
        for mask in masks:
            assert (mask[:12] == 255).all() and (mask[12:] == MASK[:12]).all()


def test_ids_beyond_8_bits_and_void_below_0_pass_through_albumentations(root):
    for ids in (MASK + 300, MASK - 1):
        transform = A.Compose([A.Affine(translate_px=(4, 4), fill_mask=1, border_mode=0, p=1)])
        function, on_arrays = of_kind(transform, 255)
        assert on_arrays
        image = PICTURE.astype("uint8")
        _, moved = as_pair(function(image, ids, np.array([1, 2])), image)
        np.testing.assert_array_equal(moved[4:, 4:], ids[:-4, :-4])


def test_floats_of_0_to_255_are_0_to_1_for_albumentations():
    seen = []

    def look(image, **_):
        seen.append(image)
        return image

    transform = A.Compose([A.Lambda(image=look, p=1)])
    function, _ = of_kind(transform, 255)
    image, _ = function(PICTURE.astype("float32"), MASK, np.array([1, 2]))
    assert seen[0].max() <= 1
    np.testing.assert_allclose(image, PICTURE, rtol=1e-6)


WRONG = {
    "no function": (7, r"augment must be .*got 7"),
    "one value": (lambda image, mask: image, r"augment must return \(image, mask\)"),
    "fractions": (lambda image, mask: (image, mask * 0.5), "integer class ids, got fractions"),
    "unit range": (lambda image, mask: (image / 255.0, mask), "models take 0–255"),
    "normalized": (A.Compose([A.Normalize()]), "models take 0–255"),
    "other size": (lambda image, mask: (image[:10], mask), r"shapes \(10, 32, 3\) and \(24, 32\)"),
    "grey": (lambda image, mask: (image[..., :1], mask), r"a picture \(H, W, 3\)"),
    "new ids": (lambda image, mask: (image, mask + 1), r"gives ids \[3\]"),
    "seed and new ids": (lambda image, mask, seed: (image, mask + 7), r"gives ids \[7, 8, 9\]"),
    "own error": (lambda image, mask: 1 / 0, "augment failed on a picture .*ZeroDivisionError: division"),
    "a class": (A.HorizontalFlip, r"augment is the class HorizontalFlip; give one of it"),
    "pictures alone": (keras.layers.Rescaling(1 / 255), "segmentation_masks"),
    "no preprocessing": (keras.layers.Conv2D(3, 1), "augment failed on a picture"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_would_train_wrongly_is_refused_at_once(root, kind):
    function, words = WRONG[kind]
    with pytest.raises(ValueError, match=words):
        batches(root, function)


def test_several_sizes_cannot_share_a_batch(root):
    def cut(image, mask, seed):
        rows = tf.random.stateless_uniform((), seed, 4, 20, tf.int32)
        return image[:rows], mask[:rows]

    with pytest.raises(ValueError, match=r"several sizes .*end it with a crop"):
        batches(root, cut)
    assert len(batches(root, cut, batch_size=1)) == 4
    assert len(batches(root, cut, batch_size=None)) == 4


def test_a_mask_filled_with_class_0_is_told(root):
    transform = A.Compose([A.Affine(translate_px=8, border_mode=0, p=1)])
    with pytest.warns(UserWarning, match=r"fills masks .* with 0, which is 'a'.*fill_mask=255"):
        batches(root, transform)


def test_void_of_the_augmentation_is_that_of_the_data(root):
    with pytest.raises(ValueError, match=r"with 255, and void is \[9\]; give .*ignore_class=9"):
        batches(root, augment((16, 16)), ignore_class=9)
    turned = batches(root, augment((16, 16), rotation=90, ignore_class=9), ignore_class=9)
    assert 9 in np.concatenate([mask for _, mask in turned])


def test_what_writes_into_its_picture_spoils_no_cache(root):
    def darker(image, mask):
        image[:] = image // 2
        return image, mask

    data = from_directory(root, augment=darker, cache="memory", class_names=["a", "b", "c"], batch_size=1)
    means = [np.mean([image.mean() for image, _ in data.as_numpy_iterator()]) for _ in range(3)]
    assert means[0] == means[1] == means[2] == (PICTURE // 2).mean()


def test_ids_that_come_later_or_in_the_mask_itself_are_refused(root):
    def in_place(image, mask):
        mask[mask == 1] = 9
        return image, mask

    with pytest.raises(ValueError, match=r"gives ids \[9\] that the mask did not hold"):
        batches(root, in_place)
    calls = []

    def late(image, mask):
        calls.append(1)
        return image, np.where(mask == 1, 77, mask) if len(calls) > 20 else mask

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"gives ids \[77\] that are no class"):
        data = from_directory(root, augment=late, class_names=["a", "b", "c"], batch_size=1)
        for _ in range(5):
            list(data)


@pytest.mark.parametrize("third", [{"seed": None}, {}])
def test_python_draws_anew_whatever_the_arguments(root, third):
    rng = random.Random(0)
    flip = lambda image, mask: (image[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (image, mask)  # noqa: E731
    functions = {True: lambda image, mask, seed=None: flip(image, mask), False: flip}
    seen = [mask for _ in range(6) for _, masks in batches(root, functions[bool(third)]) for mask in masks]
    assert len({mask.tobytes() for mask in seen}) == 2


def test_void_that_8_bits_do_not_hold_fills_masks_of_albumentations(root):
    for void in (-1, 300):
        moved = A.Affine(translate_px=(8, 8), fill=127, fill_mask=void, border_mode=0, p=1)
        for _, mask in batches(root, moved, ignore_class=void):
            assert (mask[:, :8] == void).all() and (mask[:, 8:, 8:] != void).all()


def test_dark_pictures_after_a_normalization_are_refused(root):
    for path in (root / "train/images").iterdir():
        Image.fromarray(np.clip(PICTURE + 100, 135, 255).astype("uint8")).save(path)
    for function in (A.Normalize(), lambda image, mask: ((image / 255).astype("uint8"), mask)):
        with pytest.raises(ValueError, match="models take 0–255"):
            batches(root, function)
    with pytest.raises(ValueError, match="NaN or infinity"):
        batches(root, lambda image, mask: (image * np.nan, mask))


def test_weights_and_fill_of_ones_own_are_those_of_the_data(root):
    with pytest.raises(ValueError, match="augment has 2 class_weights, and there are 3 classes"):
        batches(root, augment((16, 16), class_weights=[1, 2]))
    with pytest.raises(ValueError, match="augment has a fill of 3 numbers, and pictures have 1 channels"):
        batches(root, augment((16, 16), fill=(1, 2, 3)), channels=1)
