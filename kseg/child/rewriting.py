"""Operators of `.tflite` files, written as others that give the same sooner."""

import numpy as np

from kseg.child.dilating import join_dilations
from kseg.child.folding import fold_scale
from kseg.child.graph import packed, parsed


def rewritten(content):
    """Return a `.tflite` file that gives the same sooner, on more devices.

    Args:
        content: bytes; they come back as they are if there is nothing to gain. Of an int8 file, the float one
            with the ranges of calibration comes here first, for kernels in float take factors in.
    """
    model, graphs = parsed(content)
    changed = sum(map(join_dilations, graphs)) + fold_scale(graphs[0])
    changed += sum(end_adds_in_relus(graph) + drop_idle_taps(graph) for graph in graphs)
    return packed(model) if changed else content


def end_adds_in_relus(graph):
    """Turn every int8 RELU that stands alone into an ADD of zero that ends in it; return how many.

    XNNPACK takes a quantized RELU only as the end of another operator. One alone, which networks have where
    they add before they activate, runs on one core, and all around it leaves XNNPACK and comes back: a
    DeepLab v3+ takes half as long without. Rounding may differ by one step.
    """
    schema, activations = graph.schema, graph.activations
    lone = [
        operator
        for operator in graph.operators
        if graph.kind(operator) in activations
        and graph.tensors[operator.outputs[0]].type == schema.TensorType.INT8
    ]
    zero = graph.add_buffer(np.zeros(1, "uint8")) if lone else None
    for operator in lone:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activations[graph.kind(operator)]
        operator.inputs = [*operator.inputs, graph.add(_zero_like(graph, operator.outputs[0], zero))]
        operator.opcodeIndex = graph.code(schema.BuiltinOperator.ADD, version=2)  # the first with int8
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, options
    return len(lone)


def _zero_like(graph, index, buffer):
    """Return a constant zero with the scale of a tensor."""
    like, tensor = graph.tensors[index], graph.schema.TensorT()
    tensor.quantization = graph.schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = list(like.quantization.scale), [0]
    tensor.name, tensor.type, tensor.shape, tensor.buffer = like.name + b"_zero", like.type, [1], buffer
    return tensor


def drop_idle_taps(graph):
    """Take from dilated convolutions the taps that only ever see padding; return how many are shorter.

    A tap as far off as the feature map is wide multiplies zeros, and XNNPACK does multiply them: on 16×16
    features, a 3×3 kernel at rate 18 is one of 1×1. Exact.
    """
    changed = 0
    for operator in filter(graph.is_convolution, graph.operators):
        kernel = operator.inputs[1]
        weights = [graph.tensors[index] for index in dict.fromkeys([kernel, graph.stored(kernel)])]
        buffer = graph.model.buffers[weights[-1].buffer]
        if graph.is_stored_for_one(kernel) and buffer.data is not None:
            image = graph.tensors[operator.inputs[0]]
            changed += _shorten(operator.builtinOptions, image.shape, weights, buffer, graph.schema)
    return changed


def _shorten(options, image, weights, buffer, schema):
    """Take from one convolution the taps that never reach an image `(·, H, W, ·)`; tell if there were any."""
    if options.padding != schema.Padding.SAME or (options.strideH, options.strideW) != (1, 1):
        return False
    _, rows, columns, _ = shape = weights[0].shape
    above = _idle(rows, options.dilationHFactor, image[1])
    left = _idle(columns, options.dilationWFactor, image[2])
    if not above and not left:
        return False
    kernel = np.asarray(buffer.data, "uint8").reshape(*shape, -1)  # bytes last
    kernel = kernel[:, above : rows - above, left : columns - left]
    buffer.data = kernel.ravel()
    for tensor in weights:
        tensor.shape = np.array(kernel.shape[:-1], "int32")
    if kernel.shape[1] == 1:
        options.dilationHFactor = 1
    if kernel.shape[2] == 1:
        options.dilationWFactor = 1
    return True


def _idle(size, rate, side):
    """Return how many taps at each end of a kernel's side never reach a picture's."""
    return max(size // 2 - (side - 1) // rate, 0) if size % 2 else 0
