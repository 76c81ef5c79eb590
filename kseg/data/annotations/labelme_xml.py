"""LabelMe's older form, of its web tool: an XML file per picture, in `Annotations`, `Images` and `Masks`."""

from pathlib import Path

import numpy as np
from PIL import Image

from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Annotations, Patch
from kseg.data.annotations.sources import collected, find_picture, points, read_xml


def read_xml_file(path: Path, split: str, image_folder: Path | None, result: Annotations) -> None:
    """Add the picture of an XML file to `result`; what is no annotation of LabelMe is counted."""
    try:
        root = read_xml(path)
    except ValueError as error:
        result.problems.append(str(error))
        return
    if root.tag != "annotation" or root.find("filename") is None:
        result.notes["XML files that are not of LabelMe, passed over"] += 1
        return
    name, folder = root.findtext("filename", "").strip(), root.findtext("folder", "").strip()
    with collected(result.problems, str(path)):
        found = find_picture(name, [image_folder] if image_folder else _places(path, folder, "Images"))
        picture = AnnotatedPicture(name, split, str(path), found)
        size = root.find("imagesize")
        if size is not None:
            picture.size = int(size.findtext("nrows", "")), int(size.findtext("ncols", ""))
        result.pictures.append(picture)
    for number, element in enumerate(root.iterfind("object")):
        with collected(result.problems, f"{path}: object {number}"):
            if element.findtext("deleted", "0").strip() == "1":
                result.notes["objects that were deleted, left out"] += 1
                continue
            picture.objects.append(_object(element, _places(path, folder, "Masks"), picture.size))


def _places(path, folder, kind):
    """Return where the files of a kind may be: beside, and in its own tree instead of `Annotations`."""
    roots = [parent / kind for parent in path.parents[:4]]
    inside = [root / folder.replace("\\", "/") for root in roots] if folder else []
    return [*inside, *roots, path.parent]


def _object(element, mask_folders, size):
    label = element.findtext("name", "").strip()
    if not label:
        raise ValueError("has no name; give it one")
    name = element.findtext("segm/mask")
    if name is not None:
        path = find_picture(name.strip(), mask_folders)
        if path is None:
            raise ValueError(f"the mask {name.strip()} is not there; restore it, or remove the object")
        with Image.open(path, formats=("PNG",)) as image:
            pixels = np.asarray(image.convert("RGB")).max(2) > 0
        if size not in (None, pixels.shape):
            height, width = pixels.shape
            raise ValueError(f"the mask {path.name} has {width}×{height} pixels, and its picture has others")
        return AnnotatedObject(label, patch=Patch(pixels, 0, 0))
    pairs = [[point.findtext("x", ""), point.findtext("y", "")] for point in element.iterfind("polygon/pt")]
    return AnnotatedObject(label, polygons=[points(pairs)] if pairs else [])
