"""An evaluation of files and classes with hostile names."""

import numpy as np
import pytest
from hostile import FILES, NAMES, by_brightness
from PIL import Image

import kseg


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """An evaluation of files and classes with names that try to be markup."""
    root, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
    for name in FILES:
        mask = rng.integers(0, 5, (4, 5)).repeat(12, 0).repeat(12, 1)  # none of the last class
        noise = rng.normal(0, 18, mask.shape)
        image = np.clip((mask + 0.5) / 6 * 255 + noise, 0, 255).astype("uint8")
        mask[0] = 255
        Image.fromarray(np.repeat(image[..., None], 3, -1)).save(root / "val" / "images" / name)
        Image.fromarray(mask.astype("uint8")).save(root / "val" / "masks" / name)
    data = kseg.data.from_directory(root, "val", class_names=NAMES, batch_size=1)
    return kseg.evaluate(by_brightness(6), data, samples=9)
