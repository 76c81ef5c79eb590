"""Training states on disk: one folder per epoch, whole or not there at all, checked before it is used."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kseg import disk
from kseg.types import PathLike

_VERSION = 2  # of version 1 the arrays and the facts alone are under a checksum
_ARRAYS, _FACTS = "arrays.npz", "state.json"
_HEAD = b'{\n "sha256": "%s",\n'  # of all that follows


@dataclass(frozen=True)
class State:
    """What a folder of a state holds.

    Attributes:
        path: its folder.
        epoch: int, how many epochs were finished.
        arrays: dict of lists of arrays.
        facts: dict of what JSON can hold.
    """

    path: Path
    epoch: int
    arrays: dict[str, list[np.ndarray]]
    facts: dict[str, Any]


def write(
    folder: Path, epoch: int, arrays: dict[str, list[np.ndarray]], facts: dict[str, Any], keep: int = 2
) -> None:
    """Write the state after `epoch` epochs as `folder/epoch-000012` and delete all but the newest `keep`.

    The files are written beside it, brought to the disk and then renamed: whenever the process ends, the
    folder holds whole states only, or remains of this process that are deleted later.

    Args:
        folder: `Path`, made where it is missing.
        epoch: how many are finished.
        arrays: dict of lists of NumPy arrays.
        facts: dict of what JSON can hold; NaN and infinity may be in it.
        keep: 1 or more.

    Raises:
        OSError: if it cannot be written, with what it needs and what is free; older states are as they were.
    """
    content = _packed(arrays)
    record = {
        "version": _VERSION,
        "epoch": epoch,
        "facts": facts,
        "arrays": _counts(arrays),
    }
    record["files"] = {_ARRAYS: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    unfinished = folder / f".partial-{os.getpid()}"
    target = folder / f"epoch-{epoch:06d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        (unfinished / _ARRAYS).write_bytes(content)
        (unfinished / _FACTS).write_bytes(_with_checksum(record))
        disk.sync(unfinished)
        shutil.rmtree(target, ignore_errors=True)  # of an epoch that is trained once more
        unfinished.rename(target)
        disk.sync_names(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        kept = "older states are as they were"
        raise disk.not_written(error, target, "the training state", len(content), kept) from error
    for old in _folders(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(folder: PathLike) -> tuple[State | None, list[str]]:
    """Return the newest whole state and a list of what is wrong with those after it.

    Returns:
        `(State or None, [str])`.

    Raises:
        ValueError: if there are states and none is whole.
    """
    problems: list[str] = []
    for path in _folders(Path(folder)):
        try:
            return _read(path), problems
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            problems.append(f"{path} is damaged: {error}")
    if problems:
        raise ValueError("; ".join(problems) + "; no state is whole: delete the folder to start anew")
    return None, []


def to_bytes(state: State | None) -> bytes:
    """Return a `State`, or `None`, as bytes; `from_bytes` reads them on another machine."""
    if state is None:
        return b""
    facts = {
        "path": str(state.path),
        "epoch": state.epoch,
        "facts": state.facts,
        "arrays": _counts(state.arrays),
    }
    head = json.dumps(facts).encode()
    return struct.pack("<Q", len(head)) + head + _packed(state.arrays)


def from_bytes(content: bytes) -> State | None:
    """Return the `State`, or `None`, of `to_bytes`."""
    if not content:
        return None
    (size,) = struct.unpack_from("<Q", content)
    head = json.loads(content[8 : 8 + size])
    arrays = _unpacked(content[8 + size :], head["arrays"])
    return State(Path(head["path"]), head["epoch"], arrays, head["facts"])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a run for this process; what killed ones left half-written in it goes.

    Raises:
        RuntimeError: if another process holds it, with its number.
        ValueError: if something else than a file stands where its lock should; it is left as it is.
    """
    lock = folder / ".lock"

    def make():
        folder.mkdir(parents=True, exist_ok=True)
        if lock.is_dir() and not lock.is_symlink():
            raise ValueError(f"{lock}: is a folder, not the lock that should stand there; remove it")

    with disk.locked(lock, partial(_in_use, folder), make) as handle:
        try:
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        except OSError as error:
            lock.unlink(missing_ok=True)
            raise disk.not_written(error, lock, "the lock", None, "make room") from error
        for remains in (folder / "states").glob(".partial-*"):  # of killed processes: none other is here
            shutil.rmtree(remains, ignore_errors=True)
        for remains in folder.glob(".model-*.keras"):  # of the versions before
            remains.unlink(missing_ok=True)
        try:
            yield
        finally:
            if disk.is_at(handle, lock):  # else the folder was moved, and another's stands there
                lock.unlink(missing_ok=True)  # while it is held: the next one makes its own


def _in_use(folder, handle):
    holder = os.read(handle, 100).decode() or "unknown"
    return RuntimeError(f"{folder} is in use by process {holder}; wait for it, or take another folder")


def _folders(folder):
    """Return the folders of states, the newest first."""
    return sorted(folder.glob("epoch-" + "[0-9]" * 6), reverse=True)


def _packed(arrays):
    buffer = io.BytesIO()
    flat = {f"{group}/{index}": array for group, many in arrays.items() for index, array in enumerate(many)}
    np.savez(buffer, **flat)
    return buffer.getvalue()


def _unpacked(content, counts):
    with np.load(io.BytesIO(content)) as loaded:
        return {group: [loaded[f"{group}/{index}"] for index in range(n)] for group, n in counts.items()}


def _digest(facts):
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _counts(arrays):
    return {group: len(many) for group, many in arrays.items()}


def _with_checksum(record):
    """Return a record as JSON whose first key is the checksum of every byte behind it."""
    rest = json.dumps(record, indent=1).removeprefix("{\n").encode()
    return _HEAD % hashlib.sha256(rest).hexdigest().encode() + rest


def _record(content):
    """Return what `_with_checksum` wrote, or version 1 did.

    Raises:
        ValueError: if a byte of it has changed.
    """
    record = json.loads(content)
    if record["version"] == 1 and "sha256" not in record:
        if record["facts_sha256"] != _digest(record["facts"]):
            raise ValueError(f"the checksum of {_FACTS} differs")
        return record
    size = len(_HEAD % bytes(64))
    if content[:size] != _HEAD % hashlib.sha256(content[size:]).hexdigest().encode():
        raise ValueError(f"the checksum of {_FACTS} differs")
    if record["version"] != _VERSION:
        raise ValueError(f"version {record['version']}, this kseg reads {_VERSION}")
    return record


def _read(path):
    for name in (_FACTS, _ARRAYS):
        disk.check_regular(path / name)
    record = _record((path / _FACTS).read_bytes())
    if f"epoch-{record['epoch']:06d}" != path.name:
        raise ValueError(f"{_FACTS} is of epoch {record['epoch']}")
    content = (path / _ARRAYS).read_bytes()
    expected = record["files"][_ARRAYS]
    if len(content) != expected["bytes"]:
        raise ValueError(f"{_ARRAYS} has {len(content)} of {expected['bytes']} bytes")
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise ValueError(f"the checksum of {_ARRAYS} differs")
    return State(path, record["epoch"], _unpacked(content, record["arrays"]), record["facts"])
