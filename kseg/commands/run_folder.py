"""The folder of a training: whether it may write there, and what it leaves behind when nothing came of it."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from kseg.disk import is_partial

OWN_FILES = (  # beside a model
    *("classes.txt", "config.json", "history.csv", "learning_curve.png", "tensorboard", "wandb", ".lock"),
)


def check_output(path: Path, resume: bool) -> None:
    """Raise unless a training may write into the folder: it is new or empty, or is resumed; a file is tried.

    Raises:
        FileExistsError: if something is in it and `resume` is false.
        OSError: if nothing can be written there.
        ValueError: if there is nothing to resume but a model.
    """
    if resume and path.is_dir() and not (path / "states").exists():
        there = sorted(
            file.name for file in path.iterdir() if file.name not in OWN_FILES and not is_partial(file.name)
        )
        if there:
            raise ValueError(
                f"{path}: holds {there[0]}, but no states to resume from; choose another output="
            )
    elif not resume and path.exists() and (not path.is_dir() or any(path.iterdir())):
        advice = "add resume=True to go on" if (path / "states").exists() else "remove it"
        raise FileExistsError(f"{path}: exists already and is not empty; {advice}, or choose another output=")
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"kseg")
    except OSError as error:
        message = f"{existing}: nothing can be written there ({error.strerror}); choose another output="
        raise OSError(error.errno, message) from error


def remove_remains(path: Path) -> None:
    """Remove what a training without a model or state left behind, and nothing else."""
    for name in OWN_FILES:
        if (path / name).is_dir():
            shutil.rmtree(path / name, ignore_errors=True)
        else:
            (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()
