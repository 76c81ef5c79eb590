"""Where the pixels of a crop lie in the picture, and one resampling that brings them there."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from kseg.data.augmentation.settings import Settings

_MARGIN = 2  # pixels about what is sampled: bilinear weights reach one
_GROUP = 4  # channels: OpenCV fills borders with four numbers
_MASK_TYPES = ("uint8", "int16")  # OpenCV resamples these fast; float64 holds every int32


def sampling_matrix(settings: Settings, draw: Callable[[], float], mask: np.ndarray) -> np.ndarray:
    """Return the map from pixels of the crop to those of the picture, homogeneous float64 `(3, 3)`.

    It acts on columns `(x, y, 1)` of pixel centres. A crop that is neither zoomed nor turned lies on whole
    pixels.

    Args:
        settings: what to draw from.
        draw: gives a number in [0, 1) each time.
        mask: `(h, w)`, its size and, for `class_weights`, where the classes are.
    """
    height, width = settings.crop_size
    smallest, largest = settings.scale
    zoom = smallest * (largest / smallest) ** draw()
    window = max(1, round(height / zoom)), max(1, round(width / zoom))
    top, left = _place(settings, draw, mask, window)
    mirror = {
        axis: -1 if axis in settings.flip and draw() < 0.5 else 1 for axis in ("vertical", "horizontal")
    }
    to_window = np.array(
        [
            _centred(mirror["horizontal"] * window[1] / width, width),
            _centred(mirror["vertical"] * window[0] / height, height)[[1, 0, 2]],
            [0.0, 0.0, 1.0],
        ]
    )
    about_centre = _about_centre(settings, draw, window)
    matrix = to_window if about_centre is None else about_centre @ to_window
    move = np.eye(3)
    move[:2, 2] = left + (window[1] - 1) / 2, top + (window[0] - 1) / 2
    return move @ matrix


def _centred(factor, length):
    """Return the row of a matrix that scales one axis about the middle of `length` pixels."""
    return np.array([factor, 0.0, -factor * (length - 1) / 2])


def _about_centre(settings, draw, window):
    """Return rotation, shear and perspective about the middle of the window, `None` where there is none."""
    matrix = None
    if settings.perspective:
        matrix = np.eye(3)
        # the divisor stays within 1 ± perspective all over the window
        matrix[2, :2] = [_signed(draw, settings.perspective) / side for side in window[::-1]]
    if settings.shear:
        shear = np.eye(3)
        shear[0, 1], shear[1, 0] = (math.tan(math.radians(_signed(draw, settings.shear))) for _ in "xy")
        shear[1, 1] += shear[0, 1] * shear[1, 0]  # one axis after the other: areas stay
        matrix = shear if matrix is None else shear @ matrix
    if settings.rotation:
        angle = math.radians(_signed(draw, settings.rotation))
        turn = np.eye(3)
        turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix = turn if matrix is None else turn @ matrix
    return matrix


def _signed(draw, largest):
    return largest * (2 * draw() - 1)


def _place(settings, draw, mask, window):
    """Return the upper left pixel of the window; it leaves a border only where the picture is smaller."""
    slacks = [side - length for side, length in zip(mask.shape, window, strict=True)]
    aim = None if settings.class_weights is None else _pixel_of_class(settings, draw, mask)
    if aim is not None:
        wanted = [pixel - int(draw() * length) for pixel, length in zip(aim, window, strict=True)]
        return tuple(
            min(max(place, min(0, slack)), max(0, slack)) for place, slack in zip(wanted, slacks, strict=True)
        )
    return tuple(min(0, slack) + int(draw() * (abs(slack) + 1)) for slack in slacks)


def _pixel_of_class(settings, draw, mask):
    """Return a pixel of a class that is drawn by weight out of those in the mask, `None` without any."""
    weights, chosen, place = settings.class_weights, draw(), draw()
    flat = mask.ravel()
    is_class = (flat >= 0) & (flat < len(weights)) & (flat != settings.ignore_class)
    present = np.bincount(flat[is_class], minlength=len(weights)) > 0
    steps = np.cumsum(weights * present)
    if not steps[-1]:
        return None
    label = np.searchsorted(steps, chosen * steps[-1], side="right")
    pixels = np.flatnonzero(flat == label)
    return divmod(int(pixels[int(place * len(pixels))]), mask.shape[1])


def warp_pair(
    image: np.ndarray, mask: np.ndarray, matrix: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Return picture `(H, W, C)` and mask `(H, W)` int32 of the crop that a matrix maps to the picture."""
    import cv2

    step = _whole_step(matrix)
    box = _box(matrix, settings.crop_size, mask.shape, _MARGIN * step)
    if box is None:
        return _nothing(image, settings)
    rows, columns = box
    image, mask = image[rows, columns], mask[rows, columns]
    move = np.eye(3)
    move[:2, 2] = -columns.start, -rows.start
    matrix = move @ matrix
    fill = _fill(settings.fill, image.shape[-1])
    shrunk, to_shrunk = _shrunk(image, step)
    if image.shape[-1] == 3:  # OpenCV resamples four channels in half the time of three
        shrunk = cv2.cvtColor(shrunk, cv2.COLOR_RGB2RGBA)
        four = _warp(shrunk, to_shrunk @ matrix, settings.crop_size, cv2.INTER_LINEAR, (*fill, 0))
        groups = [cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)]
    elif image.shape[-1] <= _GROUP:
        groups = [_warp(shrunk, to_shrunk @ matrix, settings.crop_size, cv2.INTER_LINEAR, fill)]
    else:
        starts = range(0, image.shape[-1], _GROUP)
        parts = [(np.ascontiguousarray(shrunk[..., i : i + _GROUP]), fill[i : i + _GROUP]) for i in starts]
        warped = [
            _warp(part, to_shrunk @ matrix, settings.crop_size, cv2.INTER_LINEAR, each)
            for part, each in parts
        ]
        groups = [part.reshape(*settings.crop_size, -1) for part in warped]
    mask = _resamplable(mask, settings.ignore_class)
    mask = _warp(mask, matrix, settings.crop_size, cv2.INTER_NEAREST, (settings.ignore_class,))
    image = groups[0] if len(groups) == 1 else np.concatenate(groups, axis=-1)
    return image.reshape(*settings.crop_size, -1), mask.astype("int32")


def _nothing(image, settings):
    """Return a crop that lies outside of the picture."""
    fill = np.array(_fill(settings.fill, image.shape[-1]))
    empty = np.broadcast_to(
        np.round(fill) if image.dtype == np.uint8 else fill, (*settings.crop_size, len(fill))
    )
    return empty.astype(image.dtype), np.full(settings.crop_size, settings.ignore_class, "int32")


def _fill(fill, channels):
    if len(fill) not in (1, channels):
        raise ValueError(f"fill has {len(fill)} numbers, the picture {channels} channels; give one for each")
    return fill * channels if len(fill) == 1 else fill


def _whole_step(matrix):
    """Return how many pixels of the picture a crop steps over, a whole number of 1 or more."""
    return max(1, int(math.sqrt(abs(np.linalg.det(matrix[:2, :2]))) + 1e-9))


def _box(matrix, crop_size, size, margin):
    """Return the rows and columns of the picture that a crop looks at, `None` where there are none."""
    bottom, right = crop_size[0] - 1, crop_size[1] - 1
    corners = matrix @ np.array([[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]], "float64")
    points = corners[1::-1] / corners[2]
    starts = np.maximum(np.floor(points.min(axis=1)).astype(int) - margin, 0)
    stops = np.minimum(np.ceil(points.max(axis=1)).astype(int) + margin + 1, size)
    if (starts >= stops).any():
        return None
    return tuple(slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))


def _shrunk(image, step):
    """Return a picture shrunk by a whole number, and the map to its pixels.

    Where a crop is half as large as its window, or smaller, bilinear weights alone would pass over pixels.
    """
    import cv2

    if step == 1:
        return image, np.eye(3)
    height, width = (-(-side // step) for side in image.shape[:2])
    missing = height * step - image.shape[0], width * step - image.shape[1]
    image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else image
    shrunk = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    shift = (1 - step) / (2 * step)
    to_shrunk = np.array([[1 / step, 0, shift], [0, 1 / step, shift], [0, 0, 1]])
    return shrunk.reshape(height, width, -1), to_shrunk


def _resamplable(mask, ignore_class):
    """Return a mask of a type that OpenCV resamples and that holds its ids and void."""
    if (
        mask.dtype.name in _MASK_TYPES
        and np.iinfo(mask.dtype).min <= ignore_class <= np.iinfo(mask.dtype).max
    ):
        return mask
    lowest, highest = min(mask.min(), ignore_class), max(mask.max(), ignore_class)
    for name in _MASK_TYPES:
        if np.iinfo(name).min <= lowest and highest <= np.iinfo(name).max:
            return mask.astype(name)
    return mask.astype("float64")


def _warp(pixels, matrix, crop_size, interpolation, fill: Sequence[float]):
    import cv2

    size, how = (crop_size[1], crop_size[0]), interpolation | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_CONSTANT
    if matrix[2, 0] == 0 and matrix[2, 1] == 0:
        matrix = matrix[:2] / matrix[2, 2]
        return cv2.warpAffine(pixels, matrix, size, flags=how, borderMode=border, borderValue=fill)
    return cv2.warpPerspective(pixels, matrix, size, flags=how, borderMode=border, borderValue=fill)
