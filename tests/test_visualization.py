import numpy as np
import pytest

from kseg import visualization

MASK = np.array([[0, 1], [2, 255]], "uint8")
IMAGE = np.full((2, 2, 3), 100, "uint8")


def test_palette_has_distinct_colours_and_never_changes():
    colors = visualization.palette(60)
    assert colors.shape == (60, 3) and colors.dtype == "uint8"
    assert len(np.unique(colors, axis=0)) == 60
    np.testing.assert_array_equal(colors[:7], visualization.palette(7))


def test_colorize_gives_each_class_its_colour_and_void_black():
    colored = visualization.colorize(MASK)
    np.testing.assert_array_equal(colored[0, 1], visualization.palette(2)[1])
    np.testing.assert_array_equal(colored[1, 1], (0, 0, 0))


def test_overlay_blends_and_leaves_void_alone():
    result = visualization.overlay(IMAGE, MASK, alpha=0.25)
    expected = np.round(0.75 * IMAGE[0, 0] + 0.25 * visualization.palette(1)[0])
    np.testing.assert_array_equal(result[0, 0], expected)
    np.testing.assert_array_equal(result[1, 1], IMAGE[1, 1])


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 1), (2, 2, 4)])
def test_overlay_takes_any_number_of_channels(shape):
    assert visualization.overlay(np.zeros(shape, "float32"), MASK).shape == (2, 2, 3)


def test_overlay_with_names_adds_a_legend_of_the_classes_present():
    names = ["sky", "road", "car", "a very long name that is absent"]
    mask = np.zeros((120, 80), "uint8")
    mask[60:] = 2
    result = visualization.overlay(np.zeros((120, 80, 3)), mask, names)
    assert result.shape[0] == 120 and 80 < result.shape[1] < 80 + 120
    side = result[:, 80:].reshape(-1, 3).tolist()
    colors = visualization.palette(3).tolist()
    assert colors[0] in side and colors[2] in side and colors[1] not in side


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="they must agree"):
        visualization.overlay(np.zeros((3, 2, 3)), MASK)


def test_alpha_is_a_share():
    with pytest.raises(ValueError, match="alpha must be in"):
        visualization.overlay(IMAGE, MASK, alpha=2)


def test_gallery_holds_every_picture():
    cell = np.full((10, 12, 3), (7, 99, 201), "uint8")
    result = visualization.gallery([[cell, cell], [cell, cell]], ["one", "two"], zoom=2)
    assert (result == cell[0, 0]).all(-1).sum() == 4 * 20 * 24
