"""What can be segmented: arrays, batches, files, and what holds several of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.inference.video import frames_of, write_video


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return kseg.build_conv_stack(3, depth=1, filters=4)


@pytest.fixture
def folder(tmp_path):
    """Pictures of two sizes in two folders, beside what is none."""
    rng = np.random.default_rng(0)
    for name, size in {"b.png": (20, 30), "a.jpg": (20, 30), "inner/c.png": (12, 40)}.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype="uint8")).save(path)
    (tmp_path / "pictures" / "notes.md").write_text("none")
    (tmp_path / "pictures" / ".hidden.png").write_text("none")
    return tmp_path / "pictures"


def test_a_batch_gives_a_batch(model):
    batch = np.random.default_rng(0).integers(0, 256, (5, 20, 30, 3), dtype="uint8")
    one_by_one = np.stack([kseg.predict(model, image) for image in batch])
    for batch_size in (None, 1, 2, 7):
        np.testing.assert_array_equal(kseg.predict(model, batch, batch_size=batch_size), one_by_one)
    assert kseg.predict(model, batch, output_kind="probabilities").shape == (5, 20, 30, 3)
    np.testing.assert_array_equal(
        kseg.predict(model, batch, window=(16, 16))[2], kseg.predict(model, batch[2], window=(16, 16))
    )
    with pytest.raises(ValueError, match=r"images must be \(B, H, W, 3\)"):
        kseg.predict(model, batch[..., :2])


def test_tensors_are_arrays(model):
    """As an iteration over a tf.data.Dataset gives them."""
    batch = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype="uint8")
    expected = kseg.predict(model, batch)
    for tensors in (tf.constant(batch), tf.constant(batch, "float32"), tf.Variable(batch)):
        np.testing.assert_array_equal(kseg.predict(model, tensors), expected)
        np.testing.assert_array_equal(kseg.predict(model, tensors[1]), expected[1])


def test_the_older_word_still_works(model):
    image = np.zeros((8, 8, 3), "uint8")
    np.testing.assert_array_equal(kseg.predict(model, image=image), kseg.predict(model, image))
    with pytest.raises(TypeError, match="images"):
        kseg.predict(model)
    with pytest.raises(TypeError, match="images"):
        kseg.predict(model, image, image=image)


def test_a_folder_a_glob_and_a_list_give_names_and_results(model, folder):
    expected = {name: kseg.predict(model, folder / name) for name in ("a.jpg", "b.png", "inner/c.png")}

    def check(images, names):
        found = dict(kseg.predict(model, images))
        assert list(found) == names
        for name, mask in found.items():
            np.testing.assert_array_equal(mask, expected[name.removeprefix(f"{folder}/")])

    check(folder, list(expected))
    check(str(folder), list(expected))
    check(f"{folder}/**/*.png", ["b.png", "inner/c.png"])
    (folder.parent / "list.txt").write_text("pictures/inner/c.png\n\npictures/a.jpg\n")
    check(folder.parent / "list.txt", ["inner/c.png", "a.jpg"])
    paths = [folder / "b.png", folder / "a.jpg"]
    check(paths, [str(path) for path in paths])
    arrays = dict(kseg.predict(model, (np.zeros((8, 9, 3), "uint8") for _ in range(2))))
    assert {name: mask.shape for name, mask in arrays.items()} == {"0": (8, 9), "1": (8, 9)}


def test_results_come_one_by_one(model, folder):
    (folder / "z.png").write_text("no picture")
    results = kseg.predict(model, folder)
    assert [next(results)[0] for _ in range(3)] == ["a.jpg", "b.png", "inner/c.png"]
    with pytest.raises(ValueError, match=r"z\.png"):
        next(results)


def test_a_video_gives_its_frames(model, tmp_path):
    frames = [np.full((32, 48, 3), value, "uint8") for value in (40, 120, 200)]
    write_video(tmp_path / "clip.mp4", frames, 10.0)
    decoded = [frame for _, frame in frames_of(tmp_path / "clip.mp4")]
    assert [int(frame.mean().round(-1)) for frame in decoded] == [40, 120, 200]
    found = list(kseg.predict(model, tmp_path / "clip.mp4"))
    assert [name for name, _ in found] == ["clip.mp4#0", "clip.mp4#1", "clip.mp4#2"]
    for (_, mask), frame in zip(found, decoded, strict=True):
        np.testing.assert_array_equal(mask, kseg.predict(model, frame))
    (tmp_path / "broken.mp4").write_bytes(b"none" * 100)
    with pytest.raises(ValueError, match="no frame"):
        next(kseg.predict(model, tmp_path / "broken.mp4"))


def test_what_is_not_there_is_named(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no pictures in this folder: it is empty"):
        next(kseg.predict(model, tmp_path / "empty"))
    (tmp_path / "empty" / "a.heic").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"it holds 1 \.heic"):
        next(kseg.predict(model, tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="no picture has a name like this"):
        next(kseg.predict(model, f"{tmp_path}/*.jpg"))
    (tmp_path / "list.txt").write_text("a.png\n")
    with pytest.raises(FileNotFoundError, match=r"line 1 names a\.png"):
        next(kseg.predict(model, tmp_path / "list.txt"))
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        kseg.predict(model, tmp_path / "gone.png")
    with pytest.raises(TypeError, match="images must be"):
        next(kseg.predict(model, 3))
    with pytest.raises(TypeError, match=r"kseg\.evaluate"):
        next(kseg.predict(model, [(np.zeros((4, 4, 3)), np.zeros((4, 4)))]))


def test_a_tiff_beyond_memory_is_read_by_windows(model, tmp_path, monkeypatch):
    import tifffile

    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype="uint8")
    tifffile.imwrite(tmp_path / "large.tif", picture, tile=(64, 64), compression="zlib")
    np.save(tmp_path / "large.npy", picture)
    expected = kseg.predict(model, picture, window=(64, 64))
    monkeypatch.setattr("kseg.data.headers.MAX_PIXELS", 50_000)
    monkeypatch.setattr("kseg.inference.predictor._LARGEST_MAP", 50_000 * 64)
    for name in ("large.tif", "large.npy"):
        np.testing.assert_array_equal(kseg.predict(model, tmp_path / name, window=(64, 64)), expected)
        with pytest.warns(UserWarning, match="300×200 pixels is too large"):
            kseg.predict(model, tmp_path / name)
        with pytest.raises(ValueError, match="leave crf out"):
            kseg.predict(model, tmp_path / name, window=(64, 64), crf=True)
    fixed = kseg.build_conv_stack(3, (32, 32, 3), depth=1, filters=4)
    with pytest.raises(ValueError, match="window='auto'"):
        kseg.predict(fixed, tmp_path / "large.tif")
