"""The colours of an augmented picture against formulas in NumPy."""

import colorsys

import numpy as np
import pytest

from kseg.data import augment
from kseg.data.augmentation.color import change_gamma, recolor

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
def test_colour_is_saturation_then_contrast_about_the_mean_then_brightness(channels, dtype):
    image = RNG.integers(0, 256, (8, 9, channels)).astype(dtype)
    brightness, contrast, saturation = 1.1, 0.8, 1.2
    expected = image.astype("float64")
    if channels == 3:  # others have no grey to go to
        luma = expected @ [[0.299], [0.587], [0.114]]
        expected = luma + saturation * (expected - luma)
    mean = expected.mean(axis=(0, 1))
    expected = np.clip(mean + contrast * (expected - mean) + (brightness - 1) * 127.5, 0, 255)
    recolored = recolor(image, brightness, contrast, saturation, 0)
    assert recolored.dtype == dtype and recolored.shape == image.shape
    np.testing.assert_allclose(recolored, expected, atol=0.6 if dtype == "uint8" else 1e-3)


@pytest.mark.parametrize("angle", [-120, -30, 10, 120])
def test_hue_turns_and_luma_stays(angle):
    image = RNG.uniform(90, 160, (8, 9, 3)).astype("float32")
    turned = recolor(image, 1, 1, 1, angle)
    weights = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(turned @ weights, image @ weights, atol=1e-2)
    np.testing.assert_allclose(recolor(turned, 1, 1, 1, -angle), image, atol=1e-2)
    assert np.abs(turned - image).max() > 5
    grey = np.repeat(image[..., :1], 3, axis=-1)
    np.testing.assert_allclose(recolor(grey, 1, 1, 1, angle), grey, atol=0.1)


@pytest.mark.parametrize("angle", [60, 120, -120])
def test_hue_goes_about_the_circle_as_far_as_it_is_told(angle):
    hues = []
    for position in np.arange(0, 1, 1 / 12):
        color = 128 + 20 * (np.array(colorsys.hsv_to_rgb(position, 1, 1)) - 0.5)
        turned = recolor(color.reshape(1, 1, 3).astype("float32"), 1, 1, 1, angle)[0, 0]
        difference = 360 * (colorsys.rgb_to_hsv(*turned)[0] - position)
        hues.append((difference - angle + 180) % 360 - 180)
    assert abs(np.mean(hues)) < 25  # the two circles are not stretched alike
    assert np.abs(hues).max() < 60


@pytest.mark.parametrize("exponent", [0.5, 1, 2.2])
def test_gamma(exponent):
    image = RNG.integers(0, 256, (8, 9, 3), dtype="uint8")
    expected = 255 * (image / 255.0) ** exponent
    np.testing.assert_array_equal(change_gamma(image, exponent), np.rint(expected))
    np.testing.assert_allclose(change_gamma(image.astype("float32"), exponent), expected, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_blur_spreads_a_point_and_keeps_the_sum(channels, dtype):
    image, mask = np.zeros((31, 31, channels), dtype), np.zeros((31, 31), "int32")
    image[15, 15] = 250
    function = augment((31, 31), scale=(1, 1), flip=False, color=0, blur=2)
    widths = []
    for seed in range(10):
        new_image = function(image, mask, [seed, 0])[0].numpy().astype("float64")
        assert np.ptp(new_image, axis=-1).max() < 1e-3
        point = new_image[..., 0]
        if dtype == "float32":
            assert abs(point.sum() - 250) < 0.1
            rows = np.arange(31) - 15
            widths.append(np.sqrt((point.sum(1) * rows**2).sum() / point.sum()))
        assert point.argmax() == 15 * 31 + 15
    if widths:
        assert min(widths) < 0.8 and 1.2 < max(widths) < 2.1
