"""Joint augmentation of a picture and its mask: geometry for both, colour for the picture alone."""

from collections.abc import Sequence
from typing import Literal

from kseg.data.augmentation.function import Augmentation
from kseg.data.augmentation.settings import STRENGTHS, Flip, settings_of

__all__ = ["STRENGTHS", "Augmentation", "augment"]


def augment(
    crop_size: tuple[int, int],
    *,
    strength: Literal["light", "default", "strong"] = "default",
    scale: tuple[float, float] | None = None,
    flip: Flip | None = None,
    rotation: float | None = None,
    shear: float | None = None,
    perspective: float | None = None,
    color: float | None = None,
    hue: float | None = None,
    gamma: float | None = None,
    blur: float | None = None,
    cutout: float | None = None,
    class_weights: Sequence[float] | None = None,
    fill: float | Sequence[float] = 127,
    ignore_class: int = 255,
) -> Augmentation:
    """Return a function that augments one picture and its mask.

    It draws a window and brings it to `crop_size`, zoomed, mirrored, turned, sheared and seen in perspective,
    all in one resampling: the picture bilinearly, the mask by nearest neighbour from the same points. Then it
    changes the colours of the picture and hides a rectangle. What falls outside the picture is grey, and void
    in the mask. What is `None` is as `strength` says; 0 leaves out.

    | strength | scale | flip | rotation | shear | perspective | color | hue | gamma | blur | cutout |
    |---|---|---|---|---|---|---|---|---|---|---|
    | light | 0.8–1.25 | horizontal | 0 | 0 | 0 | 0.1 | 0 | 0 | 0 | 0 |
    | default | 0.5–2 | horizontal | 0 | 0 | 0 | 0.2 | 0 | 0 | 0 | 0 |
    | strong | 0.5–2 | horizontal | 15 | 5 | 0.1 | 0.3 | 10 | 0.3 | 1 | 0.25 |

    Args:
        crop_size: `(H, W)` in pixels of what comes out.
        strength: "light", "default" or "strong".
        scale: `(smallest, largest)` zoom, drawn log-uniformly; `(1, 1)` only crops.
        flip: "horizontal" mirrors left and right half of the time, "vertical" top and bottom, "both" each of
            them; true is "horizontal".
        rotation: largest angle in degrees, to either side.
        shear: largest angle in degrees, along each axis.
        perspective: in [0, 1), largest share by which one side is nearer than the middle.
        color: in [0, 1), strength of the colour changes; contrast and saturation are scaled by
            1 ± color, brightness moves by ± color of half the range. Saturation and hue need three.
        hue: largest turn of the colour circle in degrees, at the same luma.
        gamma: exponents from 1 / (1 + gamma) to 1 + gamma, drawn log-uniformly.
        blur: largest standard deviation of a Gaussian, in pixels.
        cutout: in [0, 1), longest sides of the rectangle that is hidden, as a share of the crop's.
        class_weights: one per class, for instance of `kseg.data.class_weights`: a crop shows a class that is
            drawn by them out of those in the mask (of a mask that is too large for memory, in a region of
            it). `None` places it anywhere.
        fill: what lies outside of the picture and hides it, in 0–255; one number, or one per channel.
        ignore_class: the id of void.

    Returns:
        function `(image, mask, seed=None) -> (image, mask)`: `(h, w, C)` of 0–255 and `(h, w)` or `(h, w, 1)`
        integer → `(H, W, C)` and `(H, W)` int32. Floats give float32, with every level; integers give uint8.
        Pictures of another range, fractional masks and those of another size than their picture are errors.
        `seed` is two int64 that fix the draw, the same on every machine and in every thread; without it every
        call draws anew. It runs eagerly, on arrays and tensors, and in `dataset.map`.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> import numpy as np
        >>> image, mask = np.zeros((40, 60, 3), "uint8"), np.ones((40, 60), "int32")
        >>> image, mask = augment((32, 32), rotation=20)(image, mask)
        >>> image.shape, mask.dtype
        (TensorShape([32, 32, 3]), tf.int32)
    """
    changes = {
        "scale": scale,
        "flip": flip,
        "rotation": rotation,
        "shear": shear,
        "perspective": perspective,
        "color": color,
        "hue": hue,
        "gamma": gamma,
        "blur": blur,
        "cutout": cutout,
    }
    chosen = {name: value for name, value in changes.items() if value is not None}
    return Augmentation(settings_of(crop_size, strength, chosen, class_weights, fill, ignore_class))
