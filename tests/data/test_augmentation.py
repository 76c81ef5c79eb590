import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from kseg.data import augment
from kseg.data.augmentation import _recolor

SEEDS = range(20)
sides = st.integers(8, 80)
sizes = st.tuples(sides, sides)


def scene(size, channels=3, ids=(0, 1, 2, 7, 255), seed=0):
    """Return a random picture `(H, W, C)` and mask `(H, W)`."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, channels), dtype="uint8"), rng.choice(ids, size).astype("int32")


def drawn(function, image, mask, seed):
    return tuple(part.numpy() for part in function(image, mask, tf.constant([seed, 0], tf.int64)))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    size=sizes,
    crop_size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    scale=st.sampled_from([(1, 1), (0.5, 2.0), (0.1, 0.2), (8, 9)]),
    channels=st.sampled_from([1, 3, 4]),
    ignore_class=st.sampled_from([255, -1, 9]),
    seed=st.integers(0, 2**31),
)
@example(size=(8, 8), crop_size=(1, 1), scale=(8, 9), channels=3, ignore_class=255, seed=0)  # under a pixel
def test_masks_hold_the_ids_they_held_and_void(size, crop_size, scale, channels, ignore_class, seed):
    image, mask = scene(size, channels, seed=seed)
    function = augment(crop_size, scale=scale, ignore_class=ignore_class)
    new_image, new_mask = drawn(function, image, mask, seed)
    assert new_image.shape == (*crop_size, channels) and new_image.dtype == np.uint8
    assert new_mask.shape == crop_size and new_mask.dtype == np.int32
    assert set(np.unique(new_mask)) <= {*np.unique(mask), ignore_class}


def test_it_is_the_same_in_a_graph_for_pictures_of_every_size():
    function = augment((24, 40))
    scenes = [scene(size, seed=index) for index, size in enumerate([(8, 8), (24, 40), (80, 9), (61, 77)])]
    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, None), tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: iter(scenes), output_signature=signature)
    dataset = dataset.map(lambda image, mask: function(image, mask, tf.constant([5, 0], tf.int64)))
    assert dataset.element_spec == (tf.TensorSpec((24, 40, 3), tf.uint8), tf.TensorSpec((24, 40), tf.int32))
    for (image, mask), (new_image, new_mask) in zip(scenes, dataset.as_numpy_iterator(), strict=True):
        eager_image, eager_mask = drawn(function, image, mask, 5)
        np.testing.assert_allclose(new_image.astype(int), eager_image.astype(int), atol=1)  # rounding
        np.testing.assert_array_equal(new_mask, eager_mask)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(size=sizes, seed=st.integers(0, 2**31))
def test_it_changes_nothing_where_nothing_is_asked_for(size, seed):
    image, mask = scene(size)
    new_image, new_mask = drawn(augment(size, scale=(1, 1), flip=False, color=0), image, mask, seed)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_mask, mask)


@pytest.mark.parametrize("scale", [(1, 1), (0.5, 2.0), (0.5, 0.5), (2, 2)])
def test_picture_and_mask_move_together(scale):
    blocks = np.random.default_rng(0).integers(0, 6, (4, 5))
    mask = np.kron(blocks, np.ones((16, 16), "int32"))
    image = np.repeat(20 + 40 * mask[..., None], 3, axis=-1).astype("uint8")  # the grey value says the id
    grey_of = np.full(256, 127)  # of void
    grey_of[:6] = 20 + 40 * np.arange(6)
    compared = 0
    for seed in SEEDS:
        new_image, new_mask = drawn(augment((48, 64), scale=scale, color=0), image, mask, seed)
        windows = sliding_window_view(new_mask, (7, 7))
        inside = np.zeros_like(new_mask, dtype=bool)  # bilinear blends across borders
        inside[3:-3, 3:-3] = windows.min(axis=(2, 3)) == windows.max(axis=(2, 3))
        assert (new_image[inside] == grey_of[new_mask[inside]][:, None]).all()
        compared += inside.mean() / len(SEEDS)
    assert compared > 0.2


@pytest.mark.parametrize("scale", [(0.5, 0.5), (2, 2)])
def test_zoom_changes_the_size_of_things(scale):
    mask = np.zeros((64, 64), "int32")
    mask[24:40, 24:40] = 1
    image = np.zeros((64, 64, 3), "uint8")
    for seed in SEEDS:
        rows, columns = np.nonzero(drawn(augment((256, 256), scale=scale), image, mask, seed)[1] == 1)
        assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 16 * scale[0]


def test_outside_of_the_picture_it_is_grey_and_void():
    image, mask = scene((20, 24), ids=(0, 1, 2))
    places = set()
    for seed in SEEDS:
        function = augment((32, 30), scale=(1, 1), flip=False, color=0, ignore_class=200)
        new_image, new_mask = drawn(function, image, mask, seed)
        void = new_mask == 200
        top, left = np.argwhere(~void)[0]
        np.testing.assert_array_equal(new_image[top : top + 20, left : left + 24], image)
        np.testing.assert_array_equal(new_mask[top : top + 20, left : left + 24], mask)
        assert void.sum() == 32 * 30 - 20 * 24
        assert (new_image[void] == 127).all()
        places.add((top, left))
    assert len(places) > 10


def test_windows_lie_everywhere_in_the_picture():
    mask = np.arange(4, dtype="int32").reshape(1, 4)
    image = np.zeros((1, 4, 3), "uint8")
    function = augment((1, 1), scale=(1, 1))
    assert {drawn(function, image, mask, seed)[1].item() for seed in range(40)} == {0, 1, 2, 3}


def test_it_mirrors_half_of_the_time():
    image, mask = scene((8, 10))
    function = augment((8, 10), scale=(1, 1), color=0)
    mirrored = 0
    for seed in range(40):
        new_image, new_mask = drawn(function, image, mask, seed)
        step = 1 if np.array_equal(new_mask, mask) else -1
        np.testing.assert_array_equal(new_image, image[:, ::step])
        np.testing.assert_array_equal(new_mask, mask[:, ::step])
        mirrored += step == -1
    assert 10 <= mirrored <= 30


def test_colour_changes_stay_in_their_range_and_off_the_mask():
    mask = scene((8, 8))[1]
    greys = set()
    for seed in SEEDS:
        function = augment((8, 8), scale=(1, 1), flip=False, color=0.2)
        new_image, new_mask = drawn(function, np.full((8, 8, 3), 100, "uint8"), mask, seed)
        np.testing.assert_array_equal(new_mask, mask)
        (grey,) = np.unique(new_image)  # a plain grey picture has neither contrast nor saturation
        assert abs(int(grey) - 100) <= 0.2 * 127.5 + 0.5
        greys.add(grey)
    assert len(greys) > 10


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_is_saturation_then_contrast_about_the_mean_then_brightness(channels):
    image = scene((8, 9), channels)[0].astype("float32")
    brightness, contrast, saturation = 1.1, 0.8, 1.2
    expected = image
    if channels == 3:  # others have no grey to go to
        luma = image @ [[0.299], [0.587], [0.114]]
        expected = luma + saturation * (image - luma)
    mean = expected.mean(axis=(0, 1))
    expected = mean + contrast * (expected - mean) + (brightness - 1) * 127.5
    recolored = _recolor(tf.constant(image), tf.constant([brightness, contrast, saturation]))
    np.testing.assert_allclose(recolored, expected, atol=1e-3)


def test_a_seed_fixes_the_draw():
    image, mask = scene((40, 50))
    function = augment((24, 24))
    first, again, other = (drawn(function, image, mask, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_without_a_seed_every_call_draws_anew():
    image, mask = scene((40, 50))
    function = augment((24, 24))
    eager = [function(image, mask)[0].numpy() for _ in range(2)]
    mapped = tf.data.Dataset.from_tensors((image, mask)).repeat(2).map(function)
    graph = [image for image, _ in mapped.as_numpy_iterator()]
    assert not np.array_equal(*eager)
    assert not np.array_equal(*graph)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pictures_may_be_float_and_masks_of_any_integer_type(dtype):
    image, mask = scene((20, 20))
    as_usual = drawn(augment((16, 16)), image, mask, 1)
    converted = drawn(augment((16, 16)), image.astype(dtype), mask.astype("uint8"), 1)
    np.testing.assert_array_equal(as_usual[0], converted[0])
    np.testing.assert_array_equal(as_usual[1], converted[1])


def test_fractions_are_rounded():
    plain = augment((8, 8), scale=(1, 1), color=0)
    assert (plain(tf.fill((8, 8, 3), 100.6), tf.zeros((8, 8), "int32"))[0].numpy() == 101).all()


@pytest.mark.parametrize(
    ("crop_size", "options", "message"),
    [
        (32, {}, "crop_size must be .H, W. .* got 32"),
        ((32,), {}, "crop_size"),
        ((0, 32), {}, "crop_size"),
        ((32.0, 32), {}, "crop_size"),
        ((8, 8), {"scale": 2}, "scale must be .smallest, largest. .* got 2"),
        ((8, 8), {"scale": (0, 1)}, "scale"),
        ((8, 8), {"scale": (2, 1)}, "scale"),
        ((8, 8), {"scale": (1, 2, 3)}, "scale"),
        ((8, 8), {"color": -0.1}, "color must be .* got -0.1"),
        ((8, 8), {"color": 1}, "color"),
        ((8, 8), {"color": None}, "color"),
    ],
)
def test_bad_arguments(crop_size, options, message):
    with pytest.raises(ValueError, match=message):
        augment(crop_size, **options)
