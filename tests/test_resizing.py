"""Pictures and scores resized: against NumPy pixel by pixel, and against MediaPipe."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseg
from kseg.inference import open_model
from kseg.inference.resizing import enlarge, shrink

SIZE = (96, 128)
SIDES = st.integers(1, 23)
# MediaPipe brings its own copies of what TensorFlow has: it runs in its own process.
SEGMENT = """
import sys
import mediapipe, numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

path, folder = sys.argv[1:]
options = vision.ImageSegmenterOptions(
    tasks.BaseOptions(model_asset_path=path), output_category_mask=True, output_confidence_masks=True
)
with vision.ImageSegmenter.create_from_options(options) as segmenter:
    for number, picture in enumerate(np.load(folder + "/pictures.npz").values()):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        result = segmenter.segment(image)
        masks = [mask.numpy_view().squeeze() for mask in result.confidence_masks]
        ids = result.category_mask.numpy_view().squeeze()
        np.savez(f"{folder}/{number}.npz", ids=ids, masks=np.stack(masks, -1))
"""


def pixel(values, y, x):
    """Return the mean of the four values around a place; what lies beyond the last goes on as it."""
    rows = (min(int(y), len(values) - 1), min(int(y) + 1, len(values) - 1))
    columns = (min(int(x), values.shape[1] - 1), min(int(x) + 1, values.shape[1] - 1))
    down, right = y - int(y), x - int(x)
    above = values[rows[0], columns[0]] * (1 - right) + values[rows[0], columns[1]] * right
    below = values[rows[1], columns[0]] * (1 - right) + values[rows[1], columns[1]] * right
    return above * (1 - down) + below * down


@settings(max_examples=30, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 9))
def test_bilinear_pixel_by_pixel(before, after, seed):
    values = np.random.default_rng(seed).integers(0, 256, (*before, 2)).astype("float64")
    found = shrink(values[None], after, "bilinear")[0]
    steps = [
        [np.rint(i * side / count * 32) / 32 for i in range(count)]
        for side, count in zip(before, after, strict=True)
    ]
    expected = np.array([[pixel(values, y, x) for x in steps[1]] for y in steps[0]])
    assert found.shape == (*after, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.5 + 1e-3)
    np.testing.assert_array_equal(found, np.round(found))
    found = enlarge(values[None], after, "bilinear")[0]
    ends = [
        np.linspace(0, side - 1, count) if count > 1 else [0]
        for side, count in zip(before, after, strict=True)
    ]
    expected = np.array([[pixel(values, y, x) for x in ends[1]] for y in ends[0]])
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("how", ["antialias", "bilinear"])
def test_the_same_size_stays(how):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 13, 17, 3)).astype("uint8")
    np.testing.assert_allclose(shrink(pictures, (13, 17), how), pictures, atol=1e-4)
    np.testing.assert_allclose(enlarge(pictures, (13, 17), how), pictures, atol=1e-4)


def test_antialiasing_means_over_all_pixels():
    picture = np.zeros((1, 8, 64, 1))
    picture[:, :, ::8] = 80  # a line that lies between what four pixels see
    assert abs(shrink(picture, (1, 8), "antialias").mean() - 10) < 0.5
    assert set(shrink(picture, (1, 8), "bilinear").ravel()) == {80}


@pytest.mark.parametrize("function", [shrink, enlarge])
def test_other_words_are_refused(function):
    with pytest.raises(ValueError, match="resize must be 'antialias' or 'bilinear', got 'nearest'"):
        function(np.zeros((1, 4, 4, 1)), (2, 2), "nearest")


def by_brightness():
    """Return a model that sorts each pixel by itself, the worst for a resize."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(4, 1)
    model = keras.Model(image, conv(image))
    centres = (np.arange(4) + 0.5) * 255 / 4
    kernel = np.tile(2 * centres / 3, (3, 1)).reshape(1, 1, 3, 4)
    conv.set_weights([kernel.astype("float32"), -(centres**2).astype("float32")])
    return model


def picture(size, rng):
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3)).astype("uint8"))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), "float32")
    return np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype("uint8")


def test_bilinear_is_what_mediapipe_does(tmp_path):
    """Its category mask is of scores by their corners, its confidence masks of probabilities by centres."""
    path, rng = tmp_path / "m.tflite", np.random.default_rng(0)
    kseg.export_tflite(by_brightness(), path, input_size=SIZE, mediapipe=True)
    pictures = [picture(size, rng) for size in ((360, 480), (251, 333), (768, 1024), (70, 300), SIZE)]
    pictures.append(rng.integers(0, 256, (300, 400, 3)).astype("uint8"))
    np.savez(tmp_path / "pictures.npz", *pictures)
    done = subprocess.run(
        [sys.executable, "-c", SEGMENT, str(path), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    runner, shares = open_model(path), []
    for number, each in enumerate(pictures):
        theirs = np.load(tmp_path / f"{number}.npz")
        scores = runner.scores(shrink(each[None], SIZE, "bilinear"))
        ids = enlarge(scores, each.shape[:2], "bilinear").argmax(-1)[0]
        assert (ids == theirs["ids"]).mean() >= 0.999
        shares.append((kseg.predict(path, each) == theirs["ids"]).mean())
        masks = enlarge(np.asarray(keras.ops.softmax(scores)), each.shape[:2])[0]
        if min(each.shape[:2]) >= SIZE[0]:
            np.testing.assert_allclose(masks, theirs["masks"], atol=1e-3)
    assert (
        shares[0] < 0.98 and shares[-2] > 0.999
    )  # the other way gives another mask, but not at the file's size
