"""The command `kseg check`."""

import argparse
import json

from kseg.cli.options import Commands, Progress, add_data, command, data_options, reading_options
from kseg.cli.words import in_words_of_shell

_PROBLEMS = 3  # exit code; 1 is an error, 2 a wrong option


def add_check(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "check",
        _check,
        "visit every picture and mask and report every problem",
        "Decode every picture and mask, count the classes, report every problem. Changes nothing. Exits with "
        "3 where there are problems.",
    )
    add_data(parser)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def _check(arguments: argparse.Namespace) -> int:
    from kseg.data import check

    options = data_options(arguments) | reading_options(arguments)
    report = check(arguments.data, **options, progress=Progress("checking"))
    if arguments.json:
        print(in_words_of_shell(json.dumps(report.as_dict(), indent=2, ensure_ascii=False), arguments))
    else:
        print(in_words_of_shell(str(report), arguments))
    return _PROBLEMS if report.problems else 0
