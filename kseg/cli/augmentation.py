"""Options of `kseg train` that say how pictures are varied."""

import argparse

from kseg.cli.values import factors, share

_FLIPS = {"none": False, "horizontal": "horizontal", "vertical": "vertical", "both": "both"}
_NUMBERS = {
    "rotation": ("DEGREES", "largest turn to either side"),
    "shear": ("DEGREES", "largest shear along each axis"),
    "perspective": ("SHARE", "largest share by which one side is nearer, below 1"),
    "color": ("SHARE", "strength of contrast, saturation and brightness, below 1"),
    "hue": ("DEGREES", "largest turn of the colour circle"),
    "gamma": ("NUMBER", "exponents from 1 / (1 + NUMBER) to 1 + NUMBER"),
    "blur": ("PIXELS", "largest standard deviation of a blur"),
    "cutout": ("SHARE", "longest sides of a hidden rectangle, below 1"),
}


def add_augmentation(parser: argparse.ArgumentParser) -> None:
    """Add a strength, and single switches that change it."""
    group = parser.add_argument_group(
        "augmentation", "what crops are varied by; kseg.data.augment has the table of the strengths"
    )
    group.add_argument(
        "--augment",
        choices=("light", "default", "strong"),
        help="strength of all that follows (default: default)",
    )
    group.add_argument("--scale", type=factors, metavar="LOW,HIGH", help="smallest and largest zoom")
    group.add_argument("--flip", choices=tuple(_FLIPS), help="mirror half of the time")
    for name, (metavar, what) in _NUMBERS.items():
        group.add_argument(f"--{name}", type=share, metavar=metavar, help=f"{what}; 0 leaves it out")
    group.add_argument(
        "--rare-crops",
        action="store_true",
        help="place crops where rare classes are, the rarer the more often",
    )


def augmentation_of(arguments: argparse.Namespace) -> dict:
    """Return what was given, as arguments of `kseg.data.augment`."""
    given = {name: getattr(arguments, name) for name in ("scale", *_NUMBERS)}
    given["strength"] = arguments.augment
    if arguments.flip is not None:
        given["flip"] = _FLIPS[arguments.flip]
    if arguments.rare_crops:
        given["class_weights"] = "median_frequency"
    return {name: value for name, value in given.items() if value is not None}
