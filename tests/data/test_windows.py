"""A window of a TIFF is that of the whole, however it is stored."""

import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.data.headers import read_bands

rng = np.random.default_rng(0)

FORMS = {
    "tiles": {"tile": (16, 32)},
    "packed tiles": {"tile": (16, 16), "compression": "zlib", "predictor": True},
    "LZW strips": {"rowsperstrip": 5, "compression": "lzw"},
    "raw strips": {"rowsperstrip": 7},
    "one packed strip": {"compression": "zstd", "rowsperstrip": 100},
    "BigTIFF": {"bigtiff": True, "tile": (16, 16), "compression": "zlib"},
    "big endian": {"byteorder": ">"},
    "big endian tiles": {"byteorder": ">", "tile": (32, 16)},
}


@settings(deadline=None, max_examples=250, derandomize=True)
@given(
    form=st.sampled_from(list(FORMS)),
    bands=st.sampled_from([1, 2, 3, 4, 5]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    separate=st.booleans(),
    orientation=st.integers(1, 8),
    data=st.data(),
)
def test_a_window_is_that_of_the_whole(tmp_path_factory, form, bands, dtype, separate, orientation, data):
    path = tmp_path_factory.getbasetemp() / "window.tif"
    pixels = rng.integers(0, 256, (bands, 41, 57)).astype(dtype)
    if bands == 1:
        pixels, planes = pixels[0], None
    else:
        planes = "separate" if separate else "contig"
        pixels = pixels if separate else np.moveaxis(pixels, 0, -1)
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
        path, pixels, photometric="minisblack", planarconfig=planes, extratags=tags, **FORMS[form]
    )
    whole, _ = read_bands(path)
    window = tuple(slice(*span(data, length)) for length in whole.shape[:2])
    read, _ = read_bands(path, window=window)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, whole[window])


def span(data, length):
    start = data.draw(st.integers(0, length - 1))
    return start, data.draw(st.integers(start + 1, length))


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000"])
def test_a_window_of_pictures_in_tiles(tmp_path, compression):
    pixels = np.kron(rng.integers(0, 256, (9, 7, 3)), np.ones((8, 8, 1))).astype("uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=(32, 16), compression=compression)
    whole, _ = read_bands(tmp_path / "a.tif")
    window = np.s_[13:70, 5:38]
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", window=window)[0], whole[window])


def test_a_window_of_a_palette(tmp_path):
    colors, indices = rng.integers(0, 2**16, (3, 256)).astype("uint16"), rng.integers(0, 256, (40, 30))
    tifffile.imwrite(
        tmp_path / "a.tif", indices.astype("uint8"), photometric="palette", colormap=colors, tile=(16, 16)
    )
    window = np.s_[3:30, 11:29]
    expected = np.moveaxis(colors >> 8, 0, -1)[indices[window]]
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", window=window)[0], expected)


def test_a_hole_in_a_file_is_black(tmp_path):
    tile = zlib.compress(np.full((16, 16), 7, "uint8").tobytes())
    form = {"shape": (32, 32), "dtype": "uint8", "tile": (16, 16), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", iter([tile, b"", b"", tile]), **form)
    read, _ = read_bands(tmp_path / "a.tif", window=np.s_[8:24, 8:24])
    expected = np.kron([[7, 0], [0, 7]], np.ones((8, 8)))
    np.testing.assert_array_equal(read[..., 0], expected)
