"""The same builders on another backend: same weights, same scores."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from contract import ARCHITECTURES, Row, pictures

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
SCRIPT = """
import sys
import keras
import numpy as np
import pytest
from contract import ARCHITECTURES, build

import kseg

assert keras.backend.backend() == "jax"
folder = sys.argv[1]
image = np.load(f"{folder}/image.npy")
for name, arguments in ARCHITECTURES:
    model = build(name, (40, 56, 3), arguments)
    model.load_weights(f"{folder}/{name}.weights.h5")
    expected = np.load(f"{folder}/{name}.npy")
    scores = model.predict(image, verbose=0)
    assert np.abs(scores - expected).max() <= 1e-3 * np.ptp(expected), name
try:
    kseg.compile(model, steps=1)
except RuntimeError as error:
    assert "needs the TensorFlow backend" in str(error) and "'jax'" in str(error)
    print("agree")
"""


@pytest.mark.slow
def test_every_builder_gives_the_same_scores_under_jax(tmp_path):
    image = pictures(1, 40, 56).astype("float32")
    np.save(tmp_path / "image.npy", image)
    for name, arguments in ARCHITECTURES:
        model = Row(name, arguments).model
        model.save_weights(tmp_path / f"{name}.weights.h5")
        np.save(tmp_path / f"{name}.npy", np.asarray(model(image)))
        keras.utils.clear_session()
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": QUICK, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "agree\n", done.stderr[-2000:]
