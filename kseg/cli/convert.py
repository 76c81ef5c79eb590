"""The command `kseg convert`."""

import argparse
from pathlib import Path

from kseg.cli.options import Commands, Progress, add_classes, add_split, class_names, command

_FORMATS = ("coco", "cvat", "labelme", "yolo")


def add_convert(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "convert",
        _convert,
        "make pictures and masks of COCO, CVAT, labelme or YOLO",
        "Make OUT/SPLIT/images, OUT/SPLIT/masks and OUT/classes.txt of the annotations of another tool.\n"
        "Pictures are copied as they are; nothing is written over. Try --dry-run first.",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="file of annotations, or the folder with it: annotations/instances_train.json, "
        "train/_annotations.coco.json, annotations.xml, data.yaml, or labelme's .json files",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--from", dest="format", choices=_FORMATS, required=True, help="whose annotations they are"
    )
    add_split(parser, "train", "name of the split where SOURCE has none")
    parser.add_argument(
        "--image-folder", type=Path, metavar="DIR", help="the pictures, where they are not beside SOURCE"
    )
    add_classes(parser, "those of SOURCE")
    _add_choices(parser)
    parser.add_argument(
        "--skip-missing", action="store_true", help="leave out pictures that are not there, and count them"
    )
    parser.add_argument("--dry-run", action="store_true", help="count and report; write nothing")


def _add_choices(parser):
    parser.add_argument(
        "--background",
        default="background",
        metavar="NAME",
        help="class 0, of the pixels without an object (default: %(default)s)",
    )
    parser.add_argument(
        "--no-background",
        dest="background",
        action="store_const",
        const=None,
        help="pixels without an object are void (255), not a class",
    )
    parser.add_argument(
        "--order",
        choices=("area", "file"),
        help="what lies on top: the smaller object, or the later one in the file (default: area for coco and "
        "yolo, file for cvat and labelme)",
    )
    parser.add_argument(
        "--crowd",
        choices=("void", "class", "skip"),
        default="void",
        help="what COCO's crowds become (default: %(default)s)",
    )
    parser.add_argument(
        "--polygon-points",
        choices=("grid", "pixels"),
        help="grid: points lie between pixels, as in COCO; pixels: they name pixels, and the border belongs "
        "to the object, as labelme and OpenCV paint (default: grid for cvat, and for coco where its areas do "
        "not say otherwise; else pixels)",
    )
    parser.add_argument(
        "--boxes",
        choices=("skip", "paint"),
        default="skip",
        help="what objects with a box alone become (default: %(default)s)",
    )
    parser.add_argument(
        "--empty",
        choices=("background", "skip"),
        default="background",
        help="what pictures without objects become (default: %(default)s)",
    )
    parser.add_argument(
        "--orientation",
        choices=("displayed", "stored"),
        help="how a picture that EXIF turns was annotated (default: by the size that SOURCE states, else "
        "displayed)",
    )


def _convert(arguments: argparse.Namespace) -> int:
    from kseg.data import convert

    words = (
        *("split", "image_folder", "background", "order", "crowd", "polygon_points", "boxes", "empty"),
        *("orientation", "skip_missing", "dry_run"),
    )
    report = convert(
        arguments.source,
        arguments.output,
        arguments.format,
        class_names=class_names(arguments.classes),
        progress=Progress("converting"),
        **{word: getattr(arguments, word) for word in words},
    )
    print(report)
    if arguments.dry_run:
        print("dry run: nothing was written")
    return 3 if report.problems else 0
