"""Time kseg's loss, metric and batch norm beside Keras' own, in turn, on the same tensors.

    python examples/benchmarks/losses_and_metrics.py

No data needed; about a minute. Prints medians and ratios (below 1: kseg is faster). Expected on two cores:
MeanIoU about 0.15, CrossEntropy 0.2 to 0.35, a U-Net step with the fused batch norm about 0.8.
"""

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import kseg

ROUNDS = 9
BATCH, HEIGHT, WIDTH = 4, 360, 480


def paired(ours, theirs):
    """Return the median seconds of two functions that run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 2):
        for function, record in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return [statistics.median(record[2:]) for record in times]  # the first two rounds warm up


def metric(num_classes):
    """Return one update of both metrics."""
    masks, logits = batch(num_classes)
    ours = kseg.metrics.MeanIoU(num_classes)
    theirs = keras.metrics.MeanIoU(num_classes, ignore_class=255, sparse_y_pred=False)
    return [compiled(each.update_state, masks, logits) for each in (ours, theirs)]


def loss(num_classes):
    """Return one value and gradient of both losses."""
    masks, logits = batch(num_classes)
    ours = kseg.losses.CrossEntropy()
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)

    def with_gradient(function):
        def value(masks, logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                result = function(masks, logits)
            return tape.gradient(result, logits)

        return compiled(value, masks, logits)

    return [with_gradient(each) for each in (ours, theirs)]


def step():
    """Return one training step of a small U-Net with the fused batch norm and with Keras' own."""
    fused = kseg.build_unet(6, (96, 96, 3), filters=8)

    def plain(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return keras.layers.BatchNormalization.from_config(layer.get_config())
        return layer.__class__.from_config(layer.get_config())

    stock = keras.models.clone_model(fused, clone_function=plain)
    images = np.zeros((16, 96, 96, 3), "uint8")
    masks = np.zeros((16, 96, 96), "int32")
    for model in (fused, stock):
        kseg.compile(model)
    return [lambda model=model: model.train_on_batch(images, masks) for model in (fused, stock)]


def batch(num_classes):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, num_classes, (BATCH, HEIGHT, WIDTH)).astype("int32")
    masks[:, :20] = 255
    return tf.constant(masks), tf.constant(rng.normal(size=(*masks.shape, num_classes)).astype("float32"))


def compiled(function, *inputs):
    graph = tf.function(function, autograph=False)
    return lambda: graph(*inputs)


def main():
    print(f"{BATCH} × {HEIGHT} × {WIDTH} pixels, medians of {ROUNDS} rounds in turn")
    print(f"{'':28}{'kseg ms':>10}{'keras ms':>10}{'ratio':>8}")
    rows = [(f"MeanIoU, {n} classes", metric(n)) for n in (2, 11, 21)]
    rows += [(f"CrossEntropy, {n} classes", loss(n)) for n in (2, 11, 21)]
    rows.append(("U-Net step, batch norm", step()))
    for name, functions in rows:
        ours, theirs = paired(*functions)
        print(f"{name:28}{1e3 * ours:10.1f}{1e3 * theirs:10.1f}{ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
