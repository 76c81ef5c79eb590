"""The smallest form of every architecture, for the tests that hold for all of them."""

import keras
import numpy as np

import kseg

# name, arguments; a new architecture adds a row. "tiny" is `tiny_backbone`.
SMALL = [
    ("conv_stack", {"depth": 2, "filters": 4}),
    ("ddrnet", {"filters": 2}),
    ("ddrnet", {"filters": 2, "variant": "39", "aux_heads": True}),
    ("deeplabv1", {"filters": 2}),
    ("deeplabv2", {"filters": 2}),
    ("deeplabv3", {"backbone": "tiny", "filters": 4}),
    ("deeplabv3", {"backbone": "tiny", "filters": 2, "head_conv": True, "aux_heads": True}),
    ("deeplabv3plus", {"backbone": "tiny", "filters": 4}),
    ("deeplabv3plus", {"variant": "mobilenet_v2", "filters": 8}),
    ("dilatednet", {"filters": 2}),
    ("encoder_decoder", {"filters": 2}),
    (
        "encoder_decoder",
        {"filters": 2, "downsampling": "stride", "upsampling": "bilinear", "normalization": "group"},
    ),
    ("fcn", {"filters": 2}),
    ("fcn", {"variant": "alexnet", "filters": 6, "upsampling": "transpose"}),
    ("fcn", {"variant": "resnet50", "filters": 2, "aux_heads": True}),
    ("pspnet", {"backbone": "tiny", "filters": 4, "aux_heads": True}),
    ("segnet", {"filters": 4}),
    ("segnet", {"variant": "basic", "filters": 4}),
    ("unet", {"filters": 2}),
    ("unet", {"filters": 2, "upsampling": "bilinear"}),
    ("unet", {"filters": 2, "upsampling": "nearest", "normalization": None}),
    ("unet", {"backbone": "tiny", "decoder_filters": (8, 8, 8, 8, 8), "upsampling": "transpose"}),
]
ARCHITECTURES = list({name: (name, arguments) for name, arguments in reversed(SMALL)}.values())[::-1]
IDS = [f"{name}-{'-'.join(str(value) for value in arguments.values())}" for name, arguments in SMALL]


def tiny_backbone(channels):
    """Return the smallest encoder with all strides: five convolutions."""
    image = keras.Input((None, None, channels))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for width in (4, 6, 8, 10, 12):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    return keras.Model(image, x, name="tiny_backbone")


def build(name, input_shape, arguments):
    """Build a row for three classes."""
    if arguments.get("backbone") == "tiny":
        arguments = {**arguments, "backbone": tiny_backbone(input_shape[-1])}
    return kseg.models.build(name, 3, input_shape, **arguments)


def pictures(batch, height, width, channels=3, seed=0):
    """Return random uint8 pictures."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, height, width, channels)).astype("uint8")


def shaken(model, seed=0):
    """Give every weight a value that matters: none is zero, and batch statistics are those of pictures."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.standard_normal(weight.shape)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(0.8 + 0.4 * np.abs(noise))
        elif len(weight.shape) < 2:
            weight.assign(0.3 * noise)
        else:
            weight.assign(noise * np.sqrt(2 / np.prod(weight.shape[:-1])))
    norms = [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # one pass sets the averages
    model(pictures(8, 64, 64, model.input_shape[-1]).astype("float32"), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


class Row:
    """One row of `SMALL`: `model` is built for three classes and any size, `build` makes others like it."""

    seed = 3

    def __init__(self, name, arguments):
        self.name = name
        self.arguments = arguments
        keras.utils.set_random_seed(self.seed)
        model = self.build()
        self.initial_weights = model.get_weights()
        self.model = shaken(model)

    def build(self, input_shape=(None, None, 3), **more):
        return build(self.name, input_shape, {**self.arguments, **more})
