"""Colours of classes: the palettes, and masks in colours."""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from kseg.checks import check_choice

PaletteName = Literal["default", "colorblind", "voc", "cityscapes", "camvid"]

_VOID_COLOR = (0, 0, 0)
# Twenty colours that stay apart, after Sasha Trubetskoy's list.
_COLORS = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255),
    (170, 110, 40), (255, 250, 200), (128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180),
    (0, 0, 128), (128, 128, 128),
)  # fmt: skip
# Okabe and Ito 2008, Color Universal Design; black is left out, as void is black.
_OKABE_ITO = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
# The 19 classes of Cityscapes' scripts, in the order of their train ids.
_CITYSCAPES = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
# CamVid's 11 classes as SegNet orders them: sky, building, pole, road, pavement, tree, sign, fence, car,
# pedestrian, bicyclist.
_CAMVID = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
_LISTS: dict[str, Sequence[tuple[int, int, int]]] = {
    "default": _COLORS,
    "cityscapes": _CITYSCAPES,
    "camvid": _CAMVID,
}
# Viénot, Brettel and Mollon 1999: what protanopes and deuteranopes see of linear RGB.
_SEEN = (
    np.eye(3),
    np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
)
_STEPS = 11  # of each channel, among which further colours are looked for
_LIGHTNESS = (25, 95)  # L* of a colour that can be told from black and from white


def palette(num_classes: int, name: PaletteName = "default") -> np.ndarray:
    """Return a colour per class, uint8 `(num_classes, 3)` RGB; the same class always has the same colour.

    Args:
        num_classes: how many colours.
        name: `"default"`; `"colorblind"`, which begins with those of Okabe and Ito (2008) and goes on with
            what people without red or green receptors tell apart best; or a data set's: `"voc"` (of its
            development kit), `"cityscapes"`, `"camvid"`, in which further classes have colours as in
            `"default"`.

    Raises:
        ValueError: for another name.

    Example:
        >>> palette(2).tolist()
        [[230, 25, 75], [60, 180, 75]]
    """
    check_choice("name", name, ("default", "colorblind", "voc", "cityscapes", "camvid"))
    if name == "voc":
        return _voc(num_classes)
    if name == "colorblind":
        return np.array(_apart(num_classes), "uint8").reshape(-1, 3)
    colors = list(_LISTS[name][:num_classes])
    rng = np.random.default_rng(7)
    while len(colors) < num_classes:
        colors.append(tuple(rng.integers(40, 256, 3)))
    return np.array(colors, dtype="uint8").reshape(-1, 3)


def _voc(num_classes):
    """Return the colours of PASCAL VOC: the bits of an id, spread over the bits of three channels."""
    ids = np.arange(num_classes)
    colors = np.zeros((num_classes, 3), int)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((ids >> (3 * bit + channel)) & 1) << (7 - bit)
    return colors.astype("uint8")


@functools.lru_cache(maxsize=4)
def _apart(count):
    """Return colours of which each is as far as can be from those before, in all three ways of seeing."""
    steps = np.round(np.linspace(0, 255, _STEPS)).astype(int)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    seen = [_lab(grid, matrix) for matrix in _SEEN]
    visible = (seen[0][:, 0] > _LIGHTNESS[0]) & (seen[0][:, 0] < _LIGHTNESS[1])
    colors, nearest = [], np.where(visible, np.inf, -1.0)

    def add(color):
        nonlocal nearest
        colors.append(tuple(int(each) for each in color))
        for there, matrix in zip(seen, _SEEN, strict=True):
            nearest = np.minimum(nearest, np.linalg.norm(there - _lab(np.array([color]), matrix), axis=1))

    for color in _OKABE_ITO[:count]:
        add(color)
    while len(colors) < count:
        add(grid[int(nearest.argmax())])
    return tuple(colors)


def _lab(colors, matrix):
    """Return CIELAB (D65) `(n, 3)` of sRGB 0–255, as seen through a matrix of linear RGB."""
    shares = np.asarray(colors) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4) @ matrix.T
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def colorize(mask: np.ndarray, colors: np.ndarray | None = None) -> np.ndarray:
    """Turn class ids into colours; ids without a colour, such as void, are black.

    Args:
        mask: `(H, W)` integer ids.
        colors: uint8 `(num_classes, 3)`; `None` takes `palette`.

    Returns:
        uint8 `(H, W, 3)`.
    """
    mask = np.asarray(mask)
    colors = palette(256) if colors is None else np.asarray(colors, dtype="uint8")
    known = has_color(mask, colors)
    void = np.array(_VOID_COLOR, "uint8")
    return np.where(known[..., None], colors[np.where(known, mask, 0)], void).astype("uint8")


def has_color(mask: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return where ids have a colour, bool `(H, W)`; 255 is void."""
    return (mask >= 0) & (mask < len(colors)) & (mask != 255)
