"""Generated scenes: a data set without a download, whose masks are exact."""

from typing import Any

import numpy as np

from kseg.checks import checked_size
from kseg.data.dataset import SegmentationDataset
from kseg.data.pipeline import batches

CLASS_NAMES = ("background", "disk", "triangle", "cross", "ring", "line")
_VOID = 255


def shapes(
    count: int = 1000,
    image_size: tuple[int, int] = (128, 128),
    *,
    batch_size: int | None = 8,
    augment: Any = None,
    shuffle: bool = False,
    seed: int = 0,
) -> SegmentationDataset:
    """Generate scenes of disks, triangles, crosses, rings and lines.

    Colours and textures are drawn for every object and the background alike, so they tell nothing of the
    class: a network must see an object whole to name it (context), and rings and lines of 4 pixels must be
    drawn finely (skips). Objects overlap, light falls off, sensors are noisy, and hatched patches
    that hide the scene are void. Scene `i` of a seed is always the same.

    Args:
        count: number of scenes; they are made as they are read.
        image_size: `(H, W)` in pixels, 32 at least.
        batch_size: `None` for single scenes without a batch axis.
        augment: as for `from_directory`.
        shuffle: draw an order for every epoch; the last, smaller batch is then left out.
        seed: scenes of different seeds have nothing in common.

    Returns:
        `tf.data.Dataset` of `(B, H, W, 3)` uint8 and `(B, H, W)` int32 with ids 0..5 and void 255, and the
        attributes `class_names` and `num_classes`, which every transformation of it keeps.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> images, masks = next(iter(shapes(4, (64, 64), batch_size=4)))
        >>> images.shape, masks.dtype
        (TensorShape([4, 64, 64, 3]), tf.int32)
    """
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a positive int, got {count!r}")
    image_size = checked_size("image_size", image_size, smallest=32)
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")

    return batches(
        count,
        lambda index: scene(int(index), image_size, seed),
        size=image_size,
        class_names=CLASS_NAMES,
        augment=augment,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
    )


def scene(index: int, size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return picture `(H, W, 3)` uint8 and mask `(H, W)` int32 of one scene."""
    rng = np.random.default_rng((seed, index))
    y, x = np.mgrid[: size[0], : size[1]].astype("float32")
    image = _texture(rng, x, y, _muted(rng))
    mask = np.zeros(size, "int32")
    for _ in range(rng.integers(2, 6)):
        label = int(rng.integers(1, len(CLASS_NAMES)))
        distance = _distance(rng, label, x, y)  # pixels, negative inside
        alpha = np.clip(0.5 - distance, 0, 1)[..., None]
        image = image * (1 - alpha) + _texture(rng, x, y, _vivid(rng)) * alpha
        mask[distance < 0] = label
    if rng.random() < 0.5:
        _hide(rng, image, mask)
    return _photograph(rng, image, x, y), mask


def _muted(rng):
    """Return a greyish, darker colour."""
    return rng.uniform(30, 130) + rng.uniform(-15, 15, 3)


def _vivid(rng):
    """Return a colour with one strong and one weak channel."""
    return rng.permutation([rng.uniform(0, 70), rng.uniform(0, 255), rng.uniform(185, 255)])


def _texture(rng, x, y, color):
    """Return `(H, W, 3)`: one of plain, striped, chequered or speckled, in `color` and a shade of it."""
    colors = np.stack([color, color * rng.uniform(0.7, 0.9)]).astype("float32")
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 14)
    u = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    v = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period)
    kind = rng.integers(4)
    if kind == 0:
        blend = np.zeros_like(x)
    elif kind == 1:
        blend = 0.5 + 0.5 * np.sin(u)
    elif kind == 2:
        blend = 0.5 + 0.5 * np.sin(u) * np.sin(v)
    else:
        blend = rng.random(x.shape, dtype="float32")
    return colors[0] + (colors[1] - colors[0]) * blend[..., None].astype("float32")


def _distance(rng, label, x, y):
    """Return each pixel's signed distance to the border of a new object of the class."""
    height, width = x.shape
    unit = min(height, width)
    radius = rng.uniform(0.15, 0.3) * unit
    angle = rng.uniform(0, 2 * np.pi)
    x, y = x - rng.uniform(0.1, 0.9) * width, y - rng.uniform(0.1, 0.9) * height
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    name = CLASS_NAMES[label]
    if name == "disk":
        return np.hypot(u, v) - radius
    if name == "cross":
        arms = [np.maximum(np.abs(a) - radius, np.abs(b) - 0.3 * radius) for a, b in ((u, v), (v, u))]
        return np.minimum(*arms)
    if name == "triangle":
        sides = [u * np.cos(a) + v * np.sin(a) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
        return np.maximum.reduce(sides) - radius * 0.6
    if name == "ring":
        thickness = max(2.0, 0.17 * radius)
        return np.abs(np.hypot(u, v) - radius) - thickness
    along = np.clip(u, -1.6 * radius, 1.6 * radius)  # the nearest point of the segment
    return np.hypot(u - along, v) - max(1.9, 0.016 * unit)


def _hide(rng, image, mask):
    """Cover a rectangle by a hatched patch and mark it void, in place."""
    height, width = mask.shape
    h, w = rng.integers(height // 10, height // 4), rng.integers(width // 10, width // 4)
    top, left = rng.integers(0, height - h), rng.integers(0, width - w)
    rows, columns = np.mgrid[:h, :w]
    image[top : top + h, left : left + w] = np.where((rows + columns) % 6 < 3, 30.0, 220.0)[..., None]
    mask[top : top + h, left : left + w] = _VOID


def _photograph(rng, image, x, y):
    """Add a fall-off of light and sensor noise; return uint8."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = (x / x.shape[1] - 0.5) * np.cos(angle) + (y / x.shape[0] - 0.5) * np.sin(angle)
    image = image * (1 + rng.uniform(0, 0.5) * slope[..., None])
    image = image + rng.normal(0, rng.uniform(2, 8), image.shape)
    return np.clip(np.round(image), 0, 255).astype("uint8")
