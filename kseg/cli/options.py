"""What the commands share: options and the progress line."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from kseg.cli.values import (
    fold,
    label_map,
    number,
    numbers,
    part_below_one,
    positive,
    size,
    value_range,
    window,
)
from kseg.cli.words import add_option

MODEL_FILE = ".keras, .tflite or .onnx file or SavedModel folder"  # what runs a model
Commands = argparse._SubParsersAction  # it has no public name


def command(
    commands: Commands,
    name: str,
    function: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    """Add a command to the parser; `function` runs it and returns the exit code."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    parser.add_argument("--h", action="help", help=argparse.SUPPRESS)  # --hue begins so too
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    return parser


def add_data(
    parser: argparse.ArgumentParser,
    required: bool = True,
    names_from: str = "DIR/classes.txt",
    abbreviations: Sequence[str] = ("--l",),
) -> None:
    """Add the folder of pictures and masks and what its ids mean.

    Args:
        parser: of the command.
        required: whether the folder must be given.
        names_from: what the help says of the names of the classes.
        abbreviations: beginnings of `--label-map` that are beginnings of another option too.
    """
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        metavar="DIR",
        help="DIR/train/images, DIR/train/masks, DIR/val/...; or DIR/images and DIR/masks, split for you; or "
        "another layout, see --layout",
    )
    _add_places(parser)
    add_option(
        parser,
        "--label-map",
        "--la",
        *abbreviations,
        type=label_map,
        default={},
        metavar="OLD:NEW,...",
        help="ids in the masks to change, for instance 11:255 where void is 11 (255 is void); give it to "
        "every command that reads these masks",
    )
    parser.add_argument(
        "--colors",
        metavar="FILE",
        help="of masks of colours what each means: a CSV of names and colours, CamVid's label_colors.txt or "
        "CVAT's labelmap.txt",
    )
    add_reading(parser)
    add_classes(parser, names_from, abbreviations=("--c",))  # also of --colors


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how pictures are read."""
    parser.add_argument(
        "--channels",
        type=positive,
        metavar="N",
        help="channels of the pictures: 1 is grey (default: as the files have them)",
    )
    parser.add_argument(
        "--value-range",
        type=value_range,
        metavar="LOW,HIGH | dtype | percentiles",
        help="what picture files hold for black and white, for instance 0,4095 or =-1,1; the range of their "
        "type; or 0.5 and 99.5 %% of the training pictures",
    )
    parser.add_argument(
        "--page", type=number, metavar="N", help="of files of several pages or frames the one to read, from 0"
    )


def _add_places(parser):
    """Add where below the folder the files are, and how they are split."""
    parser.add_argument(
        "--layout",
        metavar="NAME",
        help="layout of DIR, for instance cityscapes, voc or ade20k; see kseg.data.list_layouts() (default: "
        "found by itself)",
    )
    for word, example in (
        ("images", "'img/{split}/**/*.jpg'; stars pair files"),
        ("masks", "'gt/{split}/**/*_gt.png'; {class} stands for classes with a file each"),
    ):
        parser.add_argument(f"--{word}", metavar="PATTERN", help=f"where the {word} are in DIR, {example}")
    parser.add_argument(
        "--split-file", metavar="PATTERN", help="lists of pictures in DIR, for instance 'lists/{split}.txt'"
    )
    parser.add_argument(
        "--group",
        metavar="REGEX",
        help="what neighbours share in their path, for instance 'patient[0-9]+': where DIR has no splits, "
        "all of a group go into one",
    )
    parser.add_argument(
        "--fold",
        type=fold,
        metavar="I/K",
        help="validate on the I-th of K parts of the training pictures (of DIR without splits, of all) and "
        "train on the others; --group stays whole",
    )


def add_split(
    parser: argparse.ArgumentParser, default: str, what: str, abbreviations: Sequence[str] = ()
) -> None:
    """Add the name of a split; `abbreviations` as for `add_output`."""
    shown = f"{what} (default: %(default)s)".strip()
    add_option(parser, "--split", *abbreviations, default=default, help=shown)


def add_classes(parser: argparse.ArgumentParser, names_from: str, abbreviations: Sequence[str] = ()) -> None:
    """Add the names of the classes; `abbreviations` as for `add_output`."""
    add_option(
        parser,
        "--classes",
        *abbreviations,
        metavar="NAME,... | FILE",
        help=f"class names, or a file with one per line (default: {names_from}, else numbered)",
    )


def data_options(arguments: argparse.Namespace) -> dict:
    """Return what `add_data` added as arguments of `kseg.data.from_directory`."""
    return {"label_map": arguments.label_map, "class_names": class_names(arguments.classes)}


def reading_options(arguments: argparse.Namespace) -> dict:
    """Return the given arguments of `kseg.data.from_directory` that say how the files are found and read."""
    words = ["layout", "images", "masks", "split_file", "group", "fold"]
    words += ["colors", "channels", "value_range", "page"]
    return {word: getattr(arguments, word) for word in words if getattr(arguments, word) is not None}


def class_names(text: str | None) -> list[str] | None:
    """Return the names of `--classes`: a list with commas, or a file with one per line."""
    from kseg.data.name_files import checked_names, read_class_names

    if text is None:
        return None
    if "," not in text:
        return read_class_names(text)
    return checked_names([name.strip() for name in text.split(",")], "--classes")


def with_classes_of(model: Path, options: dict) -> dict:
    """Take the class names from the `classes.txt` beside the model, where none were given."""
    from kseg.data.name_files import read_class_names

    beside = model.parent / "classes.txt"
    if options["class_names"] is None and beside.is_file():
        options = {**options, "class_names": read_class_names(beside)}
    return options


def add_model_facts(parser: argparse.ArgumentParser) -> None:
    """Add what is stated of a model that does not tell it."""
    parser.add_argument(
        "--activation",
        choices=("linear", "softmax", "sigmoid"),
        help="what MODEL ends in (linear: logits), where nothing tells",
    )
    parser.add_argument(
        "--input-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="what a MODEL of others takes for pixel values 0 and 255, for instance 0 1",
    )
    parser.add_argument(
        "--multilabel",
        action="store_true",
        default=None,
        help="a pixel may have several labels, one sigmoid each",
    )


def add_resize(parser: argparse.ArgumentParser) -> None:
    """Add how pictures are brought to the size of a model."""
    parser.add_argument(
        "--resize",
        choices=("antialias", "bilinear"),
        default="antialias",
        help="how pictures come to the size of MODEL; bilinear as MediaPipe does it (default: %(default)s)",
    )


def add_windows(parser: argparse.ArgumentParser) -> None:
    """Add windows, test-time augmentation and the dense CRF."""
    add_option(
        parser,
        "--window",
        type=window,
        metavar="HxW | auto",
        help="run MODEL over windows of this size, auto: its own or what fits (default: whole pictures, by "
        "windows where one is too large)",
    )
    parser.add_argument(
        "--overlap",
        type=part_below_one,
        default=0.5,
        metavar="SHARE",
        help="of a window that the next one covers too (default: %(default)s)",
    )
    parser.add_argument(
        "--blend",
        choices=("gaussian", "mean"),
        default="gaussian",
        help="what counts where windows overlap (default: %(default)s)",
    )
    parser.add_argument(
        "--tta-flip",
        nargs="?",
        const="horizontal",
        choices=("horizontal", "vertical", "both"),
        help="test-time augmentation: average with mirrored pictures, left to right where nothing is said",
    )
    parser.add_argument(
        "--tta-scales",
        type=numbers,
        metavar="S,S,...",
        help="average over pictures at these scales, for instance 0.75,1,1.25",
    )
    parser.add_argument("--tta-rotate", action="store_true", help="average over quarter turns")
    parser.add_argument("--crf", action="store_true", help="refine along edges by the dense CRF")


def add_average(parser: argparse.ArgumentParser, what: str, **keywords: Any) -> None:
    """Add the average of several models."""
    parser.add_argument("--average", help=what, **keywords)


def window_options(arguments: argparse.Namespace) -> dict:
    """Return what `add_windows` added as arguments of `kseg.predict`."""
    tta = {"flip": arguments.tta_flip, "scales": arguments.tta_scales, "rotate": arguments.tta_rotate or None}
    tta = {name: value for name, value in tta.items() if value is not None}
    options = {word: getattr(arguments, word) for word in ("window", "overlap", "blend")}
    return options | {"tta": tta or None, "crf": arguments.crf}


def model_facts(arguments: argparse.Namespace) -> dict:
    """Return what `add_model_facts` added as arguments of `kseg.predict`."""
    words = ("activation", "input_range", "multilabel", "resize")
    return {word: getattr(arguments, word) for word in words if hasattr(arguments, word)}


def add_model_files(parser: argparse.ArgumentParser) -> None:
    """Add the files to compare."""
    parser.add_argument("model", nargs="+", type=Path, metavar="MODEL", help=MODEL_FILE)


def add_output(
    parser: argparse.ArgumentParser, what: str, default: Path | None = None, abbreviations: Sequence[str] = ()
) -> None:
    """Add the place of the results; it must be given where there is no default.

    Args:
        parser: of the command.
        what: the help.
        default: the place, if there is one.
        abbreviations: beginnings of `--output` that are beginnings of another option too.
    """
    shown = f"{what} (default: %(default)s)" if default else what
    required = default is None
    add_option(
        parser,
        "--output",
        *abbreviations,
        type=Path,
        required=required,
        default=default,
        metavar="DIR",
        help=shown,
    )


def add_output_kind(
    parser: argparse.ArgumentParser, kinds: Sequence[str], what: str, default: str | None = None
) -> argparse.Action:
    """Add what is given of each picture."""
    return parser.add_argument("--output-kind", choices=kinds, default=default, help=what)


def add_overwrite(parser: argparse.ArgumentParser, what: str, abbreviations: Sequence[str] = ()) -> None:
    """Add the leave to replace what is there; `abbreviations` as for `add_output`."""
    add_option(parser, "--overwrite", *abbreviations, action="store_true", help=f"replace {what}")


def add_input_size(parser: argparse.ArgumentParser, what: str, abbreviations: Sequence[str] = ()) -> None:
    """Add the size of the picture that a file takes; arguments as for `add_output`."""
    add_option(parser, "--input-size", *abbreviations, type=size, metavar="HxW", help=what)


def add_batch_size(parser: argparse.ArgumentParser, what: str, default: int | None = None) -> None:
    """Add how many pictures are taken at once."""
    parser.add_argument("--batch-size", type=positive, default=default, metavar="N", help=what)


def add_epochs(parser: argparse.ArgumentParser, what: str, default: int | None = None) -> None:
    """Add how often a training sees all pictures."""
    parser.add_argument("--epochs", type=positive, default=default, help=what)


class Progress:
    """A line on the terminal that counts and tells the time left.

    Args:
        what: is done.
        stream: `sys.stderr` when `None`.
        every: where that is no terminal, seconds between two lines; `None` prints none.
    """

    def __init__(self, what: str, stream: TextIO | None = None, every: float | None = None) -> None:
        self.what, self.every = what, every
        self.stream = stream or sys.stderr
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        left = "" if not total else f"/{total}, {_duration((now - self.start) / done * (total - done))} left"
        if not self.stream.isatty():
            if self.every is not None and now - self.last >= self.every:
                self.last = now
                print(f"{self.what}: {done}{left}", file=self.stream, flush=True)
            return
        end = "\r\033[K" if done == total else ""
        print(f"\r{self.what}: {done}{left}   {end}", end="", file=self.stream, flush=True)


def _duration(seconds):
    """Return a time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
