"""Dilated convolutions of `.tflite` files that the converter left in three operators each."""

import numpy as np

from kseg.litert.graph import Graph


def join_dilations(graph: Graph) -> int:
    """Give convolutions back their dilation; return how many.

    TensorFlow spreads a map over the batch (SPACE_TO_BATCH_ND), convolves, gathers (BATCH_TO_SPACE_ND).
    The converter makes one operator of the three, but not where several convolutions read one map at one rate
    and share the first: there the batch is no longer 1, which accelerators refuse, and what follows stays
    outside of the convolution. It goes in here, batch normalisations where the kernel is in float.
    """
    kinds, joined = graph.schema.BuiltinOperator, 0
    for to_batch in [each for each in graph.operators if graph.kind(each) == kinds.SPACE_TO_BATCH_ND]:
        convolutions = graph.readers(to_batch.outputs[0])
        gathers = [graph.only_reader(each.outputs[0], kinds.BATCH_TO_SPACE_ND) for each in convolutions]
        threes = [(to_batch, *each) for each in zip(convolutions, gathers, strict=True)]
        paddings = [_padding(graph, *each) for each in threes]
        if not paddings or None in paddings:
            continue
        for each, padding in zip(threes, paddings, strict=True):
            _join(graph, *each, padding)
        graph.operators.remove(to_batch)
        joined += len(threes)
    graph.drop_unread(kinds.DEQUANTIZE)  # of constants in float16 that went into convolutions
    return joined


def _padding(graph, to_batch, convolution, gather):
    """Return the padding with which one dilated convolution gives what three operators do, or `None`."""
    options, paddings = convolution.builtinOptions, graph.schema.Padding
    if gather is None or not graph.is_convolution(convolution) or options.padding != paddings.VALID:
        return None
    if {options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor} != {1}:
        return None
    rates, pads = (graph.integers(index) for index in to_batch.inputs[1:])
    gathered, crops = (graph.integers(index) for index in gather.inputs[1:])
    if any(each is None for each in (rates, pads, gathered, crops)) or rates.shape != (2,):
        return None
    if not np.array_equal(rates, gathered) or crops[:, 0].any():
        return None
    reach = rates * (np.array(graph.tensors[convolution.inputs[1]].shape[1:3]) - 1)
    ends = (to_batch.inputs[0], gather.outputs[0])
    before, after = (np.array(graph.tensors[index].shape[1:3]) for index in ends)
    if np.array_equal(pads[:, 0], reach // 2) and np.array_equal(after, before):
        return paddings.SAME
    return None if pads[:, 0].any() or not np.array_equal(after, before - reach) else paddings.VALID


def _join(graph, to_batch, convolution, gather, padding):
    """Make a convolution between two operators a dilated one, and take in what follows it."""
    kinds, options = graph.schema.BuiltinOperator, convolution.builtinOptions
    options.padding = padding
    options.dilationHFactor, options.dilationWFactor = map(int, graph.integers(to_batch.inputs[1]))
    convolution.inputs = [to_batch.inputs[0], *convolution.inputs[1:]]
    convolution.outputs = gather.outputs
    if graph.kind(convolution) == kinds.DEPTHWISE_CONV_2D:
        convolution.opcodeIndex = graph.code(kinds.DEPTHWISE_CONV_2D, version=2)  # the first that dilates
    graph.operators.remove(gather)
    _absorb_what_follows(graph, convolution)


def _absorb_what_follows(graph, convolution):
    """Take factors, shifts and an activation that alone read a convolution into it."""
    kinds, options = graph.schema.BuiltinOperator, convolution.builtinOptions
    while not options.fusedActivationFunction and len(graph.readers(convolution.outputs[0])) == 1:
        (reader,) = graph.readers(convolution.outputs[0])
        kind = graph.kind(reader)
        if kind in graph.activations:
            options.fusedActivationFunction = graph.activations[kind]
        elif kind in (kinds.MUL, kinds.ADD) and _absorb(graph, convolution, reader):
            options.fusedActivationFunction = reader.builtinOptions.fusedActivationFunction
        else:
            return
        _name_both(graph, reader.outputs[0], convolution.outputs[0])
        convolution.outputs = reader.outputs
        graph.operators.remove(reader)


def _name_both(graph, last, first):
    """Name a tensor after what it was made from as well, as the converter does: layers are found by it."""
    if last not in list(graph.graph.outputs):
        graph.tensors[last].name += b";" + graph.tensors[first].name


def _absorb(graph, convolution, reader):
    """Take a factor or a shift per channel into a kernel and its bias; tell if they could."""
    kinds = graph.schema.BuiltinOperator
    image, kernel, bias = convolution.inputs
    channels = graph.tensors[convolution.outputs[0]].shape[-1]
    weights, offsets = graph.values(kernel), graph.per_channel(bias, channels)
    by = graph.operand(reader, channels)
    if offsets is None or by is None:
        return False
    if graph.kind(reader) == kinds.ADD:
        offsets = offsets + by
    elif weights is None or not graph.is_stored_for_one(kernel):
        return False
    else:
        last = graph.kind(convolution) == kinds.DEPTHWISE_CONV_2D  # where a kernel has the channels it makes
        graph.store(kernel, weights * (by if last else by[:, None, None, None]))
        offsets = offsets * by
    convolution.inputs = [image, kernel, graph.add_constant(offsets, b"bias")]
    return True
