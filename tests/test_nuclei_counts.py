"""Counting regions, whole and parted where they are narrow."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "examples" / "count_nuclei.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def discs(*places, size=(80, 120)):
    """Return a mask of discs at `(row, column, radius)`."""
    y, x = np.indices(size)
    mask = np.zeros(size, "uint8")
    for row, column, radius in places:
        mask[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "regions", "nuclei"),
    [
        (discs(), 0, 0),
        (discs((20, 20, 10)), 1, 1),
        (discs((20, 20, 10), (20, 60, 12)), 2, 2),
        (discs((40, 30, 12), (40, 50, 12)), 1, 2),  # they touch
        (discs((40, 30, 12), (40, 50, 12), (40, 70, 12), (10, 100, 8)), 2, 4),
        (discs((20, 20, 10), (60, 60, 1)), 1, 1),  # dust
    ],
)
def test_regions_and_nuclei_are_counted(example, mask, regions, nuclei):
    assert (example.count(mask), example.parted(mask)) == (regions, nuclei)


def test_the_table_sums_and_averages(example):
    lines = example.table([("grey", 10, 8, 9, 10), ("colour", 20, 20, 15, 30)]).splitlines()
    assert lines[1].split() == ["all", "2", "30", "28", "24", "40", "10.0%", "17.5%", "25.0%"]
    assert lines[2].split()[:3] == ["colour", "1", "20"]
