"""The same builders on another backend: same weights, same scores."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from contract import SMALL, Row, pictures

SCRIPT = """
import sys
import keras
import numpy as np
from contract import SMALL
from kseg.models import build

assert keras.backend.backend() == "jax"
folder, rows = sys.argv[1], [int(number) for number in sys.argv[2].split(",")]
image = np.load(f"{folder}/image.npy")
for row in rows:
    name, arguments = SMALL[row]
    model = build(name, 3, (40, 56, 3), **arguments)
    model.load_weights(f"{folder}/{row}.weights.h5")
    expected = np.load(f"{folder}/{row}.npy")
    scores = model.predict(image, verbose=0)
    assert np.abs(scores - expected).max() <= 1e-3 * np.ptp(expected), name
print("agree")
"""


def test_every_builder_gives_the_same_scores_under_jax(tmp_path):
    names = [name for name, _ in SMALL]
    rows = [number for number, name in enumerate(names) if name not in names[:number]]
    image = pictures(1, 40, 56).astype("float32")
    np.save(tmp_path / "image.npy", image)
    for number in rows:
        model = Row(*SMALL[number]).model
        model.save_weights(tmp_path / f"{number}.weights.h5")
        np.save(tmp_path / f"{number}.npy", np.asarray(model(image)))
        keras.utils.clear_session()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), ",".join(map(str, rows))],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "agree\n", done.stderr[-2000:]
