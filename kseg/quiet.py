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


@contextlib.contextmanager
def quiet_matplotlib() -> Iterator[None]:
    """Keep away what Matplotlib logs of fonts, and of a home where it cannot write; Keras loads it too."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
