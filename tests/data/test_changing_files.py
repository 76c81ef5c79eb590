"""Pictures and masks that vanish or change while they are read, in Python and in the shell."""

import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg import callbacks, cli


@pytest.fixture
def root(make_files):
    make_files(["a", "b", "c"], "train", size=(32, 32), ids=(0, 1, 2))
    return make_files(["a", "b"], "val", size=(32, 32), ids=(0, 1, 2))


def opened(root, **options):
    return kseg.data.from_directory(root, batch_size=1, shuffle=False, **options)


def read_all(dataset):
    return [tuple(part.numpy() for part in pair) for pair in dataset]


def vanish(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def damage(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 1
    path.write_bytes(content)


def grow(path):
    with Image.open(path) as image:
        image.load()
    image.resize((40, 40), Image.Resampling.NEAREST).save(path)


def become_text(path):
    path.write_text("<html>")


AUGMENTED = pytest.param({"augment": kseg.data.augment((16, 16))}, marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("happens", [vanish, empty, cut, damage, grow, become_text])
@pytest.mark.parametrize("options", [{}, AUGMENTED])
def test_what_happens_to_a_file_is_named(root, kind, happens, options):
    dataset, path = opened(root, **options), root / "train" / kind / "b.png"
    read_all(dataset)
    happens(path)
    with pytest.raises(tf.errors.OpError, match=re.escape(str(path))):
        read_all(dataset)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_damage_that_was_there_before_is_named(root, kind):
    path = root / "train" / kind / "b.png"
    damage(path)
    labels = {"class_names": ["a", "b", "c"]}
    with pytest.raises(tf.errors.OpError, match=rf"{re.escape(str(path))}: is damaged"):
        read_all(opened(root, **labels))


def test_files_written_anew_are_read_as_they_are_now(root):
    """Grey of 8 bits becomes a palette, whose indices TensorFlow would take for brightness."""
    dataset, path = opened(root), root / "train/masks/b.png"
    before = read_all(dataset)
    ids = 2 - before[1][1][0].astype("uint8")
    palette = Image.new("P", (32, 32))
    palette.putdata(ids.ravel().tolist())
    palette.putpalette([90, 0, 0, 9, 9, 9, 200, 0, 0])
    palette.save(path)
    np.testing.assert_array_equal(read_all(dataset)[1][1][0], ids)
    Image.fromarray(255 - before[0][0][0]).save(root / "train/images/a.png")
    np.testing.assert_array_equal(read_all(dataset)[0][0], 255 - before[0][0])


def test_fit_names_the_file(root):
    dataset = opened(root)
    model = kseg.compile(kseg.build_conv_stack(3, depth=1, filters=2))
    (root / "train/images/c.png").unlink()
    with pytest.raises(tf.errors.OpError, match=r"train/images/c\.png: no such file"):
        model.fit(dataset, epochs=1, verbose=0, shuffle=False)


@pytest.mark.parametrize(
    ("happens", "place"),
    [(vanish, "train/images/c.png"), (damage, "train/masks/b.png"), (vanish, "val/masks/a.png")],
)
@pytest.mark.slow_after(1)
def test_the_shell_names_the_file_and_keeps_the_state(root, monkeypatch, capsys, happens, place):
    ends = []

    def on_epoch_end(self, epoch, logs=None):
        ends.append(epoch)
        if len(ends) == 1:
            happens(root / place)

    monkeypatch.setattr(callbacks.LearningCurve, "on_epoch_end", on_epoch_end)
    options = ["--model", "conv_stack", "--crop", "32x32", "--batch-size", "1", "--epochs", "3"]
    output = root / "run"
    assert cli.main(["train", "--data", str(root), *options, "--output", str(output)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kseg: error: ")]
    assert f"{root / place}: " in line and "Graph execution" not in line
    assert [path.name for path in (output / "states").iterdir()] == ["epoch-000001"]
    assert (output / "model.keras").exists()
