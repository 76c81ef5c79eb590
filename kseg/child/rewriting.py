"""Operators of `.tflite` files, written as others that give the same sooner."""

import collections

import numpy as np


def without_lone_relus(content):
    """Return an int8 file in which every RELU that stands alone is an ADD of zero that ends in it.

    XNNPACK takes a quantized RELU only as the end of another operator. One alone, which networks have where
    they add before they activate, runs on one core, and all around it leaves XNNPACK and comes back: a
    DeepLab v3+ takes half as long without. Rounding may differ by one step.

    Args:
        content: bytes of a `.tflite` file.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    activations = {
        schema.BuiltinOperator.RELU: schema.ActivationFunctionType.RELU,
        schema.BuiltinOperator.RELU6: schema.ActivationFunctionType.RELU6,
    }
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    kinds = [code.builtinCode for code in model.operatorCodes]
    lone = [
        (graph, operator)
        for graph in model.subgraphs
        for operator in graph.operators
        if kinds[operator.opcodeIndex] in activations
        and graph.tensors[operator.outputs[0]].type == schema.TensorType.INT8
    ]
    if not lone:
        return content
    add = schema.OperatorCodeT()
    add.builtinCode = add.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    add.version = 2  # the first with int8
    model.operatorCodes.append(add)
    zero = schema.BufferT()
    zero.data = np.zeros(1, "uint8")
    model.buffers.append(zero)
    for graph, operator in lone:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activations[kinds[operator.opcodeIndex]]
        graph.tensors.append(_zero_like(schema, graph.tensors[operator.outputs[0]], len(model.buffers) - 1))
        operator.inputs = [*operator.inputs, len(graph.tensors) - 1]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, options
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _zero_like(schema, output, buffer):
    """Return a constant zero with the scale of a tensor."""
    tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = list(output.quantization.scale), [0]
    tensor.name = output.name + b"_zero"
    tensor.type, tensor.shape, tensor.buffer, tensor.quantization = output.type, [1], buffer, quantization
    return tensor


def without_idle_taps(content):
    """Return a file whose dilated convolutions have lost the taps that only ever see padding.

    A tap as far off as the feature map is wide multiplies zeros, and XNNPACK does multiply them: on 16×16
    features, a 3×3 kernel at rate 18 is one of 1×1. Exact.

    Args:
        content: bytes of a `.tflite` file.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    convolutions = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
    kinds = [code.builtinCode for code in model.operatorCodes]
    holders = collections.Counter(tensor.buffer for graph in model.subgraphs for tensor in graph.tensors)
    shortened = False
    for graph in model.subgraphs:
        readers = collections.Counter(i for operator in graph.operators for i in operator.inputs)
        makers = {operator.outputs[0]: operator for operator in graph.operators}
        for operator in graph.operators:
            if kinds[operator.opcodeIndex] not in convolutions:
                continue
            weights = [operator.inputs[1]]
            if weights[0] in makers:  # DEQUANTIZE, if they are stored in float16
                weights.append(makers[weights[0]].inputs[0])
            shared = any(readers[index] > 1 for index in weights)
            image, *weights = (graph.tensors[index] for index in (operator.inputs[0], *weights))
            buffer = model.buffers[weights[-1].buffer]
            taps = _taps_in_reach(schema, operator.builtinOptions, image.shape, weights[0].shape)
            if taps is None or shared or holders[weights[-1].buffer] > 1 or buffer.data is None:
                continue
            kernel = np.asarray(buffer.data, "uint8").reshape(*weights[0].shape, -1)[taps]  # bytes last
            buffer.data = kernel.ravel()
            for tensor in weights:
                tensor.shape = np.array(kernel.shape[:-1], "int32")
            options, (_, rows, columns, _, _) = operator.builtinOptions, kernel.shape
            options.dilationHFactor = options.dilationHFactor if rows > 1 else 1
            options.dilationWFactor = options.dilationWFactor if columns > 1 else 1
            shortened = True
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)) if shortened else content


def _taps_in_reach(schema, options, image, kernel):
    """Return the slices of a kernel `(·, rows, columns, ·)` that see the picture, `None` for all of it."""
    if options.padding != schema.Padding.SAME or (options.strideH, options.strideW) != (1, 1):
        return None
    taps = [slice(None)]
    rates = options.dilationHFactor, options.dilationWFactor
    for side, size, rate in zip(image[1:3], kernel[1:3], rates, strict=True):
        reach = min(size // 2, (side - 1) // rate)
        taps.append(slice(size // 2 - reach, size // 2 + reach + 1) if size % 2 else slice(None))
    whole = all(len(range(size)[tap]) == size for size, tap in zip(kernel[1:3], taps[1:], strict=True))
    return None if whole else tuple(taps)
