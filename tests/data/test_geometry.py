"""Where an augmentation brings the points of picture and mask: against the coordinates painted into both."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.data import augment
from kseg.data.augmentation.geometry import sampling_matrix, warp_pair

GEOMETRY = {
    "scale": st.sampled_from([(1, 1), (0.5, 2.0), (0.2, 0.4), (3, 4)]),
    "flip": st.sampled_from([False, "horizontal", "vertical", "both"]),
    "rotation": st.sampled_from([0, 15, 180]),
    "shear": st.sampled_from([0, 20]),
    "perspective": st.sampled_from([0, 0.3]),
}
sides = st.integers(20, 90)


def coordinates(height, width):
    """Return a float picture of `(y, x, y + x)` and a mask of `256 · y + x`."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, (y + x) / 2], axis=-1).astype("float32"), (256 * y + x).astype("int32")


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    size=st.tuples(sides, sides),
    crop_size=st.tuples(sides, sides),
    options=st.fixed_dictionaries(GEOMETRY),
    seed=st.integers(0, 2**31),
)
def test_a_picture_of_coordinates_lands_where_its_mask_says(size, crop_size, options, seed):
    image, mask = coordinates(*size)
    function = augment(crop_size, **options, color=0, ignore_class=-1)
    new_image, new_mask = (part.numpy() for part in function(image, mask, [seed, 1]))
    y, x = np.divmod(new_mask, 256)
    inside = new_mask >= 0
    # beside its border a picture is blended with the fill, more pixels of it where it is shrunk
    margin = 1 + int(1 / options["scale"][0] * (2 if options["perspective"] or options["shear"] else 1))
    inside &= (y >= margin) & (y < size[0] - margin) & (x >= margin) & (x < size[1] - margin)
    step = max(1.0, 0.75 / options["scale"][0] / (1 - options["perspective"]))  # pixels of a shrunk picture
    assert np.abs(new_image[inside][:, 0] - y[inside]).max(initial=0) <= step
    assert np.abs(new_image[inside][:, 1] - x[inside]).max(initial=0) <= step
    assert set(np.unique(new_mask)) <= {*np.unique(mask), -1}


@settings(deadline=None, max_examples=100, derandomize=True)
@given(options=st.fixed_dictionaries(GEOMETRY), seed=st.integers(0, 2**31))
def test_points_are_those_of_the_matrix(options, seed):
    image, mask = coordinates(64, 80)
    asked = augment((40, 56), **options, color=0, ignore_class=-1).settings
    draw = iter(np.random.default_rng(seed).random(32).tolist()).__next__
    matrix = sampling_matrix(asked, draw, mask)
    _, new_mask = warp_pair(image, mask, matrix, asked)
    y, x = np.mgrid[:40, :56]
    points = matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    x, y = (points[:2] / points[2]).reshape(2, 40, 56)
    outside = (x < -0.51) | (y < -0.51) | (x > 79.51) | (y > 63.51)
    assert (new_mask[outside] == -1).all()
    within = (x > -0.49) & (y > -0.49) & (x < 79.49) & (y < 63.49)
    found_y, found_x = np.divmod(new_mask[within], 256)
    assert (new_mask[within] >= 0).all()
    assert (
        np.abs(found_y - y[within]).max(initial=0) < 0.52
        and np.abs(found_x - x[within]).max(initial=0) < 0.52
    )


def test_nothing_is_passed_over_where_a_picture_is_shrunk():
    stripes = np.zeros((128, 128, 1), "float32")
    stripes[::2] = 255
    function = augment((16, 16), scale=(0.125, 0.125), flip=False, color=0)
    for dtype in ("float32", "uint8"):
        new_image = function(stripes.astype(dtype), np.zeros((128, 128), "int32"), [1, 2])[0].numpy()
        assert np.abs(new_image.astype(float) - 127.5).max() <= 1


@pytest.mark.parametrize("rotation", [0, 180])
def test_large_pictures_are_cut_before_they_are_resampled(rotation):
    image = np.zeros((8, 70_000, 1), "uint8")  # more pixels than OpenCV counts
    mask = np.arange(70_000, dtype="int32")[None].repeat(8, axis=0)
    function = augment((8, 40), scale=(1, 1), rotation=rotation, ignore_class=-1)
    assert max(function(image, mask, [seed, 0])[1].numpy().max() for seed in range(20)) > 40_000


PROGRAM = """
import hashlib, os, sys
import numpy as np, kseg
function = kseg.data.augment((48, 40), strength="strong", flip="both", class_weights=[1, 2, 3, 4, 5, 6])
data = kseg.data.shapes(6, (64, 72), batch_size=3, shuffle=True, seed=5, augment=function)
digest = hashlib.sha256()
for _ in range(2):
    for batch in data.as_numpy_iterator():
        for part in batch:
            digest.update(part.tobytes())
print(digest.hexdigest())
"""


def test_the_same_seed_gives_the_same_batches_in_every_process(capsys):
    exec(compile(PROGRAM, "program", "exec"), {})
    here = capsys.readouterr().out.split()[-1]
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == here
    assert here != hashlib.sha256().hexdigest()
