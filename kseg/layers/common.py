"""What the layers share."""

import keras


def known_size(tensor):
    """Return `(H, W)` when both are known while the graph is built, else `None`."""
    height, width = tensor.shape[1:3]
    return None if height is None or width is None else (int(height), int(width))


def register(layer):
    return keras.saving.register_keras_serializable(package="kseg")(layer)
