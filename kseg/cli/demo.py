"""The command `kseg demo`."""

import argparse
from pathlib import Path

from kseg.cli.options import Commands, add_epochs, add_output, command


def add_demo(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "demo",
        _demo,
        "train, export and compare on generated scenes, in minutes and without data",
        "Train a small U-Net on generated scenes, export it to SavedModel and three .tflite files, and\n"
        "compare all of them on scenes it never saw. Writes into a new folder:\n"
        "  model.keras  saved_model/  float32.tflite  float16.tflite  int8.tflite  predictions.png\n"
        "  classes.txt, the names of the classes, which the exported files know too\n\n"
        "  kseg demo --quick      about a minute on two cores: fewer scenes and epochs, the same files",
    )
    add_output(parser, "new folder for the results", Path("kseg-demo"))
    add_epochs(parser, "fewer is faster and worse (default: 11; --quick: 8)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer scenes and epochs, to try it out; the model is worse"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from kseg.commands.demo import demo

    demo(arguments.output, quick=arguments.quick, epochs=arguments.epochs)
    return 0
