"""A second process for what may crash: the LiteRT converter, and interpreters on files nobody has tried yet.

It starts with the first job, stays for the jobs that follow (TensorFlow loads once) and is started anew after
a crash. A job is a function that the child can import and arguments that can be pickled.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ChildDied(RuntimeError):  # noqa: N818 - what happened says more
    """The child ended in the middle of a job.

    Attributes:
        reason: str, for instance `"signal 11, SIGSEGV"`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the child process died ({reason})")
        self.reason = reason


class JobFailed(RuntimeError):  # noqa: N818
    """A job raised; the message is the first line of its error."""


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run `function(*arguments)` in the child and return what it returns.

    Args:
        function: function of a module that the child can import without `kseg/__init__.py`: of
            `kseg.litert`, of the standard library.
        *arguments: whatever pickles.

    Returns:
        The function's result.

    Raises:
        ChildDied: if the child crashed or was killed; the next call starts another.
        JobFailed: if the function raised.
        OSError: if it raised one, with its number.

    Example:
        >>> import math
        >>> call(math.hypot, 3, 4)
        5.0
    """
    with _lock:
        child = _running_child()
        try:
            child.connection.send((True, function, arguments))
            kind, value = child.connection.recv()
        except (EOFError, ConnectionError):
            raise ChildDied(_end_of(child)) from None
        except BaseException:  # interrupted: its answer would be taken for the next job's
            _stop(child)
            raise
    if kind == "errno":
        raise OSError(*value)
    if kind == "error":
        raise JobFailed(value)
    return value


def begin(function: Callable[..., Any], *arguments: Any) -> None:
    """Start a job whose result nobody waits for; the child does it before the next one."""
    with _lock, contextlib.suppress(ConnectionError):
        _running_child().connection.send((False, function, arguments))


class _Child:
    def __init__(self):
        here, there = multiprocessing.Pipe()
        self.owner = os.getpid()
        self.connection = here
        main = Path(__file__).with_name("main.py")
        self.process = subprocess.Popen(
            # -P: the folder of main.py is no place to import from
            [sys.executable, "-P", str(main), str(there.fileno())],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # the libraries talk; errors come as answers
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "1"},
            start_new_session=True,  # Ctrl-C is the parent's affair
        )
        there.close()


_lock = threading.Lock()
_child = None


@atexit.register
def _end():
    if _child is not None and _child.owner == os.getpid() and _child.process.poll() is None:
        _stop(_child)


def _running_child():
    """Return the child of this process; one that a fork inherited belongs to the parent."""
    global _child
    if _child is None or _child.owner != os.getpid() or _child.process.poll() is not None:
        _child = _Child()
    return _child


def _stop(child):
    child.process.kill()
    child.process.wait()
    child.connection.close()


def _end_of(child):
    code = child.process.wait()
    child.connection.close()
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}, {signal.Signals(-code).name}"
