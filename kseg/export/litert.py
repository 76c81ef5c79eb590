"""Export to LiteRT (`.tflite`): static, builtin operators only."""

from collections import Counter

import numpy as np
import tensorflow as tf

from kseg.arguments import check_choice, check_tensorflow
from kseg.data.directory import resize_pair
from kseg.export.verification import collect, verify
from kseg.export.writing import check_target, put_in_place, workshop, write_archive

_QUANTIZATIONS = (None, "float16", "int8")
# What inference never needs; each was seen in files that other exporters wrote without a word.
_FORBIDDEN = ("ASSIGN_VARIABLE", "VAR_HANDLE", "READ_VARIABLE", "SPACE_TO_BATCH_ND", "CUSTOM")


def export_tflite(
    model,
    path,
    *,
    input_size=None,
    quantize=None,
    representative_data=None,
    validation_data=None,
    ignore_class=255,
    overwrite=False,
):
    """Write a `.tflite` file for phones and prove that it agrees with the model.

    The file takes `image`, `(1, H, W, C)` with values 0–255 (normalisation is inside), and gives scores
    `(1, H, W, num_classes)`. float32 and float16 files take and give float32. int8 files take the raw uint8
    picture and give uint8 scores, whose arg-max is the class. Batch and size are static and all operators
    builtin, which phones' accelerators ask for.

    Args:
        model: `keras.Model` with scores `(B, H, W, num_classes)`.
        path: file to write, `.tflite`.
        input_size: `(H, W)` in pixels; needed where the model leaves them open.
        quantize: `None` (float32), `"float16"` (weights, half the size) or `"int8"` (weights and arithmetic).
        representative_data: for int8: batches of pictures, or of `(picture, mask)`, like those the file will
            see; up to 100 pictures set the ranges.
        validation_data: batches to verify with, the first 32 pictures; `None` takes the representative
            data, else generated pictures. With masks the report has the mean IoU of both.
        ignore_class: int or several, void in those masks.
        overwrite: bool, replace what is at `path`.

    Returns:
        `ExportReport`.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        RuntimeError: if the file cannot be converted, or disagrees with the model; nothing is then written.
        ValueError: for an argument that is missing or out of range.

    Example:
        >>> import kseg, tempfile
        >>> model = kseg.build_conv_stack(2, depth=1, filters=4)
        >>> report = export_tflite(model, tempfile.mkdtemp() + "/model.tflite", input_size=(32, 32))
        >>> report.format
        'LiteRT float32'
    """
    check_tensorflow("kseg.export_tflite")
    path = check_target(path, overwrite, suffix=".tflite")
    check_choice("quantize", quantize, _QUANTIZATIONS)
    size = _static_size(model, input_size)
    calibration = collect(representative_data, limit=100)
    if quantize == "int8" and not calibration:
        raise ValueError(
            "representative_data is missing: quantize='int8' needs pictures like those the file will see, "
            "for instance the training dataset"
        )
    highest = max((picture.max() for picture, _ in calibration), default=255)
    if highest <= 1:
        raise ValueError(
            f"representative_data holds values up to {highest:.3g}, expected 0–255 as in training"
        )
    data = collect(validation_data) or calibration[:32]
    title = f"LiteRT {quantize or 'float32'}"
    with workshop(path) as folder:
        write_archive(model, folder / "archive", (1, *size))
        content = _convert(folder / "archive", quantize, calibration, size, path)
        made = folder / "model.tflite"
        made.write_bytes(content)
        operators = _inspect(content, quantize, path)
        report = verify(
            model,
            made,
            title=title,
            shown_path=path,
            size_bytes=len(content),
            data=data,
            quantize=quantize,
            ignore_class=ignore_class,
        )
        report.operators = operators
        put_in_place(made, path)
    return report


def _static_size(model, input_size):
    fixed = model.input_shape[1:3]
    if input_size is None:
        if None in fixed:
            raise ValueError(
                "input_size=(H, W) is missing: the model takes any size, a .tflite file takes one"
            )
        return fixed
    if (
        np.ndim(input_size) != 1
        or len(input_size) != 2
        or not all(isinstance(side, int) and side > 0 for side in input_size)
    ):
        raise ValueError(f"input_size must be (H, W), positive ints, got {input_size!r}")
    if any(have not in (None, want) for have, want in zip(fixed, input_size, strict=True)):
        raise ValueError(f"input_size={tuple(input_size)} is not the size the model was built for, {fixed}")
    return tuple(input_size)


def _convert(archive, quantize, calibration, size, path):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(archive))
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: _calibration_pictures(calibration, size)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    try:
        return converter.convert()
    except Exception as error:  # the converter raises its own classes, and bare ones
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RuntimeError(
            f"{path}: LiteRT cannot convert this model, nothing was written: {reason}"
        ) from error


def _calibration_pictures(calibration, size):
    """Yield float32 `(1, H, W, C)`; the first one also shows 0 and 255.

    The input's range is then 0–255 whatever the pictures, its scale 1: raw bytes go in as they are.
    """
    for number, (picture, _) in enumerate(calibration):
        if picture.shape[:2] != size:
            picture = resize_pair(picture, np.zeros(picture.shape[:2], "int32"), size)[0].numpy()
        picture = picture[None].astype("float32")
        if number == 0:
            picture[:, 0, 0], picture[:, -1, -1] = 0, 255
        yield [picture]


def _inspect(content, quantize, path):
    """Return the operators by count; refuse what no phone should get.

    Raises:
        RuntimeError: for operators that are not builtin, dynamic sizes, or an int8 file that is not int8.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    operators = Counter(op["op_name"] for op in interpreter._get_ops_details())
    operators.pop("DELEGATE", None)
    bad = [name for name in operators if name.startswith("Flex") or name in _FORBIDDEN]
    if bad:
        raise RuntimeError(f"{path}: the file would hold operators phones cannot run: {', '.join(bad)}")
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    if -1 in given["shape_signature"] or -1 in wanted["shape_signature"]:
        raise RuntimeError(f"{path}: the file would have tensors of dynamic size")
    if quantize == "int8" and not (given["dtype"] == wanted["dtype"] == np.uint8):
        raise RuntimeError(f"{path}: int8 conversion gave {given['dtype']} in and {wanted['dtype']} out")
    if quantize == "int8" and given["quantization"] != (1.0, 0):
        raise RuntimeError(
            f"{path}: raw bytes would not pass unchanged, scale {given['quantization']}; are the "
            f"calibration pictures within 0–255?"
        )
    return dict(operators)
