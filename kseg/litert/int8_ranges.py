"""Ranges of int8 activations that err least, in place of the extremes that calibration saw."""

import os

import numpy as np

from kseg.litert.graph import packed, parsed

_PICTURES, _VALUES = 32, 1 << 16  # pictures that are looked at, and values of a tensor in each
_BINS, _CANDIDATES, _LEAST = 2048, 64, 0.5
_BYTES = 1 << 30  # of activations that are held at a time


def narrow_ranges(content: bytes, pictures: np.ndarray) -> bytes:
    """Return a calibrated `.tflite` file with the ranges of least squared error.

    A step of int8 is 1/255 of the range: the few largest of millions of values make it coarse for the others.
    Each range becomes the one where the error of what is cut off and of what is rounded is least (Nagel et
    al., "A White Paper on Neural Network Quantization", 2021, section 3.1). Each end stays at half or more of
    what calibration saw, for pictures unlike those. The image and the scores keep their ranges: classes that
    were cut off at one score could not be told apart.

    Args:
        content: bytes of a float file with the ranges of calibration.
        pictures: `(N, H, W, C)`, values 0–255; 32, spread over all, are looked at.
    """
    model, (graph, *_) = parsed(content)
    ranges = _ranges_between(graph)
    counts = {index: np.zeros(_BINS, "int64") for index in ranges}
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), _PICTURES)).astype(int)
    for indices in _parts(graph, list(ranges)):
        for index, values in _values_of(content, indices, (pictures[number] for number in chosen)):
            counts[index] += _histogram(values, *ranges[index])
    for index, seen in counts.items():
        graph.set_range(index, *least_squares_range(seen, *ranges[index]))
    return packed(model)


def least_squares_range(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range `(low, high)` in which 256 steps err least.

    Args:
        counts: `(bins,)`, how many values lie in each of the bins from `low` to `high`, without those that
            are 0, which every range holds exactly.
        low, high: floats, of which `low` is not above 0 and `high` not below.
    """
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    shares = np.linspace(1, _LEAST, _CANDIDATES)[:, None]
    lows, highs = low * shares, high * shares
    below = np.maximum(lows - centres, 0) ** 2 @ counts
    above = np.maximum(centres - highs, 0) ** 2 @ counts
    rounded = counts.sum() * ((highs.T - lows) / 255) ** 2 / 12
    row, column = np.unravel_index(np.argmin(below[:, None] + above + rounded), rounded.shape)
    return float(lows[row, 0]), float(highs[column, 0])


def _ranges_between(graph):
    """Return tensor → what calibration saw of it, for all between the first convolutions and the last."""
    ends, ranges = _before_weights(graph) | _after_weights(graph), {}
    for index in (int(each) for operator in graph.operators for each in operator.outputs):
        low, high = graph.range(index) or (0.0, 0.0)
        if index not in ends and low < high and np.isfinite([low, high]).all():
            ranges[index] = (min(low, 0.0), max(high, 0.0))
    return ranges


def _before_weights(graph):
    """Return the image and all that it goes into without a convolution."""
    found = {graph.image}
    for operator in graph.operators:
        if not graph.has_weights(operator) and found & set(operator.inputs):
            found |= set(operator.outputs)
    return found


def _after_weights(graph):
    """Return the scores and what is only enlarged, activated or compared to become them."""
    found = set(graph.graph.outputs)
    for operator in reversed(graph.operators):
        inputs = [index for index in operator.inputs if index >= 0 and graph.data(index) is None]
        if found & set(operator.outputs) and not graph.has_weights(operator) and len(inputs) == 1:
            found |= set(inputs)
    return found


def _parts(graph, indices):
    """Yield lists of tensors which are small enough together to be held."""
    part: list[int] = []
    size = 0
    for index in indices:
        more = 4 * graph.size(index)
        if part and size + more > _BYTES:
            yield part
            part, size = [], 0
        part.append(index)
        size += more
    if part:
        yield part


def _values_of(content, indices, pictures):
    """Yield `(index, values)` for pictures and tensors; of large ones some, at the same places in each."""
    from ai_edge_litert.interpreter import Interpreter

    model, _ = parsed(content)
    model.subgraphs[0].outputs, model.signatureDefs = indices, []
    file = Interpreter(model_content=packed(model), num_threads=os.cpu_count())
    file.allocate_tensors()
    (image,) = file.get_input_details()
    for picture in pictures:
        file.set_tensor(image["index"], picture[None].astype("float32"))
        file.invoke()
        for index in indices:
            values = file.get_tensor(index).ravel()
            if values.size > _VALUES:
                values = values[np.random.default_rng(index).integers(values.size, size=_VALUES)]
            yield index, values


def _histogram(values, low, high):
    values = values[values != 0]
    bins = ((values - low) * (_BINS / (high - low))).astype("int64")
    return np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)
