"""Test-time augmentation and several models: probabilities equal the closed form."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.inference.views import views_of


def pixels(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype="uint8")


def model_of(seed=1, num_classes=3, input_shape=(None, None, 3)):
    keras.utils.set_random_seed(seed)
    return kseg.build_unet(num_classes, input_shape, filters=2)


def probabilities(model, picture, **options):
    return kseg.predict(model, picture, output_kind="probabilities", **options)


def mirrored(model, picture, axes):
    return np.flip(probabilities(model, np.flip(picture, axes)), axes)


@pytest.mark.parametrize("size", [(33, 35), (32, 40)])
@pytest.mark.parametrize(
    ("tta", "flips"),
    [
        ("flip", [(), (1,)]),
        ({"flip": True}, [(), (1,)]),
        ({"flip": "vertical"}, [(), (0,)]),
        ({"flip": "both"}, [(), (1,), (0,), (0, 1)]),
    ],
)
def test_flips_equal_the_mean_of_mirrored_predictions(size, tta, flips):
    model, picture = model_of(), pixels(size)
    expected = np.mean([mirrored(model, picture, axes) for axes in flips], axis=0)
    np.testing.assert_allclose(probabilities(model, picture, tta=tta), expected, atol=1e-6)
    np.testing.assert_array_equal(
        kseg.predict(model, picture, tta=tta), probabilities(model, picture, tta=tta).argmax(-1)
    )


def test_turns_equal_the_mean_of_turned_predictions():
    model, picture = model_of(), pixels((33, 40))
    turned = [np.rot90(probabilities(model, np.rot90(picture, k)), -k) for k in range(4)]
    found = probabilities(model, picture, tta={"rotate": True})
    np.testing.assert_allclose(found, np.mean(turned, axis=0), atol=1e-6)
    found = probabilities(model, picture, tta={"rotate": 180})
    np.testing.assert_allclose(found, np.mean([turned[0], turned[2]], axis=0), atol=1e-6)


def test_scales_equal_the_mean_of_resized_predictions():
    model, picture = model_of(), pixels((32, 40))
    expected = [probabilities(model, picture)]
    for scale in (0.5, 1.5):
        resized = tf.image.resize(picture, [int(32 * scale), int(40 * scale)], antialias=True).numpy()
        found = probabilities(model, np.clip(resized, 0, 255))
        expected.append(tf.image.resize(found, (32, 40), antialias=True).numpy())
    found = probabilities(model, picture, tta={"scales": (0.5, 1, 1.5)})
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-6)


def test_all_that_is_asked_for_is_combined_and_no_view_comes_twice():
    assert len(views_of({"flip": True, "scales": (1, 2)})) == 4
    assert len(views_of({"flip": "both", "rotate": True})) == 8  # the symmetries of a square
    probe = np.arange(12).reshape(1, 3, 4, 1)
    for flip, rotate, scale in itertools.product(["both", None], [True, 90, None], [(1,), (0.5, 1, 2)]):
        views = views_of({"flip": flip, "rotate": rotate, "scales": scale})
        same = [view for view in views if view.scale == 1]
        assert len({(view.of(probe).shape, view.of(probe).tobytes()) for view in same}) == len(same)
        for view in same:
            np.testing.assert_array_equal(view.back(view.of(probe), (3, 4)), probe)


def test_several_models_equal_the_mean_of_each(tmp_path):
    models, picture = [model_of(1), model_of(2)], pixels((33, 40))
    models[1].save(tmp_path / "second.keras")
    expected = np.mean([probabilities(model, picture) for model in models], axis=0)
    found = probabilities([models[0], tmp_path / "second.keras"], picture)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with_flips = np.mean([probabilities(model, picture, tta="flip") for model in models], axis=0)
    np.testing.assert_allclose(probabilities(models, picture, tta="flip"), with_flips, atol=1e-6)


def test_models_of_two_sizes_are_averaged_at_the_size_of_the_picture():
    models, picture = [model_of(1), model_of(2, input_shape=(32, 32, 3))], pixels((48, 40))
    expected = np.mean([probabilities(model, picture) for model in models], axis=0)
    np.testing.assert_allclose(probabilities(models, picture), expected, atol=1e-6)
    assert kseg.predict(models, picture, window=(32, 32)).shape == (48, 40)


def test_flips_and_turns_go_through_windows_of_a_file_of_fixed_size():
    model, picture = model_of(input_shape=(16, 24, 3)), pixels((40, 50))
    for tta in ("flip", {"rotate": True}, {"scales": (0.5, 1, 1.25)}):
        for window in (None, "auto", (20, 30)):
            found = probabilities(model, picture, tta=tta, window=window)
            assert found.shape == (40, 50, 3)
            np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_a_scale_shows_a_model_of_fixed_size_more_pixels():
    model, picture = model_of(input_shape=(32, 32, 3)), pixels((32, 32))
    large = np.clip(tf.image.resize(picture, (64, 64), antialias=True).numpy(), 0, 255)
    by_windows = probabilities(model, large, window="auto")
    expected = tf.image.resize(by_windows, (32, 32), antialias=True).numpy()
    np.testing.assert_allclose(probabilities(model, picture, tta={"scales": [2]}), expected, atol=1e-5)


def test_confidence_is_the_probability_of_the_class():
    model, picture = model_of(), pixels((20, 30))
    found = kseg.predict(model, picture, output_kind="confidence")
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, probabilities(model, picture).max(-1))
    one = kseg.build_conv_stack(1, depth=1, filters=4)
    found = kseg.predict(one, picture, output_kind="confidence")
    assert found.shape == (20, 30)
    assert found.min() >= 0.5


@pytest.mark.parametrize(
    ("tta", "error", "message"),
    [
        ("flips", ValueError, "tta must be"),
        (3, TypeError, "tta must be"),
        ({"flips": True}, ValueError, "did you mean 'flip'"),
        ({"flip": "left"}, ValueError, "tta must be"),
        ({"scales": ()}, ValueError, "tta must be"),
        ({"scales": (0, 1)}, ValueError, "between 0.1 and 10"),
        ({"scales": "1,2"}, ValueError, "tta must be"),
        ({"rotate": 45}, ValueError, "tta must be"),
        ({"rotate": ["90"]}, ValueError, "tta must be"),
    ],
)
def test_what_tta_does_not_know_is_named(tta, error, message):
    with pytest.raises(error, match=message):
        kseg.predict(model_of(), pixels((16, 16)), tta=tta)


def test_models_that_do_not_agree_are_named():
    picture = pixels((16, 16))
    with pytest.raises(ValueError, match=r"3 classes and .* has 4"):
        kseg.predict([model_of(), model_of(num_classes=4)], picture)
    with pytest.raises(ValueError, match=r"channels=3 .*channels=1"):
        kseg.predict([model_of(), model_of(input_shape=(None, None, 1))], picture)
    with pytest.raises(ValueError, match="empty list"):
        kseg.predict([], picture)
