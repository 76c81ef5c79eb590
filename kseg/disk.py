"""Files that are whole or not there at all: written beside their path, brought to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from kseg import sandbox
from kseg.sandbox.main import guard, release

Read = TypeVar("Read")

_ABANDONED = 60  # seconds without a write
_ATTEMPTS = 100  # to open what others make and remove
_CHANGED = (errno.ENOENT, errno.EEXIST, errno.ELOOP, errno.ENOTDIR)
_FOR_A_MOMENT = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR)
_READS = 3  # of what fails for a moment
_PAUSE = 0.2  # seconds before the second
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# of TensorFlow, of the second process, and of NumPy ("100 requested and 24 written")
_FULL_IN_WORDS = ("No space left", "File too large", " requested and ")
_NO_FILES = {
    "FIFO": stat.S_ISFIFO,
    "socket": stat.S_ISSOCK,
    "device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}
_PARTIAL = re.compile(r"\.(?P<stem>.*)\.part-(?P<pid>\d+)(?P<end>(\.[^.]*)?)")


@contextlib.contextmanager
def whole_file(path: Path, what: str = "the file", *, needed: int | None = None) -> Iterator[Path]:
    """Yield where to write what shall stand at `path`; it is renamed to that when the block has ended.

    Args:
        path: the file; its folder is made where it is missing.
        what: what the error calls it.
        needed: bytes that it takes, as far as they are known.

    Raises:
        OSError: if it cannot be written, with what it needs and what is free; an older file at `path` is then
            as it was.
    """
    partial = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        sync(partial)
        partial.replace(path)  # a folder at the path is an error
        sync_names(path.parent)
    except Exception as error:
        if not isinstance(error, OSError) and not is_full(error):
            raise
        raise not_written(error, path, what, needed, "an older file is as it was") from error
    finally:
        with contextlib.suppress(NotADirectoryError):  # what is wrong with its folder was said
            partial.unlink(missing_ok=True)


def check_regular(path: Path) -> None:
    """Raise for what is neither file nor folder: to read it may wait for ever, or never end.

    Raises:
        ValueError: for a FIFO, a socket or a device; it is not opened.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever opens it says what is wrong
    for kind, test in _NO_FILES.items():
        if test(mode):
            raise ValueError(f"{path}: is a {kind}, not a file; give the path of a file")


def stamp(path: str | bytes | os.PathLike) -> tuple[int, int, int] | None:
    """Return what changes when a file is written anew: its number, size and time; `None` without a file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - paths come as bytes too
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_patiently(read: Callable[[], Read]) -> Read:
    """Return what a function reads; what a network drive fails at for a moment is tried three times.

    Raises:
        OSError: as the function, the last time.
    """
    for attempt in range(_READS - 1):
        try:
            return read()
        except OSError as error:
            if error.errno not in _FOR_A_MOMENT:
                raise
        time.sleep(_PAUSE * 2**attempt)
    return read()


def write_whole(path: Path, content: bytes, what: str = "the file") -> None:
    """Write a file whole, or leave the older one; as `whole_file`."""
    with whole_file(path, what, needed=len(content)) as partial:
        partial.write_bytes(content)


def is_partial(name: str) -> bool:
    """Tell whether a file of this name is one that `whole_file` has begun."""
    return _PARTIAL.fullmatch(name) is not None


def remove_partial_files(paths: Iterable[Path]) -> None:
    """Remove what killed processes left half-written of these files."""
    names: dict[Path, set[tuple[str, str]]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add((path.stem, path.suffix))
    for folder, expected in names.items():
        for path in folder.iterdir() if folder.is_dir() else ():
            found = _PARTIAL.fullmatch(path.name)
            if found and (found["stem"], found["end"]) in expected and _is_abandoned(path, int(found["pid"])):
                path.unlink(missing_ok=True)


def _is_abandoned(path, process):
    """Tell whether nobody writes a file: its process is gone, and none of another machine has touched it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return path.is_file() and time.time() - path.stat().st_mtime > _ABANDONED
    except OSError:  # the process is somebody else's
        return False
    return False


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, locked; it is removed whatever happens.

    If this process is killed, the second process removes it; what remains if that is killed too, the next
    one for `path` clears away.

    Raises:
        OSError: if another process holds it, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.part").absolute()
    sandbox.begin(guard, str(folder))  # before it is made: no moment is left in which nobody would remove it
    held = f"{path}: another process is exporting to this path; wait for it or choose another path"
    try:
        with locked(folder, lambda _: BlockingIOError(held), lambda: folder.mkdir(exist_ok=True), True):
            _bring_back(path)
            for remains in folder.iterdir():
                shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
            try:
                yield folder
            except Exception as error:
                if not is_full(error):
                    raise
                raise not_written(error, path, "the file", None, "make room") from error
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        sandbox.begin(release, str(folder))


@contextlib.contextmanager
def locked(
    path: Path,
    refusal: Callable[[int], Exception],
    make: Callable[[], None] = lambda: None,
    folder: bool = False,
) -> Iterator[int]:
    """Hold the lock of a file or folder, which the system frees however this process ends.

    Args:
        path: the file, made where it is missing, or the folder.
        refusal: function of a handle of the file, gives the error to raise if another process holds it.
        make: function that makes a missing folder.
        folder: whether it is the folder that is locked.

    Yields:
        A handle of it, for `os.read` and `os.write` if it is a file.

    Raises:
        ValueError: for a link, a FIFO, a socket or a device at the path; it is left as it is.
    """
    how = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT
    for attempt in itertools.count(1):
        try:
            make()
            _check_lock(path)
            handle = os.open(path, how | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _CHANGED and attempt < _ATTEMPTS:
                continue  # it was removed, or became another, between the two calls
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused = refusal(handle)
            os.close(handle)
            raise refused from None
        if is_at(handle, path):
            break
        os.close(handle)  # its owner removed it, and perhaps somebody made another
    try:
        yield handle
    finally:
        os.close(handle)


def _check_lock(path):
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        for kind, test in {"symbolic link": stat.S_ISLNK, **_NO_FILES}.items():
            if test(mode):
                raise ValueError(f"{path}: is a {kind}, not the lock that should stand there; remove it")


def is_at(handle: int, path: Path) -> bool:
    """Tell whether a handle is of the file or folder at a path, which may vanish at any moment."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.path.samestat(os.fstat(handle), path.lstat())
    return False


def put_in_place(made: Path, path: Path) -> None:
    """Rename what was made to its path; an older folder goes last, and comes back if that fails."""
    sync(made)
    if path.is_dir():
        older = _older(path)
        path.rename(older)
        try:
            made.rename(path)
        except OSError:
            older.rename(path)
            raise
        shutil.rmtree(older, ignore_errors=True)
    else:
        made.replace(path)
    sync_names(path.parent)


def _older(path):
    return path.with_name(f".{path.name}.older")


def _bring_back(path):
    """Bring back the folder that stood at `path` when a process was killed between its two renames."""
    older = _older(path)
    if older.is_dir() and not path.exists():
        older.rename(path)
    elif older.is_dir():
        shutil.rmtree(older, ignore_errors=True)


def sync(path: Path) -> None:
    """Bring a file, or all of a folder, to the disk: a rename must not get there first."""
    for each in [*path.rglob("*"), path] if path.is_dir() else [path]:
        if each.is_dir():
            sync_names(each)
        else:
            with each.open("rb") as file:
                os.fsync(file.fileno())


def sync_names(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the folder may be read and its system can."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                raise
        finally:
            os.close(handle)


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def not_written(error: Exception, path: Path, what: str, needed: int | None, then: str) -> OSError:
    """Return the `OSError` for something that could not be written, with what it needs and what is free.

    Args:
        error: what was raised.
        path: what should have been written.
        what: what the message calls it.
        needed: bytes that it takes, `None` if that is not known.
        then: the end of the message.
    """
    number = errno.ENOSPC if is_full(error) else getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or (os.strerror(number) if number else _first_line(error))
    existing = next(folder for folder in path.absolute().parents if folder.is_dir())
    free = f"{shutil.disk_usage(existing).free / 1e6:.1f} MB are free"
    needs = "" if needed is None else f"it needs {needed / 1e6:.1f} MB, "
    message = f"{path}: {what} was not written ({reason}): {needs}{free}; {then}"
    return OSError(message) if number is None else OSError(number, message)


def is_full(error: BaseException) -> bool:
    """Tell whether an error, of whatever library, is that of a full disk."""
    if getattr(error, "errno", None) in _FULL or any(words in str(error) for words in _FULL_IN_WORDS):
        return True
    # TensorFlow has one class for full disks and for memory that does not suffice
    return type(error).__name__ == "ResourceExhaustedError" and "OOM" not in str(error)


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
