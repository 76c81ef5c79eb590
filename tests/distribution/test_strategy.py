"""Which strategy there is, what `TF_CONFIG` may say, and which Keras is known."""

import json
import socket

import keras
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as trainer_of_keras

import kseg
from kseg.distribution import is_chief, keras_trainer, lost_workers

CPUS = ["CPU:0", "CPU:1"]
FIRST = {"type": "worker", "index": 0}
TWO = {"worker": ["a:1", "b:1"]}


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


@pytest.mark.parametrize("text", ["", " ", "{}", '{"cluster": {"worker": ["a:1"]}}'])
def test_a_single_worker_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert kseg.strategy().num_replicas_in_sync == 1
    assert is_chief()


MALFORMED = {
    "{": "is not JSON",
    "[]": r"must be a JSON object, got \[\]",
    "3": "must be a JSON object, got 3",
    '{"task": {"type": "worker", "index": 0}}': "has no cluster",
    '{"cluster": []}': r"must name workers under cluster, got \[\]",
    '{"cluster": {"worker": []}}': "names no worker",
    '{"cluster": {"worker": 2}}': "must list the addresses of worker, got 2",
    '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}': "names ps in its cluster",
    '{"cluster": {"chief": ["a:1", "b:1"]}}': "names 2 chiefs",
}
ADDRESSES = {
    ("a", "b:1"): "gives worker 0 the address 'a', which is not host:port",
    ("a:1", "b:0"): "gives worker 1 the address 'b:0'",
    ("a:1", "b:70000"): "gives worker 1 the address 'b:70000'",
    ("a:1", 5): "gives worker 1 the address 5",
    ("a:1", "a:1"): "gives the address a:1 to more than one worker",
}
TASKS = {
    None: "has no task",
    "worker": "must have a type and an index in its task, got 'worker'",
    '{"type": "worker"}': "must have a type and an index",
    '{"type": "boss", "index": 0}': "has a task of type 'boss', but its cluster has worker",
    '{"type": "chief", "index": 0}': "has a task of type 'chief', but its cluster has worker",
    '{"type": "worker", "index": 2}': "has the task index 2, but worker has 0 to 1",
    '{"type": "worker", "index": -1}': "has the task index -1",
    '{"type": "worker", "index": "0"}': "has the task index '0'",
}


def refused(monkeypatch, text, problem):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=f"TF_CONFIG {problem}.*10.0.0.1:12345"):
        kseg.strategy()


@pytest.mark.parametrize(("text", "problem"), MALFORMED.items())
def test_a_malformed_cluster_is_refused(monkeypatch, text, problem):
    refused(monkeypatch, text, problem)


@pytest.mark.parametrize(("addresses", "problem"), ADDRESSES.items())
def test_malformed_addresses_are_refused(monkeypatch, addresses, problem):
    refused(monkeypatch, json.dumps({"cluster": {"worker": addresses}, "task": FIRST}), problem)


@pytest.mark.parametrize(("task", "problem"), TASKS.items())
def test_a_malformed_task_is_refused(monkeypatch, task, problem):
    config = {"cluster": TWO}
    if task is not None:
        config["task"] = json.loads(task) if task.startswith("{") else task
    refused(monkeypatch, json.dumps(config), problem)


def test_devices_are_for_one_machine(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": TWO, "task": FIRST}))
    with pytest.raises(ValueError, match=r"devices=\['CPU:0'\] is for one machine, but TF_CONFIG names 2"):
        kseg.strategy(["CPU:0"])


def test_workers_are_for_the_start_of_a_script(monkeypatch):
    tf.constant(0)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": TWO, "task": FIRST}))
    with pytest.raises(RuntimeError, match=r"call kseg.strategy\(\) before anything that makes tensors"):
        kseg.strategy()


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        (TWO, {"type": "worker", "index": 0}, True),
        (TWO, {"type": "worker", "index": 1}, False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "worker", "index": 0}, False),
        ({"worker": ["b:1"], "chief": ["a:1"]}, {"type": "chief", "index": 0}, True),
    ],
)
def test_one_worker_is_the_chief(monkeypatch, cluster, task, chief):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert is_chief() is chief


def test_a_lost_worker_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as alive, socket.create_server(("127.0.0.1", 0)) as dead:
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in (alive, alive, dead)]
    with socket.create_server(("127.0.0.1", int(addresses[1].split(":")[1]))):
        addresses[0] = "127.0.0.1:1"
        config = {"cluster": {"worker": addresses}, "task": FIRST}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        with pytest.raises(ConnectionError) as caught, lost_workers():
            raise tf.errors.UnavailableError(None, None, "Socket closed")
    assert str(caught.value) == (
        f"worker 2 ({addresses[2]}) is lost; run the same command on every worker again to resume"
    )


def test_a_worker_that_answers_is_named_by_the_message(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        config = {
            "cluster": {"chief": ["127.0.0.1:1"], "worker": [address]},
            "task": {"type": "chief", "index": 0},
        }
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        message = "Additional GRPC error information from remote target /job:worker/replica:0/task:0:"
        with pytest.raises(ConnectionError, match=rf"^worker 0 \({address}\) is lost"), lost_workers():
            raise tf.errors.AbortedError(None, None, message)


def test_other_errors_stay_what_they_are(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(tf.errors.InternalError), lost_workers():
        raise tf.errors.InternalError(None, None, "no cluster")
    with pytest.raises(ValueError, match="mine"), lost_workers():
        raise ValueError("mine")


def test_an_unknown_trainer_of_keras_is_refused(monkeypatch):
    monkeypatch.setattr(
        trainer_of_keras, "TFEpochIterator", keras_trainer._KerasBatches
    )  # as before the mend
    monkeypatch.setattr(trainer_of_keras, "reduce_per_replica", lambda values: values)
    monkeypatch.delattr(trainer_of_keras.TensorFlowTrainer, "_make_function")
    with pytest.raises(RuntimeError) as caught:
        keras_trainer.patch()
    assert f"the trainer of Keras {keras.version()} has no" in str(caught.value)
    missing = "no TensorFlowTrainer._make_function and no reduce_per_replica as there"
    assert f"{missing}: pip install keras==3.15.1, or train on one device" in str(caught.value)


def test_a_newer_patch_of_keras_is_not_refused(monkeypatch):
    monkeypatch.setattr(keras, "version", lambda: "3.15.9")
    monkeypatch.setattr(trainer_of_keras, "TFEpochIterator", keras_trainer._KerasBatches)
    keras_trainer.patch()
    assert trainer_of_keras.TFEpochIterator is keras_trainer._Batches
