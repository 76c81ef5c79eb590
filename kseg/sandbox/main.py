"""The child's loop: receive a job, do it, answer; it ends with its parent and leaves no half-made file."""

import contextlib
import fcntl
import multiprocessing.connection
import os
import shutil
import sys
import types
from pathlib import Path

_guarded: set[str] = set()  # folders of unfinished exports


def guard(folder: str) -> None:
    """Take charge of a temporary folder: if the parent is killed, it goes."""
    _guarded.add(folder)


def release(folder: str) -> None:
    """Give back the charge of a folder."""
    _guarded.discard(folder)


def serve(connection: multiprocessing.connection.Connection) -> None:
    """Do jobs until the parent is gone."""
    while True:
        try:
            answer_expected, function, arguments = connection.recv()
            answer = _answer(function, arguments)
            if answer_expected:
                connection.send(answer)
        except (EOFError, ConnectionError):
            break
    for folder in _guarded:
        _remove(folder)


def _remove(folder):
    """Delete a folder, unless another export holds its lock by now."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def _answer(function, arguments):
    try:
        return "value", function(*arguments)
    except OSError as error:
        return "errno", (error.errno, error.strerror or str(error))
    except Exception as error:  # the converter raises its own classes, and bare ones
        lines = [line for line in str(error).splitlines() if line.strip()]
        return "error", lines[0].strip() if lines else type(error).__name__


def _import_without_kseg():
    """Let what jobs name be imported without `kseg/__init__.py`, which loads Keras and every model."""
    package = types.ModuleType("kseg")
    package.__path__ = [str(Path(__file__).parents[1])]
    sys.modules["kseg"] = package
    for unused in ("jax", "keras"):  # TensorFlow would load them, a second for nothing
        sys.modules[unused] = None  # type: ignore[assignment]


if __name__ == "__main__":
    _import_without_kseg()
    from kseg.sandbox.main import serve  # once more under its name: jobs are found by theirs

    serve(multiprocessing.connection.Connection(int(sys.argv[1])))
