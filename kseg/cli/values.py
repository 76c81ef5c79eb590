"""Kinds of values that options take: each turns a word of the shell into what Python takes, or refuses it."""

import argparse
import math
import re


def positive(text: str) -> int:
    """Return a number of 1 or more."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a number of 1 or more, got {text!r}")
    return value


def rate(text: str) -> float:
    """Return a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def share(text: str) -> float:
    """Return a finite number of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more, got {text!r}")
    return value


def factors(text: str) -> tuple[float, float]:
    """Return `(low, high)` of `LOW,HIGH`, both above 0."""
    ends = [rate(end) for end in text.split(",")]
    if len(ends) != 2 or ends[0] > ends[1]:
        raise argparse.ArgumentTypeError(f"expected LOW,HIGH, for instance 0.5,2, got {text!r}")
    return ends[0], ends[1]


def size(text: str) -> tuple[int, int]:
    """Return `(H, W)` of `HxW`."""
    found = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if not found or not int(found[1]) or not int(found[2]):
        raise argparse.ArgumentTypeError(f"expected HxW in pixels, for instance 256x320, got {text!r}")
    return int(found[1]), int(found[2])


def counts(text: str) -> tuple[int, ...]:
    """Return the numbers of `N,N,...`."""
    return tuple(positive(item) for item in text.split(","))


def layers(text: str) -> int | tuple[str, ...]:
    """Return a number of layers, or their names."""
    return int(text) if text.isdecimal() else tuple(name.strip() for name in text.split(","))


def label_map(text: str) -> dict[int, int]:
    """Return the ids of `OLD:NEW,...`."""
    try:
        pairs = [item.split(":") for item in text.split(",") if item]
        return {int(old): int(new) for old, new in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected OLD:NEW,..., for instance 11:255, got {text!r}") from None


def number(text: str) -> int:
    """Return a number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more, got {text!r}")
    return int(text)


def fold(text: str) -> tuple[int, int]:
    """Return `(i, k)` of `I/K`."""
    return _of_several(text, "I/K, the I-th of K folds, for instance 1/5", least=2)


def value_range(text: str) -> str | tuple[float, float]:
    """Return `(low, high)` of `LOW,HIGH`, or the name of a measurement."""
    if text in ("dtype", "percentiles"):
        return text
    try:
        low, high = (float(end) for end in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise argparse.ArgumentTypeError(
            f"expected LOW,HIGH, for instance 0,4095, dtype or percentiles, got {text!r}"
        )
    return low, high


def window(text: str) -> str | tuple[int, int]:
    """Return `(H, W)` of `HxW`, or `"auto"`."""
    return text if text == "auto" else size(text)


def part_below_one(text: str) -> float:
    """Return a number of 0 or more, below 1."""
    value = share(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more and below 1, got {text!r}")
    return value


def unit(text: str) -> float:
    """Return a number between 0 and 1."""
    value = share(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, got {text!r}")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers above 0 of `S,S,...`."""
    return tuple(rate(item) for item in text.split(","))


def part(text: str) -> tuple[int, int]:
    """Return `(I, N)` of `I/N`."""
    return _of_several(text, "I/N, the I-th of N parts, for instance 2/8", least=1)


def _of_several(text, expected, least):
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) or int(found[2]) < least:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return int(found[1]), int(found[2])
