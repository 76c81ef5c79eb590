"""What the shell's commands do, step by step; a script can call the same."""

import csv
import shutil
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from kseg import data, visualization
from kseg.callbacks import EpochLine, SaveBest
from kseg.data.directory import resize_pair
from kseg.data.reading import image_header
from kseg.distribution import strategy
from kseg.export import export_saved_model, export_tflite
from kseg.export.writing import check_target
from kseg.inference import as_picture, load, open_model
from kseg.models import build
from kseg.training import compile


def train(
    root,
    output,
    *,
    model="unet",
    backbone=None,
    backbone_weights=None,
    decoder_filters=None,
    crop_size=None,
    batch_size=8,
    epochs=50,
    learning_rate=1e-3,
    weighting=None,
    label_map=None,
    class_names=None,
    seed=0,
    progress=None,
):
    """Train a model on a folder and keep its best epoch.

    Args:
        root, label_map, class_names: as for `kseg.data.from_directory`; "train" trains, "val" validates.
        output: new or empty folder: `model.keras`, `classes.txt`, `history.csv`, `predictions.png`.
        model: str, one of `kseg.list_models()`.
        backbone, backbone_weights, decoder_filters: for its builder; `None` leaves its default.
        crop_size: `(H, W)` of a training crop; `None`: the size of the pictures, 320 at most.
        batch_size, epochs, seed: int.
        learning_rate: float, the peak.
        weighting: `None` or a method of `kseg.data.class_weights`.
        progress: `None` or a function `(done, total)`, called while the data are checked.

    Returns:
        `keras.Model`, with the weights of its best epoch.

    Raises:
        FileExistsError: if `output` has something in it.
        FileNotFoundError, ValueError: for data that do not fit; it names the file.
    """
    output = _new_folder(output)
    given = {"backbone": backbone, "backbone_weights": backbone_weights, "decoder_filters": decoder_filters}
    given = {name: value for name, value in given.items() if value is not None}
    compile(
        build(model, 2, **given), learning_rate=learning_rate
    )  # a wrong name shows before the data are read
    options = {"label_map": label_map, "class_names": class_names}
    options["class_names"] = _check_data(root, options, progress)
    validation = data.from_directory(root, "val", batch_size=1, shuffle=False, **options)
    plain = data.from_directory(root, "train", batch_size=None, shuffle=False, **options)
    crop_size = crop_size or _default_crop(plain)
    augment = data.augment(crop_size)
    crops = data.from_directory(root, "train", augment=augment, batch_size=batch_size, seed=seed, **options)

    keras.utils.set_random_seed(seed)
    weights = data.class_weights(plain, weighting) if weighting else None
    with strategy().scope():
        network = build(model, crops.num_classes, **given)
        compile(
            network,
            epochs * len(crops),
            learning_rate=learning_rate,
            class_weights=weights,
            class_names=crops.class_names,
        )
    print(
        f"{model}{f' on {backbone}' if backbone else ''}: {network.count_params():,} parameters; "
        f"crops {crop_size[0]}×{crop_size[1]}, {epochs} epochs of {len(crops)} steps of {batch_size}",
        flush=True,
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "classes.txt").write_text("\n".join(crops.class_names) + "\n", encoding="utf-8")
    try:
        history = network.fit(
            crops,
            validation_data=validation,
            epochs=epochs,
            shuffle=False,  # the dataset shuffles
            verbose=0,
            callbacks=[EpochLine(), SaveBest(output / "model.keras"), keras.callbacks.TerminateOnNaN()],
        )
        _write_history(history.history, output / "history.csv")
        if not (output / "model.keras").exists():
            raise RuntimeError(f"no epoch had a finite loss; try a learning rate below {learning_rate}")
    finally:
        if not (output / "model.keras").exists():  # nothing to keep: the same command may run again
            shutil.rmtree(output)
    best = load(output / "model.keras")
    Image.fromarray(comparison(best, validation, crops.class_names)).save(output / "predictions.png")
    print(f"best epoch: {output / 'model.keras'}\npictures: {output / 'predictions.png'}")
    return best


def _check_data(root, options, progress):
    """Check every file, print the table, refuse problems; return the class names."""
    report = data.check(root, **options, progress=progress)
    print(report, flush=True)
    report.raise_for_problems()
    return report.class_names


def _new_folder(path):
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            f"{path}: exists already and is not empty; remove it or choose another --output"
        )
    return path


def _default_crop(dataset):
    """Return the median size of the pictures, 320 at most, in multiples of 32."""
    sizes = [mask.shape for _, mask in dataset.take(50).as_numpy_iterator()]
    return tuple(int(np.clip(np.median(side) // 32 * 32, 32, 320)) for side in zip(*sizes, strict=True))


def _write_history(history, path):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        writer.writerows(
            [number, *values] for number, values in enumerate(zip(*history.values(), strict=True), 1)
        )


def comparison(model_or_path, dataset, class_names, count=4, zoom=1):
    """Return rows image | truth | prediction: the first of each of `count` batches spread over a dataset."""
    runner = open_model(model_or_path)
    pairs = [
        (i, m) for images, masks in dataset.as_numpy_iterator() for i, m in zip(images, masks, strict=True)
    ]
    size = pairs[0][1].shape
    rows = []
    for index in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int):
        image, mask = pairs[index]
        if mask.shape != size:
            image, mask = (part.numpy() for part in resize_pair(image, mask, size))
        predicted = runner.masks(image[None])[0]
        shown = visualization.as_rgb(image)
        rows.append([shown, *(visualization.overlay(shown, m, alpha=0.8) for m in (mask, predicted))])
    return visualization.gallery(rows, ["image", "truth", "prediction"], class_names=class_names, zoom=zoom)


def predict_files(model, images, output, *, class_names=None, crf=False, overwrite=False, progress=None):
    """Segment picture files into `output`: `NAME.png` with class ids and `NAME_overlay.png`.

    Args:
        model: path of a `.keras` file, a SavedModel folder or a `.tflite` file.
        images: paths of pictures; output: folder.
        class_names: `None` or names for the legend.
        crf: as for `kseg.predict`.
        overwrite: bool.
        progress: `None` or a function `(done, total)`.

    Raises:
        FileExistsError: if a result exists and `overwrite` is false; nothing is then written.
        FileNotFoundError, ValueError: if a picture cannot be read, or two would write the same file.
    """
    output, images = Path(output), [Path(path) for path in images]
    targets = {path: (output / f"{path.stem}.png", output / f"{path.stem}_overlay.png") for path in images}
    results = [target for pair in targets.values() for target in pair]
    if len(set(results)) < 2 * len(images):
        raise ValueError(
            "the results of two pictures would have the same name; predict them into two folders"
        )
    for path in images:
        image_header(path)
    for target in results:
        if target.resolve() in {path.resolve() for path in images}:
            raise ValueError(f"{target}: would overwrite a picture; choose another --output")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target}: exists already; add --overwrite or choose another --output")
    runner = open_model(model)
    for done, (path, (mask_path, overlay_path)) in enumerate(targets.items(), start=1):
        image = as_picture(path, runner.channels)
        mask = runner.masks(image[None], crf)[0]
        names = class_names or [f"class {number}" for number in range(int(mask.max()) + 1)]
        _save_picture(visualization.overlay(image, mask, names), overlay_path)
        _save_picture(mask, mask_path)
        print(mask_path)
        if progress:
            progress(done, len(images))


def _save_picture(pixels, path):
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(pixels).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def export(
    model,
    path,
    *,
    data_root=None,
    input_size=None,
    quantize=None,
    overwrite=False,
    label_map=None,
    class_names=None,
):
    """Export a `.keras` file: LiteRT if `path` ends in `.tflite`, else SavedModel.

    Args:
        model, path: str or `Path`.
        data_root: `None` or a folder: 100 pictures of its "train" split calibrate int8, 32 of "val" verify,
            both drawn over the whole split.
        input_size, quantize, overwrite: as for `kseg.export_tflite`.
        label_map, class_names: as for `kseg.data.from_directory`.

    Returns:
        `kseg.export.ExportReport`.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: it names the file or the option.
    """
    to_phone = Path(path).suffix == ".tflite"
    if not to_phone and (quantize or input_size):
        raise ValueError(f"{path}: --quantize and --input-size are for paths that end in .tflite")
    if quantize == "int8" and data_root is None:
        raise ValueError("representative_data is missing: --quantize int8 needs --data DIR to calibrate with")
    check_target(path, overwrite, ".tflite" if to_phone else None)
    network = load(model)
    if to_phone and input_size is None and None in network.input_shape[1:3]:
        raise ValueError("input_size=(H, W) is missing: add --input-size HxW, a .tflite file takes one size")
    validation = calibration = None
    if data_root is not None:
        options = {"label_map": label_map, "class_names": class_names, "batch_size": 1, "shuffle": True}
        validation = data.from_directory(data_root, "val", **options)
        calibration = data.from_directory(data_root, "train", **options) if quantize == "int8" else None
    if not to_phone:
        return export_saved_model(network, path, validation_data=validation, overwrite=overwrite)
    return export_tflite(
        network,
        path,
        input_size=input_size,
        quantize=quantize,
        representative_data=calibration,
        validation_data=validation,
        overwrite=overwrite,
    )
