import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from kseg.data import augment

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


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("strength", ["light", "default", "strong"])
def test_pictures_of_any_number_of_channels(channels, strength):
    image, mask = scene((30, 40), channels)
    for dtype in ("uint8", "float32"):
        new_image, _ = drawn(augment((24, 20), strength=strength), image.astype(dtype), mask, 1)
        assert new_image.shape == (24, 20, channels) and new_image.dtype == dtype
        alone = augment((24, 20), strength=strength, color=0, hue=0)
        together = drawn(alone, image.astype(dtype), mask, 1)[0]
        for channel in range(channels):  # none mixes with another
            single = drawn(alone, image[..., channel : channel + 1].astype(dtype), mask, 1)[0]
            # OpenCV rounds points to 1/32 of a pixel, of one and of two channels not alike
            np.testing.assert_allclose(
                together[..., channel], single[..., 0], atol=16 if channels == 2 else 1e-3
            )


def test_each_channel_has_its_fill():
    image, mask = scene((4, 4), 5)
    function = augment((20, 20), scale=(1, 1), color=0, fill=(1, 2, 3, 4, 250))
    assert (drawn(function, image, mask, 1)[0][0, 0] == [1, 2, 3, 4, 250]).all()
    with pytest.raises(ValueError, match="fill has 5 numbers, the picture 3 channels; give one for each"):
        function(image[..., :3], mask)


def test_a_crop_that_turns_away_from_the_picture_is_void():
    image, mask = np.zeros((1, 1, 3), "uint8"), np.zeros((1, 1), "int32")
    function = augment((300, 3), scale=(1, 1), rotation=180, fill=9, color=0)
    voids = 0
    for seed in range(40):
        new_image, new_mask = drawn(function, image, mask, seed)
        assert set(np.unique(new_mask)) <= {0, 255}
        if (new_mask == 255).all():
            voids += (new_image == 9).all()
    assert voids > 5


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


@pytest.mark.parametrize(
    ("flip", "axes"),
    [("horizontal", {(1, -1)}), ("vertical", {(-1, 1)}), ("both", {(1, -1), (-1, 1), (-1, -1)})],
)
def test_it_mirrors_along_the_axes_that_are_asked_for(flip, axes):
    image, mask = scene((8, 10))
    function = augment((8, 10), scale=(1, 1), color=0, flip=flip)
    seen = set()
    for seed in range(40):
        new_image, new_mask = drawn(function, image, mask, seed)
        (steps,) = [s for s in {(1, 1), *axes} if np.array_equal(new_image, image[:: s[0], :: s[1]])]
        np.testing.assert_array_equal(new_mask, mask[:: steps[0], :: steps[1]])
        seen.add(steps)
    assert seen == {(1, 1), *axes}


def test_crops_show_the_classes_that_have_weight():
    image, mask = np.zeros((200, 300, 3), "uint8"), np.zeros((200, 300), "int32")
    mask[20, 30], mask[199, 299], mask[100:110] = 1, 2, 255
    plain, favoured = (
        augment((32, 32), scale=(1, 1)),
        augment((32, 32), scale=(1, 1), class_weights=[0, 3, 1]),
    )
    shown = np.array(
        [[(drawn(f, image, mask, s)[1] == 1).any() for s in range(200)] for f in (plain, favoured)]
    )
    assert shown[0].mean() < 0.1
    assert 0.65 < shown[1].mean() < 0.85
    assert all(np.isin([1, 2], drawn(favoured, image, mask, seed)[1]).any() for seed in SEEDS)
    for ids in ([0, 0, 0, 1], [1]):  # no class of weight is there, or all: anywhere
        places = {drawn(augment((9, 9), class_weights=ids), image, mask, s)[1].tobytes() for s in SEEDS}
        assert len(places) >= 1


def test_cutout_hides_a_rectangle():
    image, mask = scene((40, 50), ids=(0, 1, 2))
    function = augment((40, 50), scale=(1, 1), flip=False, color=0, cutout=0.5, fill=9)
    areas = []
    for seed in SEEDS:
        new_image, new_mask = drawn(function, image, mask, seed)
        rows, columns = np.nonzero(new_mask == 255)
        areas.append(len(rows))
        if len(rows):
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert np.ptp(rows) < 20 and np.ptp(columns) < 25
        assert (new_image[new_mask == 255] == 9).all()
        np.testing.assert_array_equal(new_image[new_mask != 255], image[new_mask != 255])
        np.testing.assert_array_equal(new_mask[new_mask != 255], mask[new_mask != 255])
    assert max(areas) > 100


def test_colour_changes_stay_in_their_range_and_off_the_mask():
    mask = scene((8, 8))[1]
    greys = set()
    for seed in SEEDS:
        function = augment((8, 8), scale=(1, 1), flip=False, color=0.2)
        new_image, new_mask = drawn(function, np.full((8, 8, 3), 100, "uint8"), mask, seed)
        np.testing.assert_array_equal(new_mask, mask)
        assert np.ptp(new_image) <= 1  # rounding; a plain grey picture has neither contrast nor saturation
        grey = new_image[0, 0, 0]
        assert abs(int(grey) - 100) <= 0.2 * 127.5 + 0.5
        greys.add(grey)
    assert len(greys) > 10


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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
def test_pictures_may_be_float_and_masks_of_any_integer_type(dtype):
    image, mask = scene((20, 20))
    as_usual = drawn(augment((16, 16)), image, mask, 1)
    converted = drawn(augment((16, 16)), image.astype(dtype), mask.astype("uint8"), 1)
    assert converted[0].dtype == ("float32" if "float" in dtype else "uint8")
    np.testing.assert_allclose(as_usual[0], converted[0], atol=1.01)  # rounded twice
    np.testing.assert_array_equal(as_usual[1], converted[1])


@pytest.mark.parametrize("options", [{}, {"strength": "strong"}, {"scale": (0.3, 0.4)}])
def test_floats_keep_their_levels_and_their_range(options):
    image = np.random.default_rng(0).uniform(0, 255, (50, 60, 3)).astype("float32")
    image[:5], image[5:10] = 0, 255
    for seed in SEEDS:
        new_image, _ = drawn(augment((32, 32), **options), image, np.zeros((50, 60), "int32"), seed)
        assert new_image.dtype == np.float32 and new_image.min() >= 0 and new_image.max() <= 255
        assert len(np.unique(new_image)) > 256


def test_ids_of_any_size_stay():
    ids = (-(2**31), -1, 0, 256, 70_000, 2**31 - 1)
    image, mask = scene((30, 40), ids=ids)
    for scale in [(1, 1), (0.5, 2)]:
        _, new_mask = drawn(
            augment((25, 25), scale=scale, rotation=30, ignore_class=2**31 - 1), image, mask, 3
        )
        assert set(np.unique(new_mask)) == set(ids)


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
        ((8, 8), {"color": "much"}, "color"),
        ((8, 8), {"color": True}, "color"),
        ((8, 8), {"color": float("nan")}, "color"),
        ((8, 8), {"scale": (1, float("inf"))}, "scale"),
        ((8, 8), {"strength": "strnog"}, "unknown strength 'strnog'; did you mean 'strong'"),
        ((8, 8), {"flip": "diagonal"}, 'flip must be .*"both", got .diagonal'),
        ((8, 8), {"flip": 1}, "flip"),
        ((8, 8), {"rotation": -5}, "rotation must be an angle in degrees in .0, 180., got -5"),
        ((8, 8), {"rotation": (5, 10)}, "rotation"),
        ((8, 8), {"shear": 90}, "shear must be an angle"),
        ((8, 8), {"perspective": 1}, "perspective must be a number in .0, 1"),
        ((8, 8), {"hue": 200}, "hue must be an angle"),
        ((8, 8), {"gamma": -1}, "gamma"),
        ((8, 8), {"blur": float("inf")}, "blur"),
        ((8, 8), {"cutout": 1}, "cutout"),
        ((8, 8), {"fill": 256}, "fill must be a number in .0, 255."),
        ((8, 8), {"fill": ()}, "fill"),
        ((8, 8), {"class_weights": [1, -1]}, "class_weights must be one number of 0 or more for each class"),
        ((8, 8), {"class_weights": []}, "class_weights"),
        ((8, 8), {"ignore_class": 25.5}, "ignore_class must be an int"),
    ],
)
def test_bad_arguments(crop_size, options, message):
    with pytest.raises(ValueError, match=message):
        augment(crop_size, **options)
