"""Time U-Net and DeepLabV3+ on ResNet-50 beside other packages: forward and training step, in turn.

    pip install segmentation-models tf_keras torch segmentation-models-pytorch
    python examples/benchmarks/peers.py [unet | deeplabv3plus]

No data needed; ten minutes on two cores. Every package that is installed runs its own form of the network
in its own framework: same size, batch, classes, loss (cross-entropy) and optimiser (SGD), float32. Prints
medians of seconds and the ratio of kseg's time to each (below 1: kseg is faster).
"""

import os
import sys

if __name__ == "__main__" and sys.argv[1:] == ["unet"]:
    # for segmentation_models, which has no DeepLabV3+; keras-cv, which has no U-Net, would switch as well
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "SM_FRAMEWORK": "tf.keras"}

import statistics
import subprocess
import time

import keras
import numpy as np
import tensorflow as tf

import kseg

ROUNDS, BATCH, SIZE, CLASSES = 7, 4, 256, 11
PICTURES = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype("float32")
MASKS = np.random.default_rng(1).integers(0, CLASSES, (BATCH, SIZE, SIZE)).astype("int32")


def of_keras(model, loss, sgd):
    """Return the forward and the training step of a Keras model, old or new."""
    model.compile(optimizer=sgd, loss=loss)
    forward = tf.function(lambda x: model(x, training=False))
    pictures = tf.constant(PICTURES)
    return lambda: forward(pictures).numpy(), lambda: model.train_on_batch(PICTURES, MASKS)


def of_kseg(name):
    model = kseg.build(name, CLASSES, (SIZE, SIZE, 3), backbone="resnet50")
    return of_keras(model, kseg.losses.CrossEntropy(), keras.optimizers.SGD(0.01))


def of_keras_cv(name):
    if name == "unet":
        return None
    import keras_cv

    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        input_shape=(SIZE, SIZE, 3),
    )
    model = keras_cv.models.DeepLabV3Plus(num_classes=CLASSES, backbone=backbone)
    return of_keras(model, keras.losses.SparseCategoricalCrossentropy(), keras.optimizers.SGD(0.01))


def of_segmentation_models(name):
    if name != "unet":
        return None
    import segmentation_models
    import tf_keras

    model = segmentation_models.Unet(
        "resnet50", input_shape=(SIZE, SIZE, 3), classes=CLASSES, activation="softmax", encoder_weights=None
    )
    return of_keras(model, tf_keras.losses.SparseCategoricalCrossentropy(), tf_keras.optimizers.SGD(0.01))


def of_torch(name):
    import segmentation_models_pytorch as smp
    import torch

    torch.set_num_threads(os.cpu_count())
    build = {"unet": smp.Unet, "deeplabv3plus": smp.DeepLabV3Plus}[name]
    model = build("resnet50", encoder_weights=None, classes=CLASSES)
    pictures = torch.from_numpy(PICTURES.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    masks = torch.from_numpy(MASKS.astype("int64"))
    model = model.to(memory_format=torch.channels_last)  # the faster layout on a CPU
    sgd = torch.optim.SGD(model.parameters(), 0.01)

    def forward():
        model.eval()
        with torch.no_grad():
            model(pictures)

    def step():
        model.train()
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(model(pictures), masks).backward()
        sgd.step()

    return forward, step


PACKAGES = {
    "kseg": of_kseg,
    "keras-cv": of_keras_cv,
    "segmentation_models": of_segmentation_models,
    "smp (PyTorch)": of_torch,
}


def prepared(name):
    """Return `{package: (forward, step)}` of those that are installed and have the architecture."""
    ready = {}
    for package, prepare in PACKAGES.items():
        try:
            functions = prepare(name)
        except ImportError as error:
            print(f"{package} is left out: {error}")
            continue
        if functions:
            ready[package] = functions
    return ready


def in_turn(functions):
    """Return the median seconds of each function; they run in turn, so all meet the same machine."""
    times: dict[str, list[float]] = {package: [] for package in functions}
    for _ in range(ROUNDS + 1):
        for package, function in functions.items():
            start = time.perf_counter()
            function()
            times[package].append(time.perf_counter() - start)
    return {package: statistics.median(seconds[1:]) for package, seconds in times.items()}


def main(name):
    ready = prepared(name)
    for number, what in enumerate(("forward", "training step")):
        seconds = in_turn({package: functions[number] for package, functions in ready.items()})
        print(f"\n{name} on ResNet-50, {what}")
        for package, value in seconds.items():
            print(f"  {package:22}{value:8.3f} s   kseg / it {seconds['kseg'] / value:6.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1])
    else:
        title = f"batch {BATCH}, {SIZE}×{SIZE}, {CLASSES} classes, medians of {ROUNDS} rounds in turn"
        print(title, flush=True)
        for each in ("unet", "deeplabv3plus"):
            subprocess.run([sys.executable, __file__, each], check=True)
