"""Squared differences of `.tflite` files in 16 bits, which the converter writes and LiteRT does not run."""

from kseg.litert.graph import packed, parsed


def widen_differences(content: bytes) -> bytes:
    """Return a `.tflite` file whose squared differences of 16 bits are computed in float.

    Args:
        content: bytes; they come back as they are if there is none.
    """
    model, graphs = parsed(content)
    return packed(model) if sum(map(_widen_all, graphs)) else content


def _widen_all(graph):
    """Put what widens and what narrows around each of the operators; return how many there were."""
    schema = graph.schema
    kinds, types = schema.BuiltinOperator, schema.TensorType
    operators, widened = [], 0
    for operator in graph.operators:
        output = operator.outputs[0]
        if graph.kind(operator) != kinds.SQUARED_DIFFERENCE or graph.tensors[output].type != types.INT16:
            operators.append(operator)
            continue
        wide = {index: graph.add(_float_like(graph, index)) for index in dict.fromkeys(operator.inputs)}
        for index, float_index in wide.items():
            operators.append(_conversion(graph, kinds.DEQUANTIZE, 3, index, float_index))
        operator.inputs = [wide[index] for index in operator.inputs]
        operator.outputs = [graph.add(_float_like(graph, output))]
        operators += [operator, _conversion(graph, kinds.QUANTIZE, 2, operator.outputs[0], output)]
        widened += 1
    graph.operators[:] = operators
    return widened


def _float_like(graph, index):
    """Return a new float32 tensor of the shape and name of another."""
    like, tensor = graph.tensors[index], graph.schema.TensorT()
    tensor.name, tensor.shape, tensor.type = like.name, like.shape, graph.schema.TensorType.FLOAT32
    return tensor


def _conversion(graph, kind, version, index, to):
    operator, options = graph.schema.OperatorT(), graph.schema.BuiltinOptions
    operator.opcodeIndex = graph.code(kind, version)
    operator.inputs, operator.outputs = [index], [to]
    name = "DequantizeOptions" if kind == graph.schema.BuiltinOperator.DEQUANTIZE else "QuantizeOptions"
    operator.builtinOptionsType = getattr(options, name)
    operator.builtinOptions = getattr(graph.schema, f"{name}T")()
    return operator
