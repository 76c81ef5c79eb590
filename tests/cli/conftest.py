"""Folders of scenes, a short training of them, and the shell in process."""

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.cli import main
from kseg.data.shapes import scene


def write_scenes(root, counts):
    for split, count in counts.items():
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = scene(index, (48, 64), seed=len(split))
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(mask.astype("uint8")).save(root / split / "masks" / f"{index}.png")


@pytest.fixture
def folder(tmp_path):
    write_scenes(tmp_path / "data", {"train": 6, "val": 3})
    (tmp_path / "data" / "classes.txt").write_text("\n".join(kseg.data.shapes(1).class_names))
    return tmp_path / "data"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with `data` of numbered classes and `run`, what `kseg train` made of them; only to read."""
    root = tmp_path_factory.mktemp("trained")
    write_scenes(root / "data", {"train": 8, "val": 3})
    arguments = ["train", "--data", root / "data", "--output", root / "run", "--model", "conv_stack"]
    arguments += ["--crop-size", "32x48", "--epochs", "2", "--batch-size", "4"]
    arguments += ["--class-weights", "sqrt_median_frequency"]
    assert main([str(a) for a in arguments]) == 0
    return root


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """The model of `trained`, and what `kseg export` wrote of it in three kinds."""
    root = tmp_path_factory.mktemp("exported")
    model = trained / "run" / "model.keras"
    size = ["--input-size", "48x64"]
    kinds = {"saved": [], "float32.tflite": size, "int8.tflite": [*size, "--quantize", "int8", "--mediapipe"]}
    for name, options in kinds.items():
        arguments = ["export", model, root / name, "--data", trained / "data", *options]
        assert main([str(a) for a in arguments]) == 0
    return [model, *(root / name for name in kinds)]


@pytest.fixture
def shell(capsys):
    """A function that runs a command and returns its exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def refused(shell):
    """A function that runs a command that must fail and returns its one line."""

    def run(*arguments):
        code, _, err = shell(*arguments)
        assert code == 1
        (line,) = err.strip().splitlines()
        assert line.startswith("kseg: error: ")
        return line

    return run


@pytest.fixture
def pixels():
    """A function that reads a picture file as an array."""

    def read(path):
        with Image.open(path) as image:
            return np.asarray(image)

    return read
