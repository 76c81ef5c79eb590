"""`kseg train` as two processes on loopback: like one, and after the loss of a worker as if none was lost.

By SGD: where a gradient is nearly zero AdamW makes a whole step of its rounding.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from kseg import states
from kseg.data.shapes import scene

EPOCHS = 6
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from kseg.cli import main; sys.exit(main())",
    "train",
    "--resume",
]
COMMAND += ["--model", "conv_stack", "--crop-size", "32x32", "--batch-size", "3", "--epochs", str(EPOCHS)]
COMMAND += [
    "--optimizer",
    "sgd",
    "--learning-rate",
    "0.002",
    "--ema-momentum",
    "0.9",
    "--gradient-accumulation-steps",
    "2",
    "--global-clipnorm",
    "1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 12), ("val", 3)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = scene(index, (40, 48), seed=count)
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(mask.astype("uint8")).save(root / split / "masks" / f"{index}.png")
    return root


def start(data, output, logs, addresses=()):
    """Start one process, or a worker for each address, with a log each; worker 1 shall not write."""
    processes = []
    for index in range(max(1, len(addresses))):
        environment = {**os.environ, "TF_DETERMINISTIC_OPS": "1"}
        if addresses:
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(cluster)
        own = output if index == 0 else output.with_name("unused")
        log = logs / f"{len(list(logs.iterdir()))}.log"
        with log.open("w") as file:
            command = [*COMMAND, "--data", str(data), "--output", str(own)]
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        processes.append((process, log))
    return processes


def addresses():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in (one, two)]


def ended(process, log, seconds=200):
    try:
        return process.wait(seconds), log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_lost_worker_costs_one_epoch(folder, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (alone,) = start(folder, tmp_path / "one", logs)
    code, text = ended(*alone)
    assert code == 0, text
    ports = addresses()
    chief, other = start(folder, tmp_path / "two", logs, ports)
    while not (tmp_path / "two" / "states" / "epoch-000002").exists():
        assert chief[0].poll() is None, chief[1].read_text()
        time.sleep(0.01)
    other[0].send_signal(signal.SIGKILL)
    begin = time.monotonic()
    code, text = ended(*chief)
    assert time.monotonic() - begin < 60
    assert code == 1
    line = f"kseg: error: worker 1 ({ports[1]}) is lost; run the same command on every worker again to resume"
    assert line in text.splitlines()
    ended(*other)
    again = start(folder, tmp_path / "two", logs, addresses())
    for process, log in again:
        code, text = ended(process, log)
        assert code == 0, text
    assert "resuming after epoch" in again[0][1].read_text()
    assert "epoch" not in again[1][1].read_text()  # only the chief speaks
    assert not (tmp_path / "unused").exists()
    one, two = (states.newest(tmp_path / name / "states")[0] for name in ("one", "two"))
    assert one.epoch == two.epoch == EPOCHS
    for a, b in zip(one.arrays["model"], two.arrays["model"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    for key, values in one.facts["history"].items():
        np.testing.assert_allclose(values, two.facts["history"][key], rtol=0, atol=5e-5)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        *("classes.txt", "config.json", "history.csv", "learning_curve.png"),
        *("model.keras", "predictions.png", "report.html", "states"),
    }
