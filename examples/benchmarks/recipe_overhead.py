"""Time what the recipe adds to a step: kseg's loss and mean IoU over the same graph with a bare loss.

    python examples/benchmarks/recipe_overhead.py

No data needed; fifteen minutes on two cores. Both models have one graph, pictures and optimiser; one trains
on the mean square of its scores without a metric, the other on cross-entropy with mean IoU, as `kseg.compile`
sets them. Steps run in turn, in a new order each round. The ratio differs by a few hundredths from process to
process, so each network is timed in several new ones: prints the median steps of each, the median of the
ratios of its rounds, and the median of those over the processes (1: the recipe costs nothing).
"""

import multiprocessing
import random
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import kseg

PROCESSES, BATCH, SIZE, CLASSES = 3, 4, (192, 256), 11


def bare_loss(_, scores):
    return keras.ops.mean(keras.ops.square(scores), axis=(1, 2, 3))


def step_of(model, images, masks):
    """Return a function that trains one step, in a graph, on tensors that are there already."""
    dataset = tf.data.Dataset.from_tensors((images, masks)).repeat()
    model.fit(dataset, steps_per_epoch=1, verbose=0)
    iterator = iter(dataset)
    return lambda: model.train_function(iterator)


def measure(name, arguments, rounds):
    """Return the seconds of every step, in the order of rounds, by what it trains."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, *SIZE, 3)).astype("float32")
    masks = rng.integers(0, CLASSES, (BATCH, *SIZE)).astype("int32")
    bare = kseg.build(name, CLASSES, (*SIZE, 3), **arguments)
    bare.compile(kseg.optimizers.AdamW(1e-3), bare_loss)
    full = kseg.compile(kseg.build(name, CLASSES, (*SIZE, 3), **arguments), steps=100)
    steps = {"bare": step_of(bare, images, masks), "recipe": step_of(full, images, masks)}
    times: dict[str, list[float]] = {key: [] for key in steps}
    for _ in range(rounds + 2):
        for key, step in random.sample(list(steps.items()), len(steps)):
            start = time.perf_counter()
            tf.nest.map_structure(lambda x: x.numpy(), step())
            times[key].append(time.perf_counter() - start)
    return {key: seconds[2:] for key, seconds in times.items()}


def main():
    print(f"batch {BATCH}, {SIZE[0]}×{SIZE[1]}, {CLASSES} classes, medians of rounds in turn")
    for name, arguments, rounds in (("unet", {"filters": 32}, 20), ("ddrnet", {}, 120)):
        ratios = []
        for _ in range(PROCESSES):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                times = pool.apply(measure, (name, arguments, rounds))
            bare, recipe = (1e3 * statistics.median(times[key]) for key in ("bare", "recipe"))
            pairs = zip(times["recipe"], times["bare"], strict=True)
            ratios.append(statistics.median(one / other for one, other in pairs))
            print(
                f"{name:10} {rounds:3} rounds   bare {bare:7.1f} ms   recipe {recipe:7.1f} ms   "
                f"recipe / bare {ratios[-1]:.3f}",
                flush=True,
            )
        print(f"{name:10} median recipe / bare {statistics.median(ratios):.3f}", flush=True)


if __name__ == "__main__":
    main()
