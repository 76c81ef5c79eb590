"""int8 activations of `.tflite` files that stand alone, made the end of an operator."""

import numpy as np

from kseg.litert.graph import Graph


def end_adds_in_relus(graph: Graph) -> int:
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
