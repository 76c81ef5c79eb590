"""Dilated convolutions of `.tflite` files that the converter left in three operators each."""

import numpy as np


def join_dilations(graph):
    """Give convolutions back their dilation; return how many.

    TensorFlow spreads a map over the batch (SPACE_TO_BATCH_ND), convolves, gathers (BATCH_TO_SPACE_ND).
    The converter makes one operator of the three, but not where several convolutions read one map at one rate
    and share the first: there the batch is no longer 1, which accelerators refuse, and what follows stays
    outside of the convolution.

    Args:
        graph: of a file in float, calibrated or not; in others what follows a convolution stays outside.
    """
    kinds, joined = graph.schema.BuiltinOperator, 0
    for spread in [each for each in graph.operators if graph.kind(each) == kinds.SPACE_TO_BATCH_ND]:
        convolutions = graph.readers(spread.outputs[0])
        gathers = [graph.only_reader(each.outputs[0], kinds.BATCH_TO_SPACE_ND) for each in convolutions]
        paddings = [
            None if gather is None else _padding(graph, spread, convolution, gather)
            for convolution, gather in zip(convolutions, gathers, strict=True)
        ]
        if not convolutions or None in paddings:
            continue
        rates = graph.integers(spread.inputs[1])
        for convolution, gather, padding in zip(convolutions, gathers, paddings, strict=True):
            options = convolution.builtinOptions
            options.dilationHFactor, options.dilationWFactor = map(int, rates)
            options.padding = padding
            convolution.inputs = [spread.inputs[0], *convolution.inputs[1:]]
            convolution.outputs = gather.outputs
            graph.operators.remove(gather)
            _absorb_what_follows(graph, convolution)
        graph.operators.remove(spread)
        joined += len(convolutions)
    return joined


def _padding(graph, spread, convolution, gather):
    """Return the padding of the dilated convolution that three operators are; `None` if they are none."""
    options, kinds = convolution.builtinOptions, graph.schema.Padding
    if not graph.is_convolution(convolution) or options.padding != kinds.VALID:
        return None
    if {options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor} != {1}:
        return None
    rates, pads = graph.integers(spread.inputs[1]), graph.integers(spread.inputs[2])
    crops = graph.integers(gather.inputs[2])
    if any(each is None for each in (rates, pads, crops)) or rates.shape != (2,) or crops[:, 0].any():
        return None
    if not np.array_equal(rates, graph.integers(gather.inputs[1])):
        return None
    taps = np.array(graph.tensors[convolution.inputs[1]].shape[1:3])
    reach = rates * (taps - 1)
    given, made = (
        np.array(graph.tensors[index].shape[1:3]) for index in (spread.inputs[0], gather.outputs[0])
    )
    for padding, before, size in ((kinds.SAME, reach // 2, given), (kinds.VALID, 0 * reach, given - reach)):
        if np.array_equal(pads[:, 0], before) and np.array_equal(made, size):
            return padding
    return None


def _absorb_what_follows(graph, convolution):
    """Take factors, shifts and an activation that alone read a convolution into it."""
    kinds, ends = graph.schema.BuiltinOperator, graph.schema.ActivationFunctionType
    activations = {kinds.RELU: ends.RELU, kinds.RELU6: ends.RELU6}
    options = convolution.builtinOptions
    while not options.fusedActivationFunction and len(graph.readers(convolution.outputs[0])) == 1:
        (reader,) = graph.readers(convolution.outputs[0])
        kind = graph.kind(reader)
        if kind in activations:
            options.fusedActivationFunction = activations[kind]
        elif kind in (kinds.MUL, kinds.ADD) and _absorb(graph, convolution, reader):
            options.fusedActivationFunction = reader.builtinOptions.fusedActivationFunction
        else:
            return
        convolution.outputs = reader.outputs
        graph.operators.remove(reader)


def _absorb(graph, convolution, reader):
    """Take a factor or a shift per channel into a kernel and its bias; tell if they could."""
    kinds = graph.schema.BuiltinOperator
    image, kernel, bias = convolution.inputs
    values, offset = graph.constant(kernel), graph.constant(bias)
    others = [graph.constant(index) for index in reader.inputs if index != convolution.outputs[0]]
    channels = graph.tensors[convolution.outputs[0]].shape[-1]
    if len(others) != 1 or others[0] is None or offset is None or others[0].shape != (channels,):
        return False
    if graph.kind(reader) == kinds.ADD:
        offset = offset + others[0]
    elif values is None or not graph.is_stored_for_one(kernel):
        return False
    else:
        in_front = graph.kind(convolution) == kinds.CONV_2D  # of a kernel's axes, that of the channels
        graph.store(kernel, values * (others[0][:, None, None, None] if in_front else others[0]))
        offset = offset * others[0]
    convolution.inputs = [image, kernel, graph.add_constant(offset)]
    return True
