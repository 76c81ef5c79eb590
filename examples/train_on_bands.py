"""Train on pictures of 13 bands in 16 bits, export them to a phone's format, and predict a raw file by it.

    python examples/train_on_bands.py
    python examples/train_on_bands.py --data DIR --epochs 50

Data: without --data, small scenes of water, soil and plants are made, as a satellite would see them: TIFFs in
tiles, uint16, of which the numbers lie between 0 and about 5,000. A folder of yours has train/images,
train/masks, val/images, val/masks. Needs the extra `bands`. Expected: a mean IoU of about 0.9, and that
`bands.tflite` gives the mask of the model. On two cores it takes half a minute.
"""

import argparse
from pathlib import Path

import cv2
import keras
import numpy as np

import kseg

CROP = (64, 64)
NAMES = ["water", "soil", "plants"]
# Reflectance in 13 bands, blue to short-wave infrared, 10,000 is all light.
SPECTRA = {
    "water": [900, 700, 500, 300, 200, 150, 120, 100, 90, 80, 60, 40, 30],
    "soil": [1100, 1200, 1500, 1900, 2100, 2200, 2300, 2400, 2500, 1200, 900, 3000, 2700],
    "plants": [500, 400, 700, 400, 1000, 2700, 3300, 3500, 3700, 1300, 700, 1700, 900],
}


def make_scene(rng, size):
    """Return a picture `(H, W, 13)` uint16 and its mask `(H, W)` uint8."""
    ground = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 6)
    mask = np.digitize(ground, np.quantile(ground, (0.3, 0.6))).astype("uint8")
    light = rng.uniform(0.7, 1.2) * (1 + 0.1 * cv2.GaussianBlur(rng.normal(size=size), (0, 0), 2))
    spectra = np.array([SPECTRA[name] for name in NAMES])
    picture = spectra[mask] * light[..., None] + rng.normal(0, 150, (*size, 13))
    return np.clip(picture, 0, 65535).astype("uint16"), mask


def make_data(folder, counts, size=(96, 112)):
    """Write scenes, one TIFF each for the picture and its mask."""
    import tifffile

    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture, mask = make_scene(rng, size)
            paths = [folder / split / kind / f"{index}.tif" for kind in ("images", "masks")]
            for path, pixels in zip(paths, (picture, mask), strict=True):
                planes = "contig" if pixels.ndim == 3 else None
                tifffile.imwrite(
                    path,
                    pixels,
                    photometric="minisblack",
                    planarconfig=planes,
                    tile=(64, 64),
                    compression="zlib",
                )
    (folder / "classes.txt").write_text("\n".join(NAMES))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder (default: scenes are made in ./bands)")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    folder = arguments.data or Path("bands")
    if arguments.data is None:
        make_data(folder, {"train": 24, "val": 6})

    # The range is said for the training and never again: the model keeps it.
    train = kseg.data.from_directory(
        folder, "train", batch_size=4, augment=kseg.data.augment(CROP), value_range="percentiles"
    )
    val = kseg.data.from_directory(folder, "val", batch_size=1, value_range=train.value_range)
    model = kseg.build_unet(train.num_classes, (None, None, train.channels), filters=8)
    model = kseg.with_value_range(model, train.value_range)
    kseg.compile(model, arguments.epochs * len(train), class_names=train.class_names)
    model.fit(train, validation_data=val, epochs=arguments.epochs, shuffle=False)
    print(kseg.evaluate(model, val))

    raw = val.image_paths[0]
    size = kseg.predict(model, raw).shape
    report = kseg.export_tflite(
        model,
        "bands.tflite",
        input_size=size,
        validation_data=val,
        class_names=train.class_names,
        overwrite=True,
    )
    print(report)
    same = (kseg.predict("bands.tflite", raw) == kseg.predict(model, raw)).mean()
    print(f"{raw}: bands.tflite gives the class of the model for {same:.2%} of the pixels")


if __name__ == "__main__":
    main()
