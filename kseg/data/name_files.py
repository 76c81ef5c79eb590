"""Names of classes in the files of other tools: a YAML of names, a CSV of ids and names, a label map."""

import csv
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from kseg.disk import check_regular
from kseg.types import PathLike

_BYTES = 2**20  # more is no list of names


def read_names(path: Path) -> dict[int, str | None] | None:
    """Return id → name, `None` of void; `None` for a YAML file without `names`.

    Files are JSON with `labels`, as Mapillary's configuration; YAML with `names`, a list or a map of ids, as
    Ultralytics has it; CSV with an id and a name on each line, as Roboflow's `_classes.csv`; else lines that
    begin with a name and a colon, numbered from 0, as CVAT's `labelmap.txt`.

    Raises:
        ValueError: if it is none of these; it names the file.
    """
    check_regular(path)
    try:
        if path.stat().st_size > _BYTES:
            raise ValueError(f"{path}: has more than {_BYTES:,} bytes, too many for a list of names")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, {error}; save it as UTF-8") from error
    if path.suffix == ".json":
        return _of_json(text, path)
    if path.suffix in (".yaml", ".yml"):
        return _of_yaml(text, path)
    if path.suffix == ".csv":
        return _of_csv(text, path)
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    return dict(enumerate(line.split(":")[0].strip() for line in lines))


def read_class_names(path: PathLike) -> list[str]:
    """Return the names in a text file, one per line; empty lines do not count.

    Raises:
        ValueError: if there is no name in it, one stands twice, or it is not UTF-8.
    """
    check_regular(Path(path))
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows begins files with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, {error}; save it as UTF-8") from error
    return checked_names([line.strip() for line in text.splitlines() if line.strip()], path)


def checked_names(names: list[str], source: PathLike) -> list[str]:
    """Return `names`; raise, naming `source`, if there is none, an empty one, or one that stands twice."""
    if not names or not all(names) or len(set(names)) != len(names):
        raise ValueError(f"{source}: expected one class name per line, each once, found {names}")
    return names


def _of_json(text, path):
    try:
        labels = json.loads(text)["labels"]
        return {
            id: str(each["readable"]) if each.get("evaluate", True) else None
            for id, each in enumerate(labels)
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected JSON with labels, each with its readable name ({error!r})"
        ) from None


def _of_yaml(text, path):
    try:
        yaml = import_module("yaml")  # of the extra "annotations"
    except ModuleNotFoundError:
        raise ValueError(
            f"{path}: needs yaml for its names; pip install 'kseg[annotations]', or give class_names"
        ) from None
    try:
        content: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    names = content.get("names") if isinstance(content, dict) else None
    if names is None:
        return None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(id) is int for id in names):
        raise ValueError(f"{path}: names must be a list, or a map of ids and names, got {names!r}"[:300])
    return {id: str(name) for id, name in names.items()}


def _of_csv(text, path):
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    rows = rows[1:] if rows and not rows[0][0].isdecimal() else rows
    if not rows or not all(len(row) == 2 and row[0].isdecimal() for row in rows):
        raise ValueError(f"{path}: expected an id and a name on each line, as in `0, background`")
    return {int(id): name for id, name in rows}
