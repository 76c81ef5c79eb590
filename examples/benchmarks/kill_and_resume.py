"""Kill a training at random moments, resume it each time, and compare it with one that was never stopped.

    python examples/benchmarks/kill_and_resume.py [KILLS]

No data needed: it trains on generated scenes that it writes into a temporary folder; 20 kills take about 8
minutes on two cores. Expected: every life resumes, and the largest difference of a weight is 0.0.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from kseg import states
from kseg.data.shapes import scene

EPOCHS, SIZE = 30, (48, 64)


def write_scenes(root):
    for split, count in (("train", 16), ("val", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = scene(index, SIZE, seed=count)
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(mask.astype("uint8")).save(root / split / "masks" / f"{index}.png")


def start(root, output):
    """Start `kseg train --resume` with operators that give the same sums each time."""
    shell = "import sys; from kseg.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", shell, "train", "--resume", "--data", str(root), "--output", str(output)]
    command += ["--model", "unet", "--backbone", "mobilenet_v2", "--crop-size", "32x48", "--batch-size", "4"]
    command += ["--epochs", str(EPOCHS)]
    environment = {**os.environ, "TF_DETERMINISTIC_OPS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finished(process):
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err or out)


def epochs_of(output):
    state, _ = states.newest(output / "states")
    return 0 if state is None else state.epoch


def main():
    kills = int(sys.argv[1]) if sys.argv[1:] else 20
    with tempfile.TemporaryDirectory() as folder:
        root, whole, killed = (Path(folder) / name for name in ("data", "whole", "killed"))
        write_scenes(root)
        begin = time.monotonic()
        finished(start(root, whole))
        seconds = time.monotonic() - begin
        print(f"uninterrupted: {EPOCHS} epochs in {seconds:.0f} s")
        rng = random.Random(0)
        for number in range(1, kills + 1):
            process = start(root, killed)
            before, target = epochs_of(killed), EPOCHS * number / (kills + 2)
            while epochs_of(killed) < target and process.poll() is None:
                time.sleep(0.01)
            if number % 4:
                time.sleep(rng.uniform(0, 1.0))  # in a step, in a validation, while the best model is saved
            else:  # while a state is written
                while not list((killed / "states").glob(".partial-*")) and process.poll() is None:
                    pass
            process.send_signal(signal.SIGKILL)
            process.communicate()
            remains = len(list((killed / "states").glob(".partial-*")))
            print(f"kill {number}: after epoch {epochs_of(killed)}, {remains} half-written", flush=True)
            if epochs_of(killed) < before:
                raise RuntimeError("a state was lost")
        finished(start(root, killed))
        one, other = (states.newest(path / "states")[0] for path in (whole, killed))
        if one is None or other is None:
            raise RuntimeError("a training left no state")
        pairs = [
            (a, b)
            for group in one.arrays
            for a, b in zip(one.arrays[group], other.arrays[group], strict=True)
        ]
        difference = max(float(np.abs(np.asarray(a, "float64") - b).max()) for a, b in pairs if a.size)
        print(f"largest difference of {len(pairs)} weights and optimiser variables: {difference}")


if __name__ == "__main__":
    main()
