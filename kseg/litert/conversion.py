"""Conversion of a SavedModel to LiteRT."""

import re
from collections.abc import Sequence

import numpy as np

from kseg.litert.graph import parsed
from kseg.litert.int8_ranges import narrow_ranges
from kseg.litert.passes import attempted, rewritten
from kseg.litert.passes.large_kernels import cut_kernels
from kseg.litert.passes.squared_differences import widen_differences


def convert(
    archive: str,
    made: str,
    quantize: str | None,
    calibration: str | None,
    float_layers: Sequence[str] | int = (),
    known_layers: Sequence[str] = (),
) -> tuple[dict[str, float], list[str], list[str]]:
    """Write the SavedModel `archive` as the `.tflite` file `made`.

    Args:
        archive: path of the folder.
        made: path of the file.
        quantize: as for `kseg.export_tflite`.
        calibration: `None` or path of an `.npy` file of pictures `(N, H, W, C)`, values 0–255.
        float_layers: names of layers that int8 leaves in float, or how many of the worst.
        known_layers: names of all layers, first the one that makes the scores.

    Returns:
        dict, layer → error of int8 in steps of its scale, largest first; empty for other modes. The list of
        layers left in float. The list of passes that could not read the file, each with its reason.

    Raises:
        RuntimeError: for an operator that LiteRT lacks, with its layer.
    """
    converter, errors, kept = _converter(archive, quantize), {}, []
    skipped: list[str] = []
    try:
        if quantize in ("int8", "int16x8"):
            pictures = None if calibration is None else np.load(calibration, mmap_mode="r")
            converter.representative_dataset = lambda: _as_batches(pictures)
        if quantize == "int8":
            content, errors, kept = _int8(converter, pictures, float_layers, known_layers, skipped)
        else:
            content = converter.convert()
        if quantize == "int16x8":
            content = attempted("widen_differences", widen_differences, content, skipped)
            kept = _in_float(content, known_layers, skipped)
        content = attempted("cut_kernels", cut_kernels, rewritten(content, skipped), skipped)
    except Exception as error:  # the converter raises its own classes, and bare ones
        raise _named(error, known_layers) from error
    with open(made, "wb") as file:  # noqa: PTH123 - the path came as a string
        file.write(content)
    return errors, kept, list(dict.fromkeys(skipped))


def _converter(archive, quantize):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(archive)
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if quantize == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,  # what has no form in 16 bits stays in float
        ]
    return converter


def _as_batches(pictures):
    """Yield float32 `(1, H, W, C)`; the first one also shows 0 and 255.

    The input's range is then 0–255 whatever the pictures, its scale 1: raw bytes go in as they are.
    """
    for number, picture in enumerate(pictures):
        picture = picture[None].astype("float32")
        if number == 0:
            picture[:, 0, 0], picture[:, -1, -1] = 0, 255
        yield [picture]


def _int8(converter, pictures, float_layers, known_layers, skipped):
    """Calibrate once; measure each layer's error with the debugger, then quantize."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize  # what the debugger itself quantizes with

    converter._experimental_calibrate_only = True
    calibrated = rewritten(converter.convert(), skipped)
    calibrated = attempted("narrow_ranges", narrow_ranges, calibrated, skipped, pictures)
    watched = mlir_quantize(calibrated, enable_numeric_verify=True)
    debugger = tf.lite.experimental.QuantizationDebugger(
        quant_debug_model_content=watched, debug_dataset=lambda: _as_batches(pictures[:4])
    )
    try:
        debugger.run()
    except RuntimeError:  # XNNPACK refuses some of what the debugger adds to the graph
        debugger._quant_interpreter = tf.lite.Interpreter(
            model_content=watched,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        debugger.run()
    errors: dict[str, float] = {}
    nodes: dict[str, list[str]] = {}
    for tensor, figures in debugger.layer_statistics.items():
        node, index = debugger._get_operand_name_and_index(tensor)
        scale = debugger._quant_interpreter._get_tensor_details(index, subgraph_index=0)["quantization"][0]
        error = float(np.sqrt(figures["mean_squared_error"]) / scale) if scale else 0.0
        layers = _layers_of(node, known_layers) or known_layers[:1]  # the output has no layer's name
        errors[layers[0]] = max(error, errors.get(layers[0], 0.0))
        for layer in layers:
            nodes.setdefault(layer, []).append(node)
    errors = dict(sorted(errors.items(), key=lambda item: -item[1]))
    kept = list(errors)[:float_layers] if isinstance(float_layers, int) else list(float_layers)
    kept = [layer for layer in kept if layer in nodes]

    def quantize(layers):
        return mlir_quantize(
            calibrated,
            input_data_type=tf.uint8,
            output_data_type=tf.uint8,
            denylisted_nodes=[node for layer in layers for node in nodes.get(layer, [])],
        )

    content = quantize(kept)
    forced = [layer for layer in _in_float(content, known_layers, skipped) if layer not in kept]
    if any(
        layer in nodes for layer in forced
    ):  # the whole of them: half would go to and fro for each operator
        content = quantize([*kept, *forced])
    return content, errors, [*kept, *forced]


def _in_float(content, known_layers, skipped):
    """Return the layers that a quantized file computes in float in part; of what is none, its own name."""
    layers: list[str] = []

    def look(content):
        for graph in parsed(content)[1]:
            kinds = graph.schema.BuiltinOperator
            for operator in graph.operators:
                tensor = graph.tensors[operator.outputs[0]]
                converts = graph.kind(operator) in (kinds.QUANTIZE, kinds.DEQUANTIZE)
                if tensor.type == graph.schema.TensorType.FLOAT32 and not converts:
                    layers.append(_first_layer(tensor.name.decode(), known_layers))
        return content

    attempted("layers in float", look, content, skipped)
    return list(dict.fromkeys(layers))


def _first_layer(node, known_layers):
    """Return the layer of the first operator that one was made of; the name of the node if there is none."""
    for part in reversed(node.split(";")):
        for layer in _layers_of(part, known_layers):  # the outer one; what is inside may be named as another
            return layer
    is_output = node.startswith("StatefulPartitionedCall")  # it has no layer's name
    return known_layers[0] if is_output and known_layers else node


def _layers_of(node, known_layers):
    """Return the Keras layers of a tensor, which the converter names "unet_1/conv_relu_1/Relu;unet_1/..."."""
    layers = []
    for part in re.split("[;/]", node):
        layers += [name for name in (part, re.sub(r"_\d+$", "", part)) if name in known_layers][:1]
    return list(dict.fromkeys(layers))


def _named(error, known_layers):
    """Return the converter's error with the operator and the layer that it names deep in its text."""
    found = re.search(r'fused\["(\w+):", "([^"]+)"\]', str(error))
    if found is None or "is neither a custom op nor a flex op" not in str(error):
        return error
    layers = _layers_of(found[2].split("@")[0], known_layers) or [found[2].split("@")[0]]
    return RuntimeError(f"operator {found[1]} of layer {layers[0]!r} has no builtin counterpart in LiteRT")
