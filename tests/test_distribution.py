import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.losses import CrossEntropy, Dice
from kseg.metrics import MeanIoU

CPUS = ["CPU:0", "CPU:1"]
LOSSES = {
    "cross-entropy": CrossEntropy(class_weights=[1, 2, 3]),
    "dice": Dice(),
    "sum": CrossEntropy() + 0.5 * Dice(),
}
# Share of void in the pictures of replica 0 and of replica 1.
VOID = {"even": (0, 0), "most of one replica": (0.9, 0.1), "all of one replica": (1, 0)}


def trainable(loss, devices):
    """A compiled U-Net, on one device or on several."""
    keras.utils.set_random_seed(0)
    with kseg.strategy(devices).scope():
        model = kseg.build_unet(3, (8, 8, 3), filters=(2, 4), normalization=None)
        model.compile(keras.optimizers.SGD(2.0), loss, metrics=[MeanIoU(3)])
    return model


def example(shares=(0, 0)):
    """Eight pictures; of every four, replica 0 has the first two."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 8, 8, 3)).astype("float32")
    share = np.tile(np.repeat(shares, 2), 2)[:, None, None]
    void = rng.random((8, 8, 8)) < share
    return images, np.where(void, 255, rng.integers(0, 3, (8, 8, 8))).astype("uint8")


@pytest.fixture(scope="module", params=LOSSES)
def models(request):
    """The same model on one device and on two."""
    return [trainable(LOSSES[request.param], devices) for devices in (["CPU:0"], CPUS)]


combined = pytest.mark.parametrize("models", ["sum"], indirect=True)


def batched(images, mask):
    return tf.data.Dataset.from_tensor_slices((images, mask)).batch(4)


def assert_trained_alike(models, dataset):
    start = models[0].get_weights()
    logs, changes = [], []
    for model in models:
        model.set_weights(start)
        logs.append(model.fit(dataset, shuffle=False, verbose=0).history)
        change = [after - before for after, before in zip(model.get_weights(), start, strict=True)]
        changes.append(np.concatenate([weight.ravel() for weight in change]))
        model.set_weights(start)
    one, two = changes
    assert np.linalg.norm(one) > 0.1
    assert np.linalg.norm(two - one) < 1e-5 * np.linalg.norm(one)
    for key in ("loss", "mean_iou"):
        assert logs[1][key] == pytest.approx(logs[0][key], rel=1e-5)


@pytest.mark.parametrize("shares", VOID.values(), ids=VOID)
def test_two_devices_train_like_one(models, shares):
    assert_trained_alike(models, batched(*example(shares)))


@combined
def test_two_devices_train_like_one_on_an_uneven_last_batch(models):
    images, mask = example()
    assert_trained_alike(models, batched(images[:7], mask[:7]))


@combined
@pytest.mark.parametrize("shares", VOID.values(), ids=VOID)
def test_two_devices_evaluate_like_one(models, shares):
    one, two = (model.evaluate(batched(*example(shares)), verbose=0) for model in models)
    assert two == pytest.approx(one, rel=1e-5)


@combined
def test_two_devices_refuse_masks_of_floats_too(models):
    images, mask = example()
    with pytest.raises(TypeError, match="integer class ids, got dtype float32"):
        models[1].fit(images, mask.astype("float32"), batch_size=4, verbose=0)


def test_the_defaults_train_on_two_devices():
    with kseg.strategy(CPUS).scope():
        model = kseg.compile(kseg.build_conv_stack(3, depth=1, filters=2), 2, class_names=["a", "b", "c"])
    logs = model.fit(*example(), batch_size=4, validation_data=batched(*example()), verbose=0).history
    assert np.isfinite(logs["loss"]).all() and np.isfinite(logs["val_loss"]).all()
    assert logs["val_pixels_outside"] == [0]


def test_without_gpus_nothing_is_distributed():
    with kseg.strategy().scope():
        assert not tf.distribute.has_strategy()


def test_one_device_is_no_mirror():
    strategy = kseg.strategy(["CPU:1"])
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    with strategy.scope():
        assert tf.Variable(0.0).device.endswith("CPU:1")


@pytest.mark.parametrize("devices", [CPUS, ["/device:CPU:0", "/cpu:1"], ["cpu:1", "cpu:0"]])
def test_two_devices_are_one_mirror_with_two_replicas(devices):
    strategy = kseg.strategy(devices)
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 2
    assert strategy is kseg.strategy(CPUS)  # a second one could not train in this process


@pytest.mark.parametrize("devices", [[], ["GPU:7"], ["CPU:0", "CPU:9"], ["CPU:0", "CPU:0"], "CPU:0", [0]])
def test_devices_that_are_not_there_are_refused(devices):
    with pytest.raises(ValueError, match=r"devices must be a list of one or more of CPU:0, CPU:1"):
        kseg.strategy(devices)


@pytest.mark.parametrize(
    ("cluster", "workers"),
    [('{"worker": ["a:1", "b:1"]}', 2), ('{"chief": ["a:1"], "worker": ["b:1", "c:1"]}', 3)],
)
def test_several_workers_are_refused(monkeypatch, cluster, workers):
    monkeypatch.setenv("TF_CONFIG", f'{{"cluster": {cluster}}}')
    with pytest.raises(ValueError, match=f"TF_CONFIG names {workers} workers"):
        kseg.strategy()


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {"worker": ["a:1"]}}'])
def test_a_single_worker_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert kseg.strategy().num_replicas_in_sync == 1


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"cluster": []}', '{"cluster": {"worker": 2}}'])
def test_a_malformed_cluster_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG is not a JSON object"):
        kseg.strategy()
