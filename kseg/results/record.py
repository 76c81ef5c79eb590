"""What a folder of results says of itself, so that a run that was interrupted goes on: `predict.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kseg.disk import write_whole
from kseg.evaluation.facts import sha256_of
from kseg.results.jobs import Job
from kseg.types import PathLike
from kseg.version import __version__

_NAME = "predict.json"


class Record:
    """What is written into a folder, and what could not be read.

    Args:
        output: the folder.
        models: paths of the models, whose contents count.
        options: what else the results depend on.
        shard: `(I, N)`, the part that this run does.
    """

    def __init__(
        self, output: Path, models: Sequence[PathLike], options: Mapping[str, Any], shard: tuple[int, int]
    ) -> None:
        self.path = output / _NAME
        of_shard = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
        self.list = output / f"failed{of_shard}.txt"
        told = {
            "kseg": __version__,
            "models": [{"path": str(path), "sha256": _digest_of(Path(path))} for path in models],
            "options": {name: value for name, value in options.items() if value not in (None, False, 0)},
        }
        self.told = json.loads(json.dumps(told, default=str))
        self.failed: list[tuple[Job, str]] = []

    @property
    def goes_on(self) -> bool:
        """Whether what is in the folder was made by the same models and options."""
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            return self._what_counts(before) == self._what_counts(self.told)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _what_counts(self, told):
        return [model["sha256"] for model in told["models"]], told["options"]

    def begin(self) -> None:
        """Write the record: what is older is not of this run."""
        write_whole(self.path, json.dumps(self.told, indent=2).encode(), "the record")

    def is_finished(self, job: Job) -> bool:
        """Tell whether all files of a job were made since the record, and since the picture was written."""
        try:
            since = max(self.path.stat().st_mtime_ns, job.path.stat().st_mtime_ns)
            return all(target.stat().st_mtime_ns >= since for target in job.targets.values())
        except OSError:
            return False

    def add_failure(self, job: Job, reason: str) -> None:
        """List a picture that could not be segmented."""
        self.failed.append((job, reason))
        lines = "".join(f"{on_one_line(each.path)}\t{on_one_line(why)}\n" for each, why in self.failed)
        write_whole(self.list, lines.encode("utf-8", "backslashreplace"), "the list")

    def end(self) -> None:
        """Remove the list of an earlier run, if nothing failed in this one."""
        if not self.failed:
            self.list.unlink(missing_ok=True)


def _digest_of(path):
    """Return the sha256 of a model; whoever opens it says that it is missing."""
    return sha256_of(path) if path.exists() else None


def on_one_line(text: object) -> str:
    """Return a text whose line breaks and other characters without a picture are escaped."""
    escaped = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))
    return "".join(escaped)
