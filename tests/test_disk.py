"""Files whole or not at all, locks that one process holds, and one message for a full disk."""

import contextlib
import errno
import fcntl
import os
import socket
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
        OSError("100000 requested and 2484 written"),
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


def test_a_file_that_a_library_cannot_finish_says_its_path(tmp_path):
    (tmp_path / "m").write_text("older")
    with (
        pytest.raises(OSError, match=r"m: the file was not written .* an older file is as it was"),
        disk.whole_file(tmp_path / "m") as partial,
    ):
        partial.write_text("half")
        raise RuntimeError("HDF5: No space left on device")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m", "older")]
    with pytest.raises(RuntimeError, match=r"^mine$"), disk.whole_file(tmp_path / "m"):
        raise RuntimeError("mine")


def test_memory_that_does_not_suffice_is_no_full_disk():
    error = ResourceExhaustedError("OOM when allocating tensor with shape[8]")
    assert not disk.is_full(error) and not disk.is_full(MemoryError())


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


def test_a_kill_between_the_two_renames_loses_no_folder(tmp_path, monkeypatch):
    path, rename = tmp_path / "there", type(tmp_path).rename
    path.mkdir()
    (path / "file").write_text("before")

    def killed(source, target):
        if source.name == "made":
            raise KeyboardInterrupt  # as SIGKILL, nothing is put back
        return rename(source, target)

    monkeypatch.setattr(type(tmp_path), "rename", killed)
    with pytest.raises(KeyboardInterrupt), disk.temporary_folder(path) as folder:
        (folder / "made").mkdir()
        disk.put_in_place(folder / "made", path)
    monkeypatch.undo()
    assert not path.exists()
    with disk.temporary_folder(path):
        assert (path / "file").read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def held(_):
    return RuntimeError("held")


@pytest.mark.parametrize("folder", [False, True])
def test_a_lock_is_held_by_one(tmp_path, folder):
    path = tmp_path / "lock"

    def make():
        if folder:
            path.mkdir(exist_ok=True)

    for _ in range(2):
        with disk.locked(path, held, make, folder):
            assert path.is_dir() == folder
            with pytest.raises(RuntimeError, match="held"), disk.locked(path, held, folder=folder):
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
import os, sys, types
from pathlib import Path
package = types.ModuleType("kseg")  # without TensorFlow, which takes seconds
package.__path__ = [sys.argv[2]]
sys.modules["kseg"] = package
from kseg import disk
with disk.whole_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os._exit(9)
"""
    paths = [tmp_path / name for name in ("model.keras", "history.csv", "no_suffix")]
    for path in paths:
        assert (
            subprocess.run([sys.executable, "-c", script, path, Path(disk.__file__).parent]).returncode == 9
        )
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 3 and all(map(disk.is_partial, left))
    disk.remove_partial_files(paths)
    assert {path.name for path in tmp_path.iterdir()} == left  # written a moment ago, perhaps elsewhere
    gone = next(iter(left)).split("part-")[1].split(".")[0]
    mine = [".hidden", ".model.part", ".model.part-b.keras", "model.part-1.keras", f".notes.part-{gone}.md"]
    mine += [f".model.part-{os.getpid()}.keras"]  # of a process that lives
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".history.part-{gone}.csv").unlink(missing_ok=True)
    (tmp_path / f".history.part-{gone}.csv").mkdir()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    disk.remove_partial_files(paths)
    assert {path.name for path in tmp_path.iterdir()} == {*mine, f".history.part-{gone}.csv"}


def test_a_folder_in_the_way_of_a_file_stays_where_it_is(tmp_path):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "a.png" / "keep").write_text("mine")
    with pytest.raises(OSError, match=r"a\.png: the file was not written"):
        disk.write_whole(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png" / "keep").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_lock_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), disk.locked(tmp_path / "nowhere" / "lock", held):
        pass


@pytest.mark.parametrize("call", ["stat", "lstat"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_lock_may_vanish_at_any_moment(tmp_path, monkeypatch, call, folder):
    """Its holder removes it just before a look at it, whichever look that is."""
    path, real = tmp_path / "lock", getattr(os, call)

    def make():
        if folder:
            path.mkdir(exist_ok=True)

    for moment in range(1, 9):
        seen = []

        def look(at, *rest, _moment=moment, _seen=seen, **options):
            if at == path:
                _seen.append(1)
                if len(_seen) == _moment:
                    with contextlib.suppress(FileNotFoundError):
                        path.rmdir() if folder else path.unlink()
            return real(at, *rest, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, look)
            with disk.locked(path, held, make, folder) as handle:
                seen += [1] * 9
                assert os.path.samestat(os.fstat(handle), path.lstat())


@pytest.mark.parametrize("target", ["file", "folder", "nothing"])
def test_a_link_is_no_lock(tmp_path, target):
    other, path = tmp_path / "other", tmp_path / "lock"
    if target == "file":
        other.write_text("mine")
    if target == "folder":
        other.mkdir()
    path.symlink_to(other)
    with pytest.raises(ValueError, match=r"lock: is a symbolic link, not the lock"), disk.locked(path, held):
        pass
    assert path.is_symlink() and other.exists() == (target != "nothing")


def test_a_link_beside_an_export_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text("kept")
    (tmp_path / ".model.part").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="is a symbolic link"), disk.temporary_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "mine" / "kept").read_text() == "kept"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_disk_that_cannot_sync_folders_is_written_all_the_same(tmp_path, monkeypatch, number):
    fsync = os.fsync

    def of_files_alone(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(number, "cannot")
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    disk.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        disk.write_whole(tmp_path / "b", b"new")
    assert not (tmp_path / "b").exists()


def test_sizes(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(bytes(7))
    (tmp_path / "b").write_bytes(bytes(5))
    assert disk.size_of(tmp_path / "b") == 5 and disk.size_of(tmp_path) == 12


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name, kind in {"fifo": "FIFO", "link": "FIFO", "socket": "socket", "/dev/zero": "device"}.items():
            with pytest.raises(ValueError, match=f"{name}: is a {kind}, not a file"):
                disk.check_regular(tmp_path / name)
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", ".", "nowhere", "dangling"):
        disk.check_regular(tmp_path / name)


def test_a_stamp_changes_when_a_file_is_written_anew(tmp_path):
    path = tmp_path / "a"
    assert disk.stamp(path) is None
    path.write_bytes(b"1")
    before = disk.stamp(path)
    assert disk.stamp(os.fsencode(path)) == before is not None
    disk.write_whole(path, b"2")
    assert disk.stamp(path) != before
