"""Taps of dilated convolutions of `.tflite` files that only ever see padding, taken away."""

import numpy as np

from kseg.litert.graph import Graph


def drop_idle_taps(graph: Graph) -> int:
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
