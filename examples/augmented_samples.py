"""Show what an augmentation makes of pictures and masks: one row for each, one column for each draw.

    python examples/augmented_samples.py
    python examples/augmented_samples.py DIR --crop-size 256

Data: DIR, a folder as `kseg train` takes it; without it, generated scenes. Writes augmented_samples.png: the
whole picture with its mask, then what `light`, `default` and `strong` draw, then rotation alone and crops
that look for rare classes. What lies beyond the picture is grey, and void. Takes some seconds on two cores.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import kseg

DRAWS, GAP = 6, 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--crop-size", type=int, default=160, help="pixels, a square (default: %(default)s)")
    arguments = parser.parse_args()
    crop = (arguments.crop_size, arguments.crop_size)
    if arguments.data:
        pairs = kseg.data.from_directory(arguments.data, "train", batch_size=None, shuffle=False)
    else:
        pairs = kseg.data.shapes(16, (240, 320), batch_size=None, shuffle=False)
    weights = kseg.data.class_weights(pairs.take(16), "median_frequency", pairs.num_classes)
    still: dict[str, Any] = {"flip": False, "scale": (1.0, 1.0), "color": 0.0}
    kinds = {
        "light": kseg.data.augment(crop, strength="light"),
        "default": kseg.data.augment(crop),
        "strong": kseg.data.augment(crop, strength="strong"),
        "rotation=30": kseg.data.augment(crop, rotation=30, **still),
        "rare classes": kseg.data.augment(crop, class_weights=weights, **still),
    }
    (image, mask), *_ = pairs.as_numpy_iterator()
    rows = []
    for name, augment in kinds.items():
        drawn = [augment(image, mask, seed=(number, 7)) for number in range(DRAWS)]
        tiles = [shown(np.asarray(picture), np.asarray(ids)) for picture, ids in drawn]
        rows.append([labelled(whole(image, mask, crop), name), *tiles])
    Image.fromarray(sheet(rows)).save("augmented_samples.png")
    print("augmented_samples.png")


def shown(picture, ids):
    """Return a picture with its mask over it."""
    return kseg.visualization.overlay(picture, ids, alpha=0.55)


def whole(image, mask, crop):
    """Return the whole picture with its mask, shrunk into a tile."""
    tile = Image.new("RGB", crop[::-1], (255, 255, 255))
    picture = Image.fromarray(shown(image, mask))
    picture.thumbnail(crop[::-1])
    tile.paste(picture, (0, crop[0] - picture.height))
    return np.asarray(tile)


def labelled(tile, name):
    """Return a tile with a name above."""
    picture = Image.fromarray(tile)
    ImageDraw.Draw(picture).text((2, 2), name, fill=(0, 0, 0), font_size=16)
    return np.asarray(picture)


def sheet(rows):
    """Return rows of tiles with white gaps between them."""
    height, width = rows[0][0].shape[:2]
    page = np.full((len(rows) * (height + GAP), len(rows[0]) * (width + GAP), 3), 255, "uint8")
    for top, row in enumerate(rows):
        for left, tile in enumerate(row):
            y, x = top * (height + GAP), left * (width + GAP)
            page[y : y + height, x : x + width] = tile
    return page[:-GAP, :-GAP]


if __name__ == "__main__":
    main()
