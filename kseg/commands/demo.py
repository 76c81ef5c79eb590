"""What `kseg demo` does: the whole way on generated scenes, without data or network; also quick."""

import time
from pathlib import Path

import keras

from kseg import data
from kseg.callbacks import EpochLine, save_model
from kseg.commands.predict import comparison, save_picture
from kseg.disk import write_whole
from kseg.evaluation import Evaluation, evaluate, table
from kseg.export import export_saved_model, export_tflite
from kseg.losses import CrossEntropy, Dice
from kseg.models import build_unet
from kseg.training import compile
from kseg.types import PathLike

SIZE = (64, 64)
_FULL = {"train_scenes": 2000, "held_out_scenes": 200, "epochs": 11}
_QUICK = {"train_scenes": 800, "held_out_scenes": 50, "epochs": 8}


def demo(
    output: PathLike,
    *,
    quick: bool = False,
    train_scenes: int | None = None,
    held_out_scenes: int | None = None,
    epochs: int | None = None,
    filters: int = 8,
    seed: int = 0,
) -> dict[str, Evaluation]:
    """Train, export, compare; print the figures and leave the files in `output`.

    Args:
        output: new folder: `model.keras`, `saved_model`, three `.tflite` files and their reports, which know
            the names of the classes, `classes.txt` and `predictions.png`.
        quick: fewer scenes and epochs, about a minute on two cores instead of three: the same files and
            table, of a worse model.
        train_scenes, held_out_scenes: `None`: 2000 and 200, of a quick one 800 and 50; held-out scenes come
            from another seed.
        epochs: `None`: 11, of a quick one 8.
        filters: width of the U-Net's first level.
        seed: of scenes, weights and order.

    Returns:
        name of a file → `kseg.evaluation.Evaluation` on the held-out scenes.

    Raises:
        FileExistsError: if `output` exists.
    """
    output, start = Path(output), time.monotonic()
    if output.exists():
        raise FileExistsError(f"{output}: exists already; remove it or choose another output=")
    given = {"train_scenes": train_scenes, "held_out_scenes": held_out_scenes, "epochs": epochs}
    asked = (_QUICK if quick else _FULL) | {name: value for name, value in given.items() if value is not None}
    keras.utils.set_random_seed(seed)
    model, scenes, held_out = _train(**asked, filters=filters, seed=seed, run=output.resolve().name)
    output.mkdir(parents=True)
    names = held_out.class_names
    write_whole(output / "classes.txt", ("\n".join(names) + "\n").encode(), "the names of the classes")
    print("writing model.keras", flush=True)
    save_model(model, output / "model.keras")
    reports = _export(model, scenes, held_out, output)
    evaluations = {}
    for name in ("model.keras", *reports):
        print(f"evaluating {name}", flush=True)
        evaluations[name] = evaluate(output / name, held_out)
    picture = comparison(model, held_out, names, count=5, zoom=3)
    save_picture(picture, output / "predictions.png")
    print(f"\nIoU on {asked['held_out_scenes']} scenes the model never saw")
    print(table(evaluations))
    _print_costs(reports, output)
    print(f"\n{output}: {time.monotonic() - start:.0f} s in all; look at {output / 'predictions.png'}")
    return evaluations


def _train(train_scenes, held_out_scenes, epochs, filters, seed, run):
    """Return a trained model, the batches it was trained on, and those it never saw."""
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
        callbacks=[EpochLine(run=run)],
    )
    return model, scenes, held_out


def _export(model, scenes, held_out, output):
    """Return the report of each file."""
    told = {"validation_data": held_out, "class_names": held_out.class_names}
    print("exporting and verifying saved_model", flush=True)
    reports = {"saved_model": export_saved_model(model, output / "saved_model", **told)}
    for quantize in (None, "float16", "int8"):
        name = f"{quantize or 'float32'}.tflite"
        print(f"exporting and verifying {name}", flush=True)
        reports[name] = export_tflite(
            model,
            output / name,
            quantize=quantize,
            representative_data=scenes if quantize == "int8" else None,
            **told,
        )
    return reports


def _print_costs(reports, output):
    print(f"\n{'file':16}{'MB':>8}{'ms/picture':>12}   same class as Keras")
    print(f"{'model.keras':16}{(output / 'model.keras').stat().st_size / 1e6:8.2f}")
    for name, report in reports.items():
        share = f"{100 * report.same_class:.3f} %"
        print(f"{name:16}{report.size_bytes / 1e6:8.2f}{report.latency_ms:12.2f}   {share}")
