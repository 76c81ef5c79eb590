"""Show what skips, dilation, a decoder and the dense CRF are worth: one factor at a time, on one encoder.

    python examples/ablation.py scenes --output runs/ablation
    python examples/ablation.py DIR --output runs/camvid --label-map 11:255 --classes FILE --thin NAME NAME

Data: generated scenes, or DIR as `kseg train` takes it, CamVid for instance. Six networks are trained from
scratch, 1,200 steps each; a CRF on top of two of them makes eight rows. What is finished stays: the same
command goes on where it stopped, within a training too. On two cores at most 12 minutes a training. Writes
ablation.md, the table, and ablation.png, crops where networks with skips and without differ most along
borders. examples/guides/ablation.md tells how to read them.

Expected: a row for each network, with the minutes that it took.
"""

import argparse
import collections
import functools
import json
import math
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from keras import layers
from PIL import Image

import kseg
from kseg import blocks
from kseg.cli.options import class_names
from kseg.cli.values import label_map, positive, size
from kseg.commands.benchmark import benchmark
from kseg.costs import multiply_adds, parameters
from kseg.disk import whole_file, write_whole

WIDTHS = {4: 32, 8: 48, 16: 80, 32: 128}  # of the encoder, by stride
DECODER_WIDTHS = {16: 64, 8: 48, 4: 32, 2: 16}
# What differs from the base, by name; "stride_N" is the encoder alone, whose scores are resized.
NETWORKS: dict[str, dict[str, Any]] = {
    "stride_32": {"upsampling": None},
    "stride_16": {"upsampling": None, "output_stride": 16},
    "stride_8": {"upsampling": None, "output_stride": 8},
    "no_skips": {"skips": False},
    "base": {},
    "transposed": {"upsampling": "transpose"},
}
WITH_CRF = ("stride_8", "base")
SCENES, SCENE_SIZE, SCENE_BATCH = (1600, 200), (128, 128), 16  # to train on, to evaluate
ROWS, TILE = 6, 192  # of the sheet: pictures, pixels of a cell
SCORES = ("mean_iou", "mean_boundary_iou", "mean_boundary_f1")
HEADINGS = ["network", "mIoU", "boundary IoU", "boundary F1", "thin classes", "M parameters", "G mult-adds"]
HEADINGS += ["ms", "minutes"]


def build(num_classes, *, upsampling="bilinear", skips=True, output_stride=32):
    """Return the base, or a network that differs from it by what is given: pictures of any size to logits."""
    image = keras.Input((None, None, 3), name="image")
    features = kseg.encoders.pyramid(image, encoder(), output_stride=output_stride)
    stride, x = output_stride, features[output_stride]
    if upsampling is not None:
        for stride, width in DECODER_WIDTHS.items():
            name = f"decoder_stride{stride}"
            x = blocks.conv_norm_relu(x, width, name=f"{name}_conv1")
            x = blocks.upsample(x, upsampling, filters=width, name=name)
            if skips:  # a sum: what else the decoder has is the same without
                skip = blocks.conv_norm_relu(features[stride], width, kernel_size=1, name=f"{name}_skip")
                x = layers.Add(name=f"{name}_skip_add")([x, skip])
            x = blocks.conv_norm_relu(x, width, name=f"{name}_conv2")  # (B, H/stride, W/stride, width)
    return keras.Model(image, blocks.finish(x, num_classes, stride=stride, crop_to=image))


def encoder():
    """Return a narrow ResNet-18: two strided convolutions, then two residual blocks at each stride."""
    image = keras.Input((None, None, 3), name="picture")
    x = blocks.rescale(image)
    for step in (1, 2):
        x = blocks.conv_norm_relu(x, WIDTHS[4], strides=2, name=f"stem_conv{step}")
    for stride, width in WIDTHS.items():
        for number in (1, 2):
            strides = 2 if stride > 4 and number == 1 else 1
            x = _residual_block(x, width, strides, name=f"stride{stride}_block{number}")
    return keras.Model(image, x, name="encoder")


def _residual_block(x, filters, strides, *, name):
    y = blocks.conv_norm_relu(x, filters, strides=strides, name=f"{name}_conv1")
    y = _conv_norm(y, filters, 3, 1, name=f"{name}_conv2")
    if strides > 1:
        x = _conv_norm(x, filters, 1, strides, name=f"{name}_shortcut")
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _conv_norm(x, filters, kernel_size, strides, *, name):
    conv = layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False, name=name)
    return blocks.normalize(conv(x), "batch", name)


Data = collections.namedtuple("Data", ["crops", "val", "class_weights", "size"])  # size: (H, W) of a picture


def read(arguments):
    """Return generated scenes, or what a folder has."""
    if arguments.data == "scenes":
        augment = kseg.data.augment(SCENE_SIZE, strength="light")
        options: dict[str, Any] = {"batch_size": SCENE_BATCH, "shuffle": True, "seed": 1}
        crops = kseg.data.shapes(SCENES[0], SCENE_SIZE, augment=augment, **options)
        plain = kseg.data.shapes(SCENES[0], SCENE_SIZE, seed=1)
        val = kseg.data.shapes(SCENES[1], SCENE_SIZE, seed=2)
    else:
        options = {"label_map": arguments.label_map, "class_names": class_names(arguments.classes)}
        augment = kseg.data.augment(arguments.crop_size)
        crops = kseg.data.from_directory(arguments.data, "train", augment=augment, cache="memory", **options)
        plain = kseg.data.from_directory(arguments.data, "train", batch_size=1, shuffle=False, **options)
        val = kseg.data.from_directory(arguments.data, "val", batch_size=1, **options)
    weights = kseg.data.class_weights(plain, "sqrt_median_frequency")
    return Data(crops, val, weights, tuple(next(iter(val))[1].shape[1:]))


class TrainingClock(keras.callbacks.Callback):
    """Writes the minutes that all epochs took into a file; `ExactResume` keeps them."""

    def __init__(self, path):
        super().__init__()
        self.path, self.seconds = path, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.since = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += time.monotonic() - self.since
        write_json(self.path, {"epochs": epoch + 1, "minutes": self.seconds / 60})


def train(name, data, steps, output):
    """Train a network of `NETWORKS`; leave NAME.keras, with the averaged weights, and NAME.json."""
    keras.utils.set_random_seed(0)
    model, crops = build(data.crops.num_classes, **NETWORKS[name]), data.crops
    epochs = math.ceil(steps / len(crops))
    recipe: dict[str, Any] = {"learning_rate": 2e-3, "ema_momentum": 0.998}
    kseg.compile(model, epochs * len(crops), class_weights=data.class_weights, **recipe)
    clock, states = TrainingClock(output / f"{name}.json"), output / "states" / name
    watching = [kseg.callbacks.EvaluateEMA(), kseg.callbacks.EpochLine(run=name), clock]
    watching.append(kseg.callbacks.ExactResume(states, crops, [clock]))
    validation = {"validation_data": data.val, "validation_freq": max(epochs // 3, 1)}
    model.fit(crops, epochs=epochs, shuffle=False, verbose=0, callbacks=watching, **validation)
    for old in [*output.glob(f"{name}.tflite*"), *output.glob(f"{name}_*scores.json")]:
        old.unlink()  # of a network that was removed to train it anew
    kseg.callbacks.save_model(model, output / f"{name}.keras")  # what has it is finished
    shutil.rmtree(states)


def rows_of(output):
    """Return the rows of the table, as far as their networks are trained: `{name: (model, with CRF)}`."""
    rows = {}
    for name in NETWORKS:
        if (output / f"{name}.keras").exists():
            rows[name] = (kseg.load(output / f"{name}.keras"), False)
            if name in WITH_CRF:
                rows[f"{name}_crf"] = (rows[name][0], True)
    return rows


def score(name, model, data, output, *, crf):
    """Evaluate a row and leave NAME_scores.json, if it is not there."""
    path = output / f"{name}_scores.json"
    if not path.exists():
        print(f"evaluating {name}", flush=True)
        found = kseg.evaluate(model, data.val, crf=crf)
        classes = dict(zip(found.class_names, found.class_iou.tolist(), strict=True))
        write_json(path, {each: getattr(found, each) for each in SCORES} | {"class_iou": classes})


def write_json(path, content):
    write_whole(path, json.dumps(content, indent=1).encode())


def table(rows, data, thin, output):
    """Return the figures in Markdown; the latencies are measured now, all networks in turn."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * (len(HEADINGS) - 1)]
    milliseconds = latencies(rows, data, output)
    for name, (model, crf) in rows.items():
        network = name.removesuffix("_crf")
        scores = json.loads((output / f"{name}_scores.json").read_text())
        training = json.loads((output / f"{network}.json").read_text())
        of_crf = crf_milliseconds(model, data.val) if crf else 0.0
        cells = [
            heading(name),
            *(f"{scores[each]:.3f}" for each in SCORES),
            f"{np.nanmean([scores['class_iou'][each] for each in thin]):.3f}" if thin else "–",
            f"{parameters(model)[0] / 1e6:.2f}",
            f"{multiply_adds(model, data.size) / 1e9:.2f}",
            f"{milliseconds[network] + of_crf:.1f}",
            f"{training['minutes']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def heading(name):
    """Return a name as it stands in the table and over the sheet."""
    return name.replace("_crf", " + CRF").replace("_", " ")


def latencies(rows, data, output):
    """Return the milliseconds of a picture in a float32 `.tflite` file of each network, on all cores."""
    paths = {name: output / f"{name}.tflite" for name, (_, crf) in rows.items() if not crf}
    for name, path in paths.items():
        if not path.exists():
            kseg.export_tflite(rows[name][0], path, input_size=data.size, validation_data=data.val.take(1))
    cores = os.cpu_count() or 1
    found = benchmark(list(paths.values()), threads=[cores])
    return {name: each.milliseconds[cores] for name, each in zip(paths, found, strict=True)}


def crf_milliseconds(model, pictures):
    """Return the median of the CRF alone over ten pictures, on all cores."""
    times = []
    for image, _ in pictures.unbatch().take(10).as_numpy_iterator():
        probabilities = kseg.predict(model, image, output_kind="probabilities")
        start = time.perf_counter()
        kseg.dense_crf(probabilities, image)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def sheet(rows, data):
    """Return crops in a grid: the picture, its truth, and what each row of the table makes of it."""
    names, lines = data.val.class_names, []
    background = names.index("background") if "background" in names else None
    shown = functools.partial(kseg.visualization.overlay, alpha=0.75, background=background, hatch_void=True)
    for image, mask, crop in crops_to_show(rows["base"][0], rows["no_skips"][0], data.val):
        masks = [mask, *(kseg.predict(model, image, crf=crf) for model, crf in rows.values())]
        pale = 170 + image[crop].mean(-1, keepdims=True) / 3  # colours are the classes' alone
        lines.append([image[crop], *(shown(pale, ids[crop]) for ids in masks)])
    headings = ["picture", "truth", *map(heading, rows)]
    zoom = max(TILE // len(lines[0][0]), 1)
    drawn = [number for number in range(len(names)) if number != background]
    return kseg.visualization.gallery(lines, headings, class_names=names, zoom=zoom, only=drawn)


def crops_to_show(base, other, pictures):
    """Return `(image, mask, crop)` where two networks differ most along true borders, one of each part."""
    found = []
    for images, masks in pictures.as_numpy_iterator():
        guesses = [kseg.predict(model, images) for model in (base, other)]
        for image, mask, one, two in zip(images, masks, *guesses, strict=True):
            near = cv2.morphologyEx(mask.astype("uint8"), cv2.MORPH_GRADIENT, np.ones((9, 9), "uint8")) > 0
            differ = ((one != two) & near & (mask != 255)).astype("float32")
            side = min(96, min(mask.shape) // 2)
            # value (y, x) is the share of the square whose first pixel is (y, x)
            share = cv2.boxFilter(differ, -1, (side, side), anchor=(0, 0))[: 1 - side, : 1 - side]
            top, left = np.unravel_index(share.argmax(), share.shape)
            crop = slice(top, top + side), slice(left, left + side)
            found.append((share.max(), image, mask, crop))
    parts = np.array_split(np.arange(len(found)), min(ROWS, len(found)))  # neighbours may look alike
    return [found[max(part, key=lambda index: found[index][0])][1:] for part in parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="scenes|DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--label-map", type=label_map, default={}, metavar="OLD:NEW,...")
    parser.add_argument("--classes", metavar="NAME,...|FILE", help="as of kseg train")
    parser.add_argument("--crop-size", type=size, default=(320, 416), metavar="HxW", help="of a folder")
    parser.add_argument("--steps", type=positive, default=1200, help="of a training (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--thin", nargs="+", metavar="CLASS", help="thin classes (scenes: ring line)")
    arguments = parser.parse_args()
    output, data = arguments.output, read(arguments)
    thin = arguments.thin or (["ring", "line"] if arguments.data == "scenes" else [])
    if unknown := [name for name in thin if name not in data.val.class_names]:
        parser.error(f"--thin: no class {unknown[0]!r}; there are {', '.join(data.val.class_names)}")
    check_settings(arguments, output)
    for name in arguments.only:
        if not (output / f"{name}.keras").exists():
            train(name, data, arguments.steps, output)
    rows = rows_of(output)
    for name, (model, crf) in rows.items():
        score(name, model, data, output, crf=crf)
    text = table(rows, data, thin, output)
    print(text)
    write_whole(output / "ablation.md", text.encode())
    if {"base", "no_skips"} <= rows.keys():
        with whole_file(output / "ablation.png") as partial:
            Image.fromarray(sheet(rows, data)).save(partial)


def check_settings(arguments, output):
    """Refuse to put trainings of other data or steps beside those that are there."""
    keys = ("data", "label_map", "classes", "crop_size", "steps")
    settings = json.loads(json.dumps({key: getattr(arguments, key) for key in keys}))
    path = output / "settings.json"
    if not path.exists():
        write_json(path, settings)
    elif (before := json.loads(path.read_text())) != settings:
        differ = ", ".join(f"--{key.replace('_', '-')}" for key in keys if before[key] != settings[key])
        sys.exit(f"{output} holds trainings with another {differ}; give those, or another --output")


if __name__ == "__main__":
    main()
