"""The command `kseg evaluate`."""

import argparse

from kseg.cli.options import (
    Commands,
    Progress,
    add_data,
    add_model_facts,
    add_model_files,
    add_resize,
    add_split,
    command,
    data_options,
    model_facts,
    reading_options,
    with_classes_of,
)


def add_evaluate(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "evaluate",
        _evaluate,
        "per-class IoU of one or more models, side by side",
        "Evaluate models and exported files on a split and print per-class IoU side by side.",
    )
    add_model_files(parser)
    add_model_facts(parser)
    add_resize(parser)
    add_data(parser, names_from="classes.txt beside the first MODEL, DIR/classes.txt")
    add_split(parser, "val", "", abbreviations=("--spli", "--spl", "--sp", "--s"))


def _evaluate(arguments: argparse.Namespace) -> int:
    from kseg.commands.evaluate import evaluate_files
    from kseg.evaluation import table

    options = with_classes_of(arguments.model[0], data_options(arguments)) | model_facts(arguments)
    options["reading"] = reading_options(arguments)
    print(
        table(evaluate_files(arguments.model, arguments.data, arguments.split, progress=Progress, **options))
    )
    return 0
