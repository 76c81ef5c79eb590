"""Ids that are not 0 to n - 1: what they look like, the map that mends them, and what is no fault."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kseg.data import check, from_directory
from kseg.data.diagnosis import diagnose

FAULTS = {  # ids → classes, the map
    "0 and 255, no void": ((0, 255), 2, None, {255: 1}),
    "0 and 128": ((0, 128), 2, 255, {128: 1}),
    "1 to n": ((1, 2, 3), 3, 255, {1: 0, 2: 1, 3: 2}),
    "1 to n, one of them rare": ((1, 3), 3, 255, {1: 0, 2: 1, 3: 2}),
    "1 to n and void": ((1, 2, 255), 2, 255, {1: 0, 2: 1}),
    "gaps": ((0, 7, 11, 255), 3, 255, {7: 1, 11: 2}),
    "n is void": ((0, 1, 2, 3), 3, 255, {3: 255}),
    "0 and 128, no names": ((0, 128), None, 255, {128: 1}),
    "gaps, no names": ((0, 50, 100, 150), None, 255, {50: 1, 100: 2, 150: 3}),
}
SOUND = [
    ((0, 1, 2), 3, 255),
    ((0, 2, 255), 3, 255),
    ((0,), 5, 255),
    ((), 2, 255),
    ((0, 1, -1), 2, -1),
    ((0, 1, 254, 255), 2, (254, 255)),
    ((0, 3), None, 255),
    (tuple(range(150)), None, 255),
]


def alike(ids):
    return dict.fromkeys(ids, 100)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_have_their_map(fault):
    ids, num_classes, void, label_map = FAULTS[fault]
    found = diagnose(alike(ids), num_classes, void)
    assert found.label_map == label_map and found.certain
    assert f"label_map={label_map}" in found.text


@pytest.mark.parametrize(("ids", "num_classes", "void"), SOUND)
def test_sound_ids_have_none(ids, num_classes, void):
    assert diagnose(alike(ids), num_classes, void) is None


def test_ids_from_1_without_names_may_be_meant():
    found = diagnose(alike((1, 2, 3)))
    assert found.label_map == {1: 0, 2: 1, 3: 2} and not found.certain


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    ids=st.sets(st.integers(0, 300), min_size=1, max_size=12),
    num_classes=st.none() | st.integers(1, 12),
    void=st.sampled_from([None, 255, -1, (254, 255)]),
)
def test_a_map_mends_what_it_is_offered_for(ids, num_classes, void):
    found = diagnose(alike(ids), num_classes, void)
    if found is not None:
        mapped = {found.label_map.get(i, i) for i in ids}
        assert diagnose(alike(mapped), num_classes or len(ids), void) is None


def softened(mask):
    """Return a mask of 0 and 255 as a bilinear resize leaves it."""
    large = Image.fromarray(mask).resize((mask.shape[1] * 5, mask.shape[0] * 5), Image.Resampling.BILINEAR)
    return np.asarray(large)


@pytest.mark.parametrize("class_names", [None, ["background", "crack"]])
def test_soft_edges_are_known(make_files, class_names):
    root = make_files(["a", "b"], "train", size=(200, 200))
    rng = np.random.default_rng(0)
    for path in (root / "train/masks").iterdir():
        mask = np.zeros((40, 40), "uint8")
        top, left = rng.integers(0, 20, 2)
        mask[top : top + 18, left : left + 15] = 255
        Image.fromarray(softened(mask)).save(path)
    problems = check(root, class_names=class_names).problems
    assert re.search(r"levels lie between .*interpolation .*nearest", problems[-1])
    with pytest.raises(Exception, match="interpolation"):
        list(from_directory(root, class_names=class_names))


@pytest.mark.parametrize(("ids", "names"), [((0, 128), 2), ((1, 2, 3), 3), ((0, 5, 9), 3), ((0, 1, 2), 2)])
def test_a_folder_is_told_its_map_and_mended_by_it(make_files, ids, names):
    root, names = make_files(["a", "b"], "train", ids=ids), list("abc")[:names]
    report = check(root, class_names=names)
    (line,) = [line for line in report.suggestions if line.startswith("label_map=")]
    assert any(problem.startswith(f"{root}: ") and line in problem for problem in report.problems)
    with pytest.raises(Exception, match=re.escape(line)):
        list(from_directory(root, class_names=names))
    assert check(root, class_names=names, label_map=eval(line.removeprefix("label_map="))).problems == []


def test_gaps_without_names_are_refused(make_files):
    root = make_files(["a", "b"], "train", ids=(0, 38, 75, 255))
    with pytest.raises(ValueError, match=r"gaps; map them by label_map={38: 1, 75: 2}, or give class_names"):
        from_directory(root)
    assert from_directory(root, label_map={38: 1, 75: 2}).num_classes == 3
