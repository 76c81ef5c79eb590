"""Segment a picture beyond memory from and to tiled TIFF by windows, beside the bare model on such windows.

    python examples/benchmarks/windows.py [--side 20000] [--window 512] [--overlap 0.5]

Data: noise and ramps, generated, SIDE × SIDE pixels; DDRNet-23-slim with 21 classes and untrained weights. A
second process segments it by `kseg.commands.predict.predict_files` and tells its peak of memory; before and
after, the model alone runs on a window that lies in memory. Prints ms a window, the ratio, and the peak.
`--jpeg` segments a photograph of 6000 × 4000 pixels instead, by windows that are chosen for it. A window
takes about 0.06 s on two cores: 20,000 pixels a side six minutes, 6,000 half a minute.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

CLASSES, TILE, BARE = 21, 512, 40


def main():
    """Print what windows cost beside the model alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--jpeg", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        context = multiprocessing.get_context("spawn")  # with a memory of its own
        process = context.Process(target=measure, args=(Path(place), arguments))
        process.start()
        process.join()
    raise SystemExit(process.exitcode)


def measure(folder, arguments):
    """Segment a picture in this process and print what it took."""
    import kseg
    from kseg.commands.predict import predict_files

    if arguments.jpeg:
        path, window = photograph(folder / "photograph.jpg"), None
    else:
        path = tiled_noise(folder / "noise.tif", arguments.side)
        window = (arguments.window, arguments.window)
    kseg.build_ddrnet(CLASSES).save(folder / "model.keras")
    predictor = kseg.inference.open_predictor(folder / "model.keras", window=window or "auto")
    windows = predictor.windows_for((20_000, 20_000))
    size = windows.size if windows else (512, 512)
    bare = [milliseconds(predictor.runner, size)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start = time.perf_counter()
    if arguments.jpeg:
        with warnings.catch_warnings(action="ignore"):  # that it goes to windows
            predict_files(folder / "model.keras", path, folder / "out", save=["mask"])
            count = len(list(windows_of(predictor, (4000, 6000))))
    else:
        parts = {"window": window, "overlap": arguments.overlap}
        predict_files(folder / "model.keras", path, folder / "out", save=["mask"], **parts)
        tiling = kseg.inference.open_predictor(folder / "model.keras", **parts)
        count = len(list(windows_of(tiling, (arguments.side, arguments.side))))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    bare.append(milliseconds(predictor.runner, size))
    alone, each = statistics.median(bare), 1e3 * seconds / count
    print(f"{count} windows of {size[0]}×{size[1]} in {seconds:.0f} s, reading and writing included")
    print(
        f"model alone {alone:.1f} ms a window ({', '.join(f'{one:.1f}' for one in bare)}); all {each:.1f} ms"
    )
    print(f"throughput {alone / each:.2f} of the model alone")
    print(f"peak of memory {peak:.2f} GB, {peak - before:.2f} GB above that of the model on one window")


def windows_of(predictor, size):
    """Return the number of windows of a picture."""
    tops, lefts = predictor.windows_for(size).starts(size)
    return range(len(tops) * len(lefts))


def milliseconds(runner, size):
    """Return the median time of the model alone on a window that lies in memory."""
    window = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype="uint8")
    times = []
    for _ in range(BARE):
        start = time.perf_counter()
        runner.scores(window)
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times[5:]), 1)


def tiled_noise(path, side):
    """Write a tiled TIFF tile by tile: ramps, and some noise that compresses."""
    import tifffile

    rng = np.random.default_rng(0)
    across = -(-side // TILE)

    def tiles():
        for number in range(across * across):
            tile = rng.integers(0, 32, (TILE, TILE, 3), dtype="uint8")
            yield tile + np.uint8(number * 7 % 224)

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype="uint8",
        tile=(TILE, TILE),
        photometric="rgb",
        compression="zlib",
        compressionargs={"level": 1},
    )
    return path


def photograph(path):
    """Write a JPEG of 6000 × 4000 pixels."""
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype="uint8")
    Image.fromarray(small).resize((6000, 4000)).save(path, quality=90)
    return path


if __name__ == "__main__":
    main()
