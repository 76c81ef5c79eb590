"""Print the latency of kseg's `.tflite` files against Keras' own `model.export(format="litert")`.

    python examples/benchmarks/litert_latency.py [FILTERS] [NAME ...]

No data needed; one to five minutes per architecture on two cores, all of them by default; NAME is a
builder's, or one of VARIANTS. Keras exports the same model twice: as the builders make it, open to any size,
and built for 256×256. The files run in turn, in a new order each round, so that a busy machine is busy for
all of them, and are opened thrice, for where their weights come to lie matters. Columns are medians in
milliseconds; the ratios are those of our float32 file to Keras' two, and of our int8 file to our float32.
"nan": the file holds an operator that LiteRT lacks (Flex). FILTERS is a width instead of the papers', 16 for
instance: the large architectures are then done in a minute.
"""

import math
import os
import random
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

VARIANTS = {
    "dilated_stack": ("conv_stack", {"dilation_rates": (1, 2, 4, 8)}),
    "deeplabv3plus_mobilenet": ("deeplabv3plus", {"variant": "mobilenet_v2"}),
    "deeplabv3plus_resnet": ("deeplabv3plus", {"variant": "resnet50"}),
}
SIZE, CLASSES, OPENINGS, ROUNDS, SECONDS = (256, 256), 11, 3, 15, 30


def main(names, **width):
    heads = ("Keras, open", "Keras, fixed", "float32", "int8", "to open", "to fixed", "int8 to it")
    print(f"{'':24}" + "".join(f"{head:>14}" for head in heads))
    for name in names or [*kseg.list_models(), *VARIANTS]:
        keras.backend.clear_session()
        builder, options = VARIANTS.get(name, (name, {}))
        options = {**options, **width}
        fixed, opened = (kseg.build(builder, CLASSES, (*size, 3), **options) for size in (SIZE, (None, None)))
        opened.set_weights(calibrated(fixed).get_weights())
        with tempfile.TemporaryDirectory() as folder:
            files = written(fixed, opened, Path(folder))
            theirs_open, theirs, ours, int8 = (statistics.median(times) for times in interleaved(files))
        figures = (theirs_open, theirs, ours, int8, ours / theirs_open, ours / theirs, int8 / ours)
        print(f"{name:24}" + "".join(f"{figure:14.2f}" for figure in figures), flush=True)


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
    picture = [pictures(1)]
    kseg.export_tflite(fixed, folder / "float32.tflite", validation_data=picture)
    # Random weights decide next to nothing: whether int8 agrees is the tests' affair, here it is timed.
    verification.TOLERANCES["int8"] = verification.Tolerance(None, 1.0, 0.0)
    kseg.export_tflite(
        fixed,
        folder / "int8.tflite",
        quantize="int8",
        representative_data=pictures(4),
        validation_data=picture,
    )
    return [folder / f"{name}.tflite" for name in ("opened", "fixed", "float32", "int8")]


def interleaved(paths):
    """Return the milliseconds of each file, which run in turn."""
    times: list[list[float]] = [[] for _ in paths]
    for _ in range(OPENINGS):
        files = [opened(path) for path in paths]
        start, order = time.monotonic(), list(range(len(files)))
        for number in range(ROUNDS):
            for index in random.sample(order, len(order)):
                if files[index] is None:
                    times[index].append(math.nan)
                    continue
                before = time.perf_counter()
                files[index].invoke()
                times[index].append(1e3 * (time.perf_counter() - before))
            if number > 1 and time.monotonic() - start > SECONDS:
                break
    return times


def opened(path):
    """Return the interpreter of a file that ran once on its picture; `None` if LiteRT lacks an operator."""
    file = Interpreter(str(path), num_threads=os.cpu_count())
    file.resize_tensor_input(file.get_input_details()[0]["index"], (1, *SIZE, 3))
    try:
        file.allocate_tensors()
        (given,) = file.get_input_details()
        file.set_tensor(given["index"], pictures(1).astype(given["dtype"]))
        file.invoke()  # the first run prepares
    except RuntimeError:
        return None
    return file


if __name__ == "__main__":
    filters = [int(argument) for argument in sys.argv[1:2] if argument.isdigit()]
    main(sys.argv[1 + len(filters) :], **({"filters": filters[0]} if filters else {}))
