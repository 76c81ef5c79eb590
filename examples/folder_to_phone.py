"""Train on your own folder, keep the best epoch, export int8, and compare the file with the model.

    python examples/folder_to_phone.py DIR

Data: DIR/train/images, DIR/train/masks, DIR/val/..., single-channel PNG masks of the same stem, 255 void.
Leaves model.keras, int8.tflite and overlay.png in the current folder. On two cores count a second or two per
step of 8 crops; the figures depend on your data.
"""

import argparse

from PIL import Image

import kseg

EPOCHS = 30
CROP = (256, 320)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    folder = parser.parse_args().folder

    train = kseg.data.from_directory(folder, "train", augment=kseg.data.augment(CROP))
    val = kseg.data.from_directory(folder, "val", batch_size=1)
    with kseg.strategy().scope():
        model = kseg.build_unet(train.num_classes, backbone="mobilenet_v2")
        kseg.compile(model, EPOCHS * len(train), class_names=train.class_names)
    best = kseg.callbacks.SaveBest("model.keras")
    model.fit(train, validation_data=val, epochs=EPOCHS, shuffle=False, callbacks=[best])

    model = kseg.load("model.keras")
    plain = kseg.data.from_directory(folder, "train", batch_size=1)
    report = kseg.export_tflite(
        model,
        "int8.tflite",
        input_size=CROP,
        quantize="int8",
        representative_data=plain,
        validation_data=val,
        overwrite=True,
    )
    print(report)
    print(kseg.evaluate("int8.tflite", val))
    picture = val.image_paths[0]
    mask = kseg.predict("int8.tflite", picture)
    image = kseg.inference.as_picture(picture, channels=3)
    shown = kseg.visualization.overlay(image, mask, train.class_names)
    Image.fromarray(shown).save("overlay.png")


if __name__ == "__main__":
    main()
