"""Names that try to be markup, and a model that sorts pixels by their brightness."""

import keras
import numpy as np

NAMES = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "</script><script>window.hacked = 1</script>",
    "{{ 7 * 7 }} {% for x in y %}",
    "\u202eא & &amp; ב",
    "' onfocus='window.hacked = 1' autofocus='",
]
FILES = [
    '"><img src=x onerror=window.hacked=1>.png',
    "<b>{{7*7}}<!--.png",
    "two\nlines.png",
    "\u202egnp.exe.png",
    "javascript:window.hacked=1.png",
]


def by_brightness(classes):
    """Return a model that sorts each pixel by its brightness."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(classes, 1)
    model = keras.Model(image, conv(image), name="by_brightness")
    centres = (np.arange(classes) + 0.5) / classes
    kernel = np.tile(2 * centres / 3 / 255 * 40, (3, 1)).reshape(1, 1, 3, classes)
    conv.set_weights([kernel, -(centres**2) * 40])
    return model


def arguments(hostile):
    return {'<img src="//evil.example/x">': hostile}, {"data_root": "</title><script>", "command": "<b>"}
