"""Borders counted in NumPy against the Keras metrics and against loops over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.evaluation.boundaries import band_counts, border_counts, label_counts, pixels_of
from kseg.metrics import BoundaryF1, BoundaryIoU

TOLERANCES = st.sampled_from([0.01, 0.1, 0.3])


@st.composite
def masks(draw, labels=False):
    """Blocky ids or labels of any size, with void and ids that are no class, and a prediction near them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(2, 5))
    shape = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    block = draw(st.integers(1, 4))
    ids = [0, 1] if labels else [*range(draw(st.integers(1, classes)))]
    ids += draw(st.sampled_from([[], [255]]))
    size = (*(-(-side // block) for side in shape), *((classes,) if labels else ()))
    mask = np.repeat(np.repeat(rng.choice(ids, size), block, 0), block, 1)[: shape[0], : shape[1]]
    noise = rng.random(mask.shape) < draw(st.sampled_from([0.0, 0.1, 0.6]))
    highest = 2 if labels else classes + draw(st.integers(0, 1))
    predicted = np.where(noise | (mask == 255), rng.integers(0, highest, mask.shape), mask)
    return classes, mask.astype("int32"), predicted.astype("int32")


def read(classes, mask):
    counted = mask < classes
    return np.where(counted, mask, classes).astype("int32"), counted


def square(at, shape, pixels):
    """The places of a picture within so many pixels, along both axes."""
    ranges = (range(max(0, x - pixels), min(n, x + pixels + 1)) for x, n in zip(at, shape, strict=True))
    rows, columns = ranges
    return [(row, column) for row in rows for column in columns]


def border_of(ids, counted, classes, pixels, with_edge):
    """The places of each class that have another class, or the edge, nearby."""
    found = {index: set() for index in range(classes)}
    for at in map(tuple, np.argwhere(counted & (ids < classes))):
        edge = min(*at, *(n - 1 - x for x, n in zip(at, ids.shape, strict=True))) < pixels
        around = square(at, ids.shape, pixels)
        if (with_edge and edge) or any(counted[near] and ids[near] != ids[at] for near in around):
            found[int(ids[at])].add(at)
    return found


@settings(max_examples=60, deadline=None)
@given(masks(), TOLERANCES)
def test_counts_are_those_of_loops_over_pixels(data, tolerance):
    classes, mask, predicted = data
    true, counted = read(classes, mask)
    pixels = pixels_of(mask.shape, tolerance)
    bands = [border_of(ids, counted, classes, pixels, True) for ids in (true, predicted)]
    borders = [border_of(ids, counted, classes, 1, False) for ids in (predicted, true)]
    for index in range(classes):
        one, other = bands[0][index], bands[1][index]
        expected = [len(one & other), len(one), len(other)]
        assert band_counts(true, predicted, counted, classes, tolerance)[:, index].tolist() == expected
        expected = []
        for one, other in ((borders[0][index], borders[1][index]), (borders[1][index], borders[0][index])):
            expected += [len(one), sum(bool(other & {*square(at, mask.shape, pixels)}) for at in one)]
        assert border_counts(true, predicted, counted, classes, tolerance)[:, index].tolist() == expected


@pytest.mark.filterwarnings("ignore:the masks seen so far", "ignore:.*neither a class nor void")
@settings(max_examples=25, deadline=None)
@given(masks(), TOLERANCES)
def test_counts_are_those_of_the_metrics(data, tolerance):
    classes, mask, predicted = data
    true, counted = read(classes, mask)
    for metric, counts in (
        (BoundaryIoU(classes, tolerance=tolerance), band_counts),
        (BoundaryF1(classes, tolerance=tolerance), border_counts),
    ):
        metric.update_state(mask[None], predicted[None])
        expected = metric.bands if metric.name == "boundary_iou" else metric.counts
        np.testing.assert_array_equal(counts(true, predicted, counted, classes, tolerance), expected)


@settings(max_examples=15, deadline=None)
@given(masks(labels=True))
def test_labels_have_borders_of_their_own(data):
    classes, mask, predicted = data
    bands, borders = label_counts(mask == 1, predicted == 1, mask != 255)
    for metric, found in (
        (BoundaryIoU(classes, multilabel=True), bands),
        (BoundaryF1(classes, multilabel=True), borders),
    ):
        metric.update_state(mask[None], np.where(predicted == 1, 1.0, -1.0)[None].astype("float32"))
        expected = metric.bands if metric.name == "boundary_iou" else metric.counts
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("classes", [253, 254, 300, 65534])
def test_ids_of_every_size_stay_apart(classes):
    """The ids just below the edge of each type of OpenCV, and what is no class beside them."""
    mask = np.array([[classes - 1, classes - 1, classes - 1, classes - 2, 0]], "int32")
    predicted = np.array([[classes - 1, classes, classes - 1, classes - 2, 0]], "int32")
    counts = border_counts(mask, predicted, np.ones(mask.shape, bool), classes)
    assert counts[:, classes - 1].tolist() == [2, 1, 1, 1]
    assert counts[:, classes - 2].tolist() == [1, 1, 1, 1] and counts[:, 0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("size", [(360, 480), (1024, 2048), (1, 1), (97, 31)])
@pytest.mark.parametrize("tolerance", [0.02, 0.0075])
def test_the_width_is_that_of_the_metrics(size, tolerance):
    from kseg.metrics.boundary import _pixels

    assert pixels_of(size, tolerance) == int(_pixels(np.zeros((1, *size), "int32"), tolerance))
