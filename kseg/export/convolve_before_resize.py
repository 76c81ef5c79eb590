"""Convolutions of enlarged maps, taken before the enlarging: the same scores from fewer products.

PSPNet joins its features with four maps of 1, 4, 9 and 36 pixels, each enlarged to the size of the features,
and convolves: half of the products are of the same 50 pixels again and again. A convolution is a sum over the
channels it reads, and enlarging is linear as well. So each small map is convolved as it is, tap by tap, and
what comes of it enlarged and added.
"""

import keras
import numpy as np

from kseg.encoders.copying import take_weights
from kseg.export.split_convolution import Enlarging, SplitConvolution
from kseg.graphs import calls_of, origin, readers
from kseg.layers import BatchNormalization, CropLike, ResizeLike, Upsample
from kseg.types import Size


def split_convolutions(model: keras.Model, size: Size) -> keras.Model:
    """Split the convolutions of enlarged maps where that saves work.

    A batch normalisation that alone reads one goes into its kernel. The model itself stays as it is.

    Args:
        model: float32 `keras.Model`.
        size: `(H, W)` of the picture.

    Returns:
        A copy for one picture; the model itself if there is nothing to split, or if it holds what cannot be
        copied: layers of the user's that raise, or keep state that is neither weight nor config.
    """
    if not any(_reads_enlarged(model, layer) for layer in model.layers):
        return model
    try:
        copy = _copied(model, size)
        return copy if _agree(model, copy) else model
    except Exception:  # whatever a foreign layer does: nothing is lost but time on the phone
        return model


def names_in_split(model: keras.Model, split: keras.Model) -> dict[str, str]:
    """Return the names of layers that a split convolution stands for, each with that convolution's name."""
    names = {}
    left = {layer.name for layer in split.layers}
    for layer in split.layers:
        if isinstance(layer, SplitConvolution):
            conv = model.get_layer(layer.name)
            joining, inputs = origin(_input_of(model, conv))
            near = [joining, *(origin(each)[0] for each in inputs)]
            near += readers(model, conv)
            names.update({each.name: conv.name for each in near if each.name not in left})
    return names


def _copied(model, size):
    """Return a copy for one picture of `size`, its convolutions split."""
    plain = keras.Model(model.input, model.output, name=model.name)  # how it was compiled is not copied
    (original,) = model.inputs
    shape = (1, *size, original.shape[-1])
    image = keras.Input(batch_shape=shape, dtype=original.dtype, name=origin(original)[0].name)

    def call(layer, *inputs, **more):
        replacement = None
        if isinstance(layer, keras.layers.Conv2D) and _reads_enlarged(model, model.get_layer(layer.name)):
            replacement = _split(model.get_layer(layer.name), inputs[0])
        elif type(layer) in (keras.layers.BatchNormalization, BatchNormalization):
            replacement = _normalized(model, model.get_layer(layer.name), inputs[0])
        return layer(*inputs, **more) if replacement is None else replacement

    copy = keras.models.clone_model(
        plain, input_tensors=keras.tree.pack_sequence_as(model.input, [image]), call_function=call
    )
    for layer in copy.layers:
        if not isinstance(layer, SplitConvolution):
            take_weights(layer, model.get_layer(layer.name))
    return copy


def _agree(model, copy):
    """Tell if both give the same scores for one picture of noise."""
    picture = np.random.default_rng(0).integers(0, 256, copy.inputs[0].shape).astype("float32")
    picture = keras.tree.pack_sequence_as(model.input, [picture])
    expected, actual = (np.asarray(each(picture, training=False)) for each in (model, copy))
    return np.abs(actual - expected).max() <= 1e-3 * np.ptp(expected)  # not so if any is NaN


def _input_of(model, layer):
    """Return the tensor that a layer reads, `None` if it is called more than once in the model."""
    found = calls_of(model, layer)
    return found[0].input_tensors[0] if len(found) == 1 else None


def _reads_enlarged(model, layer):
    """Tell if a layer is a convolution of joined maps of which some are enlarged and some are not."""
    tensor = _input_of(model, layer) if type(layer) is keras.layers.Conv2D else None
    if tensor is None:
        return False
    simple = layer.strides == (1, 1) and layer.groups == 1 and layer.data_format == "channels_last"
    fills = layer.padding == "same" or layer.kernel_size == (1, 1)
    return simple and fills and len({how is None for _, how in _joined(tensor)}) == 2


def _joined(tensor):
    """Return what a concatenation of channels joins: tensors, each with `None` or how it is enlarged."""
    operation, inputs = origin(tensor)
    if not isinstance(operation, keras.layers.Concatenate) or operation.axis not in (-1, 3):
        return [(tensor, None)]
    return [(each, _how_enlarged(each)) for each in inputs]


def _how_enlarged(tensor):
    """Return how a tensor is enlarged from a smaller one, or `None`."""
    resized = tensor
    operation, inputs = origin(tensor)
    if isinstance(operation, CropLike) and not operation.centered:
        resized = inputs[0]
        operation, inputs = origin(resized)
    if not isinstance(operation, ResizeLike | Upsample):
        return None
    return Enlarging(inputs[0], tuple(resized.shape[1:3]), operation.interpolation, tuple(tensor.shape[1:3]))


def _split(conv, joined):
    """Return what a convolution gives for the joined maps of the copy; `None` if that saves nothing."""
    parts = [(each, how if how and how.is_saving(conv) else None) for each, how in _joined(joined)]
    ways = [how for _, how in parts]
    if not any(ways):
        return None
    bias = conv.bias.numpy() if conv.use_bias else np.zeros(conv.filters, "float32")
    layer = SplitConvolution(
        np.asarray(conv.kernel), bias, ways, conv.dilation_rate, conv.activation, name=conv.name
    )
    return layer([each if how is None else how.tensor for each, how in parts])


def _normalized(model, norm, tensor):
    """Return what a batch normalisation gives for a split convolution; `None` for other tensors."""
    layer, inputs = origin(tensor)
    if not isinstance(layer, SplitConvolution) or layer.activation is not keras.activations.linear:
        return None
    read = _input_of(model, norm)
    if read is None or len(readers(model, origin(read)[0])) != 1 or norm.axis not in (-1, 3):
        return None
    scale = 1 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    bias = (layer.values[1] - norm.moving_mean.numpy()) * scale + (norm.beta.numpy() if norm.center else 0)
    return layer.with_values(layer.values[0] * scale, bias)(inputs)
