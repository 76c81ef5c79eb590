"""The shell: `kseg demo | convert | check | train | evaluate | predict | export | benchmark`."""

import argparse
import os
import re
import sys
from collections.abc import Sequence

from kseg.cli.benchmark import add_benchmark
from kseg.cli.check import add_check
from kseg.cli.convert import add_convert
from kseg.cli.demo import add_demo
from kseg.cli.evaluate import add_evaluate
from kseg.cli.export import add_export
from kseg.cli.predict import add_predict
from kseg.cli.train import add_train
from kseg.cli.words import in_words_of_shell
from kseg.quiet import quiet_libraries

# in the order of the help
COMMANDS = (add_demo, add_convert, add_check, add_train, add_evaluate, add_predict, add_export, add_benchmark)

_RAISED = "ValueError|FileNotFoundError|IsADirectoryError|PermissionError|OSError"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code. An error is one line on stderr, and the code 1.

    2: wrong usage; 3: problems in data, or pictures that failed; 4: a training diverged; 130 and 143: it was
    stopped by SIGINT or SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's alphabet lacks ends nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = make_parser().parse_args(argv)
    arguments.words = list(sys.argv[1:] if argv is None else argv)  # as they were given
    if arguments.debug:
        return arguments.command(arguments)
    try:
        with quiet_libraries():
            return arguments.command(arguments)
    except KeyboardInterrupt:
        print("kseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        expected = (ValueError, TypeError, OSError, RuntimeError, MemoryError, ImportError)
        if not isinstance(error, expected) and not type(error).__module__.startswith("tensorflow"):
            raise
        print(f"kseg: error: {in_words_of_shell(_one_line(error), arguments)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)


def _one_line(error):
    """Return the message on one line; of a check inside a pipeline, the file and the reason."""
    text = str(error)
    found = re.search(rf"(?:{_RAISED}): (.+)", text)  # in Python inside a pipeline
    if found:
        return found[1]
    found = re.search(r"(\S[^\n]*); (No such file or directory|Permission denied)", text)  # of TensorFlow
    if found:
        return f"{found[1]}: {found[2]}"
    return text.strip().split("\n")[0] or type(error).__name__


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="kseg",
        description="Semantic segmentation: from a folder of pictures to a checked file for a phone.",
        epilog="kseg COMMAND --help explains a command. Start with: kseg demo, or kseg demo --quick",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser
