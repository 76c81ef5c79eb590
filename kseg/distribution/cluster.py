"""Several machines: what `TF_CONFIG` says of them, and which of them is lost when training stops."""

import contextlib
import dataclasses
import json
import os
import re
import socket
from collections.abc import Iterator

_EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers, the chief first, as `{(type, index): address}`, and which of them this process is."""

    addresses: dict[tuple[str, int], str]
    own: tuple[str, int]

    def name(self, task: tuple[str, int]) -> str:
        return task[0] if task[0] == "chief" else f"worker {task[1]}"


def read_cluster() -> Cluster | None:
    """Return the `Cluster` that the environment variable `TF_CONFIG` names, `None` for a single worker.

    Raises:
        ValueError: if it is malformed; the message says how and gives one that is not.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _malformed(f"is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise _malformed(f"must be a JSON object, got {config!r}")
    if not config:
        return None
    if "cluster" not in config:
        raise _malformed("has no cluster")
    addresses = _addresses(config["cluster"])
    if len(addresses) == 1:
        return None
    return Cluster(addresses, _own_task(config.get("task"), addresses))


def is_chief() -> bool:
    """Tell whether this process writes the files: it is alone, the chief, or worker 0 where there is none."""
    cluster = read_cluster()
    return cluster is None or cluster.own == next(iter(cluster.addresses))


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Turn TensorFlow's error about a worker that is gone into one line that names it.

    Raises:
        ConnectionError: in place of it.

    Example:
        >>> with lost_workers():
        ...     pass  # model.fit(...)
    """
    import tensorflow as tf

    of_connections = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,
        tf.errors.InternalError,
    )
    try:
        yield
    except of_connections as error:
        cluster = read_cluster()
        if cluster is None:
            raise
        lost = _lost(cluster, str(error))
        if not lost:
            raise
        names = " and ".join(f"{cluster.name(task)} ({cluster.addresses[task]})" for task in lost)
        are = "is" if len(lost) == 1 else "are"
        raise ConnectionError(
            f"{names} {are} lost; run the same command on every worker again to resume"
        ) from error


def _lost(cluster, message):
    """Return the tasks that no longer answer, else those that the message names as the other end."""
    others = [task for task in cluster.addresses if task != cluster.own]
    silent = [task for task in others if not _answers(cluster.addresses[task])]
    if silent:
        return silent
    named = re.findall(r"remote target /job:(\w+)/replica:\d+/task:(\d+)", message)
    return [task for task in others if (task[0], str(task[1])) in named]


def _answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
    except OSError:
        return False
    return True


def _addresses(cluster):
    if not isinstance(cluster, dict) or not cluster:
        raise _malformed(f"must name workers under cluster, got {cluster!r}")
    unknown = sorted(set(cluster) - {"chief", "worker"})
    if unknown:
        raise _malformed(f"names {', '.join(unknown)} in its cluster; kseg trains on chief and worker alone")
    addresses = {}
    for kind in ("chief", "worker"):
        listed = cluster.get(kind, [])
        if not isinstance(listed, list):
            raise _malformed(f"must list the addresses of {kind}, got {listed!r}")
        addresses.update({(kind, index): address for index, address in enumerate(listed)})
    if ("chief", 1) in addresses:
        raise _malformed(f"names {len(cluster['chief'])} chiefs; there is one at most")
    if not addresses:
        raise _malformed("names no worker in its cluster")
    for (kind, index), address in addresses.items():
        if not _is_address(address):
            raise _malformed(f"gives {kind} {index} the address {address!r}, which is not host:port")
    for address in addresses.values():
        if list(addresses.values()).count(address) > 1:
            raise _malformed(f"gives the address {address} to more than one worker")
    return addresses


def _is_address(address):
    found = (
        re.fullmatch(r"([^\s/:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", address) if isinstance(address, str) else None
    )
    return found is not None and 0 < int(found[2]) < 65536


def _own_task(task, addresses):
    kinds = list(dict.fromkeys(kind for kind, _ in addresses))
    if task is None:
        raise _malformed("has no task, which says which of its workers this process is")
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
        raise _malformed(f"must have a type and an index in its task, got {task!r}")
    kind, index = task["type"], task["index"]
    if kind not in kinds:
        raise _malformed(f"has a task of type {kind!r}, but its cluster has {' and '.join(kinds)}")
    count = sum(of == kind for of, _ in addresses)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise _malformed(f"has the task index {index!r}, but {kind} has 0 to {count - 1}")
    return kind, index


def _malformed(what):
    return ValueError(f"TF_CONFIG {what}; unset it or mend it. The first of two workers has {_EXAMPLE}")
