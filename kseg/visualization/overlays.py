"""Masks over their pictures: filled, and as contours."""

from collections.abc import Sequence

import numpy as np

from kseg.visualization.colors import colorize, has_color, palette
from kseg.visualization.legends import beside, legend

_ROWS = 512  # of a picture that are blended at once: floats take eight times the memory
_VOID = 255
_HATCH = 8  # pixels from one line of void to the next
_DARK = 110  # of 255, luminance below which a colour has a white edge


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    class_names: Sequence[str] | None = None,
    *,
    alpha: float = 0.5,
    colors: np.ndarray | None = None,
    background: int | None = None,
    hatch_void: bool = False,
) -> np.ndarray:
    """Lay a mask over its picture; with `class_names`, add a legend at the right.

    Void and ids without a colour leave the picture as it is.

    Args:
        image: `(H, W, C)` or `(H, W)`, values 0–255; the first three channels are shown.
        mask: `(H, W)` integer ids.
        class_names: `None` or one name per class; the legend shows the classes in the mask.
        alpha: float in [0, 1], how opaque the mask is.
        colors: uint8 `(num_classes, 3)`; `None` takes `palette`.
        background: `None` or a class that leaves the picture as it is.
        hatch_void: whether void has thin grey lines, so that it is told from a class that is not drawn.

    Returns:
        uint8 `(H, W, 3)`, wider by the legend where there is one.

    Raises:
        ValueError: if picture and mask differ in size.

    Example:
        >>> overlay(np.zeros((8, 8, 3)), np.ones((8, 8), "uint8")).shape
        (8, 8, 3)
    """
    mask, picture = _agreeing(image, mask)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha!r}")
    known = palette(256) if colors is None else np.asarray(colors)
    result = picture.copy()
    for top in range(0, len(mask), _ROWS):
        part, ids = result[top : top + _ROWS], mask[top : top + _ROWS]
        shown = has_color(ids, known)
        if background is not None:
            shown &= ids != background
        blended = np.round((1 - alpha) * part + alpha * colorize(ids, known)).astype("uint8")
        np.copyto(part, blended, where=shown[..., None])
    if hatch_void:
        diagonals = np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1]))
        lines = (diagonals % _HATCH == 0) & (mask == _VOID)
        result[lines] = (result[lines].astype("float32") * 0.4 + 0.6 * 160).astype("uint8")
    if class_names is None:
        return result
    present = [index for index in np.unique(mask).tolist() if 0 <= index < len(class_names)]
    return beside(result, legend(class_names, len(result), only=present, colors=colors))


def contours(
    image: np.ndarray,
    mask: np.ndarray,
    class_names: Sequence[str] | None = None,
    *,
    width: int | None = None,
    colors: np.ndarray | None = None,
    background: int | None = None,
) -> np.ndarray:
    """Draw the borders of classes into their picture; with `class_names`, add a legend at the right.

    A border lies inside of its class, and has a thin dark or white edge, so that it is seen on any ground.

    Args:
        image, mask, class_names, colors: as for `overlay`.
        width: pixels of a border; `None` takes 1 to 4 by the size of the picture.
        background: `None` or a class without borders; a class that is named "background" has none either.

    Returns:
        uint8 `(H, W, 3)`, wider by the legend where there is one.

    Raises:
        ValueError: if picture and mask differ in size, or `width` is below 1.

    Example:
        >>> contours(np.zeros((8, 8, 3)), np.ones((8, 8), "uint8")).shape
        (8, 8, 3)
    """
    import cv2

    mask, picture = _agreeing(image, mask)
    if width is not None and width < 1:
        raise ValueError(f"width must be None or pixels, 1 or more, got {width!r}")
    width = width or int(np.clip(min(mask.shape) // 250, 1, 4))
    known = palette(256) if colors is None else np.asarray(colors)
    quiet = background_of(class_names) if background is None else background
    result = picture.copy()
    present = [index for index in np.unique(mask[has_color(mask, known)]).tolist() if index != quiet]
    for index in present:
        inside = (mask == index).astype("uint8")
        padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # no border along the picture
        color, kernel = known[index], np.ones((3, 3), "uint8")
        core = cv2.erode(padded, kernel, iterations=width)
        inner = cv2.erode(core, kernel)
        edge = 255 if color @ np.array([0.299, 0.587, 0.114]) < _DARK else 0
        result[((core > inner)[1:-1, 1:-1]) & (inside > 0)] = edge
        result[((padded > core)[1:-1, 1:-1]) & (inside > 0)] = color
    if class_names is None:
        return result
    named = [index for index in present if index < len(class_names)]
    return beside(result, legend(class_names, len(result), only=named, colors=colors))


def background_of(class_names: Sequence[str] | None) -> int | None:
    """Return the number of the class that is named "background", `None` without one."""
    names = [str(name).strip().lower() for name in class_names or []]
    return names.index("background") if "background" in names else None


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return a picture of any number of channels as uint8 `(H, W, 3)`."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    return image if image.dtype == np.uint8 else np.clip(np.round(image), 0, 255).astype("uint8")


def _agreeing(image, mask):
    """Return the mask and the picture in RGB; raise unless they have one size."""
    mask, picture = np.asarray(mask), as_rgb(image)
    if picture.shape[:2] != mask.shape:
        raise ValueError(
            f"image has {picture.shape[:2]} pixels (H, W) and mask {mask.shape}; they must agree"
        )
    return mask, picture
