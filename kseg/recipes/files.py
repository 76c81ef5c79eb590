"""What `kseg predict` and `kseg export` do, and the picture of what a model predicts."""

from pathlib import Path

from PIL import Image

from kseg import data, visualization
from kseg.data.reading import image_header
from kseg.data.sampling import spread
from kseg.export import export_onnx, export_saved_model, export_tflite, read_metadata
from kseg.export.writing import check_target
from kseg.inference import as_picture, check_file, load, open_model, report_path


def comparison(model_or_path, dataset, class_names, count=4, zoom=1):
    """Return rows image | truth | prediction of `count` pictures spread over a dataset."""
    runner, pairs = open_model(model_or_path), spread(dataset, count)
    masks = [runner.masks(image[None])[0] for image, _ in pairs]
    return visualization.comparison(pairs, masks, class_names, zoom)


def predict_files(model, images, output, *, class_names=None, crf=False, overwrite=False, progress=None):
    """Segment picture files into `output`: `NAME.png` with class ids and `NAME_overlay.png`.

    Args:
        model: path of a `.keras`, `.tflite` or `.onnx` file or a SavedModel folder.
        images: paths of pictures; output: folder.
        class_names: `None` or names for the legend.
        crf: as for `kseg.predict`.
        overwrite: bool.
        progress: `None` or a function `(done, total)`.

    Raises:
        FileExistsError: if a result exists and `overwrite` is false; nothing is then written.
        FileNotFoundError, ValueError: if a picture cannot be read, or two would write the same file.
    """
    output, images = Path(output), [Path(path) for path in images]
    targets = {path: (output / f"{path.stem}.png", output / f"{path.stem}_overlay.png") for path in images}
    results = [target for pair in targets.values() for target in pair]
    if len(set(results)) < 2 * len(images):
        raise ValueError(
            "the results of two pictures would have the same name; predict them into two folders"
        )
    for path in images:
        image_header(path)
    for target in results:
        if target.resolve() in {path.resolve() for path in images}:
            raise ValueError(f"{target}: would overwrite a picture; choose another --output")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target}: exists already; add --overwrite or choose another --output")
    runner = open_model(model)
    for done, (path, (mask_path, overlay_path)) in enumerate(targets.items(), start=1):
        image = as_picture(path, runner.channels)
        mask = runner.masks(image[None], crf)[0]
        names = class_names or [f"class {number}" for number in range(int(mask.max()) + 1)]
        _save_picture(visualization.overlay(image, mask, names), overlay_path)
        _save_picture(mask, mask_path)
        print(mask_path)
        if progress:
            progress(done, len(images))


def _save_picture(pixels, path):
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(pixels).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def export(
    model,
    path,
    *,
    data_root=None,
    input_size=None,
    quantize=None,
    output=None,
    float_layers=(),
    mediapipe=False,
    overwrite=False,
    label_map=None,
    class_names=None,
):
    """Export a `.keras` file: LiteRT if `path` ends in `.tflite`, ONNX if in `.onnx`, else SavedModel.

    Args:
        model, path: str or `Path`.
        data_root: `None` or a folder: 100 pictures of its "train" split calibrate int8, 32 of "val" verify,
            both drawn over the whole split.
        input_size, quantize, output, float_layers, mediapipe, overwrite: as for `kseg.export_tflite`; `.onnx`
            files may leave the size open.
        label_map, class_names: as for `kseg.data.from_directory`.

    Returns:
        `kseg.export.ExportReport`.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: it names the file or the option.
    """
    suffix = Path(path).suffix if Path(path).suffix in (".tflite", ".onnx") else None
    to_phone = suffix == ".tflite"
    if not to_phone and (quantize or output or float_layers or mediapipe):
        raise ValueError(
            f"{path}: --quantize, --gives, --float-layers and --mediapipe are for paths that end in .tflite"
        )
    if suffix is None and input_size:
        raise ValueError(f"{path}: --input-size is for paths that end in .tflite or .onnx")
    calibrated = quantize in ("int8", "int16x8")
    if calibrated and data_root is None:
        raise ValueError(
            f"representative_data is missing: --quantize {quantize} needs --data DIR to calibrate with"
        )
    check_target(path, overwrite, suffix)
    network = load(model)
    if to_phone and input_size is None and None in network.input_shape[1:3]:
        raise ValueError("input_size=(H, W) is missing: add --input-size HxW, a .tflite file takes one size")
    validation = calibration = None
    if data_root is not None:
        options = {"label_map": label_map, "class_names": class_names, "batch_size": 1, "shuffle": True}
        validation = data.from_directory(data_root, "val", **options)
        calibration = data.from_directory(data_root, "train", **options) if calibrated else None
    names = class_names or getattr(validation, "class_names", None)
    common = {"class_names": names, "validation_data": validation, "overwrite": overwrite}
    if suffix is None:
        return export_saved_model(network, path, **common)
    if suffix == ".onnx":
        return export_onnx(network, path, input_size=input_size, **common)
    return export_tflite(
        network,
        path,
        input_size=input_size,
        quantize=quantize,
        output=output,
        float_layers=float_layers,
        mediapipe=mediapipe,
        representative_data=calibration,
        **common,
    )


def inspect(path):
    """Return, as text, the metadata of a `.tflite` file, and the report beside it where there is one.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, damaged, without metadata, or not the one of
            its report.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        raise ValueError(f"{path}: what an .onnx file tells of itself stands in {report_path(path).name}")
    text = str(read_metadata(path))
    check_file(path)
    report = report_path(path)
    return f"{text}\n{report.read_text(encoding='utf-8').strip()}" if report.is_file() else text
