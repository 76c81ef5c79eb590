"""The command `kseg check`."""

import argparse

from kseg.cli.options import Commands, Progress, add_data, command, data_options, reading_options


def add_check(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "check",
        _check,
        "visit every picture and mask and report every problem",
        "Decode every picture and mask, count the classes, report every problem. Changes nothing.",
    )
    add_data(parser)


def _check(arguments: argparse.Namespace) -> int:
    from kseg.data import check

    options = data_options(arguments) | reading_options(arguments)
    report = check(arguments.data, **options, progress=Progress("checking"))
    print(report)
    return 1 if report.problems else 0
