"""What the commands share: kinds of arguments, the data, the progress line."""

import argparse
import math
import re
import sys
import time
from pathlib import Path

MODEL_FILE = ".keras, .tflite or .onnx file or SavedModel folder"  # what runs a model


def command(commands, name, function, summary, description):
    """Add a command to the parser; `function` runs it and returns the exit code."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    return parser


def add_data(parser, required=True):
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        metavar="DIR",
        help="DIR/train/images, DIR/train/masks, DIR/val/...; or DIR/images and DIR/masks, split for you",
    )
    parser.add_argument(
        "--label-map",
        type=label_map,
        default={},
        metavar="OLD:NEW,...",
        help="ids in the masks to change, for instance 11:255 where void is 11 (255 is void); give it to "
        "every command that reads these masks",
    )
    parser.add_argument(
        "--classes",
        metavar="NAME,... | FILE",
        help="class names, or a file with one per line (default: DIR/classes.txt, else numbered)",
    )


def data_options(arguments):
    return {"label_map": arguments.label_map, "class_names": class_names(arguments.classes)}


def class_names(text):
    """Return the names of `--classes`: a list with commas, or a file with one per line."""
    from kseg.data.labels import checked_names, read_class_names

    if text is None:
        return None
    if "," not in text:
        return read_class_names(text)
    return checked_names([name.strip() for name in text.split(",")], "--classes")


def add_model_files(parser):
    parser.add_argument(
        "model",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help=MODEL_FILE,
    )


def with_classes_of(model, options):
    """Take the class names from the `classes.txt` beside the model, where none were given."""
    from kseg.data.labels import read_class_names

    beside = model.parent / "classes.txt"
    if options["class_names"] is None and beside.is_file():
        options = {**options, "class_names": read_class_names(beside)}
    return options


def positive(text):
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a number of 1 or more, got {text!r}")
    return value


def rate(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def size(text):
    found = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if not found or not int(found[1]) or not int(found[2]):
        raise argparse.ArgumentTypeError(f"expected HxW in pixels, for instance 256x320, got {text!r}")
    return int(found[1]), int(found[2])


def counts(text):
    return tuple(positive(item) for item in text.split(","))


def layers(text):
    return int(text) if text.isdecimal() else tuple(name.strip() for name in text.split(","))


def label_map(text):
    try:
        pairs = [item.split(":") for item in text.split(",") if item]
        return {int(old): int(new) for old, new in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected OLD:NEW,..., for instance 11:255, got {text!r}") from None


class Progress:
    """A line on the terminal that counts and tells the time left; silent where output is no terminal."""

    def __init__(self, what, stream=None):
        self.what = what
        self.stream = stream or sys.stderr
        self.start = time.monotonic()

    def __call__(self, done, total):
        if not self.stream.isatty():
            return
        left = (
            ""
            if not total
            else f"/{total}, {(time.monotonic() - self.start) / done * (total - done):.0f} s left"
        )
        end = "\r\033[K" if done == total else ""
        print(f"\r{self.what}: {done}{left}   {end}", end="", file=self.stream, flush=True)
