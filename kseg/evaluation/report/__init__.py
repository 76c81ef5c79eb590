"""A page that shows evaluations, whole in one file: no request leaves it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from kseg.disk import write_whole
from kseg.evaluation.facts import versions
from kseg.evaluation.figures import Evaluation, check_same_classes
from kseg.evaluation.files import checked_target
from kseg.evaluation.report import views
from kseg.types import PathLike

_FOLDER = Path(__file__).parent


def write_report(
    path: PathLike,
    evaluations: Mapping[str, Evaluation],
    *,
    title: str | None = None,
    data_root: PathLike | None = None,
    split: str | None = None,
    command: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a page that shows evaluations, HTML in one file, whole or not at all.

    It has the scores with intervals, the classes, the confusion matrix, the calibration, the worst and best
    pictures (`kseg.evaluate(..., samples=9)` keeps them) and what is known of each model.

    Args:
        path: new file.
        evaluations: dict, name of a model → `Evaluation` of the same classes.
        title: `None` or the heading of the page.
        data_root, split, command: what was evaluated, and how, or `None`.
        overwrite: replace what is at `path`.

    Raises:
        FileExistsError: if there is something at `path` and `overwrite` is false.
        OSError: if it cannot be written.
        ValueError: if there is no evaluation, or their classes differ.

    Example:
        >>> import tempfile
        >>> import kseg
        >>> model = kseg.build_conv_stack(6, depth=1, filters=2)
        >>> result = kseg.evaluate(model, kseg.data.shapes(2, (32, 32)), samples=2)
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report(path, {"model.keras": result})
        >>> path.read_text(encoding="utf-8")[:15]
        '<!doctype html>'
    """
    path = checked_target(path, overwrite)
    text = report_html(evaluations, title=title, data_root=data_root, split=split, command=command)
    write_whole(path, text.encode("utf-8", "replace"), "the report")


def report_html(
    evaluations: Mapping[str, Evaluation],
    *,
    title: str | None = None,
    data_root: PathLike | None = None,
    split: str | None = None,
    command: str | None = None,
) -> str:
    """Return the page of `write_report`."""
    import jinja2  # only a report needs it
    from markupsafe import Markup

    check_same_classes(evaluations)
    script, style = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,  # names of classes and files are text, never markup
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    only = next(iter(evaluations)) if len(evaluations) == 1 else f"{len(evaluations)} models"
    models = [views.model(name, evaluation) for name, evaluation in evaluations.items()]
    return environment.get_template("page.html").render(
        title=title or f"Evaluation of {only}",
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
        summary=views.summary(evaluations),
        models=models,
        classes=models[0]["classes"],
        data_root=None if data_root is None else str(data_root),
        split=split,
        command=command,
        versions=versions(),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _hash(text):
    """Return what the content policy of the page allows: this text alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
