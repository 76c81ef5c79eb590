"""Decoded pairs that are kept: the same as those that are read, never those of a file before it changed."""

import os

import numpy as np
import pytest
from PIL import Image

from kseg.data import augment, caching, from_directory


@pytest.fixture
def root(make_files):
    return make_files("abcde", "train", (12, 16))


@pytest.fixture(params=["memory", "folder"])
def cache(request, tmp_path):
    return "memory" if request.param == "memory" else tmp_path / "kept"


def pairs(dataset):
    return [(image, mask) for image, mask in dataset.as_numpy_iterator()]


def read(root, cache, **options):
    options = {"shuffle": False, "batch_size": None, "class_names": ["a", "b", "c"], **options}
    return from_directory(root, cache=cache, **options)


def assert_same(some, others):
    for (image, mask), (image2, mask2) in zip(some, others, strict=True):
        assert image.dtype == image2.dtype and mask.dtype == mask2.dtype == np.int32
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(mask, mask2)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the pictures that are decoded."""
    from kseg.data import loading

    names = []
    monkeypatch.setattr(
        loading.PairReader,
        "__call__",
        lambda self, index, call=loading.PairReader.__call__: (
            names.append(self.images.paths[index].name),
            call(self, index),
        )[1],
    )
    return names


@pytest.mark.parametrize("options", [{}, {"augment": augment((8, 8), rotation=30), "batch_size": 2}])
def test_what_is_kept_is_what_was_read(root, cache, options, decoded):
    plain = [read(root, None, **options), read(root, cache, **options)]
    for _ in range(3):
        assert_same(*map(pairs, plain))
    assert decoded.count("a.png") == 3 + 1


def test_a_folder_is_for_other_runs_too(root, tmp_path, decoded):
    kept = pairs(read(root, tmp_path / "kept"))
    again = pairs(read(root, str(tmp_path / "kept")))
    assert_same(kept, again)
    assert len(decoded) == 5


def test_a_file_that_changes_is_read_anew(root, cache):
    dataset = read(root, cache)
    before = pairs(dataset)
    for kind, value in (("images", (1, 2, 3)), ("masks", 2)):
        path = root / f"train/{kind}/b.png"
        times = path.stat()
        Image.new("RGB" if kind == "images" else "L", (16, 12), value).save(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    after = pairs(dataset)
    assert (after[1][0] == (1, 2, 3)).all() and (after[1][1] == 2).all()
    assert_same(before[2:], after[2:])


def test_a_file_that_vanishes_is_named_though_it_is_kept(root, cache):
    dataset = read(root, cache)
    pairs(dataset)
    (root / "train/masks/c.png").unlink()
    with pytest.raises(Exception, match=r"c\.png"):
        pairs(dataset)


@pytest.mark.parametrize(
    "options",
    [{"label_map": {2: 255}}, {"channels": 1}, {"class_names": ["x", "y", "z", "w"], "label_map": {1: 3}}],
)
def test_other_options_do_not_get_what_was_kept(root, tmp_path, options):
    pairs(read(root, tmp_path / "kept"))
    assert_same(pairs(read(root, tmp_path / "kept", **options)), pairs(read(root, None, **options)))


def test_ids_that_8_bits_do_not_hold(root, cache):
    path = root / "train/masks/a.png"
    Image.fromarray(np.full((12, 16), 300, "uint16")).save(path)
    names = [str(number) for number in range(301)]
    dataset = read(root, cache, class_names=names, ignore_class=-1)
    assert [pairs(dataset)[0][1].max() for _ in range(2)] == [300, 300]
    dataset = read(root, cache, label_map={300: -1, 255: -1}, ignore_class=-1)
    assert [pairs(dataset)[0][1].min() for _ in range(2)] == [-1, -1]


def test_a_damaged_file_of_the_folder_is_read_anew(root, tmp_path, decoded):
    kept = pairs(read(root, tmp_path / "kept"))
    for number, path in enumerate(sorted((tmp_path / "kept").iterdir())):
        content = bytearray(path.read_bytes())
        damages = [
            b"",
            content[:200],
            content[:-1],
            bytes([*content[:300], content[300] ^ 1, *content[301:]]),
        ]
        path.write_bytes(damages[number % 4])
    assert_same(pairs(read(root, tmp_path / "kept")), kept)
    assert len(decoded) == 10
    assert_same(pairs(read(root, tmp_path / "kept")), kept)
    assert len(decoded) == 10


def test_a_full_disk_ends_the_cache_and_not_the_training(root, tmp_path, monkeypatch):
    def full(path, pair):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching, "_save", full)
    with pytest.warns(UserWarning, match="kept takes no more .*No space left"):
        kept = pairs(read(root, tmp_path / "kept"))
    assert_same(kept, pairs(read(root, None)))


def test_a_cache_that_cannot_be_is_refused(root, tmp_path, monkeypatch):
    for cache in (3, ""):
        with pytest.raises(ValueError, match="cache must be None, 'memory' or the path of a folder"):
            read(root, cache)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is no folder and cannot be made one"):
        read(root, tmp_path / "file")
    monkeypatch.setattr(caching, "_free_memory", lambda: 4000)
    with pytest.raises(ValueError, match=r"cache='memory' would take 0\.0 GB, and 0\.0 GB are free"):
        read(root, "memory")
