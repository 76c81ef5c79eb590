"""The command `kseg predict`."""

import argparse
import sys
from pathlib import Path

from kseg.cli.options import (
    MODEL_FILE,
    Commands,
    Progress,
    add_average,
    add_batch_size,
    add_classes,
    add_model_facts,
    add_output,
    add_output_kind,
    add_overwrite,
    add_resize,
    add_windows,
    class_names,
    command,
    model_facts,
    window_options,
    with_classes_of,
)
from kseg.cli.values import number, part, unit
from kseg.cli.words import add_option

_FAILED = 3  # the exit code where some pictures could not be segmented
_KINDS = ("mask", "overlay", "contours", "probabilities", "probabilities16", "confidence", "polygons")


def add_predict(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "predict",
        _predict,
        "segment pictures, folders and videos",
        "Segment pictures and write NAME.png (class ids in a palette) and NAME_overlay.png into --output.\n"
        "Of a folder, list or video all are segmented: what is finished is skipped when the same command\n"
        "runs again, and what cannot be read is listed in failed.txt (exit code 3) while the others go on.\n"
        "A GeoTIFF gives a GeoTIFF at the same place, by windows; any other TIFF beyond memory a tiled one.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=MODEL_FILE)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="picture files, folders, globs, .txt files that list pictures, videos",
    )
    add_output(parser, "folder for the results", abbreviations=("--outpu", "--outp", "--out", "--ou"))
    add_average(parser, "further models to average with", nargs="+", type=Path, default=[], metavar="MODEL")
    add_classes(parser, "classes.txt beside MODEL", ("--cl", "--cla"))
    add_windows(parser)
    add_files(parser)
    what = "probabilities: short for --save probabilities overlay (default: %(default)s)"
    add_output_kind(parser, ("classes", "probabilities"), what, "classes")
    add_batch_size(parser, "pictures or windows at once (default: by their size)")
    parser.add_argument(
        "--shard",
        type=part,
        default=(1, 1),
        metavar="I/N",
        help="the I-th of N parts of the pictures, for several machines that write into one folder",
    )
    add_model_facts(parser)
    add_resize(parser)
    add_overwrite(parser, "files that exist", abbreviations=("--ov", "--ove", "--over"))


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add which files are written, and how masks are cleaned."""
    parser.add_argument(
        "--save",
        nargs="+",
        choices=_KINDS,
        metavar="KIND",
        help=f"files of each picture: {', '.join(_KINDS)} (default: mask overlay)",
    )
    parser.add_argument(
        "--min-region",
        type=number,
        default=0,
        metavar="N",
        help="regions of fewer pixels become the class of the nearest larger one",
    )
    parser.add_argument(
        "--fill-holes",
        type=number,
        default=0,
        metavar="N",
        help="holes of up to N pixels in a region become its class",
    )
    add_option(
        parser,
        "--min-confidence",
        type=unit,
        default=0.0,
        metavar="P",
        help="pixels whose class has a lower probability become void",
    )


def _predict(arguments: argparse.Namespace) -> int:
    from kseg.commands.predict import predict_files

    options = with_classes_of(arguments.model, {"class_names": class_names(arguments.classes)})
    predicted = predict_files(
        [arguments.model, *arguments.average] if arguments.average else arguments.model,
        arguments.images,
        arguments.output,
        class_names=options["class_names"],
        save=arguments.save,
        output_kind=arguments.output_kind,
        min_region=arguments.min_region,
        fill_holes=arguments.fill_holes,
        min_confidence=arguments.min_confidence,
        batch_size=arguments.batch_size,
        shard=arguments.shard,
        overwrite=arguments.overwrite,
        **window_options(arguments),
        **model_facts(arguments),
        progress=Progress("predicting", every=30),
    )
    if predicted.done + predicted.skipped + predicted.failed > 1 or predicted.failed:
        finished = f", {predicted.skipped} finished before" if predicted.skipped else ""
        failed = f", {predicted.failed} failed: see {predicted.failed_list}" if predicted.failed else ""
        print(f"{predicted.done} segmented{finished}{failed}", file=sys.stderr)
    return _FAILED if predicted.failed else 0
