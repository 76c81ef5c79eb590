"""`kseg convert`."""

import json

import numpy as np
import pytest
from PIL import Image

from kseg.cli import make_parser
from kseg.data import from_directory
from kseg.data.annotations.conversion import FORMATS


@pytest.fixture
def coco(tmp_path):
    """A file of COCO with two pictures and one square, and the folder that holds it."""
    source = tmp_path / "source"
    source.mkdir()
    for name in "ab":
        Image.fromarray(np.full((6, 8, 3), 99, "uint8")).save(source / f"{name}.png")
    images = [{"id": n, "file_name": f"{name}.png", "width": 8, "height": 6} for n, name in enumerate("ab")]
    square = {"id": 1, "image_id": 0, "category_id": 7, "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]}
    content = {"images": images, "annotations": [square], "categories": [{"id": 7, "name": "cat"}]}
    path = source / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_a_dry_run_counts_and_writes_nothing(coco, shell, tmp_path):
    output = tmp_path / "out"
    code, text, _ = shell("convert", coco, output, "--from", "coco", "--dry-run")
    assert code == 0 and not output.exists()
    assert "train: 2 pictures" in text and "1 cat" in text and "nothing was written" in text


def test_what_it_writes_is_read_as_a_data_set(coco, shell, tmp_path):
    output = tmp_path / "out"
    assert shell("convert", coco, output, "--from", "coco", "--split", "val")[0] == 0
    data = from_directory(output, "val", batch_size=None)
    assert data.class_names == ["background", "cat"]
    first, second = [mask for _, mask in data.as_numpy_iterator()]
    expected = np.zeros((6, 8), int)
    expected[1:3, 1:4] = 1
    np.testing.assert_array_equal(first, expected)
    assert not second.any()
    assert (output / "val" / "images" / "a.png").read_bytes() == (coco.parent / "a.png").read_bytes()


def test_nothing_is_written_over(coco, shell, tmp_path):
    output = tmp_path / "out"
    (output / "train").mkdir(parents=True)
    code, _, error = shell("convert", coco, output, "--from", "coco")
    assert code == 1 and "is there already; choose another folder" in error
    assert [path.name for path in output.iterdir()] == ["train"] and not any((output / "train").iterdir())


def test_missing_pictures_are_named_in_words_of_the_shell(coco, shell, tmp_path):
    (coco.parent / "b.png").unlink()
    code, _, error = shell("convert", coco, tmp_path / "out", "--from", "coco")
    assert code == 1 and "1 of 2 pictures are not there (b.png)" in error
    assert "--skip-missing" in error and "--image-folder" in error
    assert shell("convert", coco, tmp_path / "out", "--from", "coco", "--dry-run")[0] == 3
    code, text, _ = shell("convert", coco, tmp_path / "out", "--from", "coco", "--skip-missing")
    assert code == 0 and "1 pictures that are not there, left out" in text


def test_pixels_without_an_object_are_void_where_there_is_no_background(coco, shell, tmp_path):
    code, text, _ = shell("convert", coco, tmp_path / "out", "--from", "coco", "--no-background")
    assert code == 0 and "0 cat" in text
    with Image.open(tmp_path / "out" / "train" / "masks" / "a.png") as mask:
        assert np.unique(mask).tolist() == [0, 255]
    assert shell("check", "--data", tmp_path / "out", "--classes", tmp_path / "out/classes.txt")[0] == 0


def test_every_format_has_its_word():
    for name in FORMATS:
        assert make_parser().parse_args(["convert", "s", "o", "--from", name]).format == name
