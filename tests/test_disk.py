"""Files whole or not at all, locks that one process holds, and one message for a full disk."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kseg import disk


def test_a_file_is_there_when_it_is_whole_and_not_before(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with disk.whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists() and partial.parent == path.parent
    assert path.read_text() == "half" and [each.name for each in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_older_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with (
        pytest.raises(type(error)) as caught,
        disk.whole_file(path, "the table", needed=2_500_000) as partial,
    ):
        partial.write_text("half")
        raise error
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert f"{path}: the table was not written (No space left on device): it needs 2.5 MB, " in str(
            caught.value
        )
        assert str(caught.value).endswith(" MB are free; an older file is as it was")


class ResourceExhaustedError(Exception):
    """As TensorFlow's, which is no `OSError`."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        ResourceExhaustedError("whatever"),
        RuntimeError("write failed: No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_has_one_message_whoever_noticed_it(tmp_path, error):
    with (
        pytest.raises(
            OSError, match=r"m: the file was not written \(.*\): .* MB are free; make room"
        ) as caught,
        disk.temporary_folder(tmp_path / "m") as folder,
    ):
        (folder / "half").write_text("half")
        raise error
    assert caught.value.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []


def test_errors_that_are_none_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match=r"^mine$"), disk.temporary_folder(tmp_path / "m"):
        raise RuntimeError("mine")
    assert list(tmp_path.iterdir()) == []


def test_all_of_a_folder_is_brought_to_the_disk_before_its_name(tmp_path, monkeypatch):
    (tmp_path / "made" / "inside").mkdir(parents=True)
    for name in ("made/a", "made/inside/b"):
        (tmp_path / name).write_text("")
    synced, rename = [], type(tmp_path).replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
    )
    monkeypatch.setattr(type(tmp_path), "replace", lambda *paths: (synced.append("renamed"), rename(*paths)))
    disk.put_in_place(tmp_path / "made", tmp_path / "there")
    place = synced.index("renamed")
    expected = {str(tmp_path / "made" / each) for each in ("", "a", "inside", "inside/b")}
    assert {os.path.normpath(each) for each in synced[:place]} == {
        os.path.normpath(each) for each in expected
    }
    assert synced[place + 1 :] == [str(tmp_path)]


def test_an_older_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    made, path = tmp_path / "part" / "made", tmp_path / "there"
    for folder, text in ((made, "new"), (path, "before")):
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
    rename = type(tmp_path).rename

    def fail(source, target):
        if source == made:
            raise OSError(errno.EIO, "broken")
        return rename(source, target)

    monkeypatch.setattr(type(tmp_path), "rename", fail)
    with pytest.raises(OSError, match="broken"):
        disk.put_in_place(made, path)
    assert (path / "file").read_text() == "before"
    monkeypatch.undo()
    disk.put_in_place(made, path)
    assert (path / "file").read_text() == "new"


def held(_):
    return RuntimeError("held")


@pytest.mark.parametrize("folder", [False, True])
def test_a_lock_is_held_by_one(tmp_path, folder):
    path = tmp_path / "lock"

    def make():
        if folder:
            path.mkdir(exist_ok=True)

    with disk.locked(path, held, make), pytest.raises(RuntimeError, match="held"), disk.locked(path, held):
        pass
    with disk.locked(path, held, make):
        pass


@pytest.mark.parametrize("made_anew", [False, True])
def test_who_locks_what_was_removed_in_between_does_not_hold_it(tmp_path, monkeypatch, made_anew):
    """Between `open` and `flock` the holder removes the file; somebody may make and hold another."""
    path, flock, steps = tmp_path / "lock", fcntl.flock, []

    def between(handle, how):
        if not steps:
            steps.append(1)
            path.unlink()
            if made_anew:
                other = os.open(path, os.O_RDWR | os.O_CREAT)
                steps.append(other)
                flock(other, fcntl.LOCK_EX)
        return flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", between)
    if made_anew:
        with pytest.raises(RuntimeError, match="held"), disk.locked(path, held):
            pass
        os.close(steps[1])
    else:
        with disk.locked(path, held) as handle:
            assert os.path.samestat(os.fstat(handle), path.stat())


def test_half_written_files_of_killed_processes_go_and_nothing_else(tmp_path):
    script = """
import os, sys
from pathlib import Path
from kseg import disk
with disk.whole_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os._exit(9)
"""
    for name in ("model.keras", "history.csv", "no_suffix"):
        assert subprocess.run([sys.executable, "-c", script, tmp_path / name]).returncode == 9
    mine = [".hidden", ".notes.part", ".a.part-b", "model.part-1.keras"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    assert len(list(tmp_path.iterdir())) == 7
    disk.remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)


def test_sizes(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(bytes(7))
    (tmp_path / "b").write_bytes(bytes(5))
    assert disk.size_of(tmp_path / "b") == 5 and disk.size_of(tmp_path) == 12
