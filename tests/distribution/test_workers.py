"""Two processes that are workers of one training: the same as one process, until one is lost."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import worker

SCRIPT = Path(worker.__file__)
pytestmark = pytest.mark.slow  # two processes that start TensorFlow and wait for each other


@pytest.fixture(scope="module")
def addresses():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in (one, two)]


@pytest.fixture(scope="module")
def run(addresses, tmp_path_factory):
    """Both workers, ended: `(exit codes, results, stderr, seconds that worker 0 outlived worker 1)`."""
    folder = tmp_path_factory.mktemp("workers")
    processes = []
    for index, role in enumerate(("stays", "leaves")):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, str(SCRIPT), str(folder / role), role]
        with (folder / f"{role}.log").open("w") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    try:
        processes[1].wait(300)
        start = time.monotonic()
        processes[0].wait(60)
    finally:
        for process in processes:
            process.kill()
    logs = [(folder / f"{role}.log").read_text() for role in ("stays", "leaves")]
    codes = [process.returncode for process in processes]
    assert codes[1] == 9, logs[1][-3000:]
    results = [json.loads((folder / role).read_text()) for role in ("stays", "leaves")]
    return codes, results, logs, time.monotonic() - start


@pytest.fixture(scope="module")
def alone():
    return worker.train(tf.distribute.get_strategy())[0]


def close(one, other):
    """Equal to 5 decimals."""
    return np.allclose(
        np.hstack([np.ravel(x) for x in one]), np.hstack([np.ravel(x) for x in other]), 0, 5e-6
    )


@pytest.mark.parametrize("index", [0, 1])
def test_two_workers_are_like_one_process(run, alone, index):
    results = run[1][index]
    for key in ("history", "evaluation"):
        assert list(results[key]) == list(alone[key])
        assert close(results[key].values(), alone[key].values())
    for key in ("weights", "prediction"):
        assert close(results[key], alone[key])


def test_both_workers_shuffle_alike(run):
    """Else some pictures would train twice in an epoch, and others not at all."""
    _, mask = worker.pictures(9)
    pixels = [int(np.sum(mask == number)) for number in range(3)]
    assert [results["pixels of each class"] for results in run[1]] == [pixels, pixels]
    one, two = (results["order without a seed"] for results in run[1])
    assert one == two != sorted(one)


def test_workers_with_different_data_are_refused(run):
    for results, batches in zip(run[1], (3, 2), strict=True):
        assert results["other data"].startswith("the workers differ in their data: run the same script")
        assert results["other data"].endswith(f", {batches})")


def test_a_lost_worker_ends_the_others(run, addresses):
    codes, _, logs, seconds = run
    line = f"worker 1 ({addresses[1]}) is lost; run the same command on every worker again to resume"
    assert codes[0] == 1
    assert line in logs[0].splitlines()
    assert seconds < 60
