"""A small model, and folders of pictures."""

import keras
import numpy as np
import pytest
from PIL import Image

import kseg


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A `.keras` file of three classes that takes pictures of any size."""
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "m.keras"
    kseg.build_conv_stack(3, depth=1, filters=4).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """A function that writes pictures into a folder and returns it."""

    def write(count=5, size=(20, 30), folder="pictures"):
        root = tmp_path / folder
        for number in range(count):
            path = root / ("inner" if number % 2 else "") / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype="uint8")
            Image.fromarray(pixels).save(path)
        return root

    return write


@pytest.fixture
def ids_of():
    """A function that returns the ids in a PNG."""

    def read(path):
        with Image.open(path) as image:
            return np.asarray(image).copy()

    return read
