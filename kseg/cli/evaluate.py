"""The command `kseg evaluate`."""

import argparse
import shlex
from pathlib import Path

from kseg.cli.options import (
    Commands,
    Progress,
    add_average,
    add_data,
    add_model_facts,
    add_model_files,
    add_overwrite,
    add_resize,
    add_split,
    add_windows,
    command,
    data_options,
    model_facts,
    reading_options,
    window_options,
    with_classes_of,
)

_FILES = {
    "json": "new file for all figures, with what they were made of",
    "csv": "new file for the scores of each class, a row each",
    "card": "Markdown file for a model card; of one that exists the scores alone are renewed",
    "report": "new HTML file, whole in itself, that shows scores, worst and best pictures and the model",
}


def add_evaluate(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "evaluate",
        _evaluate,
        "scores of one or more models, side by side",
        "Evaluate models and exported files on a split and print the scores of each class: IoU, Dice,\n"
        "precision, recall, those along borders; of several models IoU side by side. Below stand the means,\n"
        "with 95 % intervals over pictures.",
    )
    add_model_files(parser)
    add_model_facts(parser)
    add_resize(parser)
    add_windows(parser)
    add_average(parser, "evaluate the average of all MODELs as well", action="store_true")
    add_data(parser, names_from="classes.txt beside the first MODEL, DIR/classes.txt")
    add_split(parser, "val", "", abbreviations=("--spli", "--spl", "--sp", "--s"))
    for word, what in _FILES.items():
        parser.add_argument(f"--{word}", type=Path, metavar="PATH", help=what)
    add_overwrite(parser, "files that exist")


def _evaluate(arguments: argparse.Namespace) -> int:
    from kseg.commands.evaluate import evaluate_files
    from kseg.evaluation import table

    options = with_classes_of(arguments.model[0], data_options(arguments)) | model_facts(arguments)
    options |= window_options(arguments) | {"average": arguments.average}
    options["reading"] = reading_options(arguments)
    options |= {word: getattr(arguments, word) for word in _FILES} | {"overwrite": arguments.overwrite}
    options["command"] = shlex.join(["kseg", *arguments.words])
    print(
        table(evaluate_files(arguments.model, arguments.data, arguments.split, progress=Progress, **options))
    )
    return 0
