"""The command `kseg benchmark`."""

import argparse

from kseg.cli.options import Commands, Progress, add_input_size, add_model_files, command
from kseg.cli.values import counts, positive


def add_benchmark(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "benchmark",
        _benchmark,
        "latency, size and memory of models, side by side",
        "Time one picture through .keras, .tflite and .onnx files and SavedModel folders, in turn, and\n"
        "print the medians side by side. Only ratios within one table compare: close other programs.",
    )
    add_model_files(parser)
    add_input_size(parser, "for files of any size (default: that of the first fixed file)")
    parser.add_argument(
        "--threads", type=counts, metavar="N,...", help="of .tflite, .onnx (default: 1 and all)"
    )
    parser.add_argument("--runs", type=positive, default=20, help="(default: %(default)s)")


def _benchmark(arguments: argparse.Namespace) -> int:
    from kseg.commands.benchmark import benchmark, latency_table

    results = benchmark(
        arguments.model,
        input_size=arguments.input_size,
        threads=arguments.threads,
        runs=arguments.runs,
        progress=Progress("timing"),
    )
    print(latency_table(results))
    return 0
