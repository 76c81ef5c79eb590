"""Export to ONNX."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from kseg.export.pictures import collect
from kseg.export.report import ExportReport
from kseg.export.serving import serving_module, static_size
from kseg.export.writing import begin, write_verified
from kseg.types import InputRange, StatedActivation


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    input_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    validation_data: Any = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    ignore_class: int | Sequence[int] | None = 255,
    overwrite: bool = False,
) -> ExportReport:
    """Write an `.onnx` file for ONNX Runtime and whatever else reads the format.

    Needs the extra `onnx` (`pip install 'kseg[onnx]'`): Keras writes the file by tf2onnx, and before it
    stands at its path ONNX Runtime runs it, in a second process, and it is compared with the Keras model. It
    takes `image`, `(B, H, W, C)` float32 with values 0–255, and gives `logits` or `probabilities`. Its report
    is beside it as `NAME.onnx.json`.

    Args:
        model: `keras.Model` with scores `(B, H, W, num_classes)`.
        path: file to write, `.onnx`.
        input_size: `(H, W)` in pixels; `None` leaves open what the model leaves open. Fixed files are faster
            and more runtimes take them.
        class_names: `None` or one name per class, kept in the file's metadata as `labels`, a line each.
        validation_data: as for `kseg.export_saved_model`.
        activation, multilabel: as for `kseg.predict`, of the model.
        input_range: `(low, high)`, what the model takes for pixel values 0 and 255; the file takes 0–255.
        ignore_class: int or several, void in those masks.
        overwrite: replace what is at `path`.

    Returns:
        `ExportReport`.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ImportError: without tf2onnx or ONNX Runtime.
        OSError: if another process exports to `path`, or the disk is full.
        RuntimeError: if the file cannot be converted or disagrees with the model; nothing is then written.
        ValueError: for an argument out of range, or data that are empty or not finite.
    """
    _check_installed()
    stated: dict[str, Any] = {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    facts, path = begin("kseg.export_onnx", model, path, ".onnx", overwrite, class_names, **stated)
    size = facts.input_size if input_size is None else static_size(facts, input_size)
    return write_verified(
        facts,
        path,
        partial(_write, facts, size, class_names, path),
        title="ONNX",
        data=collect(validation_data, input_range=input_range),
        ignore_class=ignore_class,
    )


def _check_installed():
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} is missing: pip install 'kseg[onnx]'") from None


def _write(facts, size, class_names, shown_path, folder):
    import onnx

    made = folder / "model.onnx"
    image = keras.Input((*size, facts.channels), name="image")
    named = keras.Model(image, {facts.output_kind: _FrozenGraph(facts, size)(image)})
    signature = keras.InputSpec(shape=(None, *size, facts.channels), dtype="float32", name="image")
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it tells of every pass over the graph
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks NumPy for what it had before 2.0
        try:
            named.export(str(made), format="onnx", input_signature=[signature], verbose=False)
            onnx.checker.check_model(made)  # tf2onnx writes operators that ONNX lacks
        except OSError:
            raise
        except Exception as error:  # Keras, TensorFlow, tf2onnx and ONNX each have classes of their own
            reason = str(error).strip().splitlines()[0]
            raise RuntimeError(
                f"{shown_path}: ONNX cannot express this model, nothing was written: {reason}"
            ) from error
    told = {} if class_names is None else {"labels": "\n".join(class_names)}
    if facts.multilabel:
        told["multilabel"] = "true"
    if facts.value_range is not None:
        told["value_range"] = facts.value_range.as_json()
    if told:
        file = onnx.load(made)
        onnx.helper.set_model_props(file, told)
        onnx.save(file, made)
    return made


class _FrozenGraph(keras.Layer):
    """A model's graph with its values inside: tf2onnx makes inputs of tensors that a layer holds.

    `keras.layers.Normalization` holds its mean and its variance so.
    """

    def __init__(self, facts, size):
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        super().__init__()
        serve = serving_module(facts.float32, facts, (None, *size)).serve
        self.graph = convert_variables_to_constants_v2(
            serve.get_concrete_function(), lower_control_flow=False
        )

    def call(self, image):
        return self.graph(image)[0]

    def compute_output_spec(self, image):
        (output,) = self.graph.outputs
        return keras.KerasTensor(output.shape, output.dtype.name)
