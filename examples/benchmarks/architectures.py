"""Print what every architecture costs: parameters, multiply-adds, receptive field, LiteRT size and latency.

    python examples/benchmarks/architectures.py [NAME ...]

No data needed; a minute or two per architecture on two cores, all of them by default. Numbers are those of
the default form with 11 classes at 360×480; latency is the median of a float32 file on this machine's CPU.
Sizes and multiply-adds come from the graphs and the written files themselves.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras

import kseg
from kseg.costs import multiply_adds, parameters, receptive_field
from kseg.data.shapes import scene
from kseg.inference import open_model

SIZE, CLASSES, ROUNDS = (360, 480), 11, 5


def main(names):
    print(f"{CLASSES} classes, {SIZE[0]}×{SIZE[1]} pixels, LiteRT float32")
    print(f"{'':18}{'M params':>10}{'G mult-adds':>13}{'field px':>10}{'MB':>8}{'ms':>9}")
    for name in names or kseg.list_models():
        keras.backend.clear_session()
        model = kseg.build(name, CLASSES)
        megabytes, milliseconds = exported(model)
        print(
            f"{name:18}{parameters(model)[0] / 1e6:10.2f}{multiply_adds(model, SIZE) / 1e9:13.1f}"
            f"{receptive_field(model):10.0f}{megabytes:8.1f}{milliseconds:9.0f}",
            flush=True,
        )


def exported(model):
    """Return the size in MB and the median milliseconds of one picture of a float32 `.tflite` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        picture = scene(0, SIZE)[0][None]
        kseg.export_tflite(model, path, input_size=SIZE, validation_data=[picture])
        runner = open_model(path)
        times = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            runner.run(picture.astype("float32"))
            times.append(time.perf_counter() - start)
        return path.stat().st_size / 1e6, 1e3 * statistics.median(times[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
