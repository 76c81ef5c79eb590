"""The command `kseg predict`."""

import argparse
from pathlib import Path

from kseg.cli.options import (
    MODEL_FILE,
    Commands,
    Progress,
    add_classes,
    add_model_facts,
    add_output,
    add_output_kind,
    add_overwrite,
    add_resize,
    class_names,
    command,
    model_facts,
    with_classes_of,
)


def add_predict(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "predict",
        _predict,
        "segment pictures",
        "Segment pictures and write NAME.png (class ids) and NAME_overlay.png into --output; probabilities\n"
        "go into NAME.npy, float32 (H, W, classes), several labels as 0 or 1, uint8 (H, W, labels).",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=MODEL_FILE)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="picture files")
    add_output(parser, "folder for the results", abbreviations=("--outpu", "--outp", "--out", "--ou"))
    add_classes(parser, "classes.txt beside MODEL")
    parser.add_argument("--crf", action="store_true", help="refine along edges by the dense CRF")
    what = "what is written of each picture (default: %(default)s)"
    add_output_kind(parser, ("classes", "probabilities"), what, "classes")
    add_model_facts(parser)
    add_resize(parser)
    add_overwrite(parser, "files that exist")


def _predict(arguments: argparse.Namespace) -> int:
    from kseg.commands.predict import predict_files

    options = with_classes_of(arguments.model, {"class_names": class_names(arguments.classes)})
    predict_files(
        arguments.model,
        arguments.images,
        arguments.output,
        class_names=options["class_names"],
        crf=arguments.crf,
        output_kind=arguments.output_kind,
        overwrite=arguments.overwrite,
        **model_facts(arguments),
        progress=Progress("predicting"),
    )
    return 0
