"""What each of two workers runs in `test_workers.py`: `python worker.py RESULT ROLE`."""

import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf

import kseg
from kseg.distribution import lost_workers
from kseg.losses import CrossEntropy, Dice
from kseg.metrics import MeanIoU


def pictures(count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 8, 8, 3)).astype("float32")
    mask = rng.integers(0, 4, (count, 8, 8)).astype("uint8")
    return images, np.where(mask == 3, 255, mask).astype("uint8")


def train(strategy):
    """Train, evaluate and predict on an odd number of pictures; return all there is to compare."""
    keras.utils.set_random_seed(0)
    images, mask = pictures(9)
    data = tf.data.Dataset.from_tensor_slices((images, mask)).shuffle(9, seed=1).batch(4)  # 4 + 4 + 1
    with strategy.scope():
        metric = MeanIoU(3)
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=4)
        loss = CrossEntropy() + 0.5 * Dice()
        kseg.compile(model, optimizer=keras.optimizers.SGD(0.5), loss=loss, metrics=[metric])
    history = model.fit(
        data,
        epochs=2,
        shuffle=False,
        verbose=0,
        validation_data=(images[:5], mask[:5]),
        validation_batch_size=2,
    ).history
    results = {
        "history": history,
        "weights": [weight.tolist() for weight in model.get_weights()],
        "evaluation": model.evaluate(images[:7], mask[:7], batch_size=2, verbose=0, return_dict=True),
        "prediction": model.predict(images[:7], batch_size=3, verbose=0).tolist(),
    }
    model.fit(images, mask, batch_size=4, verbose=0)  # shuffled, each worker by itself
    results["pixels of each class"] = np.sum(metric.matrix, axis=1).tolist()
    return results, model


class Leave(keras.callbacks.Callback):
    """End the process without a word in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            os._exit(9)


def main(result, role):
    strategy = kseg.strategy()
    order = list(tf.data.Dataset.range(20).shuffle(20).as_numpy_iterator())
    results, model = train(strategy)
    results["order without a seed"] = [int(number) for number in order]
    count = 8 if role == "leaves" else 10  # of batches of 4: 2 and 3
    try:
        model.evaluate(*pictures(count), batch_size=4, verbose=0)
    except ValueError as error:
        results["other data"] = str(error)
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(results, file)
    with lost_workers():
        model.fit(*pictures(8), batch_size=4, epochs=99, verbose=0, callbacks=[Leave()] * (role == "leaves"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ConnectionError as lost:
        sys.exit(str(lost))
