"""labelme: a JSON file per picture; LabelMe, from which it comes, an XML file."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from kseg.data import headers
from kseg.data.annotations.labelme_xml import read_xml_file
from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Annotations, Patch
from kseg.data.annotations.sources import (
    collected,
    ellipse,
    find_picture,
    points,
    read_json,
    rectangle,
    split_named,
)

_NO_AREAS = ("line", "linestrip", "point", "points")
_SPLITS = ("train", "val", "test")


def read_labelme(source: Path, split: str, image_folder: Path | None) -> Annotations:
    """Return the annotations in a folder of labelme's JSON files or of LabelMe's XML files, or in one file.

    Folders named as splits are splits. The classes are in the order of their names.

    Args:
        source: the folder or the file.
        split: the name of the split where the source has none.
        image_folder: where the pictures are; `None` looks where the files say, and beside them.

    Raises:
        FileNotFoundError, ValueError: it names the file.
    """
    result = Annotations(
        [],
        [],
        polygon_points="pixels",
        order="file",
        background_names=frozenset({"_background_"}),
        void_names=frozenset({"__ignore__"}),
    )
    paths = [source] if source.is_file() else sorted([*source.rglob("*.json"), *source.rglob("*.xml")])
    for path in paths:
        if not path.name.startswith("."):
            read = read_xml_file if path.suffix.lower() == ".xml" else _read
            read(path, _split_of(path, source, split), image_folder, result)
    if not result.pictures and not result.problems:
        raise FileNotFoundError(
            f"{source}: no JSON file of labelme, nor XML of LabelMe, in it; expected one beside each picture"
        )
    labels = {item.label for picture in result.pictures for item in picture.objects}
    result.class_names = sorted(labels)
    if source.is_dir():
        _count_pictures_alone(source, result)
    return result


def _split_of(path, source, split):
    parts = path.relative_to(source).parts[:-1] if path != source else ()
    return next((split_named(part) for part in parts if split_named(part) in _SPLITS), split)


def _count_pictures_alone(source, result):
    used = {picture.path.resolve() for picture in result.pictures if picture.path}
    for path in source.rglob("*"):
        of_objects = {"Masks", "Scribbles"} & set(path.relative_to(source).parts)
        if not of_objects and path.suffix.lower() in headers.SUFFIXES and path.resolve() not in used:
            result.notes["pictures without annotations, left out"] += 1


def _read(path, split, image_folder, result):
    try:
        content = read_json(path)
    except ValueError as error:
        result.problems.append(str(error))
        return
    if not isinstance(content, Mapping) or not isinstance(content.get("shapes"), list):
        result.notes["JSON files that are not of labelme, passed over"] += 1
        return
    with collected(result.problems, str(path)):
        name = str(content.get("imagePath") or path.with_suffix(".png").name)
        picture = AnnotatedPicture(name, split, str(path), _picture_file(path, name, image_folder))
        if picture.path is None and content.get("imageData"):
            picture.content = base64.b64decode(content["imageData"])
        if content.get("imageHeight") and content.get("imageWidth"):
            picture.size = int(content["imageHeight"]), int(content["imageWidth"])
        result.pictures.append(picture)
    for number, shape in enumerate(content["shapes"]):
        with collected(result.problems, f"{path}: shape {number}"):
            item = _object(shape, result.notes)
            picture.objects += [item] if item else []


def _picture_file(path, name, image_folder):
    found = find_picture(name, [image_folder or path.parent])
    if found is None and image_folder is None:  # renamed after it was annotated
        beside = [path.with_suffix(suffix) for suffix in headers.SUFFIXES]
        beside += [path.with_suffix(suffix.upper()) for suffix in headers.SUFFIXES]
        found = next((each for each in beside if each.is_file()), None)
    return found


def _object(shape, notes):
    """Return the object of a shape; `None` for one that has no area."""
    kind = shape.get("shape_type") or "polygon"
    label, outline = str(shape["label"]).strip(), points(shape["points"])
    if kind == "polygon":
        return AnnotatedObject(label, polygons=[outline])
    if kind in ("rectangle", "mask"):
        (left, top), (right, bottom) = outline.min(0), outline.max(0)
        if kind == "rectangle":
            return AnnotatedObject(label, polygons=[rectangle(left, top, right, bottom)])
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"])), formats=("PNG",)) as image:
            return AnnotatedObject(label, patch=Patch(np.asarray(image) != 0, int(left), int(top)))
    if kind == "circle":
        (x, y), (edge_x, edge_y) = outline
        radius = float(np.hypot(edge_x - x, edge_y - y))
        return AnnotatedObject(label, polygons=[ellipse(x, y, radius, radius)])
    if kind == "oriented_rectangle" and len(outline) == 4:
        return AnnotatedObject(label, polygons=[outline])
    what = "which have no area" if kind in _NO_AREAS else "which kseg does not know"
    notes[f"shapes of the kind {kind!r}, {what}, left out"] += 1
    return None
