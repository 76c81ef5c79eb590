"""Print the latency of kseg's `.tflite` files against Keras' own `model.export(format="litert")`.

    python examples/benchmarks/litert_latency.py [NAME ...]

No data needed; one to five minutes per architecture on two cores, all of them by default. Keras exports the
same model twice: as the builders make it, open to any size, and built for 256×256. The files run in turn, so
that a busy machine is busy for all of them. Columns are medians in milliseconds; the ratios are those of our
float32 file to Keras' two, and of our int8 file to our float32.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg.data.shapes import scene
from kseg.export import verification

SIZE, CLASSES, ROUNDS, SECONDS = (256, 256), 11, 15, 60


def main(names):
    heads = ("Keras, open", "Keras, fixed", "float32", "int8", "to open", "to fixed", "int8 to it")
    print(f"{'':18}" + "".join(f"{head:>14}" for head in heads))
    for name in names or kseg.list_models():
        keras.backend.clear_session()
        fixed, opened = (kseg.build(name, CLASSES, (*size, 3)) for size in (SIZE, (None, None)))
        opened.set_weights(calibrated(fixed).get_weights())
        with tempfile.TemporaryDirectory() as folder:
            files = written(fixed, opened, Path(folder))
            theirs_open, theirs, ours, int8 = (statistics.median(times) for times in interleaved(files))
        figures = (theirs_open, theirs, ours, int8, ours / theirs_open, ours / theirs, int8 / ours)
        print(f"{name:18}" + "".join(f"{figure:14.2f}" for figure in figures), flush=True)


def calibrated(model):
    """Return the model with the batch statistics of pictures: fresh ones make values that overflow int8."""
    norms = [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(pictures(4).astype("float32"), training=True)
    return model


def pictures(count):
    return np.stack([scene(index, SIZE)[0] for index in range(count)])


def written(fixed, opened, folder):
    """Write the four files."""
    for name, model in (("opened", opened), ("fixed", fixed)):
        model.export(str(folder / f"{name}.tflite"), format="litert", verbose=False)
    given = {"validation_data": [pictures(1)]}
    kseg.export_tflite(fixed, folder / "float32.tflite", **given)
    # Random weights decide next to nothing: whether int8 agrees is the tests' affair, here it is timed.
    verification.TOLERANCES["int8"] = verification.Tolerance(None, 1.0, 0.0)
    kseg.export_tflite(
        fixed, folder / "int8.tflite", quantize="int8", representative_data=pictures(4), **given
    )
    return [folder / f"{name}.tflite" for name in ("opened", "fixed", "float32", "int8")]


def interleaved(paths):
    """Return the milliseconds of each file, which run in turn."""
    files = [Interpreter(str(path), num_threads=os.cpu_count()) for path in paths]
    for file in files:
        file.resize_tensor_input(file.get_input_details()[0]["index"], (1, *SIZE, 3))
        file.allocate_tensors()
    start, times = time.monotonic(), [[] for _ in files]
    for number in range(ROUNDS + 1):
        for file, list_of_times in zip(files, times, strict=True):
            (given,) = file.get_input_details()
            file.set_tensor(given["index"], pictures(1).astype(given["dtype"]))
            before = time.perf_counter()
            file.invoke()
            if number:  # the first run prepares
                list_of_times.append(1e3 * (time.perf_counter() - before))
        if number > 2 and time.monotonic() - start > SECONDS:
            break
    return times


if __name__ == "__main__":
    main(sys.argv[1:])
