"""The same builders on another backend: same weights, same scores."""

import os
import subprocess
import sys

import keras
import numpy as np
from test_every_model import SMALL, pictures, shaken

import kseg

SCRIPT = """
import sys
import keras
import numpy as np
import kseg
from kseg.models import build

assert keras.backend.backend() == "jax"
folder, rows = sys.argv[1], eval(sys.argv[2])
image = np.load(f"{folder}/image.npy")
for number, (name, arguments) in enumerate(rows):
    model = build(name, 3, (40, 56, 3), **arguments)
    model.load_weights(f"{folder}/{number}.weights.h5")
    expected = np.load(f"{folder}/{number}.npy")
    scores = model.predict(image, verbose=0)
    assert np.abs(scores - expected).max() <= 1e-3 * np.ptp(expected), name
print("agree")
"""


def test_every_builder_gives_the_same_scores_under_jax(tmp_path):
    rows = [row for number, row in enumerate(SMALL) if row[0] not in {name for name, _ in SMALL[:number]}]
    image = pictures(1, 40, 56).astype("float32")
    np.save(tmp_path / "image.npy", image)
    for number, (name, arguments) in enumerate(rows):
        model = shaken(kseg.build(name, 3, (40, 56, 3), **arguments))
        model.save_weights(tmp_path / f"{number}.weights.h5")
        np.save(tmp_path / f"{number}.npy", np.asarray(model(image)))
        keras.backend.clear_session()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), repr(rows)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "agree\n", done.stderr[-2000:]
