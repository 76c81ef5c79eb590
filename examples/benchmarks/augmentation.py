"""Time reading and augmenting the same files: kseg, Keras' layers, keras-cv's, albumentations, in turn.

    python examples/benchmarks/augmentation.py [DIR]

Data: DIR, a folder as `kseg train` takes it, with pictures of one size, 360×480 or near; without it, scenes,
generated as JPEG and PNG. Each gives batches of 8 crops of 256×256, flipped, turned by up to 10 degrees,
zoomed 0.5 to 2 times, changed in brightness, contrast and saturation. Prints pictures per second, medians of
rounds in turn, and ratios. `decoding alone` is the limit of what reads files: OpenCV in two threads.
About five minutes on two cores.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import albumentations as A
import cv2
import keras
import keras_cv
import numpy as np
import tensorflow as tf
from PIL import Image

import kseg

GENERATED, BATCH, CROP = 240, 8, (256, 256)
ROTATION, SCALE, COLOR = 10, (0.5, 2.0), 0.2


def main():
    """Print the rates of all that read and vary the same files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = arguments.data or generated(Path(place) / "scenes")
        plain = kseg.data.from_directory(root, "train", batch_size=None, shuffle=False)
        files = list(zip(plain.image_paths, plain.mask_paths, strict=True))
        print(f"{len(files)} pictures, {arguments.rounds} rounds in turn, {os.cpu_count()} cores")
        passes = {
            "decoding alone": lambda: alone(files),
            "albumentations, two threads": lambda: by_albumentations(files),
            "kseg": of_dataset(by_kseg(root)),
            "kseg, cached in memory": of_dataset(by_kseg(root, "memory")),
            "kseg, cached in a folder": of_dataset(by_kseg(root, Path(place) / "cache")),
            "kseg, albumentations as augment=": of_dataset(by_kseg(root, augment=transform())),
            "Keras layers": of_dataset(by_layers(files, keras_layers())),
            "keras-cv layers": of_dataset(by_layers(files, keras_cv_layers())),
        }
        report(measured(passes, arguments.rounds), len(files))


def generated(root):
    """Write scenes as people have them: JPEG pictures, masks as PNG."""
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True)
    scenes = kseg.data.shapes(GENERATED, (360, 480), batch_size=None, shuffle=False)
    for number, (image, mask) in enumerate(scenes.as_numpy_iterator()):
        Image.fromarray(image).save(root / f"train/images/{number}.jpg", quality=95)
        Image.fromarray(mask.astype("uint8")).save(root / f"train/masks/{number}.png")
    return root


def measured(passes, rounds):
    """Return the seconds of each pass over the files, a list of one number a round; they run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for round_ in range(rounds + 1):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            if round_:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(seconds, count):
    """Print rates, and ratios to albumentations and to Keras' layers."""
    rate = {name: count / statistics.median(times) for name, times in seconds.items()}
    print(f"{'':34}{'pictures/s':>10}{'of albumentations':>19}{'of Keras layers':>17}")
    for name, value in rate.items():
        to_others = value / rate["albumentations, two threads"], value / rate["Keras layers"]
        print(f"{name:34}{value:10.0f}{to_others[0]:19.2f}{to_others[1]:17.1f}")


def of_dataset(dataset):
    """Return a function that takes all batches of a data set."""

    def run():
        for _ in dataset:
            pass

    return run


def by_kseg(root, cache=None, augment=None):
    """Return kseg's own pipeline."""
    own = kseg.data.augment(CROP, flip=True, rotation=ROTATION, scale=SCALE, color=COLOR)
    return kseg.data.from_directory(root, "train", augment=augment or own, batch_size=BATCH, cache=cache)


def decoded(files):
    """Return a picture and its mask as OpenCV reads them."""
    image = cv2.imread(files[0], cv2.IMREAD_COLOR_RGB)
    return image, cv2.imread(files[1], cv2.IMREAD_UNCHANGED)


def alone(files):
    """Decode all files in two threads."""
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(decoded, files):
            pass


def transform():
    """Return the same changes of albumentations: one affine, then the crop, then what is done to it."""
    return A.Compose(
        [
            A.Affine(scale=SCALE, rotate=(-ROTATION, ROTATION), fill=127, fill_mask=255, p=1),
            A.RandomCrop(*CROP),
            A.HorizontalFlip(),
            A.ColorJitter(brightness=COLOR, contrast=COLOR, saturation=COLOR, hue=0, p=1),
        ]
    )


def by_albumentations(files):
    """Read, vary and batch all files in two threads, each with a transform of its own."""
    local = threading.local()
    cv2.setNumThreads(0)

    def one(files):
        if not hasattr(local, "transform"):
            local.transform = transform()
        image, mask = decoded(files)
        given = local.transform(image=image, mask=mask)
        return given["image"], given["mask"]

    with ThreadPoolExecutor(2) as pool:
        pairs = list(pool.map(one, np.random.permutation(files).tolist()))
    for start in range(0, len(pairs), BATCH):
        images, masks = zip(*pairs[start : start + BATCH], strict=True)
        np.stack(images), np.stack(masks)


def keras_layers():
    """Return the same changes of Keras; the crop first, as zooming and turning are dear."""
    options = {"fill_mode": "constant", "interpolation": "bilinear"}
    return keras.Sequential(
        [
            keras.layers.RandomCrop(*CROP),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(ROTATION / 360, **options),
            keras.layers.RandomZoom((-0.5, 1.0), **options),
            keras.layers.RandomBrightness(COLOR),
            keras.layers.RandomContrast(COLOR, value_range=(0, 255)),
            keras.layers.RandomSaturation((0.5 - COLOR / 2, 0.5 + COLOR / 2)),
        ]
    ).layers


def keras_cv_layers():
    """Return the same changes of keras-cv."""
    layers = keras_cv.layers
    return [
        layers.RandomCropAndResize(CROP, (0.25, 1.0), (0.9, 1.1)),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(ROTATION / 360, segmentation_classes=255),
        layers.RandomBrightness((-COLOR, COLOR), (0, 255)),
        layers.RandomContrast((0, 255), factor=COLOR),
        layers.RandomSaturation((0.5 - COLOR / 2, 0.5 + COLOR / 2)),
    ]


def by_layers(files, layers):
    """Return the pipeline that Keras' guides show: TensorFlow reads, layers vary each picture, then batch."""
    images, masks = (list(names) for names in zip(*files, strict=True))

    size = decoded(files[0])[1].shape

    def one(image, mask):
        image = tf.io.decode_image(tf.io.read_file(image), 3, expand_animations=False)
        mask = tf.io.decode_png(tf.io.read_file(mask), 1)
        pair = {"images": tf.ensure_shape(image, (*size, 3)), "segmentation_masks": mask}
        pair["segmentation_masks"] = tf.ensure_shape(mask, (*size, 1))
        for layer in layers:
            pair = layer(pair, training=True)
        image, mask = pair["images"], pair["segmentation_masks"]
        return tf.ensure_shape(image, (*CROP, 3)), tf.ensure_shape(mask, (*CROP, 1))

    dataset = tf.data.Dataset.from_tensor_slices((images, masks)).shuffle(len(images))
    return dataset.map(one, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    main()
