"""Operators of int8 files that leave XNNPACK, written as others that stay in it."""

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
