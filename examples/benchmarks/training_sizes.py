"""Print what a step of training takes by architecture, crop and batch: seconds, memory, steps per hour.

    python examples/benchmarks/training_sizes.py [--quick] [--only ddrnet] [--precision mixed_bfloat16]

Data: scenes, generated as JPEG and PNG in a temporary folder, 19 classes in name. Each row is a process of
its own, so that the peak of memory is its own. It reads, augments and trains as `kseg train` does by default,
and gives the median of its steps after the first two, which build the graph; validation is not in it. Rows
that need more memory than the machine has, by those before, are left out and told, and so are those without
three steps in `--minutes`. The table is Markdown. One to two hours on two cores, with `--quick` (two small
rows) a minute. On a GPU the memory is that of the GPU.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

CLASSES, WARM_UP, STEPS = 19, 2, 6
NETWORKS = {
    "ddrnet": ("DDRNet-23-slim", "ddrnet", {}),
    "segnet": ("SegNet-Basic", "segnet", {"variant": "basic"}),
    "unet": ("U-Net, MobileNetV2", "unet", {"backbone": "mobilenet_v2"}),
    "deeplabv3plus": ("DeepLab v3+, MobileNetV2", "deeplabv3plus", {"variant": "mobilenet_v2"}),
    "deeplabv3plus_resnet50": ("DeepLab v3+, ResNet-50", "deeplabv3plus", {"variant": "resnet50"}),
    "pspnet": ("PSPNet, ResNet-50", "pspnet", {}),
}
CROPS = ((256, 256), (320, 416), (512, 1024))
BATCHES = (2, 8)
QUICK = ({"ddrnet": NETWORKS["ddrnet"]}, ((64, 64),), (2, 4))
HEADINGS = ("architecture", "crop", "batch", "s a step", "peak GB", "steps an hour", "crops an hour")


def main():
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two small rows, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, help="architectures (default: all)")
    parser.add_argument("--precision", default="float32", help="policy of Keras (default: float32)")
    parser.add_argument("--minutes", type=float, default=5.0, help="the most a row may take (default: 5)")
    arguments = parser.parse_args()
    networks, crops, batches = QUICK if arguments.quick else (NETWORKS, CROPS, BATCHES)
    networks = {key: networks[key] for key in networks if key in (arguments.only or networks)}
    print(f"{os.cpu_count()} cores, {memory_of_machine():.0f} GB, {arguments.precision}\n")
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for title, name, options in networks.values():
        peaks: dict[int, float] = {}  # pixels of a batch → GB
        sizes = [(crop[0] * crop[1] * batch, crop, batch) for crop in crops for batch in batches]
        for pixels, crop, batch in sorted(sizes):
            cells = row_of(name, options, crop, batch, arguments, expected(peaks, pixels))
            if cells[1]:
                peaks[pixels] = float(cells[1])
            cells = (title, f"{crop[0]}×{crop[1]}", str(batch), *cells)
            print(f"| {' | '.join(cells)} |", flush=True)


def expected(peaks, pixels):
    """Return the GB that a batch of so many pixels needs, by the two largest before; 0 where none tell."""
    if len(peaks) < 2:
        return 0.0
    (low, below), (high, above) = sorted(peaks.items())[-2:]
    return above + (above - below) / max(high - low, 1) * (pixels - high)


def row_of(name, options, crop, batch, arguments, gigabytes):
    """Return the cells of a row, measured in a process of its own, or the reason why there are none."""
    if gigabytes > 0.9 * memory_of_machine():
        return (f"left out: needs some {gigabytes:.0f} GB", "", "", "")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    seconds = 60 * arguments.minutes
    process = context.Process(
        target=measure, args=(sender, name, options, crop, batch, arguments.precision, seconds)
    )
    process.start()
    sender.close()  # so that a process that dies is seen
    try:
        steps, peak = receiver.recv() if receiver.poll(2 * seconds) else (None, None)
    except EOFError:
        steps, peak = [], None
    process.kill()
    process.join()
    if not steps:
        return ("over the time" if steps is None else "ended without a step, of memory perhaps", "", "", "")
    each = statistics.median(steps)
    return f"{each:.2f}", f"{peak:.1f}", f"{3600 / each:,.0f}", f"{3600 * batch / each:,.0f}"


def measure(sender, name, options, crop, batch, precision, most):
    """Train some steps and send `(their seconds, the peak of memory in GB)`."""
    import keras

    import kseg

    class Clock(keras.callbacks.Callback):
        """Keeps the seconds of each step, and ends a training that takes too long."""

        def on_train_begin(self, logs=None):
            self.start = self.last = time.perf_counter()
            self.seconds = []

        def on_train_batch_end(self, step, logs=None):
            float(logs["loss"])  # a GPU is waited for
            now = time.perf_counter()
            self.seconds.append(now - self.last)
            self.last = now
            self.model.stop_training = now - self.start > most

    keras.config.set_dtype_policy(precision)
    with tempfile.TemporaryDirectory() as folder:
        make_scenes(Path(folder), crop, batch)
        train = kseg.data.from_directory(
            folder,
            "train",
            layout="kseg",
            augment=kseg.data.augment(crop),
            batch_size=batch,
            class_names=[f"class {number}" for number in range(CLASSES)],
        )
        clock = Clock()
        with kseg.strategy().scope():
            model = kseg.build(name, CLASSES, **options)
            kseg.compile(model, steps=1000)
        model.fit(train, shuffle=False, verbose=0, callbacks=[clock])
    sender.send((clock.seconds[WARM_UP:] or None, peak_of_memory()))


def make_scenes(folder, crop, batch):
    """Write the pairs of all steps, a quarter larger than a crop; those of a batch differ."""
    from PIL import Image

    from kseg.data.shapes import scene

    for kind in ("images", "masks"):
        (folder / "train" / kind).mkdir(parents=True)
    for number in range(batch):
        image, mask = scene(number, (crop[0] * 5 // 4, crop[1] * 5 // 4))
        pair = (("images", "jpg", image), ("masks", "png", mask.astype("uint8")))
        for kind, suffix, pixels in pair:
            first = folder / "train" / kind / f"{number}.{suffix}"
            Image.fromarray(pixels).save(first)
            for step in range(1, WARM_UP + STEPS):
                shutil.copy(first, first.with_stem(f"{number}-{step}"))


def peak_of_memory():
    """Return the most GB that this process, or its GPU, has held."""
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def memory_of_machine():
    """Return the GB of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


if __name__ == "__main__":
    main()
