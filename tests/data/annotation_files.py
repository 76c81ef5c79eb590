"""Files of annotations, made by hand."""

import json

import numpy as np
from PIL import Image

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]  # on the grid: rows 1 and 2, columns 1 to 3
INSIDE = (slice(1, 3), slice(1, 4))


def png(path, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")).save(path)
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def mask_of(output, stem="a", split="train"):
    return np.asarray(Image.open(output / split / "masks" / f"{stem}.png"))


def square(value=1, size=(6, 8), window=INSIDE):
    mask = np.zeros(size, "uint8")
    mask[window] = value
    return mask


def coco(objects=(), images=None, categories=({"id": 7, "name": "cat"}, {"id": 3, "name": "dog"})):
    images = [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}] if images is None else images
    annotations = [{"id": n, "image_id": 1, "category_id": 7, **each} for n, each in enumerate(objects)]
    return {"images": images, "annotations": annotations, "categories": list(categories)}


RUNS = {"size": [6, 8], "counts": [7, 2, 4, 2, 4, 2, 27]}


def shapes(*items, **words):
    content = {"imagePath": "a.png", "imageData": None, "imageHeight": 6, "imageWidth": 8, **words}
    return content | {"shapes": [{"shape_type": "polygon", **item} for item in items]}


LABELME_XML = """<annotation><filename>a.png</filename><folder>f</folder>
<imagesize><nrows>6</nrows><ncols>8</ncols></imagesize>
<object><name>dog</name><deleted>1</deleted><polygon><pt><x>0</x><y>0</y></pt></polygon></object>
<object><name>cat</name><deleted>0</deleted>{outline}</object></annotation>"""


YOLO = "1 0.125 0.16666667 0.375 0.16666667 0.375 0.33333333 0.125 0.33333333\n"


CVAT = """<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><labels>
<label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>
<image id="0" name="deep/a.png" width="8" height="6" {subset}>{shapes}</image></annotations>"""
