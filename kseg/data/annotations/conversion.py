"""Annotations of other tools become pictures and masks: `convert`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from kseg.checks import check_choice, unknown_name
from kseg.data.annotations.coco import read_coco
from kseg.data.annotations.cvat import read_cvat
from kseg.data.annotations.labelme import read_labelme
from kseg.data.annotations.objects import AnnotatedPicture, Annotations, Order, PolygonPoints
from kseg.data.annotations.orientation import Orientation, frame, turned
from kseg.data.annotations.painting import VOID, Rules, paint
from kseg.data.annotations.report import ConversionReport
from kseg.data.annotations.sources import needed
from kseg.data.annotations.writing import (
    check_free,
    output_stems,
    place_mask,
    place_picture,
    put_in_place,
    workplace,
)
from kseg.data.annotations.yolo import read_yolo
from kseg.data.name_files import checked_names
from kseg.types import PathLike

Format: TypeAlias = Literal["coco", "cvat", "labelme", "yolo"]

FORMATS = {"coco": read_coco, "cvat": read_cvat, "labelme": read_labelme, "yolo": read_yolo}
_TOLD = 3  # names in a message


def convert(
    source: PathLike,
    output: PathLike,
    format: Format,
    *,
    split: str = "train",
    image_folder: PathLike | None = None,
    class_names: Sequence[str] | None = None,
    background: str | None = "background",
    order: Order | None = None,
    crowd: Literal["void", "class", "skip"] = "void",
    polygon_points: PolygonPoints | None = None,
    boxes: Literal["skip", "paint"] = "skip",
    empty: Literal["background", "skip"] = "background",
    orientation: Orientation = None,
    skip_missing: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> ConversionReport:
    """Write annotations of another tool as pictures and masks that `from_directory` reads.

    `output/{split}/images` gets the pictures, byte for byte; `output/{split}/masks` a PNG of class ids each;
    `output/classes.txt` the names. All of it is written, or nothing, and never over what is there; a split
    may come to others with the same classes. Needs the extra `annotations` (`pip install
    'kseg[annotations]'`).

    Args:
        source: for "coco" a JSON file or a folder with `annotations/` or with a `_annotations.coco.json` per
            split; for "cvat" the `annotations.xml` of "CVAT for images 1.1" or its folder; for "labelme" a
            folder of its JSON files, or of the XML files of LabelMe's web tool; for "yolo" `data.yaml` or its
            folder.
        output: the folder to write.
        format: "coco", "cvat", "labelme" or "yolo".
        split: name of the split where the source has none. "valid" becomes "val".
        image_folder: where the pictures are; `None` looks where each tool puts them.
        class_names: the classes in the order of their ids; `None` takes those of the source, in its order.
        background: class 0, of the pixels that no object covers; one of the classes may bear the name. With
            `None` there is no such class, and these pixels are void.
        order: "area" paints smaller objects over larger ones, "file" later ones over earlier ones. `None` is
            "area" for "coco" and "yolo", where objects have no order, and "file" for the others.
        crowd: what COCO's crowds become: "void", beneath all objects; their class; or nothing.
        polygon_points: "grid": points lie on the grid between pixels, the first pixel reaches from 0 to 1,
            and a pixel counts where its middle is inside, as for COCO's own library. "pixels": points name
            pixels, and those of the border belong to the object, as labelme and OpenCV paint them. `None` is
            "grid" for "cvat", "pixels" for "labelme" and "yolo"; for "coco" "grid", unless the areas that the
            file states are those of "pixels".
        boxes: whether objects with a box and no outline are left out or painted as boxes.
        empty: whether pictures without objects become background or are left out.
        orientation: whether points are of the picture as "displayed" or as "stored", before EXIF turns it.
            `None` reads it from the size that the source states; where that does not tell, "displayed".
        skip_missing: leave out pictures that are not there, and count them.
        dry_run: count and report; write nothing.
        progress: called with `(pictures done, all pictures)`.

    Returns:
        What was converted, and what was left out; printed, it is a table of the classes.

    Raises:
        FileExistsError: if a split is in `output` already.
        FileNotFoundError: if there is no source.
        ImportError: without the extra.
        ValueError: for what cannot be read or does not fit; it names the file. A dry run puts what is wrong
            with single pictures into the report instead.

    Example:
        >>> import json, pathlib, tempfile
        >>> from PIL import Image
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (6, 4)).save(folder / "a.png")
        >>> square = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}
        >>> _ = (folder / "coco.json").write_text(json.dumps({
        ...     "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [square]}))
        >>> report = convert(folder / "coco.json", folder / "data", "coco")
        >>> report.class_names, report.pixels["train"].tolist()
        (['background', 'cat'], [20, 4])
    """
    source, output = Path(source).expanduser(), Path(output).expanduser().resolve()
    _check_choices(format, order, crowd, polygon_points, boxes, empty, orientation)
    needed("pycocotools.mask")
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    found = FORMATS[format](source, split, None if image_folder is None else Path(image_folder).expanduser())
    names, ids = _class_ids(found, class_names, background, source)
    rules = Rules(
        ids=ids,
        ground=VOID if background is None else ids[background],
        polygon_points=polygon_points or found.polygon_points,
        order=order or found.order,
        crowd=crowd,
        boxes=boxes,
    )
    pictures, report = _selected(found, names, empty, skip_missing, boxes, source)
    splits = sorted({picture.split for picture in pictures})
    check_free(output, splits, names)
    if not dry_run:
        report.raise_for_problems()
    with workplace(output, dry_run) as folder:
        _write(pictures, folder, report, rules, orientation, dry_run, progress)
        if not dry_run:
            report.raise_for_problems()
            put_in_place(folder, output, splits, names)
    return report


def _check_choices(format, order, crowd, polygon_points, boxes, empty, orientation):
    check_choice("format", format, list(FORMATS))
    check_choice("order", order, [None, "area", "file"])
    check_choice("crowd", crowd, ["void", "class", "skip"])
    check_choice("polygon_points", polygon_points, [None, "grid", "pixels"])
    check_choice("boxes", boxes, ["skip", "paint"])
    check_choice("empty", empty, ["background", "skip"])
    check_choice("orientation", orientation, [None, "displayed", "stored"])


def _class_ids(found: Annotations, class_names, background, source):
    """Return the names of the classes and `{label: id}`."""
    special = found.background_names | found.void_names
    if class_names is None:
        names = [name for name in found.class_names if name not in special | {background}]
        names = names if background is None else [background, *names]
    else:
        names = checked_names([str(name) for name in class_names], "class_names")
        names = names if background is None or background in names else [background, *names]
    checked_names(names, source)
    if any(len(name.splitlines()) != 1 or name != name.strip() for name in names):
        raise ValueError(
            f"{source}: a class name holds a line break or blanks at its ends: {names}; rename it"
        )
    if len(names) > VOID:
        raise ValueError(f"{source}: {len(names)} classes with the background, and ids reach 254; merge some")
    ids = {name: number for number, name in enumerate(names)}
    ground = VOID if background is None else ids[background]
    ids |= {name: ground for name in found.background_names if name not in ids}
    ids |= {name: VOID for name in found.void_names if name not in ids}
    for picture in found.pictures:
        for item in picture.objects:
            if item.label not in ids:
                raise ValueError(f"{picture.source}: {unknown_name('class', item.label, names)}")
    return names, ids


def _selected(found: Annotations, names, empty, skip_missing, boxes, source):
    """Return the pictures to convert and a report that counts those left out."""
    report = ConversionReport(names, notes=found.notes, problems=found.problems)
    pictures, missing = [], []
    for picture in found.pictures:
        if picture.path is None and picture.content is None:
            missing.append(picture.name)
        elif picture.objects or empty == "background":
            pictures.append(picture)
        if not picture.objects:
            done = "all background" if empty == "background" else "left out"
            report.notes[f"pictures without objects, {done}"] += 1
    if missing and skip_missing:
        report.notes["pictures that are not there, left out"] += len(missing)
    elif missing:
        listed = ", ".join(missing[:_TOLD]) + (", ..." if len(missing) > _TOLD else "")
        report.problems.append(
            f"{source}: {len(missing)} of {len(found.pictures)} pictures are not there ({listed}); give "
            "image_folder=, or leave them out by skip_missing=True"
        )
    if not pictures and not report.problems:
        raise ValueError(f"{source}: no picture is left to convert; {_listed(report.notes)}")
    items = [item for picture in pictures for item in picture.objects]
    if boxes == "skip" and items and not any(item.polygons or item.runs or item.patch for item in items):
        raise ValueError(
            f"{source}: none of its {len(items)} objects has an outline, only boxes; export polygons or "
            "masks, or paint the boxes by boxes='paint'"
        )
    return pictures, report


def _listed(notes: Counter[str]) -> str:
    return "; ".join(f"{count} {text}" for text, count in notes.items()) or "it lists none"


def _write(pictures, folder, report, rules, orientation, dry_run, progress):
    """Write pictures and masks into a folder; what is wrong with one is in the report."""
    stems = output_stems(pictures)

    def visit(picture: AnnotatedPicture, stem: str):
        notes: Counter[str] = Counter()
        try:
            counts = _visit(picture, stem, folder, rules, orientation, dry_run, notes)
        except (ValueError, TypeError, OverflowError) as error:
            return None, notes, f"{picture.source}: {error}"
        return counts, notes, None

    with ThreadPoolExecutor() as pool:
        for done, (picture, result) in enumerate(
            zip(pictures, pool.map(visit, pictures, stems), strict=True)
        ):
            counts, notes, problem = result
            report.notes += notes
            if problem is None:
                report.objects.update(item.label for item in picture.objects)
                report.add(picture.split, counts)
            else:
                report.problems.append(problem)
            if progress:
                progress(done + 1, len(pictures))


def _visit(picture, stem, folder, rules, orientation, dry_run, notes) -> np.ndarray:
    """Write a picture and its mask; return the pixels `(256,)` of each id."""
    path = picture.path
    if path is None or not dry_run:
        path = place_picture(picture, stem, folder)
    size, exif = frame(path, picture.size, orientation, notes)
    mask = turned(paint(picture, size, rules, notes), exif)
    if not dry_run:
        place_mask(mask, picture.split, stem, folder)
    return np.bincount(mask.ravel(), minlength=256)
