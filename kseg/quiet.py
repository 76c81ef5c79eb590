"""Silence for the shell: native libraries write to the terminal past Python's `sys.stderr`."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def in_shell() -> bool:
    """Tell whether this process is the installed `kseg` command."""
    return Path(sys.argv[0]).stem == "kseg"


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep away what native libraries print while they load and convert; show it if the program breaks."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stderr = sys.stderr
    with (
        tempfile.TemporaryFile() as caught,
        open(terminal, "w", closefd=False) as stream,
        quiet_matplotlib(),
    ):
        os.dup2(caught.fileno(), 2)
        if python_stderr is sys.__stderr__:
            sys.stderr = stream  # what Python prints still shows
        try:
            yield
        except (AssertionError, AttributeError, LookupError, NameError):  # our own mistakes
            caught.seek(0)
            os.write(terminal, caught.read())
            raise
        finally:
            stream.flush()
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


def quiet_matplotlib() -> contextlib.AbstractContextManager[None]:
    """Keep away what Matplotlib logs of fonts, and of a home where it cannot write; Keras loads it too."""
    return _from_level("matplotlib", logging.ERROR)


def quiet_tensorflow() -> contextlib.AbstractContextManager[None]:
    """Keep away what TensorFlow logs of files on the way: a notebook shows it, with paths that are gone."""
    return _from_level("tensorflow", logging.WARNING)


@contextlib.contextmanager
def _from_level(name: str, lowest: int) -> Iterator[None]:
    """Keep away what a library logs below a level."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(max(level, lowest))
    try:
        yield
    finally:
        logger.setLevel(level)
