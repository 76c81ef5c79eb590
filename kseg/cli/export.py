"""The command `kseg export`."""

from pathlib import Path

from kseg.cli.options import add_data, command, data_options, layers, size, with_classes_of


def add_export(commands):
    """Add the command to the parser."""
    parser = command(
        commands,
        "export",
        _export,
        "write a SavedModel, .tflite or .onnx file and prove that it agrees",
        "Export a .keras model. The written file is run and compared before it stands at its path.\n\n"
        "  kseg export runs/first/model.keras int8.tflite --input-size 256x256 --quantize int8 --data DIR\n\n"
        "A path that ends in .tflite is LiteRT, in .onnx ONNX, any other a SavedModel folder.\n"
        "int8 calibrates on the train split of --data; with --data the report has the mean IoU on 32\n"
        "pictures of the val split.\n\n"
        "  kseg export --inspect int8.tflite      what a .tflite file tells of itself",
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help=".keras file")
    parser.add_argument(
        "path", type=Path, nargs="?", metavar="PATH", help="new .tflite or .onnx file or SavedModel folder"
    )
    parser.add_argument("--inspect", type=Path, metavar="FILE", help="print the metadata and report of FILE")
    parser.add_argument(
        "--input-size", type=size, metavar="HxW", help="picture size of the file (not for SavedModel)"
    )
    parser.add_argument(
        "--quantize", choices=("float16", "dynamic", "int8", "int16x8"), help="(default: float32)"
    )
    parser.add_argument(
        "--gives",
        choices=("logits", "probabilities", "classes", "fast_classes"),
        help="output of a .tflite file (default: what the model gives)",
    )
    parser.add_argument(
        "--float-layers",
        type=layers,
        default=(),
        metavar="N | NAME,...",
        help="layers that int8 leaves in float: the N that lose most, or these",
    )
    parser.add_argument("--mediapipe", action="store_true", help="refuse what MediaPipe could not run")
    add_data(parser, required=False)
    parser.add_argument("--overwrite", action="store_true", help="replace what is at PATH")


def _export(arguments):
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
        output=arguments.gives,
        float_layers=arguments.float_layers,
        mediapipe=arguments.mediapipe,
        overwrite=arguments.overwrite,
        **with_classes_of(arguments.model, data_options(arguments)),
    )
    print(report)
    return 0
