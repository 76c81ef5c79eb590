"""YOLO: a text file per picture, a class and a polygon per line, and a `data.yaml` of names."""

from collections.abc import Mapping
from pathlib import Path

from kseg.data import headers
from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Annotations
from kseg.data.annotations.sources import collected, points, read_text, read_yaml, split_named

_FARTHEST = 2.0  # share of the picture; more are pixels


def read_yolo(source: Path, split: str, image_folder: Path | None) -> Annotations:
    """Return the annotations of a YOLO data set.

    Args:
        source: `data.yaml` or its folder.
        split, image_folder: no use here; the splits are those of `data.yaml`.

    Raises:
        FileNotFoundError, ValueError: it names the file.
    """
    path = source if source.is_file() and source.suffix != ".data" else _yaml_in(source)
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content.get("names"):
        raise ValueError(f"{path}: has no names of classes; add them, for instance names: [cat, dog]")
    result = Annotations(_names(path, content["names"]), [], polygon_points="pixels", order="area")
    entries = {key: content[key] for key in ("train", "val", "valid", "test") if content.get(key)}
    looked = []
    for key, entry in entries.items():
        for place in entry if isinstance(entry, list) else [entry]:
            folders = _folders(path, content.get("path"), key, str(place))
            found = next((folder for folder in folders if folder.exists()), None)
            if found is None:
                result.notes[f"splits of {path.name} whose folder is not there ({key}: {place})"] += 1
                looked.append(str(folders[0]))
                continue
            for picture in _listed(found, path.parent):
                _read(picture, split_named(key), result)
    if not result.pictures:
        where = ", ".join(looked) or "no train, val or test in it"
        raise FileNotFoundError(f"{path}: no pictures found ({where}); mend the folders it names")
    return result


def _yaml_in(source):
    folder = source if source.is_dir() else source.parent
    for pattern in ("data.yaml", "data.yml", "*.yaml", "*.yml"):
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{folder}: holds {len(found)} YAML files; give the one with the names")
    if darknet := next(folder.glob("*.data"), None):
        raise ValueError(
            f"{darknet}: is a list of Darknet, whose annotations are boxes without outlines; export "
            "polygons, with a data.yaml"
        )
    raise FileNotFoundError(f"{folder}: no data.yaml in this folder; expected one with names, train and val")


def _names(path, names):
    """Return the names in the order of their ids."""
    try:
        numbered = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
        ordered = [str(numbered[number]).strip() for number in range(len(numbered))]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: names must be a list, or numbered from 0, got {names!r:.80}") from None
    if len(set(ordered)) < len(ordered):
        raise ValueError(f"{path}: a name stands twice among {ordered}; rename one")
    return ordered


def _folders(path, base, key, place):
    """Return where a split may lie: where `data.yaml` says, and where it lay when that was written."""
    root = path.parent
    near = place.replace("\\", "/")
    while near.startswith("../"):  # Roboflow's paths begin one folder too high
        near = near[3:]
    bases = [root / str(base)] if base else []
    result = [each / place for each in [*bases, root]] + [root / near]
    if base:
        result.append(root / str(base).replace("\\", "/").rsplit("/", 1)[-1] / place)
    result += [root / f"{name}/images" for name in (key, split_named(key))]
    return [*result, root / f"images/{split_named(key)}"]


def _listed(place, root):
    """Return the pictures of a folder, or of a text file that lists them."""
    if place.is_dir():
        found = (path for path in sorted(place.rglob("*")) if path.suffix.lower() in headers.SUFFIXES)
        return [path for path in found if not path.name.startswith(".")]
    lines = (line.strip() for line in read_text(place).splitlines())
    return [place.parent / line if (place.parent / line).exists() else root / line for line in lines if line]


def _label_file(picture):
    """Return the text file of a picture: in `labels` where it is in `images`, else beside it."""
    parts = list(picture.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read(path, split, result):
    picture = AnnotatedPicture(path.name, split, str(path), path if path.is_file() else None, shares=True)
    labels = _label_file(path)
    result.pictures.append(picture)
    if not labels.is_file():
        result.notes["pictures without a text file, as those without objects"] += 1
        return
    for number, line in enumerate(read_text(labels).splitlines(), start=1):
        if line.strip():
            with collected(result.problems, f"{labels}:{number}"):
                picture.objects.append(_object(line.split(), result.class_names))


def _object(words, names):
    index, numbers = float(words[0]), [float(word) for word in words[1:]]
    if index not in range(len(names)):
        raise ValueError(
            f"class {words[0]} is not within 0..{len(names) - 1}, the names of data.yaml; add it"
        )
    label = names[int(index)]
    if not all(abs(number) <= _FARTHEST for number in numbers):  # NaN is not
        raise ValueError("holds numbers outside 0–1; points are shares of the width and height")
    if len(numbers) == 4:
        x, y, width, height = numbers
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return AnnotatedObject(label, box=box)
    if not numbers:
        raise ValueError("has a class and no points; remove the line")
    return AnnotatedObject(label, polygons=[points(numbers)])
