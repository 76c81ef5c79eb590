"""The command `kseg export`."""

import argparse
from pathlib import Path

from kseg.cli.options import (
    Commands,
    add_data,
    add_input_size,
    add_model_facts,
    add_output_kind,
    add_overwrite,
    command,
    data_options,
    model_facts,
    reading_options,
    with_classes_of,
)
from kseg.cli.values import layers
from kseg.cli.words import add_option, keep_old_word


def add_export(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "export",
        _export,
        "write a SavedModel, .tflite or .onnx file and prove that it agrees",
        "Export a .keras model. The written file is run and compared before it stands at its path.\n\n"
        "  kseg export runs/first/model.keras int8.tflite --input-size 256x256 --quantize int8 --data DIR\n\n"
        "A path that ends in .tflite is LiteRT, in .onnx ONNX, any other a SavedModel folder; one in\n"
        ".keras gets the model without its optimizer's state, a quarter of the size.\n"
        "int8 calibrates on the train split of --data; with --data the report has the mean IoU on 32\n"
        "pictures of the val split.\n\n"
        "  kseg export --inspect int8.tflite      what a .tflite file tells of itself",
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help=".keras file")
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="PATH",
        help="new .tflite, .onnx, .keras file or SavedModel folder",
    )
    parser.add_argument("--inspect", type=Path, metavar="FILE", help="print the metadata and report of FILE")
    older = ("--inp", "--inpu", "--input", "--input-")  # beginnings of --input-range too
    add_input_size(parser, "picture size of the file (not for SavedModel)", older)
    parser.add_argument(
        "--quantize", choices=("float16", "dynamic", "int8", "int16x8"), help="(default: float32)"
    )
    kinds = ("logits", "probabilities", "classes", "fast_classes")
    output_kind = add_output_kind(parser, kinds, "output of a .tflite file (default: what the model gives)")
    keep_old_word(parser, output_kind, "--gives", "--g")
    add_model_facts(parser)
    _keep_output_a_place(parser)
    add_option(
        parser,
        "--float-layers",
        "--f",
        type=layers,
        default=(),
        metavar="N | NAME,...",
        help="layers that int8 leaves in float: the N that lose most, or these",
    )
    add_option(parser, "--mediapipe", "--m", action="store_true", help="refuse what MediaPipe could not run")
    add_data(parser, required=False, names_from="classes.txt beside MODEL, DIR/classes.txt")
    add_overwrite(parser, "what is at PATH")


def _keep_output_a_place(parser):
    """Let no beginning of `--output-kind` up to `--output` mean it: `--output` is a place in all commands."""
    parser.add_argument("--o", dest="overwrite", action="store_true", help=argparse.SUPPRESS)  # as it was
    parser.add_argument(
        *("--output", "--outpu", "--outp", "--out", "--ou"),
        dest="output",
        action=_NoOutput,
        nargs="?",
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )


class _NoOutput(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"no option {option_string}: the new file is PATH, as in kseg export MODEL PATH")


def _export(arguments: argparse.Namespace) -> int:
    from kseg.commands.export import export, inspect

    if arguments.inspect is not None:
        print(inspect(arguments.inspect))
        return 0
    if arguments.model is None or arguments.path is None:
        raise ValueError("MODEL and PATH are missing: kseg export MODEL PATH, or kseg export --inspect FILE")
    report = export(
        arguments.model,
        arguments.path,
        data_root=arguments.data,
        input_size=arguments.input_size,
        quantize=arguments.quantize,
        output_kind=arguments.output_kind,
        float_layers=arguments.float_layers,
        mediapipe=arguments.mediapipe,
        overwrite=arguments.overwrite,
        **model_facts(arguments),
        reading=reading_options(arguments),
        **with_classes_of(arguments.model, data_options(arguments)),
    )
    print(report)
    return 0
