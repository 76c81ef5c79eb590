"""`kseg demo`: the whole way on generated scenes, without data or network."""

import time
from pathlib import Path

import keras
from PIL import Image

from kseg import data
from kseg.callbacks import EpochLine, save_model
from kseg.commands.predict import comparison
from kseg.evaluation import evaluate, table
from kseg.export import export_saved_model, export_tflite
from kseg.losses import CrossEntropy, Dice
from kseg.models import build_unet
from kseg.training import compile

SIZE = (64, 64)


def run(output, *, train_scenes=2000, held_out_scenes=200, epochs=11, filters=8, seed=0):
    """Train, export, compare; print the figures and leave the files in `output`.

    Args:
        output: new folder.
        train_scenes, held_out_scenes: int; held-out scenes come from another seed.
        epochs: int.
        filters: int, width of the U-Net's first level.
        seed: int.

    Returns:
        dict, name of a file → `kseg.evaluation.Evaluation` on the held-out scenes.

    Raises:
        FileExistsError: if `output` exists.
    """
    output, start = Path(output), time.monotonic()
    if output.exists():
        raise FileExistsError(f"{output}: exists already; remove it or choose another --output")
    keras.utils.set_random_seed(seed)
    singles = data.shapes(train_scenes, SIZE, batch_size=None, seed=seed + 1)
    scenes = singles.cache().shuffle(train_scenes, seed=seed).batch(16, drop_remainder=True).prefetch(2)
    held_out = data.shapes(held_out_scenes, SIZE, batch_size=20, seed=seed + 2).cache()
    names = held_out.class_names
    model = build_unet(len(names), (*SIZE, 3), filters=filters)
    compile(model, epochs * len(scenes), learning_rate=6e-3, loss=CrossEntropy() + Dice())
    print(f"U-Net, {model.count_params():,} parameters; {train_scenes} scenes, {epochs} epochs", flush=True)
    model.fit(
        scenes,
        validation_data=held_out,
        epochs=epochs,
        shuffle=False,  # the dataset shuffles
        verbose=0,
        callbacks=[EpochLine()],
    )
    output.mkdir(parents=True)
    save_model(model, output / "model.keras")
    print("exporting and verifying", flush=True)
    reports = {"saved_model": export_saved_model(model, output / "saved_model", validation_data=held_out)}
    for quantize in (None, "float16", "int8"):
        name = f"{quantize or 'float32'}.tflite"
        reports[name] = export_tflite(
            model,
            output / name,
            quantize=quantize,
            representative_data=scenes if quantize == "int8" else None,
            validation_data=held_out,
        )
    evaluations = {name: evaluate(output / name, held_out) for name in ("model.keras", *reports)}
    picture = comparison(model, held_out, names, count=5, zoom=3)
    Image.fromarray(picture).save(output / "predictions.png")
    print(f"\nIoU on {held_out_scenes} scenes the model never saw")
    print(table(evaluations))
    _print_costs(reports, output)
    print(f"\n{output}: {time.monotonic() - start:.0f} s in all; look at {output / 'predictions.png'}")
    return evaluations


def _print_costs(reports, output):
    print(f"\n{'file':16}{'MB':>8}{'ms/picture':>12}   same class as Keras")
    print(f"{'model.keras':16}{(output / 'model.keras').stat().st_size / 1e6:8.2f}")
    for name, report in reports.items():
        share = f"{100 * report.same_class:.3f} %"
        print(f"{name:16}{report.size_bytes / 1e6:8.2f}{report.latency_ms:12.2f}   {share}")
