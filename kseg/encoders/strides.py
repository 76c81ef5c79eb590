"""Strides, measured: what a level is called says nothing, libraries number levels differently."""

import keras

from kseg.graphs import calls
from kseg.types import Features

_PROBE = 256  # pixels, where a model takes any size


def relative_strides(model: keras.Model) -> dict[int, int]:
    """Return `{id(tensor): stride}` of the maps of a functional model that divide its input exactly."""
    maps = [tensor for call in calls(model) for tensor in call.outputs if len(tensor.shape) == 4]
    shape = model.inputs[0].shape
    if not maps or len(model.inputs) != 1 or len(shape) != 4:
        return {}
    height, width = (side or _PROBE for side in shape[1:3])
    sizes = keras.Model(model.inputs, maps).compute_output_shape((1, height, width, shape[-1]))
    strides = {}
    for tensor, size in zip(maps, sizes, strict=True):
        for stride in (1, 2, 4, 8, 16, 32, 64):
            if (size[1] * stride, size[2] * stride) == (height, width):
                strides[id(tensor)] = stride
    return strides


def levels(model: keras.Model) -> Features:
    """Return `{stride: symbolic tensor}`: at each stride the last tensor before the next halving.

    Raises:
        ValueError: if the model has no feature maps.
    """
    if len(model.inputs) != 1:
        raise ValueError(f"backbone {model.name!r} has {len(model.inputs)} inputs; it must take one picture")
    strides = relative_strides(model)
    outputs: dict[int, list] = {}  # of the calls of a layer in this model; others may call it too
    for call in calls(model):
        outputs.setdefault(id(call.operation), []).append(call.outputs[0])
    tensors = [each[0] for each in (outputs.get(id(layer), []) for layer in model.layers) if len(each) == 1]
    # keras-hub declares {"P3": tensor}, keras-cv {"P3": layer name}; what is declared comes last and wins
    declared = getattr(model, "pyramid_outputs", None) or getattr(model, "pyramid_level_inputs", None) or {}
    tensors += [
        outputs[id(model.get_layer(out))][-1] if isinstance(out, str) else out for out in declared.values()
    ]
    found = {strides[id(t)]: t for t in tensors if strides.get(id(t)) in (2, 4, 8, 16, 32)}
    if not found:
        raise ValueError(
            f"backbone {model.name!r} has no feature maps at strides (2, 4, 8, 16, 32); is it a classifier?"
        )
    return dict(sorted(found.items()))
