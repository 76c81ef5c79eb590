import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

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


BLUE, RED = (31, 119, 180), (214, 39, 40)


@pytest.fixture
def panels(monkeypatch):
    """Draw curves and return the axes that were drawn."""
    figures = []
    draw = FigureCanvasAgg.draw
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda self: (figures.append(self.figure), draw(self))[1])

    def drawn(curves):
        visualization.learning_curve(curves)
        return figures[-1].axes

    return drawn


def shown_ticks(axes):
    low, high = axes.get_xlim()
    return [tick for tick in axes.get_xticks() if low <= tick <= high]


def points(axes):
    return [tuple(map(np.ndarray.tolist, line.get_data())) for line in axes.get_lines()]


@pytest.mark.parametrize("size", [(260, 420), (123, 457), (301, 333)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_curves_are_of_the_size_asked_for_and_of_their_colours(size, count):
    curves = {f"panel {n}": {"loss": [3, 2, 1], "val_loss": [3, 3, 2]} for n in range(count)}
    picture = visualization.learning_curve(curves, size)
    assert picture.shape == (size[0], size[1] * count, 3) and picture.dtype == "uint8"
    for panel in np.split(picture, count, axis=1):
        assert all((panel == color).all(-1).sum() > 50 for color in (BLUE, RED))
    np.testing.assert_array_equal(picture, visualization.learning_curve(curves, size))


def test_no_panel_is_an_empty_picture():
    assert visualization.learning_curve({}).shape == (260, 0, 3)


def test_what_is_not_finite_is_left_out_and_the_best_epoch_is_named(panels):
    nan, inf = float("nan"), float("inf")
    loss, score = panels(
        {
            "loss": {"loss": [5, 4, 3, 2, 1], "val_loss": [nan, 3.5, -inf, 2.5, nan]},
            "mean IoU": {"mean_iou": [0.1, 0.9, 0.3, 0.4, 0.5], "val_mean_iou": [nan, 0.25, inf, 0.2, nan]},
        }
    )
    assert points(loss) == [([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]), ([2, 4], [3.5, 2.5]), ([4], [2.5])]
    assert points(score)[1:] == [([2, 4], [0.25, 0.2]), ([2], [0.25])]
    for axes, title, best in ((loss, "loss", "2.5, epoch 4"), (score, "mean IoU", "0.25, epoch 2")):
        assert (axes.get_title("left"), axes.get_xlabel()) == (title, "epoch")
        assert axes.get_title("right").endswith(f"best: {best}")
    assert [text.get_text() for text in score.get_legend().get_texts()] == ["mean_iou", "val_mean_iou"]


def test_without_validation_the_best_is_that_of_the_first_line(panels):
    nan = float("nan")
    (axes,) = panels({"a": {"accuracy": [0.1, 0.3, 0.2], "val_accuracy": [nan, nan, nan]}})
    assert points(axes)[-1] == ([2], [0.3])


@pytest.mark.parametrize("count", [1, 2, 3, 12, 160, 1001])
def test_ticks_are_whole_epochs_that_there_are(panels, count):
    (axes,) = panels({"loss": {"loss": np.linspace(3, 1, count)}})
    ticks = shown_ticks(axes)
    assert 1 <= len(ticks) <= 8 and all(tick == int(tick) and 1 <= tick <= count for tick in ticks)


def test_the_axis_begins_where_the_values_do(panels):
    (axes,) = panels({"loss": {"loss": [float("nan")] * 10 + [2.0, 1.0]}})
    assert axes.get_xlim() == (11, 12) and shown_ticks(axes) == [11, 12]


def test_a_single_epoch_is_a_point():
    picture = visualization.learning_curve({"loss": {"loss": [1.5]}})
    rows, columns = np.nonzero((picture == BLUE).all(-1))
    below_legend = rows > 60
    assert below_legend.sum() > 4 and np.ptp(columns[below_legend]) < 10


@pytest.mark.parametrize("lines", [{}, {"loss": []}, {"loss": [float("nan")], "val_loss": [float("inf")]}])
def test_without_a_finite_value_the_panel_says_so(panels, lines):
    (axes,) = panels({"loss": lines})
    assert [text.get_text() for text in axes.texts] == ["no value yet"]


def test_any_name_and_any_number_can_be_drawn(panels):
    lines = {"$x_": [3e38, -3e38], "_hidden": [1e-40, 0.0], "天空": [1, 1], "a\nb": [2, 2], "$e^{$": [3, 3]}
    (axes,) = panels({"50 $ of \\alpha 天": lines})
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)


def test_settings_of_the_user_change_no_curve_and_stay():
    curves = {"loss": {"loss": [3, 2, 1]}}
    before = visualization.learning_curve(curves)
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "black", "text.usetex": True}):
        np.testing.assert_array_equal(visualization.learning_curve(curves), before)
        assert matplotlib.rcParams["lines.linewidth"] == 9


def run(script, **environment):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_matplotlib_is_loaded_by_the_first_curve_alone():
    script = """
import sys
sys.modules["matplotlib"] = None  # to import it is an error
import kseg.callbacks, kseg.visualization
kseg.visualization.overlay([[[0, 0, 0]]], [[1]])
try:
    kseg.visualization.learning_curve({"loss": {"loss": [2, 1]}})
except ImportError:
    print("not there")
"""
    assert run(script, PYTHONPATH=":".join(sys.path)).stdout == "not there\n"


def test_a_curve_needs_no_pyplot(monkeypatch):
    monkeypatch.delattr(matplotlib, "pyplot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # to import it is an error
    assert visualization.learning_curve({"loss": {"loss": [2, 1]}}).dtype == "uint8"


@pytest.mark.slow  # a process that builds Matplotlib's list of fonts
def test_a_home_that_cannot_be_written_to_is_no_news():
    script = "import kseg; kseg.visualization.learning_curve({'loss': {'loss': [2, 1]}})"
    environment = {"PYTHONPATH": ":".join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "2"}
    for home in ({"HOME": "/dev/null"}, {"MPLCONFIGDIR": "/dev/null/folder"}):
        assert "atplotlib" not in run(script, **environment, **home).stderr


def test_contours_lie_inside_of_their_class_and_leave_the_rest_alone():
    mask = np.zeros((60, 80), "uint8")
    mask[10:40, 20:60] = 1
    mask[50:, 60:] = 255
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype="uint8")
    drawn = visualization.contours(picture, mask, background=0, width=2)
    changed = (drawn != picture).any(-1)
    assert not changed[mask != 1].any()
    assert not changed[14:36, 24:56].any()
    color = visualization.palette(2)[1]
    for row, column in ((10, 30), (39, 30), (20, 20), (20, 59), (11, 30)):
        np.testing.assert_array_equal(drawn[row, column], color)
    whole = visualization.contours(picture, np.zeros((60, 80), "uint8"))
    np.testing.assert_array_equal(whole, picture)  # a border of the picture is none of a class
    named = visualization.contours(picture, mask, ["Background", "leaf"])
    assert named.shape[1] > 80
    with pytest.raises(ValueError, match="width must be"):
        visualization.contours(picture, mask, width=0)


def test_void_has_lines_where_it_is_asked_for_and_background_is_left_out():
    mask = np.full((40, 40), 255, "uint8")
    mask[:, :20] = 0
    picture = np.full((40, 40, 3), 90, "uint8")
    drawn = visualization.overlay(picture, mask, background=0, hatch_void=True)
    np.testing.assert_array_equal(drawn[:, :20], picture[:, :20])
    assert 0.05 < (drawn[:, 20:] != 90).any(-1).mean() < 0.3


# Machado, Oliveira and Fernandes 2009, severity 1: protanopia and deuteranopia, of linear RGB
MACHADO = (
    np.eye(3),
    np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
)


def nearest_colors(colors):
    """Return the least distance of two colours in CIELAB, over three ways of seeing."""
    import cv2

    shares = colors / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    least = np.inf
    for matrix in MACHADO:
        seen = np.clip(linear @ matrix.T, 0, 1)
        back = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055).astype("float32")
        lab = cv2.cvtColor(back[None], cv2.COLOR_RGB2Lab)[0]
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        least = min(least, distances[~np.eye(len(colors), dtype=bool)].min())
    return least


def test_colours_for_the_colour_blind_stay_apart_as_they_see_them():
    for count, least in ((7, 14), (12, 11), (20, 9)):
        colors = visualization.palette(count, "colorblind")
        assert nearest_colors(colors) > least
        assert nearest_colors(colors) > nearest_colors(visualization.palette(count))
    np.testing.assert_array_equal(
        visualization.palette(7, "colorblind"), visualization.palette(30, "colorblind")[:7]
    )
    assert len(np.unique(visualization.palette(150, "colorblind"), axis=0)) == 150


def test_palettes_of_data_sets_are_theirs():
    voc = visualization.palette(256, "voc")
    assert voc[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert voc[255].tolist() == [224, 224, 192]
    assert visualization.palette(19, "cityscapes")[11].tolist() == [220, 20, 60]
    assert visualization.palette(11, "camvid")[3].tolist() == [128, 64, 128]
    with pytest.raises(ValueError, match="did you mean 'colorblind'"):
        visualization.palette(3, "colourblind")


@pytest.mark.parametrize("count", [1, 3, 40, 256])
@pytest.mark.parametrize("height", [16, 48, 300, 2000])
def test_a_legend_holds_every_class_at_any_size(count, height):
    names = [f"class of things number {number}, {'very ' * (number % 9)}long" for number in range(count)]
    colors = np.stack([np.arange(count), 255 - np.arange(count), np.full(count, 77)], 1).astype("uint8")
    picture = visualization.legend(names, height, colors=colors)
    assert picture.shape[0] >= height
    assert picture.shape[1] < 1000
    shown = {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    assert {tuple(color) for color in colors.tolist()} <= shown
    assert (picture[:, -2:] == 255).all()  # no name is cut by the edge
    mask = (np.arange(height * 64) % count).astype("uint8").reshape(height, 64)
    assert visualization.overlay(np.zeros((height, 64, 3)), mask, names).shape[0] >= height


def test_a_gallery_takes_pictures_of_other_sizes_and_stays_bounded():
    small, large = np.full((10, 40, 3), 9, "uint8"), np.full((3000, 2000, 3), 200, "uint8")
    sheet = visualization.gallery([[small, large]] * 12, ["one", "two"], captions=["a line"] * 12, columns=2)
    assert max(sheet.shape) <= 8192
    assert (sheet == 200).all(-1).any() and (sheet == 9).all(-1).any()
    row = visualization.side_by_side([small, large[:30, :20]])
    assert (row == 200).all(-1).sum() == 600
    with pytest.raises(ValueError, match="a picture per heading"):
        visualization.gallery([[small]], ["one", "two"])
    with pytest.raises(ValueError, match="a picture per heading"):
        visualization.gallery([], ["one"])


def test_a_notebook_shows_pictures_masks_and_data_sets(tmp_path):
    from PIL import Image

    import kseg

    shown = visualization.show(MASK)
    assert shown._repr_png_()[:4] == b"\x89PNG"
    shown.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        np.testing.assert_array_equal(np.asarray(image), visualization.colorize(MASK))
    with pytest.raises(ValueError, match="image must be"):
        visualization.show(np.zeros(3))
    scenes = kseg.data.shapes(4, (32, 32), batch_size=2)
    text = scenes._repr_html_()
    assert "2 batches" in text and "6 classes: background" in text and "data:image/png;base64," in text
    hostile = scenes.map(lambda image, mask: (image, mask))
    hostile.class_names = ["<script>alert(1)</script>"] * 6
    assert "<script>" not in hostile._repr_html_()
    assert "no such pair" not in scenes.map(lambda image, mask: image)._repr_html_()
