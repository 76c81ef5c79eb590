"""The flags that say how pictures are read."""

import numpy as np
import pytest
from PIL import Image

from kseg.cli import main
from kseg.cli.values import number, value_range


@pytest.fixture
def deep(tmp_path):
    """A folder of pictures of 12 bits in 16, in two bands."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = rng.integers(0, 2, (32, 32))
            pixels = (4095 * mask[..., None] * np.array([1, 0.5])).astype("uint16")
            np.save(tmp_path / "data" / split / "images" / f"{index}.npy", pixels)
            Image.fromarray(mask.astype("uint8")).save(tmp_path / "data" / split / "masks" / f"{index}.png")
    return tmp_path / "data"


def test_pictures_of_deep_bands_from_the_check_to_the_mask(deep, tmp_path, shell):
    code, text, _ = shell("check", "--data", deep)
    assert code != 0 and "holds 0–4095 in 16 bits, 2 bands" in text
    assert shell("check", "--data", deep, "--value-range", "0,4095")[0] == 0
    run, picture = tmp_path / "run", deep / "val" / "images" / "0.npy"
    words = ["--data", deep, "--output", run, "--model", "conv_stack", "--epochs", "1"]
    code, _, errors = shell("train", *words)
    assert code != 0 and "--value-range=0,4095" in errors and "--value-range, for instance" in errors
    assert shell("train", *words, "--value-range", "0,4095")[0] == 0
    assert shell("evaluate", run / "model.keras", "--data", deep)[0] == 0
    assert (
        shell("export", run / "model.keras", run / "m.tflite", "--input-size", "32x32", "--data", deep)[0]
        == 0
    )
    for model in ("model.keras", "m.tflite"):
        assert shell("predict", run / model, picture, "--output", tmp_path / model)[0] == 0
    masks = [np.asarray(Image.open(tmp_path / model / "0.png")) for model in ("model.keras", "m.tflite")]
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,4095", (0, 4095)), ("-1,1", (-1, 1)), ("0,1e4", (0, 10000)), ("dtype", "dtype")],
)
def test_a_range_in_one_word(text, value):
    assert value_range(text) == value


@pytest.mark.parametrize("text", ["", "5", "1,0", "0,nan", "0,inf", "1,2,3", "type", "0;1"])
def test_what_is_no_range_is_named(text, capsys):
    with pytest.raises(SystemExit):
        main(["check", "--data", "d", f"--value-range={text}"])
    errors = capsys.readouterr().err
    assert "argument --value-range: expected LOW,HIGH" in errors and repr(text) in errors


def test_a_page_is_a_number_from_0(capsys):
    assert number("0") == 0
    with pytest.raises(SystemExit):
        main(["check", "--data", "d", "--page=-1"])
    assert "argument --page: must be a number of 0 or more" in capsys.readouterr().err
