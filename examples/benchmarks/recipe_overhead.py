"""Time what the recipe adds to a step: kseg's loss and mean IoU over the same graph with a bare loss.

    python examples/benchmarks/recipe_overhead.py

No data needed; fifteen minutes on two cores. Both models have one graph, pictures and optimiser; one trains
on the mean square of its scores without a metric, the other on cross-entropy with mean IoU, as `kseg.compile`
sets them. Steps run in turn, in a new order each round. The ratio differs by a few hundredths from process to
process, so each network is timed in several new ones: prints the medians of each, and the median of their
ratios (1: the recipe costs nothing).
"""

import multiprocessing
import random
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import kseg

PROCESSES, ROUNDS, BATCH, SIZE, CLASSES = 3, 20, 4, (192, 256), 11


def bare_loss(_, scores):
    return keras.ops.mean(keras.ops.square(scores), axis=(1, 2, 3))


def step_of(model, images, masks):
    """Return a function that trains one step, in a graph, on tensors that are there already."""
    model.train_on_batch(images, masks)
    function = model.make_train_function() or model.train_function
    dataset = tf.data.Dataset.from_tensors((images, masks)).repeat()
    iterator = iter(dataset)
    return lambda: function(iterator)


def measure(name, arguments):
    """Return the median seconds of a step, by what it trains."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, *SIZE, 3)).astype("float32")
    masks = rng.integers(0, CLASSES, (BATCH, *SIZE)).astype("int32")
    bare = kseg.build(name, CLASSES, (*SIZE, 3), **arguments)
    bare.compile(kseg.optimizers.AdamW(1e-3), bare_loss)
    full = kseg.compile(kseg.build(name, CLASSES, (*SIZE, 3), **arguments), steps=100)
    steps = {"bare": step_of(bare, images, masks), "recipe": step_of(full, images, masks)}
    times = {key: [] for key in steps}
    for _ in range(ROUNDS + 2):
        for key, step in random.sample(list(steps.items()), len(steps)):
            start = time.perf_counter()
            tf.nest.map_structure(lambda x: x.numpy(), step())
            times[key].append(time.perf_counter() - start)
    return {key: statistics.median(seconds[2:]) for key, seconds in times.items()}


def main():
    print(f"batch {BATCH}, {SIZE[0]}×{SIZE[1]}, {CLASSES} classes, medians of {ROUNDS} rounds in turn")
    for name, arguments in (("unet", {"filters": 32}), ("ddrnet", {})):
        ratios = []
        for _ in range(PROCESSES):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                medians = pool.apply(measure, (name, arguments))
            ratios.append(medians["recipe"] / medians["bare"])
            print(
                f"{name:10} bare {1e3 * medians['bare']:7.1f} ms   "
                f"recipe {1e3 * medians['recipe']:7.1f} ms   recipe / bare {ratios[-1]:.3f}",
                flush=True,
            )
        print(f"{name:10} median recipe / bare {statistics.median(ratios):.3f}", flush=True)


if __name__ == "__main__":
    main()
