"""The commands, thin over calls that anyone can make."""

from pathlib import Path

from kseg.cli.arguments import (
    MODEL_FILE,
    Progress,
    add_data,
    class_names,
    command,
    data_options,
    layers,
    positive,
    size,
)
from kseg.cli.benchmark import add_benchmark
from kseg.cli.train import add_train


def add_all(commands):
    """Add every command to the parser, in the order of the help."""
    for add in (_add_demo, _add_check, add_train, _add_evaluate, _add_predict, _add_export, add_benchmark):
        add(commands)


def _add_demo(commands):
    parser = command(
        commands,
        "demo",
        _demo,
        "train, export and compare on generated scenes, in minutes and without data",
        "Train a small U-Net on generated scenes, export it to SavedModel and three .tflite files, and\n"
        "compare all of them on scenes it never saw. Writes into a new folder:\n"
        "  model.keras  saved_model/  float32.tflite  float16.tflite  int8.tflite  predictions.png",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("kseg-demo"), help="new folder (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=positive, default=None, help="fewer is faster and worse")


def _demo(arguments):
    from kseg.demo import run

    run(arguments.output, **({"epochs": arguments.epochs} if arguments.epochs else {}))
    return 0


def _add_check(commands):
    parser = command(
        commands,
        "check",
        _check,
        "visit every picture and mask and report every problem",
        "Decode every picture and mask, count the classes, report every problem. Changes nothing.",
    )
    add_data(parser)


def _check(arguments):
    from kseg.data import check

    report = check(arguments.data, **data_options(arguments), progress=Progress("checking"))
    print(report)
    return 1 if report.problems else 0


def _add_model_files(parser):
    parser.add_argument(
        "model",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help=MODEL_FILE,
    )


def _add_evaluate(commands):
    parser = command(
        commands,
        "evaluate",
        _evaluate,
        "per-class IoU of one or more models, side by side",
        "Evaluate models and exported files on a split and print per-class IoU side by side.",
    )
    _add_model_files(parser)
    add_data(parser)
    parser.add_argument("--split", default="val", help="(default: %(default)s)")


def _evaluate(arguments):
    from kseg.data import from_directory
    from kseg.evaluation import evaluate, table

    options = _with_classes_of(arguments.model[0], data_options(arguments))
    dataset = from_directory(arguments.data, arguments.split, batch_size=1, shuffle=False, **options)
    results = {}
    for path in arguments.model:
        name = path.name if sum(path.name == other.name for other in arguments.model) == 1 else str(path)
        results[name] = evaluate(
            path, dataset, class_names=dataset.class_names, progress=Progress(f"evaluating {name}")
        )
    print(table(results))
    return 0


def _add_predict(commands):
    parser = command(
        commands,
        "predict",
        _predict,
        "segment pictures",
        "Segment pictures and write NAME.png (class ids) and NAME_overlay.png into --output.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=MODEL_FILE)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="picture files")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--classes", metavar="NAME,... | FILE", help="names for the legend")
    parser.add_argument("--crf", action="store_true", help="refine along edges by the dense CRF")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _predict(arguments):
    from kseg.recipes import predict_files

    options = _with_classes_of(arguments.model, {"class_names": class_names(arguments.classes)})
    predict_files(
        arguments.model,
        arguments.images,
        arguments.output,
        class_names=options["class_names"],
        crf=arguments.crf,
        overwrite=arguments.overwrite,
        progress=Progress("predicting"),
    )
    return 0


def _with_classes_of(model, options):
    """Take the class names from the `classes.txt` beside the model, where none were given."""
    from kseg.data.labels import read_class_names

    beside = model.parent / "classes.txt"
    if options["class_names"] is None and beside.is_file():
        options = {**options, "class_names": read_class_names(beside)}
    return options


def _add_export(commands):
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
    from kseg.recipes import export, inspect

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
        **_with_classes_of(arguments.model, data_options(arguments)),
    )
    print(report)
    return 0
