"""Writing whole or not at all: lock, temporary folder, rename."""

import contextlib
import errno
import fcntl
import fnmatch
import os
import shutil
from pathlib import Path

import tensorflow as tf

from kseg import sandbox
from kseg.inference import report_path
from kseg.sandbox.main import guard, release

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_target(path, overwrite, suffix=None):
    """Return `path` as `Path` if something may be written there; a folder only where it is a SavedModel.

    Raises:
        FileExistsError: if it exists and `overwrite` is false, or what is there is of another kind.
        ValueError: if it lacks the suffix, or TensorFlow would take the path for a pattern.
    """
    path = Path(path)
    whole = str(path.absolute())
    if suffix != ".onnx" and ("\\" in whole or not fnmatch.fnmatchcase(whole, whole)):
        raise ValueError(
            f"{whole}: TensorFlow reads [...] and \\ in a path as a pattern and would not find what it "
            "wrote; choose another path"
        )
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"path must end in {suffix}, got {str(path)!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; remove it, choose another path or overwrite it")
    same_kind = path.is_file() if suffix else (path / "saved_model.pb").is_file()
    if path.exists() and not same_kind:
        kind = "a file" if suffix else "a SavedModel folder"
        raise FileExistsError(f"{path}: exists and is not {kind}, it is not overwritten; choose another path")
    return path


@contextlib.contextmanager
def temporary_folder(path):
    """Yield an empty temporary folder beside `path`, locked; it is removed whatever happens.

    If this process is killed, the child removes it; what remains if that is killed too, the next export to
    `path` clears away.

    Raises:
        OSError: if another process exports to `path`, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.part").absolute()
    sandbox.begin(guard, str(folder))  # before it is made: no moment is left in which nobody would remove it
    try:
        with _locked(folder, path):
            try:
                yield folder
            except (OSError, tf.errors.OpError, sandbox.JobFailed) as error:
                raise full_disk_explained(error, path) from error
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        sandbox.begin(release, str(folder))


@contextlib.contextmanager
def _locked(folder, path):
    """Make `folder`, empty, and hold its lock, which the system frees however this process ends."""
    while True:
        folder.mkdir(exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise BlockingIOError(
                f"{path}: another process is exporting to this path; wait for it or choose another path"
            ) from None
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            break
        os.close(handle)  # its owner removed it between the two calls
    try:
        for remains in folder.iterdir():
            shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
        yield
    finally:
        os.close(handle)


def full_disk_explained(error, path):
    """Return an error of the disk with what the user needs; others as they are."""
    full = getattr(error, "errno", None) in _FULL or isinstance(error, tf.errors.ResourceExhaustedError)
    if not full and not any(text in str(error) for text in ("No space left", "File too large")):
        return error
    free = shutil.disk_usage(path.parent).free / 1e6
    return OSError(
        errno.ENOSPC, f"{path}: the disk is full ({free:.1f} MB free), nothing was written; make room"
    )


def put_in_place(made, path):
    """Rename what was made and verified to its path; an older folder goes last, and back if that fails."""
    sync(made)
    if not path.is_dir():
        made.replace(path)
        return
    old = made.with_name("old")
    path.rename(old)
    try:
        made.rename(path)
    except OSError:
        old.rename(path)
        raise


def put_in_place_with_report(made, report, path):
    """Rename a file and its report; that goes last, and an older one first: none describes another file."""
    written = made.with_suffix(".json")
    written.write_text(report.as_json(), encoding="utf-8")
    report_path(path).unlink(missing_ok=True)
    put_in_place(made, path)
    put_in_place(written, report_path(path))


def sync(path):
    """Bring a file, or all files of a folder, to the disk: a rename must not get there first."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def size_of(path):
    """Return the bytes of a file or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
