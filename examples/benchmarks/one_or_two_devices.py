"""Train on CamVid under one replica and under two with the same batches, and compare.

    python examples/benchmarks/one_or_two_devices.py CAMVID [EPOCHS [NORMALIZATION]]

Data: CAMVID, a folder with train/images, train/masks, val/images and val/masks, void 11. Two logical CPUs
stand for two devices. Three epochs of a small U-Net under each take about ten minutes on two cores. Expected:
the same loss and validation mean IoU to three decimals after each epoch; the same numbers are added up in
another order, so later digits differ.

NORMALIZATION is "group" or "batch". With batch normalisation of six crops such differences grow: after 30
steps the loss differs by 1e-3, on one device as well, when the first weights are changed by a ten-millionth.
"""

import sys
from typing import Any

import keras
import tensorflow as tf

import kseg

CROP, BATCH = (96, 128), 6  # 61 steps, each of 3 + 3 crops
VOID = {11: 255}
CLASSES = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "cyclist",
]


def train(root, epochs, normalization, devices):
    """Return the history of a training."""
    keras.utils.set_random_seed(0)
    augment = kseg.data.augment(CROP)
    options: dict[str, Any] = {"label_map": VOID, "class_names": CLASSES}
    crops = kseg.data.from_directory(root, "train", batch_size=BATCH, augment=augment, **options)
    validation = kseg.data.from_directory(root, "val", batch_size=2, shuffle=False, **options)
    with kseg.strategy(devices).scope():
        model = kseg.build_unet(11, filters=8, normalization=normalization)
        kseg.compile(model, epochs * len(crops), optimizer="sgd", learning_rate=0.01)
    fitted = model.fit(crops, validation_data=validation, epochs=epochs, shuffle=False, verbose=0)
    return fitted.history


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]  # before TensorFlow is used
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    root, epochs = sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 3
    normalization = sys.argv[3] if sys.argv[3:] else "group"
    one, two = (train(root, epochs, normalization, devices) for devices in (["CPU:0"], ["CPU:0", "CPU:1"]))
    for key in ("loss", "val_loss", "val_mean_iou"):
        for epoch, (a, b) in enumerate(zip(one[key], two[key], strict=True), start=1):
            print(f"epoch {epoch}  {key:14} one {a:.6f}   two {b:.6f}   difference {abs(a - b):.1e}")


if __name__ == "__main__":
    main()
