"""What `augment` does not take, eagerly and in `dataset.map`."""

import numpy as np
import pytest
import tensorflow as tf

from kseg.data import augment

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 60, 3)).astype("uint8")
MASK = RNG.integers(0, 3, (40, 60)).astype("int32")
AUGMENT = augment((32, 32))


def in_map(image, mask, function=AUGMENT):
    """Return one augmented pair out of `dataset.map`, where sizes are not known before."""
    image, mask = np.asarray(image), np.asarray(mask)
    signature = (
        tf.TensorSpec((None, None, *image.shape[2:]), image.dtype),
        tf.TensorSpec([None] * mask.ndim, mask.dtype),
    )
    dataset = tf.data.Dataset.from_generator(lambda: iter([(image, mask)]), output_signature=signature)
    return next(iter(dataset.map(function)))


def refused(image, mask, *words, function=AUGMENT):
    for run in (lambda: function(image, mask), lambda: in_map(image, mask, function)):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)) as caught:
            run()
        for word in words:
            assert word in str(caught.value)


RANGES = {
    "0 to 1": PICTURE / 255,
    "-1 to 1": PICTURE / 127.5 - 1,
    "0 to 65535": PICTURE * 257.0,
    "a little above": PICTURE + np.float32(8),
    "a little below": PICTURE - np.float32(8),
    "standardised": (PICTURE - 120.0) / 60,
}


SLOW = pytest.mark.slow  # each is a graph of its own


@pytest.mark.parametrize("pixels", RANGES.values(), ids=list(RANGES))
@pytest.mark.parametrize("dtype", ["float32", *(pytest.param(d, marks=SLOW) for d in ("float64", "float16"))])
def test_other_ranges(pixels, dtype):
    if dtype == "float16" and pixels.max() > 60000:
        pixels = pixels / 2
    refused(pixels.astype(dtype), MASK, "image must hold 0–255", "multiply 0–1 by 255")


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "bool", "complex64"])
def test_other_types(dtype):
    refused(PICTURE.astype(dtype), MASK, "image must hold 0–255", dtype)


def test_integers_are_taken_where_they_are_within():
    assert (AUGMENT(PICTURE.astype("int32"), MASK)[0].numpy() > 0).any()
    refused(PICTURE.astype("int32") * 16, MASK, "image must hold 0–255")
    refused(PICTURE.astype("int64") - 128, MASK, "image must hold 0–255")


@pytest.mark.parametrize("wrong", [np.nan, *(pytest.param(sign * np.inf, marks=SLOW) for sign in (1, -1))])
@pytest.mark.parametrize("where", [np.s_[0, 0, 0], np.s_[17, 23, 1], np.s_[:], np.s_[::2]])
@pytest.mark.parametrize("brightness", [1, pytest.param(1 / 255, marks=SLOW)])
def test_what_is_no_number_is_said_to_be_none(wrong, where, brightness):
    pixels = (PICTURE * brightness).astype("float32")
    pixels[where] = wrong
    if brightness == 1 or where != np.s_[17, 23, 1]:  # else the range is what is seen first
        refused(pixels, MASK, "got NaN or infinity; remove them", function=augment((40, 60), scale=(1, 1)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_single_pixel_that_is_no_number(wrong):
    pixels = PICTURE.astype("float32")
    pixels[17, 23, 1] = wrong
    refused(pixels, MASK, "image must hold 0–255", function=augment((40, 60), scale=(1, 1), color=0))


@pytest.mark.parametrize("wrong", [300, -3])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize("where", [(1, 1), (17, 23), (399, 399)])
def test_a_single_pixel_outside_of_the_range(wrong, dtype, where):
    pixels = np.full((400, 400, 3), 100, dtype)
    pixels[where] = wrong
    mask = np.zeros((400, 400), "int32")
    refused(pixels, mask, f"got values from {min(100, wrong)} to {max(100, wrong)}")


def test_pictures_of_any_darkness_are_taken():
    dark = np.zeros((400, 400, 3), "float32")
    mask = np.zeros((400, 400), "int32")
    for pixels in (dark, dark.astype("uint8"), (dark + 1).astype("uint8"), dark + 255):
        AUGMENT(pixels, mask)
    dark[::2] = 1
    dark[13, 17] = 2  # a single brighter pixel says that it is none of 0–1
    AUGMENT(dark, mask)
    in_map(dark, mask)
    for dtype in ("float16", "float32", "float64"):
        np.testing.assert_array_equal(
            *(
                augment((40, 60), scale=(1, 1), flip=False, color=0)(pixels, MASK)[0]
                for pixels in (PICTURE, PICTURE.astype(dtype))
            )
        )


@pytest.mark.parametrize("mask", [MASK[:30, :50], np.pad(MASK, 8), MASK.T.copy(), MASK[:, :-1]])
def test_a_mask_of_another_size(mask):
    sizes = (str(size) for side in (mask.shape, (40, 60)) for size in side)
    refused(PICTURE, mask, "height and width of its picture", *sizes)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_masks_of_fractions(dtype):
    refused(PICTURE, MASK.astype(dtype), "integer class ids", dtype)


@pytest.mark.parametrize(
    ("image", "mask"), [(PICTURE[None], MASK[None]), (PICTURE[..., 0], MASK), (PICTURE, PICTURE[..., :2])]
)
def test_what_is_not_one_picture_and_its_mask(image, mask):
    with pytest.raises(ValueError, match=r"one picture \(h, w, C\) and its mask \(h, w\), without a batch"):
        AUGMENT(image, mask)


def test_a_mask_with_a_channel_is_the_mask():
    seed = tf.constant([1, 2], tf.int64)
    for one, other in zip(AUGMENT(PICTURE, MASK, seed), AUGMENT(PICTURE, MASK[..., None], seed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("color", [0, 0.2])
@pytest.mark.parametrize("decode", [tf.io.decode_png, tf.io.decode_image, tf.io.decode_jpeg])
def test_pictures_of_unknown_channels(decode, color):
    content = (tf.io.encode_jpeg if decode is tf.io.decode_jpeg else tf.io.encode_png)(PICTURE)
    function, contents = augment((32, 32), color=color), tf.data.Dataset.from_tensors(content)
    if color == 0 and decode is not tf.io.decode_image:  # nothing asks for their number
        assert next(iter(contents.map(lambda content: function(decode(content), MASK))))[0].shape == (
            32,
            32,
            3,
        )
        return
    with pytest.raises(ValueError, match=r"known number of channels.*channels=3.*ensure_shape\(image"):
        contents.map(lambda content: function(decode(content), MASK))
    known = contents.map(lambda content: function(tf.ensure_shape(decode(content), (None, None, 3)), MASK))
    assert next(iter(known))[0].shape == (32, 32, 3)


def test_a_mask_of_unknown_shape():
    masks = tf.data.Dataset.from_tensors(MASK)

    def unknown(mask):
        return tf.numpy_function(lambda mask: mask, [mask], tf.int32)

    with pytest.raises(ValueError, match=r"mask must have two axes.*ensure_shape\(mask"):
        masks.map(lambda mask: AUGMENT(PICTURE, unknown(mask)))
    known = masks.map(lambda mask: AUGMENT(PICTURE, tf.ensure_shape(unknown(mask), (None, None))))
    assert next(iter(known))[1].shape == (32, 32)
