"""Maps of `.tflite` files that are doubled to the nearest pixel, by operators that XNNPACK runs."""

from copy import deepcopy

from kseg.litert.graph import Graph


def double_by_copies(graph: Graph) -> int:
    """Turn every resize to the nearest that doubles a map into four copies dealt out; return how many.

    XNNPACK takes no RESIZE_NEAREST_NEIGHBOR: all around it leaves XNNPACK and comes back. It takes the map
    four times side by side, CONCATENATION, and DEPTH_TO_SPACE, which makes a square of 2×2 pixels of every
    pixel's four. The values are the same to the bit. In int16 neither has a kernel: the resize stays.
    """
    resizes = [operator for operator in graph.operators if _doubles(graph, operator)]
    for operator in resizes:
        _put_copies_before(graph, operator)
    return len(resizes)


def _doubles(graph, operator):
    schema = graph.schema
    if graph.kind(operator) != schema.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR:
        return False
    source, result = (graph.tensors[index] for index in (operator.inputs[0], operator.outputs[0]))
    if graph.range(operator.inputs[0]) is not None:  # calibrated, and not quantized yet: int16 may come
        return False
    shapes = [list(tensor.shape) for tensor in (source, result)]
    is_open = any(
        tensor.shapeSignature is not None and -1 in tensor.shapeSignature for tensor in (source, result)
    )
    doubled = shapes[1][1:3] == [2 * side for side in shapes[0][1:3]]
    known = source.type in (schema.TensorType.FLOAT32, schema.TensorType.INT8)
    return doubled and known and not is_open and not operator.builtinOptions.alignCorners


def _put_copies_before(graph, resize):
    schema, kinds = graph.schema, graph.schema.BuiltinOperator
    source = resize.inputs[0]
    copies = deepcopy(graph.tensors[source])  # scale and zero too
    copies.name, copies.buffer = copies.name + b"_copies", graph.add_buffer(None)
    copies.shape = [*copies.shape[:3], 4 * copies.shape[3]]
    concatenation = schema.OperatorT()
    concatenation.inputs, concatenation.outputs = 4 * [source], [graph.add(copies)]
    concatenation.opcodeIndex = graph.code(kinds.CONCATENATION, version=2)  # the first with int8
    concatenation.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
    concatenation.builtinOptions = schema.ConcatenationOptionsT()
    concatenation.builtinOptions.axis = 3
    graph.operators.insert(graph.operators.index(resize), concatenation)
    resize.inputs = concatenation.outputs
    resize.opcodeIndex = graph.code(kinds.DEPTH_TO_SPACE)
    resize.builtinOptionsType = schema.BuiltinOptions.DepthToSpaceOptions
    resize.builtinOptions = schema.DepthToSpaceOptionsT()
    resize.builtinOptions.blockSize = 2
