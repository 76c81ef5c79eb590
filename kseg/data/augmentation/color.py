"""Changes of a picture that leave its mask: colour as one linear map, gamma, blur."""

import math
from collections.abc import Callable

import numpy as np

from kseg.data.augmentation.settings import Settings

LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601, of RGB: what stays when a picture loses its colour
_MIDDLE = 127.5
# Luma and two axes of colour across it (YIQ); hue turns in the plane of the two.
_TO_PLANE = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_PLANE = np.linalg.inv(_TO_PLANE)
_SMALLEST_BLUR = 0.1  # pixels: a narrower Gaussian changes nothing
_TRANSFORMABLE = 4  # channels that OpenCV maps in one go


def recolor(
    image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> np.ndarray:
    """Return a picture with saturation and hue, then contrast about its mean, then brightness changed.

    Args:
        image: `(H, W, C)` uint8 or float32 of 0–255.
        brightness: 1 leaves it, 1.2 adds a fifth of half the range.
        contrast: 1 leaves it; a factor of the distance from the mean of each channel.
        saturation: 1 leaves it; a factor of the distance from luma; of three channels only.
        hue: angle in degrees, of three channels only.
    """
    channels = image.shape[-1]
    matrix = np.eye(channels)
    if channels == 3:  # others have no common grey to go to
        matrix = saturation * matrix + (1 - saturation) * LUMA
        matrix = _turned(hue) @ matrix if hue else matrix
    bias = (1 - contrast) * (matrix @ _mean(image)) + (brightness - 1) * _MIDDLE
    return _mapped(image, contrast * matrix, bias)


def _turned(hue):
    angle = math.radians(hue)
    turn = np.eye(3)
    turn[1:, 1:] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return _FROM_PLANE @ turn @ _TO_PLANE


def _mean(image):
    import cv2

    if image.shape[-1] <= _TRANSFORMABLE:
        return np.array(cv2.mean(image)[: image.shape[-1]])
    return image.mean(axis=(0, 1), dtype="float64")


def _mapped(image, matrix, bias):
    """Return `matrix` times each pixel plus `bias`, within 0–255, in the type of the picture."""
    import cv2

    if image.shape[-1] <= _TRANSFORMABLE:
        mapped = cv2.transform(image, np.column_stack([matrix, bias])).reshape(image.shape)
    else:  # no channel mixes with another
        mapped = image * np.diag(matrix).astype("float32") + bias.astype("float32")
    if image.dtype == np.uint8:
        return mapped if mapped.dtype == np.uint8 else np.clip(np.rint(mapped), 0, 255).astype("uint8")
    return np.clip(mapped, 0, 255, out=mapped)


def change_gamma(image: np.ndarray, exponent: float) -> np.ndarray:
    """Return 255 · (image / 255) ^ exponent, in the type of the picture."""
    import cv2

    if image.dtype == np.uint8:
        table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype("uint8")
        return cv2.LUT(image, table).reshape(image.shape)
    return np.power(image / np.float32(255), np.float32(exponent)) * np.float32(255)


def change_colors(image: np.ndarray, settings: Settings, draw: Callable[[], float]) -> np.ndarray:
    """Return a picture blurred and with its colours changed as they are drawn."""
    import cv2

    if settings.blur:
        sigma = settings.blur * draw()
        if sigma > _SMALLEST_BLUR:
            side = 2 * math.ceil(3 * sigma) + 1
            image = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
            image = image.reshape(*settings.crop_size, -1)
    if settings.color or settings.hue:
        brightness, contrast, saturation = (1 + settings.color * (2 * draw() - 1) for _ in range(3))
        image = recolor(image, brightness, contrast, saturation, settings.hue * (2 * draw() - 1))
    if settings.gamma:
        image = change_gamma(image, (1 + settings.gamma) ** (2 * draw() - 1))
    return image
