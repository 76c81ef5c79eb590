"""The command `kseg predict`."""

from pathlib import Path

from kseg.cli.options import MODEL_FILE, Progress, class_names, command, with_classes_of


def add_predict(commands):
    """Add the command to the parser."""
    parser = command(
        commands,
        "predict",
        _predict,
        "segment pictures",
        "Segment pictures and write NAME.png (class ids) and NAME_overlay.png into --output.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=MODEL_FILE)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="picture files")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--classes", metavar="NAME,... | FILE", help="names for the legend")
    parser.add_argument("--crf", action="store_true", help="refine along edges by the dense CRF")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _predict(arguments):
    from kseg.commands.predict import predict_files

    options = with_classes_of(arguments.model, {"class_names": class_names(arguments.classes)})
    predict_files(
        arguments.model,
        arguments.images,
        arguments.output,
        class_names=options["class_names"],
        crf=arguments.crf,
        overwrite=arguments.overwrite,
        progress=Progress("predicting"),
    )
    return 0
