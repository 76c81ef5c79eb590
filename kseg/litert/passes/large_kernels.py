"""Large kernels of `.tflite` files, cut into pieces that stay in the processor's cache."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np

from kseg.litert.graph import packed, parsed

_BYTES = 4_000_000  # of a piece; 1 to 5 MB took the same time
_TILE = 16  # output channels that XNNPACK computes together, or a multiple of theirs
_JOINED = 5  # tensors, the most that XNNPACK joins at once


def cut_kernels(content: bytes) -> bytes:
    """Return a `.tflite` file whose largest convolutions are several of fewer output channels, joined.

    XNNPACK goes through the whole kernel for every few pixels, and one larger than the cache comes from
    memory each time: a PSPNet takes 0.45 of the time of Keras' own export with its kernels in pieces, 0.64
    with them whole. What pieces give is held twice for a moment. Every score stays the same bit by bit.
    Kernels of 1×1 and those in 8 bits gain nothing and stay whole.

    Args:
        content: bytes; they come back as they are if no kernel is large.
    """
    model, graphs = parsed(content)
    return packed(model) if sum(map(_cut_all, graphs)) else content


def _cut_all(graph):
    """Cut the large kernels of a graph; return how many there were."""
    operators: list[Any] = []
    cut = 0
    for operator in list(graph.operators):
        starts = _starts(graph, operator)
        operators += [operator] if len(starts) < 2 else _pieces(graph, operator, starts)
        cut += len(starts) > 1
    graph.operators[:] = operators
    graph.drop_unread(graph.schema.BuiltinOperator.DEQUANTIZE)  # of biases that several convolutions had
    return cut


def _starts(graph, operator):
    """Return the output channels at which the pieces of an operator start; `[0]` if it stays whole."""
    if graph.kind(operator) != graph.schema.BuiltinOperator.CONV_2D:
        return [0]
    kernel, *others = [graph.stored(index) for index in operator.inputs[1:]]
    channels, height, width, depth = map(int, graph.tensors[kernel].shape)
    own = all(len(graph.readers(index)) == 1 for index in (kernel, operator.inputs[1]))
    in_float = all(map(graph.is_float_constant, [kernel, *others]))
    in_groups = depth != graph.tensors[operator.inputs[0]].shape[-1]
    if not own or not in_float or in_groups or height * width == 1:
        return [0]
    tiles = max(_BYTES // (4 * height * width * depth * _TILE), 1)
    parts = -(-channels // (tiles * _TILE))
    return list(range(0, channels, -(-channels // (parts * _TILE)) * _TILE))


def _pieces(graph, operator, starts):
    """Return the operators that stand in for one: convolutions of some channels each, and what joins them."""
    channels = int(graph.tensors[operator.outputs[0]].shape[-1])
    operators: list[Any] = []
    outputs: list[int] = []
    for start, stop in reversed([*pairwise([*starts, channels])]):  # the first takes the whole one's place
        piece = copy.copy(operator)
        piece.inputs = [operator.inputs[0]]
        for index in operator.inputs[1:]:
            makers, part = _constant_part(graph, index, start, stop)
            operators += makers
            piece.inputs.append(part)
        piece.outputs = [graph.add(_part(graph, operator.outputs[0], -1, start, stop))]
        operators.append(piece)
        outputs = piece.outputs + outputs
    return [*operators, *_joins(graph, outputs, operator.outputs[0])]


def _constant_part(graph, index, start, stop):
    """Return the operators that widen some channels of a kernel or bias from float16, and their tensor."""
    stored = graph.stored(index)
    chain = list(dict.fromkeys([stored, index]))
    if start == 0 and all(len(graph.readers(each)) == 1 for each in chain):
        for each in chain:
            graph.replace(each, _part(graph, each, 0, start, stop))
        return [], index
    parts = [graph.add(_part(graph, each, 0, start, stop)) for each in chain]
    if stored == index:
        return [], parts[0]
    widen = copy.copy(graph.maker(index))
    widen.inputs, widen.outputs = parts[:1], parts[1:]
    return [widen], parts[1]


def _part(graph, index, axis, start, stop):
    """Return a tensor of some channels of another, with their values if it is a constant."""
    whole, data = graph.tensors[index], graph.data(index)
    part = copy.deepcopy(whole)
    part.name, part.shapeSignature, part.buffer = whole.name + b"_%d" % start, None, 0
    part.shape = [*whole.shape]
    part.shape[axis] = stop - start
    if data is not None:
        values = np.asarray(data, "uint8").reshape(whole.shape[0], -1)  # bytes last
        part.buffer = graph.add_buffer(values[start:stop].ravel())
    return part


def _joins(graph, parts, whole):
    """Return the operators that join tensors to one, a few at a time."""
    operators = []
    while len(parts) > _JOINED:
        groups, parts = [parts[start : start + _JOINED] for start in range(0, len(parts), _JOINED)], []
        for group in groups:
            if len(group) == 1:
                parts += group
                continue
            depth = sum(graph.tensors[index].shape[-1] for index in group)
            parts.append(graph.add(_part(graph, whole, -1, 0, depth)))
            operators.append(_join(graph, group, parts[-1]))
    return [*operators, _join(graph, parts, whole)]


def _join(graph, parts, whole):
    join, options = graph.schema.OperatorT(), graph.schema.ConcatenationOptionsT()
    join.opcodeIndex = graph.code(graph.schema.BuiltinOperator.CONCATENATION)
    join.inputs, join.outputs, options.axis = parts, [whole], -1
    join.builtinOptionsType = graph.schema.BuiltinOptions.ConcatenationOptions
    join.builtinOptions = options
    return join
