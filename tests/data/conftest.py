"""Files made by hand, and small folders of them."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(pixels, bits=8, palette=None, size=None):
    """Return a PNG: grey or palette indices `(H, W)`, or RGB `(H, W, 3)`; `size` lies in its header."""
    pixels = np.asarray(pixels)
    height, width = size or pixels.shape[:2]
    color_type = 2 if pixels.ndim == 3 else 0 if palette is None else 3
    samples = pixels.reshape(len(pixels), -1, 1) >> np.arange(bits)[::-1] & 1  # from the highest bit on
    rows = np.packbits(samples.reshape(len(pixels), -1).astype("uint8"), axis=1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)),
            b"" if palette is None else _chunk(b"PLTE", np.asarray(palette, "uint8").tobytes()),
            _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
            _chunk(b"IEND", b""),
        ]
    )


@pytest.fixture(scope="session")
def png():
    return _png


@pytest.fixture(scope="session")
def smooth_picture():
    """A `(33, 47, 3)` uint8 picture with the slopes and edges that tell decoders apart."""
    walk = np.random.default_rng(0).normal(0, 9, (33, 47, 3)).cumsum(1) + 128
    return np.clip(walk, 0, 255).astype("uint8")


@pytest.fixture
def make_files(tmp_path):
    """A function that writes a picture and a mask for each stem into `data/<folder>` and returns `data`."""

    def make(stems, folder="", size=(12, 16), ids=(0, 1, 2, 255)):
        root = tmp_path / "data"
        for kind in ("images", "masks"):
            (root / folder / kind).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            rng = np.random.default_rng(list(os.fsencode(stem)))
            image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype="uint8"))
            mask = rng.permutation(np.resize(ids, size[0] * size[1])).reshape(size)  # every id occurs
            image.save(root / folder / "images" / f"{stem}.png")
            Image.fromarray(mask.astype("uint8")).save(root / folder / "masks" / f"{stem}.png")
        return root

    return make
