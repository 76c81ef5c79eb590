"""Print the latency of kseg's `.tflite` files against Keras' own `model.export(format="litert")`.

    python examples/benchmarks/litert_latency.py [NAME ...]

No data needed; one to five minutes per architecture on two cores, all of them by default. Both exporters get
the same model, built for 256×256 and 11 classes; its files run in turn, so that a busy machine is busy for
all of them. Columns are medians in milliseconds, and ratios to Keras' file. Expected: no float32 file above
1.02; architectures with dilated or transposed convolutions below 0.75, since Keras leaves the batch open;
int8 at most half of our float32.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import kseg
from kseg.child.running import LiteRTFile
from kseg.data.shapes import scene

SIZE, CLASSES, ROUNDS, SECONDS = (256, 256), 11, 15, 60


def main(names):
    print(f"{'':18}{'Keras':>10}{'float32':>10}{'ratio':>7}{'int8':>10}{'of float32':>12}")
    for name in names or kseg.list_models():
        keras.backend.clear_session()
        model = calibrated(kseg.build(name, CLASSES, (*SIZE, 3)))
        with tempfile.TemporaryDirectory() as folder:
            files = written(model, Path(folder))
            theirs, ours, int8 = (statistics.median(times) for times in interleaved(files))
        print(
            f"{name:18}{theirs:10.1f}{ours:10.1f}{ours / theirs:7.2f}{int8:10.1f}{int8 / ours:12.2f}",
            flush=True,
        )


def calibrated(model):
    """Return the model with the batch statistics of pictures: fresh ones make values that overflow int8."""
    norms = [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(pictures(4).astype("float32"), training=True)
    return model


def pictures(count):
    return np.stack([scene(index, SIZE)[0] for index in range(count)])


def written(model, folder):
    """Write the three files."""
    keras_file = folder / "keras.tflite"
    model.export(str(keras_file), format="litert", verbose=False)
    given = {"validation_data": [pictures(1)], "overwrite": True}
    kseg.export_tflite(model, folder / "float32.tflite", **given)
    # Random weights decide next to nothing: whether int8 agrees is the tests' affair, here it is timed.
    kseg.export.verification.TOLERANCES["int8"] = kseg.export.verification.Tolerance(None, 1.0, 0.0)
    kseg.export_tflite(
        model, folder / "int8.tflite", quantize="int8", representative_data=pictures(4), **given
    )
    return [keras_file, folder / "float32.tflite", folder / "int8.tflite"]


def interleaved(paths):
    """Return the milliseconds of each file, which run in turn."""
    files = [LiteRTFile(path) for path in paths]
    picture, start = pictures(1).astype("float32"), time.monotonic()
    times = [[] for _ in files]
    for number in range(ROUNDS + 1):
        for file, list_of_times in zip(files, times, strict=True):
            file.run(picture)
            if number:  # the first run prepares
                list_of_times.append(1e3 * file.seconds)
        if number > 2 and time.monotonic() - start > SECONDS:
            break
    return times


if __name__ == "__main__":
    main(sys.argv[1:])
