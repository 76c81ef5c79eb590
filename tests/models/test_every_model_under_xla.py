"""Every builder trains under `jit_compile=True`, what Keras chooses by itself on a machine with a GPU.

XLA compiles a whole step, for each size and precision anew: seconds even for the smallest network. So one
architecture is tried by default, with two sizes and precisions in turn, all the others are slow.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import IDS, SMALL, build, pictures

import kseg

SIZES = {"fixed": (32, 48, 3), "open": (None, None, 3)}
PRECISIONS = {"float32": 1e-4, "mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}  # of the loss
# the row of each architecture that is compiled soonest; of U-Net the one that resizes to the nearest
QUICK = {name: index for index, (name, _) in reversed(list(enumerate(SMALL)))}
QUICK["unet"] = next(i for i, (_, arguments) in enumerate(SMALL) if arguments.get("upsampling") == "nearest")
QUICK["segnet"] = next(i for i, (_, arguments) in enumerate(SMALL) if arguments.get("variant") == "basic")
QUICK["fcn"] = next(i for i, (_, arguments) in enumerate(SMALL) if arguments.get("variant") == "alexnet")


DEFAULT = "conv_stack"


def cases():
    """Return every row with one precision, those of QUICK with all three; the sizes take turns."""
    found = []
    for number, row in enumerate(SMALL):
        quick = QUICK[row[0]] == number
        for turn in range(number, number + (len(PRECISIONS) if quick else 1)):
            precision, size = list(PRECISIONS)[turn % 3], list(SIZES)[turn % 2]
            marks = [] if row[0] == DEFAULT and quick and turn < number + 2 else pytest.mark.slow
            found.append(
                pytest.param(row, size, precision, id=f"{IDS[number]}-{size}-{precision}", marks=marks)
            )
    return found


def compiled(row, size, precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        keras.utils.set_random_seed(3)
        model = build(row[0], SIZES[size], row[1])
    finally:
        keras.config.set_dtype_policy(before)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # XLA draws other numbers
    return kseg.compile(model, optimizer=keras.optimizers.SGD(0.01), jit_compile=True)


@pytest.mark.parametrize(("row", "size", "precision"), cases())
@pytest.mark.slow_after(1)
def test_a_step_compiled_by_xla_is_the_step(row, size, precision):
    model = compiled(row, size, precision)
    images, masks = pictures(2, 32, 48), np.random.default_rng(1).choice([0, 1, 2, 255], (2, 32, 48))
    start, variables = model.get_weights(), [weight.value for weight in model.trainable_weights]
    before = [variable.numpy() for variable in variables]
    with tf.GradientTape() as tape:
        scores = model(images.astype("float32"), training=True)
        loss = model.loss(masks, scores)
    iou = kseg.metrics.MeanIoU(3)(masks, scores)
    steps = [-0.01 * np.asarray(slope).ravel() for slope in tape.gradient(loss, variables)]
    model.set_weights(start)  # the moving averages too
    logs = model.fit(images, masks, batch_size=2, verbose=0).history
    assert logs["loss"][0] == pytest.approx(float(loss), rel=PRECISIONS[precision])
    assert logs["mean_iou"][0] == pytest.approx(float(iou), abs=10 * PRECISIONS[precision])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    if precision == "float32":
        moved = [(variable.numpy() - old).ravel() for variable, old in zip(variables, before, strict=True)]
        moved, steps = np.concatenate(moved), np.concatenate(steps)
        assert np.linalg.norm(moved - steps) <= 0.01 * np.linalg.norm(steps)
    keras.utils.clear_session()
