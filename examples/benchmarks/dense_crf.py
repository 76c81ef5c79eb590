"""Time the dense CRF on one picture: its parts, and all of it.

    python examples/benchmarks/dense_crf.py [PICTURE]

No data needed: without a picture it draws a scene of 360 × 480 pixels; the probabilities have 11 classes.
Prints medians, and the least beside them, for the usual kernel (80 pixels, 13 values of colour) and for the
narrow one of DeepLab (67, 3). Half a minute. Expected on two cores: 70 ms for the one, 120 for the other.
"""

import statistics
import sys
import time
from typing import Any

import numpy as np
from PIL import Image

import kseg
from kseg.crf.mean_field import Smoothness, appearance, log_of, mean_field
from kseg.data.shapes import scene

ROUNDS = 15
HEIGHT, WIDTH, CLASSES, ITERATIONS = 360, 480, 11, 5


def timed(function):
    """Return the median and the least milliseconds of a function."""
    times = []
    for _ in range(ROUNDS + 2):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:]), min(times[2:])  # the first two rounds warm up


def inputs():
    """Return probabilities `(H, W, C)` and a picture."""
    image, mask = scene(0, (HEIGHT, WIDTH))
    if len(sys.argv) > 1:
        image = np.asarray(Image.open(sys.argv[1]).convert("RGB").resize((WIDTH, HEIGHT)))
    noise = np.random.default_rng(0).normal(0, 1, (HEIGHT, WIDTH, CLASSES))
    scores = np.exp(noise + 2 * np.eye(CLASSES)[mask % CLASSES]).astype("float32")
    return scores / scores.sum(-1, keepdims=True), image


def main():
    probabilities, image = inputs()
    print(f"{HEIGHT} × {WIDTH} pixels, {CLASSES} classes, {ITERATIONS} iterations, {ROUNDS} rounds")
    print(f"{'':44}{'median ms':>10}{'least ms':>10}")
    for xy, rgb in ((80, 13), (67, 3)):
        logs, lattice = log_of(probabilities), appearance(image, xy, rgb)
        kernels: list[tuple[float, Any]] = [(3, Smoothness(image.shape[:2], 3)), (10, lattice)]
        arguments: dict[str, Any] = {"iterations": ITERATIONS, "appearance_xy": xy, "appearance_rgb": rgb}
        rows = {
            f"build the lattice ({lattice.vertices} corners)": lambda: appearance(image, xy, rgb),  # noqa: B023
            "mean field": lambda: mean_field(logs, kernels, ITERATIONS, probabilities.shape),  # noqa: B023
            "dense_crf, all of it": lambda: kseg.dense_crf(probabilities, image, **arguments),  # noqa: B023
        }
        for name, function in rows.items():
            median, least = timed(function)
            print(f"{f'{xy} px, {rgb}: {name}':44}{median:10.0f}{least:10.0f}")


if __name__ == "__main__":
    main()
