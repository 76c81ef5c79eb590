"""CVAT: one XML file, "CVAT for images 1.1"."""

from pathlib import Path

import numpy as np

from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Annotations, Patch, Runs
from kseg.data.annotations.painting import run_mask
from kseg.data.annotations.sources import (
    collected,
    ellipse,
    find_picture,
    points,
    read_xml,
    rectangle,
    rotated,
    split_named,
)

_PLACES = (".", "images")


def read_cvat(source: Path, split: str, image_folder: Path | None) -> Annotations:
    """Return the annotations of an export as "CVAT for images 1.1".

    Args:
        source: `annotations.xml` or its folder.
        split: the name of the split of pictures that are in no subset.
        image_folder: where the pictures are; `None` looks beside the file and in `images`.

    Raises:
        FileNotFoundError, ValueError: it names the file.
    """
    path = source if source.is_file() else source / "annotations.xml"
    root = read_xml(path)
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(f'{path}: is no export as "CVAT for images 1.1"; export the task as that')
    names = [(name.text or "").strip() for name in root.iterfind("meta//labels/label/name")]
    result = Annotations(list(dict.fromkeys(names)), [], polygon_points="grid", order="file")
    folders = [image_folder] if image_folder else [path.parent / place for place in _PLACES]
    for number, element in enumerate(root.iterfind("image")):
        with collected(result.problems, f"{path}: image {number}"):
            _read(path, element, result, split, folders)
    if not result.pictures and not result.problems:
        raise ValueError(f"{path}: lists no image; export the task again with its annotations")
    return result


def _read(path, element, result, split, folders):
    name, subset = element.attrib["name"], element.get("subset") or ""
    named = split if subset.lower() in ("", "default") else split_named(subset)
    inside = [folder / part for folder in folders for part in ((subset, ".") if subset else (".",))]
    picture = AnnotatedPicture(name, named, f"{path}: {name}", find_picture(name, inside))
    picture.size = int(element.attrib["height"]), int(element.attrib["width"])
    result.pictures.append(picture)
    for shape in element:
        label = (shape.get("label") or "").strip()
        with collected(result.problems, f"{path}: {name}: {shape.tag} {label!r}"):
            item = _object(shape, label)
            if item is None:
                result.notes[f"shapes of the kind {shape.tag!r}, which have no area, left out"] += 1
                continue
            if label not in result.class_names:
                raise ValueError("is a label that the file does not list; export it anew")
            item.level = int(shape.get("z_order", 0))
            picture.objects.append(item)


def _object(shape, label):
    """Return the object of an element; `None` for one that has no area."""
    values = shape.attrib
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in values["points"].split(";") if pair.strip()]
        return AnnotatedObject(label, polygons=[points(pairs)])
    if shape.tag == "box":
        outline = rectangle(*(float(values[side]) for side in ("xtl", "ytl", "xbr", "ybr")))
    elif shape.tag == "ellipse":
        outline = ellipse(*(float(values[word]) for word in ("cx", "cy", "rx", "ry")))
    elif shape.tag == "mask":
        return AnnotatedObject(label, patch=_patch(values))
    else:
        return None
    return AnnotatedObject(label, polygons=[rotated(outline, float(values.get("rotation", 0)))])


def _patch(values):
    """Return the pixels of a mask: run lengths along the rows of its box."""
    left, top, width, height = (int(float(values[word])) for word in ("left", "top", "width", "height"))
    counts = [int(count) for count in values["rle"].split(",")]
    return Patch(np.ascontiguousarray(run_mask(Runs(counts, (width, height))).T), left, top)
