"""The command `kseg demo`."""

from pathlib import Path

from kseg.cli.options import command, positive


def add_demo(commands):
    """Add the command to the parser."""
    parser = command(
        commands,
        "demo",
        _demo,
        "train, export and compare on generated scenes, in minutes and without data",
        "Train a small U-Net on generated scenes, export it to SavedModel and three .tflite files, and\n"
        "compare all of them on scenes it never saw. Writes into a new folder:\n"
        "  model.keras  saved_model/  float32.tflite  float16.tflite  int8.tflite  predictions.png",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("kseg-demo"), help="new folder (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=positive, default=None, help="fewer is faster and worse")


def _demo(arguments):
    from kseg.commands.demo import run

    run(arguments.output, **({"epochs": arguments.epochs} if arguments.epochs else {}))
    return 0
