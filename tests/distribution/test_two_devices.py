"""One script gives the same weights, loss, metrics and predictions on one device and on two."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import kseg
from kseg.losses import Boundary, CrossEntropy, Dice, Focal, Jaccard, Lovasz, OhemCrossEntropy, Tversky
from kseg.metrics import BoundaryF1, BoundaryIoU, MeanDice, MeanIoU, PixelAccuracy
from kseg.replicas import counting, mean_over_replicas

CPUS = ["CPU:0", "CPU:1"]
LOSSES = {
    "cross-entropy": CrossEntropy(class_weights=[1, 2, 3]),
    "hard pixels": OhemCrossEntropy(threshold=0.2, min_kept=0.3),
    "focal": Focal(),
    "dice": Dice(),
    "jaccard": Jaccard(),
    "tversky": Tversky(gamma=0.75),
    "lovasz": Lovasz(),
    "boundary": Boundary(),
    "sum": CrossEntropy() + 0.5 * Dice(),
}
# Sizes of three batches, and the share of void in the pictures of replica 0 and of replica 1.
CASES = {
    "first batch of 2 + 1": ((3, 4, 4), (0.2, 0.5)),  # the first of all: Keras builds the model from it
    "even": ((4, 4, 4), (0, 0)),
    "most of one replica void": ((4, 4, 4), (0.9, 0.1)),
    "all of one replica void": ((4, 4, 4), (1, 0)),
    "tail of 2 + 1": ((4, 4, 3), (0.2, 0.5)),
    "tail of 1 + 0": ((4, 4, 1), (0.2, 0.5)),
    "first batch of 1 + 0": ((1, 4, 4), (0.2, 0.5)),
}


def pictures(size, shares=(0, 0), seed=0):
    """A batch; of every four pictures replica 0 has the first two."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 8, 8, 3)).astype("float32")
    void = rng.random((size, 8, 8)) < np.resize(np.repeat(shares, 2), size)[:, None, None]
    return images, np.where(void, 255, rng.integers(0, 3, (size, 8, 8))).astype("uint8")


def dataset_of(batches):
    parts = [tf.data.Dataset.from_tensor_slices(batch).batch(4) for batch in batches]
    return functools.reduce(lambda dataset, part: dataset.concatenate(part), parts)


def trainable(loss, devices, metrics=(MeanIoU,), normalization=None):
    """A compiled model of two convolutions, on one device or on several."""
    keras.utils.set_random_seed(0)
    scope = kseg.strategy(devices).scope() if devices else contextlib.nullcontext()
    with scope:
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=4, normalization=normalization)
        model.compile(keras.optimizers.SGD(0.5), loss, metrics=[metric(3) for metric in metrics])
    return model


class Restart(keras.callbacks.Callback):
    """Start every epoch anew; keep its logs and the weights it leads to."""

    def __init__(self, start):
        super().__init__()
        self.start = start
        self.results = []

    def on_epoch_begin(self, epoch, logs=None):
        self.model.set_weights(self.start)

    def on_epoch_end(self, epoch, logs=None):
        self.results.append((self.model.get_weights(), dict(logs)))


def train_every_case(loss, **options):
    """Three steps of every case, an epoch each, on one device and on two: `{case: (result, result)}`."""
    batches = [
        pictures(size, shares, seed) for sizes, shares in CASES.values() for seed, size in enumerate(sizes)
    ]
    results = []
    for devices in (None, CPUS):
        model = trainable(loss, devices, **options)
        start = results[0].start if results else model.get_weights()
        results.append(Restart(start))
        model.fit(
            dataset_of(batches),
            epochs=len(CASES),
            steps_per_epoch=3,
            shuffle=False,
            verbose=0,
            callbacks=results[-1:],
        )
    return {
        case: pair for case, *pair in zip(CASES, *(callback.results for callback in results), strict=True)
    }, start


def assert_alike(results, start, precision):
    """Compare weights, what three steps changed of them, and logs."""
    (one, logs), (two, other_logs) = results
    assert min(np.abs(new - old).max() for new, old in zip(one, start, strict=True)) > 1e-4  # all trained
    one, two, start = (
        np.concatenate([weight.ravel() for weight in weights]) for weights in (one, two, start)
    )
    assert np.linalg.norm(two - one) <= precision * np.linalg.norm(one)
    assert np.linalg.norm(two - one) <= 10 * precision * np.linalg.norm(one - start)
    assert other_logs == {key: pytest.approx(value, rel=precision) for key, value in logs.items()}


# built as "hard pixels" and "tversky" are; the sum trains below, with batch normalisation
SLOW = ("focal", "dice", "jaccard", "sum")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in LOSSES],
)
def trained(request):
    return train_every_case(LOSSES[request.param])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow_after(2)
def test_two_devices_train_like_one(trained, case):
    results, start = trained
    assert_alike(results[case], start, 1e-6)


@pytest.fixture(scope="module")
def trained_with_batch_normalization():
    metrics = [MeanIoU, MeanDice, PixelAccuracy, BoundaryIoU, BoundaryF1]
    return train_every_case(LOSSES["sum"], metrics=metrics, normalization="batch")


@pytest.mark.parametrize("case", CASES)
def test_two_devices_normalize_and_measure_like_one(trained_with_batch_normalization, case):
    results, start = trained_with_batch_normalization
    assert_alike(results[case], start, 1e-5)


def test_pictures_large_enough_for_xla_train_alike_with_it_and_without():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 128, 128, 3)).astype("float32")
    masks = rng.choice([0, 1, 2, 255], (5, 128, 128)).astype("uint8")
    results = []
    for devices, size in ((None, 128), (CPUS, 128), (None, None)):
        keras.utils.set_random_seed(0)
        with kseg.strategy(devices).scope():
            model = kseg.build_conv_stack(3, (size, size, 3), depth=1, filters=4, normalization=None)
            model.compile(keras.optimizers.SGD(0.5), CrossEntropy(), metrics=[MeanIoU(3)])
        start = model.get_weights()
        logs = model.fit(dataset_of([(images, masks)]), shuffle=False, verbose=0).history
        results.append((model.get_weights(), {key: value for key, (value,) in logs.items()}))
    for others in results[1:]:
        assert_alike((results[0], others), start, 1e-6)


def scores(y_true, y_pred):
    """A loss by hand: one number, linear in the pictures."""
    return ops.mean(ops.square(y_pred[..., 0] - ops.cast(y_true, "float32")))


USERS_LOSSES = {
    "one number": scores,
    "per pixel": lambda y_true, y_pred: ops.square(y_pred[..., 0] - ops.cast(y_true, "float32")),
    "keras, per pixel": keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
    "keras, sum": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
}


def user_trained(loss, devices, batches):
    keras.utils.set_random_seed(0)
    with kseg.strategy(devices).scope():
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=2, normalization=None)
        kseg.compile(model, optimizer=keras.optimizers.SGD(1e-3), loss=loss, metrics=[])
    start = np.concatenate([weight.ravel() for weight in model.get_weights()])
    logs = model.fit(dataset_of(batches), shuffle=False, verbose=0).history
    return logs["loss"], np.concatenate([weight.ravel() for weight in model.get_weights()]) - start


@pytest.mark.parametrize("loss", USERS_LOSSES.values(), ids=USERS_LOSSES)
@pytest.mark.slow_after(2)
def test_losses_of_the_user_train_alike_on_any_batch(loss):
    batches = [pictures(size, seed=size) for size in (3, 4, 1)]
    (loss_of_one, one), (loss_of_two, two) = (
        user_trained(loss, devices, batches) for devices in (None, CPUS)
    )
    assert np.linalg.norm(two - one) <= 1e-5 * np.linalg.norm(one)
    assert loss_of_two == pytest.approx(loss_of_one, rel=1e-6)


def test_the_dice_loss_of_keras_trains_at_the_same_rate():
    def dice(y_true, y_pred):  # as users write it: Keras' own takes no ids
        return keras.losses.dice(ops.one_hot(ops.cast(y_true, "int32"), 3), ops.softmax(y_pred))

    images, mask = pictures(2)
    alike = [(np.concatenate([images, images]), np.concatenate([mask, mask]))]  # both replicas see the same
    (_, one), (_, two) = (user_trained(dice, devices, alike) for devices in (None, CPUS))
    assert np.linalg.norm(two) / np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)


def test_what_stands_in_for_no_picture_counts_nowhere():
    strategy = kseg.strategy(CPUS)

    @tf.function
    def run():
        def mean():
            first = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group == 0, tf.float32)
            with counting(first):
                return mean_over_replicas(2 + first, 1)

        return strategy.experimental_local_results(strategy.run(mean))

    assert [float(mean) for mean in run()] == [3, 3]


@pytest.fixture(scope="module")
def models():
    """The same model on one device and on two, with batch normalisation."""
    one, two = (trainable(LOSSES["sum"], devices, normalization="batch") for devices in (None, CPUS))
    rng = np.random.default_rng(0)
    weights = [np.abs(weight) + 0.1 * rng.random(weight.shape) for weight in one.get_weights()]
    one.set_weights(weights)
    two.set_weights(weights)
    return one, two


@pytest.mark.parametrize("sizes", [(1,), (3, 4), (4, 4, 1)], ids=str)
def test_two_devices_evaluate_like_one(models, sizes):
    data = dataset_of([pictures(size, (0.2, 0.6), seed) for seed, size in enumerate(sizes)])
    one, two = (model.evaluate(data, return_dict=True, verbose=0) for model in models)
    assert two == {key: pytest.approx(value, rel=1e-6) for key, value in one.items()}


@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_two_devices_predict_like_one(models, count):
    images, _ = pictures(count)
    one, two = (model.predict(images, batch_size=4, verbose=0) for model in models)
    assert two.shape == (count, 8, 8, 3)
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())


def test_two_devices_predict_several_batches_at_once():
    images, _ = pictures(9)
    with kseg.strategy(CPUS).scope():
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=2)
        model.compile(steps_per_execution=2)
    np.testing.assert_allclose(
        model.predict(images, batch_size=4, verbose=0), model(images), rtol=1e-4, atol=1e-5
    )


def test_two_devices_take_single_batches_like_one():
    images, mask = pictures(3, (0.1, 0.5))
    results = []
    for devices in (None, CPUS):
        model = trainable(LOSSES["sum"], devices)
        logs = [
            function(images, mask, return_dict=True)
            for function in (model.train_on_batch, model.test_on_batch)
        ]
        results.append((logs, model.predict_on_batch(images)))
    (one, scores_of_one), (two, scores_of_two) = results
    assert two == [{key: pytest.approx(value, rel=1e-6) for key, value in logs.items()} for logs in one]
    np.testing.assert_allclose(scores_of_two, scores_of_one, rtol=1e-5, atol=1e-5)


def test_a_model_compiled_outside_of_the_scope_is_refused():
    with kseg.strategy(CPUS).scope():
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=2)
    kseg.compile(model)
    with pytest.raises(ValueError, match=r"compiled outside of it; compile it within strategy.scope\(\) too"):
        model.fit(*pictures(2), verbose=0)


def test_batches_of_known_size_train_like_one():
    data = dataset_of([pictures(9)]).unbatch().batch(4, drop_remainder=True).repeat()
    results = []
    for devices in (None, CPUS):
        model = trainable(LOSSES["sum"], devices)
        results.append(model.fit(data, steps_per_epoch=3, shuffle=False, verbose=0).history)
    assert results[1] == {key: pytest.approx(value, rel=1e-6) for key, value in results[0].items()}


def test_two_devices_fit_arrays_of_odd_size_by_several_steps_like_one():
    results = []
    for devices in (None, CPUS):
        model = trainable(LOSSES["cross-entropy"], devices)
        model.steps_per_execution = 2
        history = model.fit(
            *pictures(9, (0.1, 0.5)),
            batch_size=4,
            validation_split=0.34,  # 5 pictures train, 4 + 1, and 4 validate
            validation_batch_size=3,
            verbose=0,
        ).history
        results.append((history, np.concatenate([weight.ravel() for weight in model.get_weights()])))
    (one, weights), (two, others) = results
    assert two == {key: pytest.approx(values, rel=1e-6) for key, values in one.items()}
    assert np.linalg.norm(others - weights) <= 1e-6 * np.linalg.norm(weights)


def test_batches_of_unknown_rank_and_without_masks():
    images, mask = pictures(3)
    of_python = tf.data.Dataset.range(1).map(
        lambda _: tuple(tf.py_function(lambda: (images, mask), [], (tf.float32, tf.uint8)))
    )
    shaped = of_python.map(
        lambda x, y: (tf.ensure_shape(x, (None, 8, 8, 3)), tf.ensure_shape(y, (None, 8, 8)))
    )
    model = trainable(LOSSES["sum"], CPUS)
    known = model.evaluate(dataset_of([(images, mask)]), verbose=0)
    assert model.evaluate(shaped, verbose=0) == pytest.approx(known)


def test_the_dataset_is_read_once_an_epoch():
    read = []

    def batches():
        for size in (2, 2):
            read.append(size)
            yield pictures(size)

    signature = (tf.TensorSpec((None, 8, 8, 3), tf.float32), tf.TensorSpec((None, 8, 8), tf.uint8))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(2))
    trainable(LOSSES["sum"], CPUS).fit(data, shuffle=False, verbose=0)
    assert read == [2, 2]


def test_two_devices_refuse_masks_of_floats_too(models):
    images, mask = pictures(4)
    with pytest.raises(TypeError, match="integer class ids, got dtype float32"):
        models[1].fit(images, mask.astype("float32"), batch_size=4, verbose=0)


@pytest.mark.parametrize("devices", [None, pytest.param(["CPU:1"], marks=pytest.mark.slow), CPUS])
def test_every_epoch_is_drawn_once_on_any_devices(devices):
    """Keras begins an epoch under a strategy, drops it and trains on the next: other pictures come first."""
    scenes = kseg.data.shapes(6, (32, 32), batch_size=2, shuffle=True)
    with kseg.strategy(devices).scope() if devices else contextlib.nullcontext():
        model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2), optimizer="sgd")
    for epochs in (2, 3):
        model.fit(scenes, initial_epoch=epochs - 2, epochs=epochs, shuffle=False, verbose=0)
    assert scenes.epochs.next == 4


def test_the_defaults_train_on_two_devices():
    with kseg.strategy(CPUS).scope():
        model = kseg.compile(kseg.build_conv_stack(3, depth=1, filters=2), 2, class_names=["a", "b", "c"])
    data = dataset_of([pictures(4)])
    logs = model.fit(*pictures(8), batch_size=4, validation_data=data, verbose=0).history
    assert np.isfinite(logs["loss"]).all() and np.isfinite(logs["val_loss"]).all()
    assert logs["val_pixels_outside"] == [0]
