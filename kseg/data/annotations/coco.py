"""COCO: one JSON file per split, with polygons or run lengths; Roboflow's exports of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Annotations, Runs
from kseg.data.annotations.sources import collected, find_picture, points, read_json, split_named

_ROBOFLOW = "_annotations.coco.json"
_NO_OBJECTS = re.compile(r"(captions|person_keypoints|image_info|panoptic)_.*")


def read_coco(source: Path, split: str, image_folder: Path | None) -> Annotations:
    """Return the annotations of a COCO file, or of the files in a folder.

    A folder holds `annotations/instances_train2017.json` or the like, a folder per split with
    `_annotations.coco.json`, or a single JSON file.

    Args:
        source: the file or the folder.
        split: the name of the split where the source has none.
        image_folder: where the pictures are; `None` looks beside the annotations.

    Raises:
        FileNotFoundError, ValueError: it names the file.
    """
    result = Annotations([], [], polygon_points="grid", order="area")
    used: set[str] = set()
    parents: set[str] = set()
    areas: list[bool | None] = []
    for path, name in _files(source, split):
        content = read_json(path)
        _check(path, content)
        categories = _categories(path, content, result, parents)
        folders = [image_folder] if image_folder else _image_folders(source, path, name)
        pictures = _pictures(path, content, result, split_named(name), folders)
        used |= _objects(path, content, result, categories, pictures, areas)
    told = [fits for fits in areas if fits is not None]
    if len(told) >= 3 and sum(told) >= 0.9 * len(told):
        result.polygon_points = "pixels"
        result.notes["polygons whose stated area counts their border: points name pixels"] = sum(told)
    # Roboflow begins with a category that only gathers the others
    gathering = [name for name in result.class_names if name in parents and name not in used]
    result.class_names = [name for name in result.class_names if name not in gathering]
    for name in gathering:
        result.notes[f"categories that gather others and have no object, left out ({name})"] += 1
    return result


def _files(source, split):
    """Return `[(file, its split)]`."""
    if source.is_file():
        return [(source, source.parent.name if source.name == _ROBOFLOW else split)]
    found = sorted(source.glob(f"*/{_ROBOFLOW}"))
    if found:
        return [(path, path.parent.name) for path in found]
    for folder in (source / "annotations", source):
        found = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
        found = [path for path in found if not _NO_OBJECTS.fullmatch(path.name)]
        kinds = sorted({path.stem.rpartition("_")[0] for path in found})
        if len(found) == 1 and folder == source:
            return [(found[0], split)]
        if len(kinds) > 1:
            names = ", ".join(path.name for path in found[:4])
            raise ValueError(f"{folder}: holds annotations of several kinds ({names}); give one of the files")
        if found:
            return [(path, path.stem.rpartition("_")[2] or split) for path in found]
    raise FileNotFoundError(
        f"{source}: no COCO file; expected annotations/instances_{split}.json or {split}/{_ROBOFLOW} in it"
    )


def _check(path, content):
    lists = isinstance(content, Mapping) and all(
        isinstance(content.get(key, []), list) for key in ("images", "annotations", "categories")
    )
    if not lists or "images" not in content:
        raise ValueError(f"{path}: is no COCO file; expected an object with images, annotations, categories")
    if not content.get("categories"):
        raise ValueError(f"{path}: has no categories, so nothing says what its objects are; export it anew")


def _categories(path, content, result, parents):
    """Return `{category id: name}`; a name that stands twice is one class."""
    categories: dict[Any, str] = {}
    for index, entry in enumerate(content["categories"]):
        with collected(result.problems, f"{path}: category {index}"):
            name = str(entry["name"]).strip()
            if categories.setdefault(entry["id"], name) != name:
                raise ValueError(f"id {entry['id']} is that of {categories[entry['id']]!r} too; renumber it")
            if entry.get("supercategory") != entry["name"]:
                parents.add(str(entry.get("supercategory")).strip())
    names = dict.fromkeys(categories.values())
    if len(names) < len(categories):
        twice = len(categories) - len(names)
        result.notes["categories of a name that stands twice, made one class"] += twice
    result.class_names += [name for name in names if name not in result.class_names]
    return categories


def _image_folders(source, path, name):
    roots = [source] if source.is_dir() else []
    roots += [path.parent, path.parent.parent]
    inside = [f"images/{name}", name, "images", f"images/{split_named(name)}", split_named(name), "."]
    return [root / part for part in inside for root in dict.fromkeys(roots)]


def _pictures(path, content, result, split, folders):
    """Return `{image id: picture}`."""
    pictures: dict[Any, AnnotatedPicture] = {}
    for index, entry in enumerate(content["images"]):
        with collected(result.problems, f"{path}: image {index}"):
            number, name = entry["id"], str(entry["file_name"])
            if number in pictures:
                raise ValueError(f"id {number} is that of {pictures[number].name} too; renumber it")
            size = None
            if entry.get("height") and entry.get("width"):
                size = int(entry["height"]), int(entry["width"])
            picture = AnnotatedPicture(
                name, split, f"{path}: {name}", find_picture(name, folders), None, size
            )
            pictures[number] = picture
            result.pictures.append(picture)
    return pictures


def _objects(path, content, result, categories, pictures, areas):
    """Put the objects into their pictures; return the names of their classes."""
    used: set[str] = set()
    if "annotations" not in content:
        result.notes[f"files without annotations, all of whose pictures are left out ({path.name})"] += 1
        known = {id(picture) for picture in pictures.values()}
        result.pictures = [picture for picture in result.pictures if id(picture) not in known]
        return used
    for index, entry in enumerate(content["annotations"]):
        where = f"{path}: annotation {entry.get('id', index) if isinstance(entry, Mapping) else index}"
        with collected(result.problems, where):
            picture = pictures.get(entry["image_id"])
            if picture is None:
                result.notes["objects of pictures that the file does not list, left out"] += 1
                continue
            if entry["category_id"] not in categories:
                raise ValueError(f"category_id {entry['category_id']} is not among the categories; add it")
            label = categories[entry["category_id"]]
            item = _object(label, entry, picture.size)
            picture.objects.append(item)
            areas.append(_counts_border(item.polygons, entry.get("area")))
            used.add(label)
    return used


def _object(label, entry, size):
    result = AnnotatedObject(label, crowd=bool(entry.get("iscrowd", 0)))
    outline = entry.get("segmentation")
    if isinstance(outline, Mapping):
        height, width = outline.get("size") or size
        result.runs = Runs(outline["counts"], (int(height), int(width)))
    elif outline:
        flat = not isinstance(outline[0], list)
        pairs = not flat and all(isinstance(part, list) and len(part) == 2 for part in outline)
        result.polygons = [points(part) for part in ([outline] if flat or pairs else outline)]
    elif entry.get("bbox"):
        left, top, width, height = (float(number) for number in entry["bbox"])
        result.box = left, top, left + width, top + height
    return result


def _counts_border(polygons, area):
    """Tell whether a stated area is of the pixels on a border and within; `None` where it cannot tell.

    By Pick's theorem a polygon with whole numbers has as many on it and inside as its area, half of those
    on it, and one. Files made from masks state that; COCO's own state the area.
    """
    if len(polygons) != 1 or not area or len(polygons[0]) < 3 or (polygons[0] % 1).any():
        return None
    steps = np.diff(polygons[0], axis=0, append=polygons[0][:1]).astype("int64")
    x, y = polygons[0].T
    inside = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return bool(area == inside + np.gcd(*np.abs(steps).T).sum() / 2 + 1)
