"""The factor of the normalisation, taken from the start of a `.tflite` file into its first convolutions."""

import numpy as np

from kseg.litert.graph import Graph


def fold_scale(graph: Graph) -> int:
    """Move `scale` of `scale * image + offset` into the kernels that read it; return how many take it.

    `image + offset / scale` is one operator less at full resolution.
    The shift stays, for zeros are padded around what it gives. Ranges of calibration become those of pictures
    of 0–255. Only float32 kernels are touched, and only if the channels are scaled alike, or in 8 bits the
    step of one would be too long for another.

    Args:
        graph: of a file in float, calibrated or not; others stay as they are.
    """
    kinds = graph.schema.BuiltinOperator
    scaling = graph.only_reader(graph.image, kinds.MUL)
    scale = None if scaling is None else graph.operand(scaling, graph.depth)
    if scale is None or np.abs(scale).max() > 1.2 * np.abs(scale).min():
        return 0
    shift = graph.only_reader(scaling.outputs[0], kinds.ADD)
    offset = None if shift is None else graph.operand(shift, graph.depth)
    if offset is None:
        return 0
    with np.errstate(all="ignore"):
        offset = offset / scale
    shifted = [shift.outputs[0]]
    padding = graph.only_reader(shifted[0], kinds.PAD)
    if padding is not None:
        shifted.append(padding.outputs[0])
    same_depth = graph.tensors[shifted[-1]].shape[-1] == graph.depth
    readers = graph.readers(shifted[-1])
    kernels = [found for found in (_own_kernel(graph, operator) for operator in readers) if found is not None]
    all_own = len(kernels) == len(readers) > 0
    if not np.isfinite(offset).all() or not same_depth or not all_own:
        return 0
    for index, kernel in kernels:
        factors = np.repeat(scale, kernel.shape[-1] // graph.depth)  # a depthwise one has several per channel
        graph.store(index, kernel * factors)
    for index in shifted:
        graph.set_range(index, min(offset.min(), 0), max(255 + offset.max(), 0))
    if (offset == offset[0]).all():
        offset = offset[:1]
    else:  # a row of pixels: int8 adds three values at a time slowly
        offset = np.tile(offset, (1, 1, graph.tensors[graph.image].shape[2], 1))
    shift.inputs = [graph.image, graph.add_constant(offset, b"shift")]
    graph.operators.remove(scaling)
    return len(kernels)


def _own_kernel(graph, operator):
    """Return the float32 kernel that a convolution of all channels has for itself, or `None`.

    It comes as its index and its values.
    """
    if not graph.is_convolution(operator):
        return None
    index = operator.inputs[1]
    kernel = graph.constant(index)
    if kernel is None or kernel.shape[-1] % graph.depth or not graph.is_stored_for_one(index):
        return None
    return index, kernel
