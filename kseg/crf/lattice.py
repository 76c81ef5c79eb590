"""The permutohedral lattice: a Gaussian filter in many dimensions whose cost grows with the pixels alone.

Reference: Adams, Baek & Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice".
"""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy import sparse

THREADS = ThreadPoolExecutor(os.cpu_count(), "kseg-crf")  # NumPy and SciPy let go of the GIL
_BAND = 2**16  # pixels, at most, that one thread works on at a time


def bands(height: int, width: int) -> list[slice]:
    """Return slices of whole rows that cover the pixels, an even number of like pieces of work."""
    pieces = min(height, 2 * -(-height * width // (2 * _BAND)))
    edges = [height * piece // pieces * width for piece in range(pieces + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def in_threads(function: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
    """Return the results of a function over items, as a list."""
    return list(THREADS.map(function, *items))


class Lattice:
    """The kernel `exp(-|f_i - f_j|² / 2)` of features `f`, approximately, divided by the roots of its sums.

    Pixels are splatted onto the corners of their simplex, corners are blurred along each axis of the lattice,
    and pixels are sliced from the corners again.

    Args:
        features: float32 `(d, N)`, in standard deviations.
        parts: list of slices that cover the pixels.

    Attributes:
        vertices: int, corners in use.
    """

    def __init__(self, features: np.ndarray, parts: Sequence[slice]) -> None:
        form = np.append(np.random.default_rng(0).integers(-(2**62), 2**62, len(features)), 0)

        def locate(part):
            keys, weights = enclosing_simplices(features[:, part], form)
            return *number_distinct(keys), weights

        found = in_threads(locate, parts)
        keys, numbers = number_distinct(np.concatenate([keys for keys, _, _ in found]))
        order = np.argsort(keys)
        keys, self.vertices = keys[order], len(keys)
        numbers = np.argsort(order).astype("int32")[numbers]
        by_part = np.split(numbers, np.cumsum([len(keys) for keys, _, _ in found[:-1]]))
        matrices = in_threads(lambda one, own: _rows(one[own[1]], own[2], self.vertices), by_part, found)
        self._slices = list(zip(parts, matrices, strict=True))
        self._blurs = blur_matrices(keys, _steps(form))
        self._normalize(np.ones((features.shape[1], 1), "float32"))

    def _normalize(self, ones):
        message = self(ones)
        for part, matrix in self._slices:
            matrix.data.reshape(len(ones[part]), -1)[:] /= np.sqrt(message(part))

    def __call__(self, values: np.ndarray, weight: float = 1) -> Callable[[slice], np.ndarray]:
        """Return a function, part → `weight` times the filtered values `(n, C)`.

        Args:
            values: float32 `(N, C)`; a C that is a multiple of 4 is fastest.
            weight: factor of the result.
        """
        corners = sum(in_threads(lambda one: one[1].T @ values[one[0]], self._slices))
        for blur in self._blurs:
            corners = blur @ corners
        corners *= np.float32(weight)
        matrices = {part.start: matrix for part, matrix in self._slices}
        return lambda part: matrices[part.start] @ corners


def _rows(corners, weights, vertices):
    """Return the CSR matrix `(n, vertices)` of corners `(d + 1, n)` and their weights `(n, d + 1)`."""
    ends = np.arange(0, weights.size + 1, weights.shape[1], dtype="int32")
    corners = np.ascontiguousarray(corners.T).reshape(-1)
    return sparse.csr_array((weights.reshape(-1), corners, ends), shape=(len(weights), vertices))


def enclosing_simplices(features: np.ndarray, form: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys int64 `(d + 1, n)` and weights float32 `(n, d + 1)` of each pixel's corners.

    A corner's key is a random linear form of its coordinates modulo 2⁶⁴: equal corners have equal keys, the
    keys of neighbours differ by a constant, and of a million corners two share a key once in 10⁷ pictures.

    Args:
        features: float32 `(d, n)`.
        form: int64 `(d + 1,)`, the last 0: the coordinates of a corner sum to 0.
    """
    elevated = _elevate(features)
    axes, bits = len(elevated), len(features).bit_length()
    nearest = np.rint(elevated)
    excess = nearest.sum(0).astype("int32")
    one = np.int32(2 ** (30 - bits))  # offsets become integers that carry the number of their axis below
    offsets = [
        (part * np.float32(one)).astype("int32") * 2**bits + axis
        for axis, part in enumerate(elevated - nearest)
    ]
    key = sum(weight * part.astype("int64") for weight, part in zip(form[:-1], nearest[:-1], strict=True))
    _sort(offsets)
    for rank in range(axes):  # the coordinates that were rounded furthest move until they sum to 0
        move = (rank >= axes - excess).astype("int32") - (rank < -excess)
        key -= form[offsets[rank] & (2**bits - 1)] * move
        offsets[rank] += move * (one * 2**bits)
    _sort(offsets)
    return _corners(key * axes, offsets, bits, _steps(form)), _weights(offsets, one, bits)


def _elevate(features):
    """Return the features `(d, n)` on the plane of points that sum to 0, in lattice cells, `(d + 1, n)`."""
    dimensions = len(features)
    elevated = np.empty((dimensions + 1, features.shape[1]), "float32")
    above = np.zeros(features.shape[1], "float32")
    for axis in range(dimensions, 0, -1):
        # the blur's deviation is sqrt(3 / 2) cells; the scale turns that into 1
        scaled = features[axis - 1] * np.float32(np.sqrt(2 / 3 / (axis * (axis + 1))))
        elevated[axis] = above - axis * scaled
        above += scaled
    elevated[0] = above
    return elevated


def _sort(rows):
    """Sort a list of arrays elementwise, the largest first, in place."""
    for end in range(len(rows) - 1, 0, -1):
        for low in range(end):
            rows[low], rows[low + 1] = (
                np.maximum(rows[low], rows[low + 1]),
                np.minimum(rows[low], rows[low + 1]),
            )


def _steps(form):
    """Return the change of a key along each axis of the lattice, which adds 1 everywhere and -d on it."""
    return form.sum() - len(form) * form


def _corners(key, offsets, bits, steps):
    """Walk from the first corner through the simplex, along the axes in the order of the offsets."""
    keys = np.empty((len(offsets), len(key)), "int64")
    keys[0] = key
    for corner, row in enumerate(offsets[:0:-1], start=1):
        np.add(keys[corner - 1], steps[row & (2**bits - 1)], out=keys[corner])
    return keys


def _weights(offsets, one, bits):
    """Return the barycentric weights `(n, d + 1)` of sorted offsets."""
    values = [(row >> bits) * np.float32(1 / one) for row in offsets]
    weights = np.empty((len(values[0]), len(values)), "float32")
    for corner in range(1, len(values)):
        np.subtract(values[-corner - 1], values[-corner], out=weights[:, corner])
    weights[:, 0] = 1 - (values[0] - values[-1])
    return weights


def number_distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct int64 `keys`, and the place of each key among them, int32 in the shape of `keys`.

    A hash table with open addressing, all keys at once: of those that want a slot the last one gets it, and
    whoever finds another key there goes on to the next slot. Sorting takes several times as long.
    """
    flat = keys.reshape(-1)
    flat[flat == 0] = 1  # 0 marks an empty slot
    bits = flat.size.bit_length()
    slots = (flat.view("uint64") >> np.uint64(64 - bits)).view("int64")  # keys are random as they are
    table = np.zeros(2**bits, "int64")
    table[slots] = flat
    homeless = np.flatnonzero(table[slots] != flat)
    while homeless.size:
        wanted = (slots[homeless] + 1) % 2**bits
        slots[homeless] = wanted
        free = table[wanted] == 0
        table[wanted[free]] = flat[homeless[free]]
        homeless = homeless[table[wanted] != flat[homeless]]
    used = np.flatnonzero(table)
    numbers = np.empty(2**bits, "int32")
    numbers[used] = np.arange(len(used))
    return table[used], numbers[slots].reshape(keys.shape)


def blur_matrices(keys: np.ndarray, steps: np.ndarray) -> list[sparse.csr_array]:
    """Return, for each axis, the CSR matrix of the kernel (1/2, 1, 1/2) over sorted `keys`; absent is 0."""
    count = len(keys)
    ends = np.arange(0, 3 * count + 1, 3, dtype="int32")

    def matrix(step):
        columns = np.repeat(np.arange(count, dtype="int32"), 3).reshape(-1, 3)
        weights = np.zeros((count, 3), "float32")
        weights[:, 0] = 1
        after = np.searchsorted(keys, keys + step).clip(max=count - 1)
        (found,) = np.nonzero(keys[after] == keys + step)
        columns[found, 1], weights[found, 1] = after[found], 0.5
        columns[after[found], 2], weights[after[found], 2] = found, 0.5
        return sparse.csr_array((weights.reshape(-1), columns.reshape(-1), ends), shape=(count, count))

    return in_threads(matrix, steps)
