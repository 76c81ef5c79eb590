"""What `kseg benchmark` does: latency, size and memory of files, side by side."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg import sandbox
from kseg.disk import size_of
from kseg.inference import check_file, facts_of
from kseg.runtime import opened, resident_bytes, resident_growth
from kseg.types import PathLike, Size

_SIZE = (256, 256)  # for files that take any


@dataclass(frozen=True)
class Latency:
    """Figures of a file.

    Attributes:
        path: where the file is.
        size: `(H, W)` of the picture.
        size_bytes: of the file.
        memory_bytes: what a process grows by that opens the file and runs it.
        milliseconds: number of threads → median of one picture. `.keras` and SavedModel run on
            TensorFlow's threads, all of them.
    """

    path: str
    size: Size
    size_bytes: int
    memory_bytes: int
    milliseconds: dict[int, float]


def benchmark(
    files: Sequence[PathLike],
    *,
    input_size: Size | None = None,
    threads: Sequence[int] | None = None,
    runs: int = 20,
    progress: Callable[[int, int], object] | None = None,
) -> list[Latency]:
    """Measure the latency of one picture, the files in turn within each of the runs.

    So a machine that is slower for a while is slower for all of them. Only ratios of one call compare.

    Args:
        files: paths of `.keras`, `.tflite` and `.onnx` files and SavedModel folders.
        input_size: `(H, W)` in pixels of the picture for files that take any size; `None` is the size of the
            first `.tflite` or `.onnx` file, else 256×256.
        threads: for `.tflite` and `.onnx` files; `None` is 1 and all cores.
        runs: how often each file runs.
        progress: `None` or a function called with `(runs done, runs)`.

    Returns:
        list of `Latency`, in the order of `files`.

    Raises:
        FileNotFoundError, ValueError: if a file is missing or damaged.
    """
    paths, cores = [Path(path) for path in files], os.cpu_count() or 1
    counts = sorted({1, cores} if threads is None else set(threads))
    jobs: dict[tuple[Path, int], tuple[Callable[[np.ndarray], float], np.ndarray]] = {}
    sizes: dict[Path, Size] = {}
    memory: dict[Path, int] = {}
    for path in sorted(paths, key=lambda path: path.suffix not in (".tflite", ".onnx")):
        before = resident_bytes()
        fixed, channels, versions = _opened(path, counts, cores)
        sizes[path] = fixed or input_size or next(iter(sizes.values()), _SIZE)
        picture = np.random.default_rng(0).integers(0, 256, (1, *sizes[path], channels)).astype("float32")
        for count, run in versions.items():
            run(picture)  # the first run also prepares
            jobs[path, count] = (run, picture)
        if path.suffix == ".keras":
            memory[path] = resident_bytes() - before
        else:
            memory[path] = sandbox.call(resident_growth, str(path), picture)
    times: dict[tuple[Path, int], list[float]] = {key: [] for key in jobs}
    for done in range(1, runs + 1):
        for key, (run, picture) in jobs.items():
            times[key].append(run(picture))
        if progress:
            progress(done, runs)
    return [
        Latency(
            str(path),
            sizes[path],
            size_of(path),
            memory[path],
            {count: 1e3 * statistics.median(values) for (of, count), values in times.items() if of == path},
        )
        for path in paths
    ]


def _opened(path, threads, cores):
    """Return the fixed size or `None`, the channels, and functions of a picture that give seconds."""
    if path.suffix in (".tflite", ".onnx") and path.is_file():
        check_file(path)
        versions = {count: opened(path, count) for count in threads}
        file = versions[threads[0]]
        return file.input_size, file.channels, {count: _timed(each.run) for count, each in versions.items()}
    runner = facts_of(path)  # the time does not depend on the range of the values
    return runner.input_size, runner.channels, {cores: _timed(runner.run)}


def _timed(run):
    def timed(picture):
        start = time.perf_counter()
        run(picture)
        return time.perf_counter() - start

    return timed


def latency_table(results: Sequence[Latency]) -> str:
    """Return the figures as text, one line for each file."""
    threads = sorted({count for result in results for count in result.milliseconds})
    width = max(len(result.path) for result in results)
    heads = [f"{count} thread{'s' * (count > 1)}, ms" for count in threads]
    lines = [f"{'':{width}}      size      MB  memory, MB  " + "  ".join(f"{head:>13}" for head in heads)]
    for result in results:
        cells = [result.milliseconds.get(count) for count in threads]
        shown = "  ".join(f"{'–' if cell is None else format(cell, '.2f'):>13}" for cell in cells)
        size = f"{result.size[0]}x{result.size[1]}"
        figures = f"{result.size_bytes / 1e6:7.2f} {result.memory_bytes / 1e6:11.1f}"
        lines.append(f"{result.path:{width}} {size:>9} {figures}  {shown}")
    return "\n".join(lines)
