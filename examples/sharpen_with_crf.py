"""Train a coarse model on CamVid for some minutes and sharpen what it predicts with the dense CRF.

    python examples/sharpen_with_crf.py PATH/TO/CAMVID

Data: CamVid with train/images, train/masks, val/images, val/masks, 11 classes and void 11. About 6 minutes
on two cores, 4 of them training. The model scores every 32nd pixel alone, so its borders are blurred; the CRF
moves them to edges of the picture. Expected: borders agree with the true ones better (F1 0.42, then 0.49).
Classes that this short training hardly learnt, of which the model is not sure, may vanish into their
neighbours, which costs some mean IoU; `kseg.tune_crf` finds the parameters with the best. Writes
sharpened.png: picture, truth, model, model and CRF.
"""

import sys
from typing import Any

import keras
from PIL import Image

import kseg

EPOCHS, CROP = 8, (192, 256)
CRF = {"appearance_weight": 10, "appearance_xy": 40, "appearance_rgb": 10}
CLASSES = ["Sky", "Building", "Pole", "Road", "Pavement", "Tree"]
CLASSES += ["SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"]


def train(root, options):
    """Return FCN-32s on a small encoder, with scores at stride 32."""
    keras.utils.set_random_seed(0)
    augment = kseg.data.augment(CROP)
    crops = kseg.data.from_directory(root, "train", augment=augment, batch_size=8, **options)
    model = kseg.build_fcn(len(CLASSES), backbone="csp_darknet_tiny", output_stride=32)
    kseg.compile(model, EPOCHS * len(crops), learning_rate=2e-3)
    model.fit(crops, epochs=EPOCHS, verbose=0, shuffle=False, callbacks=[kseg.callbacks.EpochLine()])
    return model


def evaluate(model, pictures):
    """Return mean IoU and the F1 of the borders, without the CRF and with it."""
    count = len(CLASSES)
    metrics = [
        [kseg.metrics.MeanIoU(count), kseg.metrics.BoundaryF1(count, by_class=False)] for _ in range(2)
    ]
    for images, masks in pictures:
        for each, argument in zip(metrics, (None, CRF), strict=True):
            predicted = kseg.predict(model, images[0].numpy(), crf=argument)[None].astype("int32")
            for metric in each:
                metric.update_state(masks, predicted)
    return [[float(metric.result()) for metric in each] for each in metrics]


def main():
    root = sys.argv[1]
    options: dict[str, Any] = {"label_map": {11: 255}, "class_names": CLASSES}
    model = train(root, options)
    val = kseg.data.from_directory(root, "val", batch_size=1, shuffle=False, **options)
    for name, (miou, f1) in zip(("model", "with CRF"), evaluate(model, val), strict=True):
        print(f"{name:10} mean IoU {miou:.4f}  border F1 {f1:.4f}")
    image, mask = (x[0].numpy() for x in next(iter(val)))
    masks = [mask, *(kseg.predict(model, image, crf=crf) for crf in (False, CRF))]
    row = [image, *(kseg.visualization.colorize(each) for each in masks)]
    headings = ["picture", "truth", "model", "model and CRF"]
    Image.fromarray(kseg.visualization.gallery([row], headings, class_names=CLASSES)).save("sharpened.png")


if __name__ == "__main__":
    main()
