"""The smallest form of every architecture, for the tests that hold for all of them."""

import numpy as np

import kseg

# name, arguments; a new architecture adds a row
SMALL = [
    ("conv_stack", {"depth": 2, "filters": 4}),
    ("ddrnet", {"filters": 2}),
    ("ddrnet", {"filters": 2, "variant": "39", "aux_heads": True}),
    ("encoder_decoder", {"filters": 2}),
    ("encoder_decoder", {"filters": 2, "upsampling": "bilinear", "normalization": "group"}),
    ("unet", {"filters": 2}),
    ("unet", {"filters": 2, "upsampling": "bilinear"}),
    ("unet", {"filters": 2, "upsampling": "nearest", "normalization": None}),
    ("unet", {"backbone": "mobilenet_v2", "decoder_filters": (8, 8, 8, 8, 8), "upsampling": "transpose"}),
]
IDS = [f"{name}-{'-'.join(str(value) for value in arguments.values())}" for name, arguments in SMALL]


def pictures(batch, height, width, channels=3, seed=0):
    """Return random uint8 pictures."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, height, width, channels)).astype("uint8")


def shaken(model, seed=0):
    """Give every weight a value that matters: nothing is zero, no batch statistic is its initial one."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.standard_normal(weight.shape)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(0.8 + 0.4 * np.abs(noise))
        elif len(weight.shape) < 2:
            weight.assign(0.3 * noise)
        else:
            weight.assign(noise * np.sqrt(2 / np.prod(weight.shape[:-1])))
    return model


class Row:
    """One row of `SMALL`: `model` is built for three classes and any size, `build` makes others like it."""

    def __init__(self, name, arguments):
        self.name = name
        self.arguments = arguments
        self.model = shaken(self.build())

    def build(self, input_shape=(None, None, 3), **more):
        return kseg.build(self.name, 3, input_shape, **self.arguments, **more)
