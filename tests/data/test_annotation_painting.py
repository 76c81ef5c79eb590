"""Polygons and run lengths become pixels: against pycocotools, OpenCV and closed forms."""

from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Patch, Runs
from kseg.data.annotations.painting import Rules, paint, run_mask
from kseg.data.annotations.sources import ellipse, points, rectangle, rotated

MASKS = arrays("uint8", st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 1))


def painted(objects, size, notes=None, **rules):
    rules = {"polygon_points": "grid", "order": "file", "crowd": "void", "boxes": "skip", **rules}
    shares = rules.pop("shares", False)
    picture = AnnotatedPicture("a.png", "train", "a", shares=shares, objects=objects)
    ids = {"a": 1, "b": 2, "c": 3}
    return paint(picture, size, Rules(ids=ids, ground=0, **rules), Counter() if notes is None else notes)


def polygon(*outlines, label="a", **words):
    return AnnotatedObject(label, polygons=[points(outline) for outline in outlines], **words)


@given(MASKS)
def test_run_lengths_are_those_of_coco(mask):
    encoded = coco.encode(np.asfortranarray(mask))
    np.testing.assert_array_equal(run_mask(Runs(encoded["counts"], mask.shape)), mask)
    np.testing.assert_array_equal(run_mask(Runs(encoded["counts"].decode(), mask.shape)), mask)
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    plain = np.diff(np.concatenate([[0], edges])).tolist()
    np.testing.assert_array_equal(run_mask(Runs(plain, mask.shape)), mask)


@pytest.mark.parametrize(
    "counts",
    ["", [], [3], [30], [-1, 26], [2**62, 2**62], [[25]], "0a0_7O1O", "\x7f\x7f", "P", "P" * 60, [1.5, None]],
)
def test_run_lengths_that_do_not_fill_the_picture_are_refused(counts):
    with pytest.raises((ValueError, TypeError)):
        run_mask(Runs(counts, (5, 5)))


@given(MASKS)
def test_pixels_are_what_outlines_of_a_mask_came_from(mask):
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    expected = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)
    for outline in outlines:
        if len(outline) < 3:  # no polygon: one or two pixels
            expected[tuple(outline[:, 0].T[::-1])] = 0
    whole = [polygon(outline[:, 0]) for outline in outlines]
    np.testing.assert_array_equal(painted(whole, mask.shape, polygon_points="pixels"), expected)


corner = st.integers(-3, 15)


@given(corner, corner, corner, corner)
def test_boxes_on_the_grid_are_exact(left, right, top, bottom):
    left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
    expected = np.zeros((10, 12), "uint8")
    expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 1
    mask = painted([AnnotatedObject("a", polygons=[rectangle(left, top, right, bottom)])], (10, 12))
    np.testing.assert_array_equal(mask, expected)


def signed_distances(triangle, size):
    """Return how far inside the nearest edge the middle of each pixel lies, in pixels."""
    y, x = np.indices(size) + 0.5
    distances = []
    for start, end in zip(triangle, np.roll(triangle, -1, 0), strict=True):
        (dx, dy), length = end - start, np.hypot(*(end - start))
        distances.append(((y - start[1]) * dx - (x - start[0]) * dy) / length)
    inward = np.sign(np.linalg.det(triangle[1:] - triangle[0]))
    return np.min(inward * np.array(distances), axis=0)


@pytest.mark.parametrize("far", [1, 1000, 200_000])
def test_triangles_cover_the_pixels_whose_middle_is_inside_and_far_points_cost_nothing(far):
    rng = np.random.default_rng(far)
    for _ in range(50):
        triangle = rng.uniform(-5, 35, (3, 2))
        triangle[0] *= far
        inside = signed_distances(triangle, (30, 30))
        mask = painted([polygon(triangle)], (30, 30))
        clear = np.abs(inside) > 0.4  # COCO's library places points on a fifth of a pixel
        np.testing.assert_array_equal(mask[clear], inside[clear] > 0)


def test_a_part_outside_is_cut_off_and_what_is_outside_covers_nothing():
    notes = Counter()
    inside, outside = polygon([-5, -5, 3, -5, 3, 2, -5, 2]), polygon([20, 20, 30, 20, 30, 30])
    for rule, expected in (("grid", 6), ("pixels", 12)):
        mask = painted([inside, outside], (10, 10), notes, polygon_points=rule)
        assert mask.sum() == expected
    assert notes == {"objects that cover no pixel, left out": 2}


@pytest.mark.parametrize("outline", [[], [1, 1], [1, 1, 5, 5]])
def test_degenerate_polygons_are_counted(outline):
    notes = Counter()
    for rule in ("grid", "pixels"):
        assert not painted([polygon(outline)], (9, 9), notes, polygon_points=rule).any()
    assert notes == {"objects that cover no pixel, left out": 2}


@pytest.mark.parametrize(
    "outline", [[1, 2, 3], [[1, 2, 3]], [1, float("nan"), 2, 2], [1e9, 1, 2, 2], ["x", 1]]
)
def test_points_that_are_none_are_refused(outline):
    with pytest.raises(ValueError):
        points(outline)


SMALL, LARGE = [2, 2, 4, 2, 4, 4, 2, 4], [0, 0, 6, 0, 6, 6, 0, 6]


def test_order_says_what_lies_on_top():
    objects = [polygon(SMALL, label="b"), polygon(LARGE)]
    assert painted(objects, (6, 6), order="file")[3, 3] == 1
    assert painted(objects, (6, 6), order="area")[3, 3] == 2
    assert painted(objects[::-1], (6, 6), order="file")[3, 3] == 2
    objects[0].level = 1  # above all, in either order
    assert painted(objects, (6, 6), order="file")[3, 3] == 2
    objects[0].level, objects[1].level = 0, 1
    assert painted(objects, (6, 6), order="area")[3, 3] == 1
    same = [polygon(SMALL, label="a"), polygon(SMALL, label="c")]
    assert painted(same, (6, 6), order="area")[3, 3] == 3  # of equal ones the later


def test_crowds_lie_beneath_or_are_of_their_class_or_left_out():
    objects = [polygon(LARGE, label="b"), polygon(SMALL, crowd=True)]
    assert (painted(objects, (7, 7), crowd="void", order="area")[3, 3], painted(objects, (7, 7))[6, 6]) == (
        2,
        0,
    )
    objects[1].polygons = [points([0, 0, 7, 0, 7, 7, 0, 7])]
    assert painted(objects, (7, 7), crowd="void")[6, 6] == 255
    assert painted(objects, (7, 7), crowd="class")[6, 6] == 1
    notes = Counter()
    assert painted(objects, (7, 7), notes, crowd="skip")[6, 6] == 0 and notes == {"crowds left out": 1}


def test_parts_of_an_object_are_united_and_holes_stay():
    ring = np.ones((4, 4), bool)
    ring[1:3, 1:3] = False
    item = AnnotatedObject("a", polygons=[points(SMALL), points([3, 3, 6, 3, 6, 6, 3, 6])])
    assert painted([item], (8, 8)).sum() == 4 + 9 - 1
    assert painted([AnnotatedObject("a", patch=Patch(ring, -1, 2))], (8, 8)).sum() == 8
    item.patch = Patch(np.ones((1, 1), bool), 7, 7)
    assert painted([item], (8, 8)).sum() == 13


def test_run_lengths_of_another_size_are_refused():
    item = AnnotatedObject("a", runs=Runs([0, 30], (5, 6)))
    assert painted([item], (5, 6)).all()
    with pytest.raises(ValueError, match=r"6×5 pixels for a picture of 5×6"):
        painted([item], (6, 5))


def test_boxes_are_left_out_unless_asked_for():
    item, notes = AnnotatedObject("a", box=(1, 2, 4, 4)), Counter()
    assert not painted([item], (6, 6), notes).any()
    assert notes == {"objects with a box and no outline, left out": 1}
    assert painted([item], (6, 6), boxes="paint").sum() == 6
    assert painted([AnnotatedObject("a")], (6, 6), notes).sum() == 0
    assert notes["objects without an outline, left out"] == 1


@given(st.integers(1, 4000), st.integers(4, 6))
def test_shares_of_few_decimals_come_back_to_their_pixels(width, decimals):
    columns = np.unique(np.linspace(0, width - 1, 5).round())
    if width * 10.0**-decimals < 0.09:
        outline = [v for x in columns for v in (round(x / width, decimals), 0.0)]
        outline += [round(columns[-1] / width, decimals), 1 - 1 / 3, 0.0, 1 - 1 / 3]
        mask = painted([polygon(outline)], (3, width), shares=True, polygon_points="pixels")
        assert mask.sum() == 3 * width


def test_ellipses_and_turned_boxes_have_their_area():
    for radius_x, radius_y in ((20, 11), (9, 30)):
        mask = painted([AnnotatedObject("a", polygons=[ellipse(40, 35, radius_x, radius_y)])], (70, 80))
        assert mask.sum() == pytest.approx(np.pi * radius_x * radius_y, rel=0.02)
    turned = rotated(rectangle(20, 30, 60, 40), 90)
    np.testing.assert_allclose(turned.min(0), [35, 15])
    np.testing.assert_allclose(turned.max(0), [45, 55])
    # a quarter of a half turn, clockwise on the screen: the right end goes down
    end = rotated(rectangle(20, 30, 60, 40), 45)[1:3].mean(0)
    assert end[0] > 40 and end[1] > 35
