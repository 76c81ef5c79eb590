"""What `kseg export` does."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kseg import data
from kseg.callbacks import save_model
from kseg.checks import renamed
from kseg.disk import size_of, whole_file
from kseg.export import ExportReport, export_onnx, export_saved_model, export_tflite, read_metadata
from kseg.export.writing import check_target
from kseg.graphs import ModelFacts
from kseg.inference import digest_in, facts_of, load, report_path
from kseg.types import InputRange, PathLike, StatedActivation


@renamed(output="output_kind")
def export(
    model: PathLike,
    path: PathLike,
    *,
    data_root: PathLike | None = None,
    input_size: tuple[int, int] | None = None,
    quantize: Literal["float16", "dynamic", "int8", "int16x8"] | None = None,
    output_kind: Literal["logits", "probabilities", "classes", "fast_classes"] | None = None,
    float_layers: int | Sequence[str] = (),
    mediapipe: bool = False,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    overwrite: bool = False,
    label_map: dict[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> ExportReport | str:
    """Export a `.keras` file: LiteRT if `path` ends in `.tflite`, ONNX if in `.onnx`, else SavedModel.

    A path that ends in `.keras` gets the model without the state of its optimizer, a quarter of the file that
    a training leaves.

    Args:
        model, path: the file to read and the place to write to.
        data_root: `None` or a folder: 100 pictures of its "train" split calibrate int8, 32 of "val" verify,
            both drawn over the whole split.
        input_size, quantize, output_kind, float_layers, mediapipe, overwrite: as for `kseg.export_tflite`;
            `.onnx` files may leave the size open.
        activation, input_range, multilabel: as for `kseg.export_tflite`.
        label_map, class_names: as for `kseg.data.from_directory`.
        reading: further arguments of it: `layout`, `images`, `masks`, `split_file`, `group`, `fold`,
            `colors`, `channels`, `value_range`, `page`. Channels and range that it leaves out are those
            of the model.

    Returns:
        `kseg.export.ExportReport`; of a `.keras` file what there is to say of it, a str.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: it names the file or the option.
    """
    suffix = Path(path).suffix if Path(path).suffix in (".keras", ".tflite", ".onnx") else None
    to_phone = suffix == ".tflite"
    _check_suffix(path, suffix, quantize or output_kind or float_layers or mediapipe, input_size)
    calibrated = quantize in ("int8", "int16x8")
    if calibrated and data_root is None:
        raise ValueError(
            f"representative_data is missing: {quantize} needs pictures to calibrate with; give data_root="
        )
    check_target(path, overwrite, suffix)
    network = load(model)
    if suffix == ".keras":
        return _save(network, Path(path), model)
    if to_phone and input_size is None and None in network.input_shape[1:3]:
        raise ValueError(
            "input_size=(H, W) is missing: the model takes any size, a .tflite file one; give input_size="
        )
    validation = calibration = None
    if data_root is not None:
        options: dict[str, Any] = {"label_map": label_map, "class_names": class_names}
        options |= reading or {}
        facts = ModelFacts(network, activation, multilabel)
        validation, calibration = _datasets(data_root, facts, options, calibrated)
    names = class_names or getattr(validation, "class_names", None)
    common: dict[str, Any] = {"class_names": names, "validation_data": validation, "overwrite": overwrite}
    common |= {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    if suffix is None:
        return export_saved_model(network, path, **common)
    if suffix == ".onnx":
        return export_onnx(network, path, input_size=input_size, **common)
    return export_tflite(
        network,
        path,
        input_size=input_size,
        quantize=quantize,
        output_kind=output_kind,
        float_layers=float_layers,
        mediapipe=mediapipe,
        representative_data=calibration,
        **common,
    )


def _save(network, path, model):
    """Save a model without the state of its optimizer, once what is loaded again has its weights."""
    with whole_file(path, "the model") as partial:
        save_model(network, partial, include_optimizer=False)
        for one, other in zip(network.get_weights(), load(partial).get_weights(), strict=True):
            if not np.array_equal(one, other, equal_nan=True):
                raise RuntimeError(f"{path}: its weights are not those of the model; nothing was written")
    before, after = (size_of(Path(each)) / 1e6 for each in (model, path))
    return f"{path}: Keras, {after:.2f} MB without the optimizer's state; {model} has {before:.2f} MB"


def _check_suffix(path, suffix, of_phones, input_size):
    """Refuse what the kind of a file does not have."""
    if suffix != ".tflite" and of_phones:
        raise ValueError(
            f"{path}: quantize=, output_kind=, float_layers= and mediapipe= are for paths that end in .tflite"
        )
    if suffix in (None, ".keras") and input_size:
        raise ValueError(f"{path}: input_size= is for paths that end in .tflite or .onnx")


def _datasets(root, facts, options, calibrated):
    """Return what verifies and what calibrates or `None`, read as the model takes it."""
    of_model = {"channels": facts.channels, "value_range": facts.value_range}
    options = {**of_model, **options, "batch_size": 1, "shuffle": True}
    train = data.from_directory(root, "train", **options) if calibrated else None
    return data.from_directory(root, "val", **options), train


def inspect(path: PathLike) -> str:
    """Return, as text, what a file tells of itself, and the report beside it where there is one.

    Args:
        path: `.tflite`, `.onnx` or `.keras` file or SavedModel folder, whoever wrote it.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, damaged, or not the one of its report.
    """
    path = Path(path)
    lines = [str(facts_of(path))]
    if path.suffix == ".tflite":
        with contextlib.suppress(ValueError):  # without metadata
            lines.insert(0, str(read_metadata(path)))
    report = report_path(path)
    if report.is_file() and digest_in(report) is not None:
        lines.append(report.read_text(encoding="utf-8").strip())
    return "\n".join(lines)
