"""Late strides become dilation: the same weights, read on a finer grid (the à-trous algorithm).

A map at the stride s of the untouched network has, where the output stride o is finer, `d = s / o` times as
many rows and columns, and the value of pixel j stands at pixel d·j. What read its neighbour now reads d
pixels further; a stride that would exceed o is dropped. Every pad scales by d, and a padded stride pads at
the beginning as it did before, so the coarse features are found unchanged between the new ones.

Only layers that look around need this. Global pools, squeeze-and-excite with them, see the whole map on
either grid; their mean now also runs over the new pixels.
"""

import re
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kseg.encoders.copying import copy_layer, inside, take_weights
from kseg.encoders.strides import relative_strides
from kseg.graphs import calls, pack_outputs
from kseg.layers import AtrousPooling2D

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_POOLS: dict[Any, Any] = {layers.MaxPooling2D: "max", layers.AveragePooling2D: "average"}
_GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
# Layers and keras.ops that look at one pixel at a time: any grid will do.
_POINTWISE = {
    *("Activation", "Add", "AlphaDropout", "Average", "BatchNormalization", "Cast", "Clip", "Concatenate"),
    *("Dense", "Divide", "DropPath", "Dropout", "ELU", "Elu", "GaussianDropout", "GaussianNoise", "Gelu"),
    *("GroupNormalization", "HardSigmoid", "HardSilu", "Identity", "LayerNormalization", "LayerScale"),
    *("LeakyReLU", "LeakyRelu", "Maximum", "Minimum", "Mish", "Multiply", "Normalization", "PReLU", "ReLU"),
    *("Relu", "Relu6", "Rescaling", "Sigmoid", "Silu", "Softmax", "SpatialDropout2D", "StochasticDepth"),
    *("Subtract", "Tanh", "TrueDivide"),
}
# Activations among the keras.ops that have no settings become layers: those have a place in model.layers.
_OPS = {"HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "Relu": "relu", "Relu6": "relu6"}
_OPS |= {"Sigmoid": "sigmoid", "Silu": "silu", "Tanh": "tanh"}


class Rebuild:
    """A functional model built anew, layer by layer, with copies of its weights, at an output stride.

    Nested models, `Lambda` and composite layers whose weights all belong to inner layers give way to what
    is inside them where their dilation would change; with `flatten=True`, everywhere.

    Args:
        model: functional `keras.Model` with one picture as input.
        output_stride: the coarsest stride that is left.
        copy: function of a layer and a name that returns the new layer.
        flatten: whether they give way everywhere.

    Attributes:
        inputs: the new symbolic picture.
        tensors: dict, `id` of a tensor of the old graph → tensor of the new one.

    Raises:
        ValueError: for a layer that cannot be dilated.
    """

    def __init__(
        self,
        model: keras.Model,
        output_stride: int = 2**30,
        *,
        copy: Callable[[Any, str], Any] = copy_layer,
        flatten: bool = False,
    ) -> None:
        self.output_stride = output_stride
        self.backbone = model.name
        self.copy = copy
        self.flatten = flatten
        self.tensors: dict[int, keras.KerasTensor] = {}
        # id of a new tensor: (itself, stride in the untouched network, pixels in excess)
        self._grids: dict[int, tuple] = {}
        self._copies: dict[tuple, tuple] = {}
        self._names: set[str] = set()
        old = model.inputs[0]
        self.inputs = keras.Input(batch_shape=old.shape, dtype=old.dtype, name=old.name)
        self._note(self.inputs, 1)
        self._walk(model, [self.inputs], "")

    def _note(self, tensor, stride, excess=(0, 0)):
        self._grids[id(tensor)] = (tensor, stride, excess)
        return tensor

    def _grid(self, arguments):
        """Return stride and excess of the coarsest map among the arguments; stride `None` without a map."""
        known = [self._grids.get(id(x), (x, None, None)) for x in keras.tree.flatten(arguments)]
        maps = [(stride, excess) for _, stride, excess in known if stride is not None]
        return max(maps, key=lambda grid: grid[0], default=(None, (0, 0)))

    def _walk(self, model, inputs, prefix):
        """Run new tensors through the graph of `model`; return its new outputs."""
        new = dict(zip(map(id, model.inputs), inputs, strict=True))
        strides = relative_strides(model)
        base = self._grid(inputs)[0]
        for call in calls(model):
            args, kwargs = call.arguments.fill_in(new)
            relative = strides.get(id(call.outputs[0]))
            measured = base * relative if base and relative else None
            results = self._call(call.operation, args, kwargs, measured, prefix)
            new.update(zip(map(id, call.outputs), keras.tree.flatten(results), strict=True))
        self.tensors |= new
        return pack_outputs(model, [new[id(t)] for t in model.outputs])

    def _call(self, layer, args, kwargs, measured, prefix):
        """Return the new outputs of one layer or op on new tensors."""
        stride, excess = self._grid((args, kwargs))
        dilation = max(1, (stride or 1) // self.output_stride)
        kind = type(layer).__name__
        if stride and (type(layer) in _CONVOLUTIONS or type(layer) in _POOLS):
            return self._window(layer, args[0], prefix)
        if stride and type(layer) is layers.ZeroPadding2D:
            pads = [tuple(dilation * side for side in sides) for sides in layer.padding]
            grown = tuple(e + sum(sides) for e, sides in zip(excess, layer.padding, strict=True))
            name = self._name(layer, prefix)
            return self._note(layers.ZeroPadding2D(pads, name=name)(args[0]), stride, grown)
        pointwise = kind in _POINTWISE
        reduces = isinstance(layer, _GLOBAL) or (kind in ("Max", "Mean") and layer.axis in ((1, 2), [1, 2]))
        strange = not (pointwise or reduces) and (dilation > 1 or (measured or 1) > self.output_stride)
        opened = inside(layer, args, kwargs) if self.flatten or strange else None
        if opened is not None:
            maps = [x for x in keras.tree.flatten((args, kwargs)) if keras.backend.is_keras_tensor(x)]
            return self._walk(opened, maps, f"{prefix}{layer.name}_")
        if strange:
            raise self._refusal(layer, prefix)
        if kind in _OPS and not isinstance(layer, layers.Layer):
            layer, kwargs = layers.Activation(_OPS[kind], name=f"{prefix}{_OPS[kind]}"), {}
        outputs = self._copied(layer, prefix)(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            is_map = stride and not reduces and len(tensor.shape) == 4
            known = stride if pointwise or not measured else measured
            self._note(tensor, known if is_map else None, excess)
        return outputs

    def _window(self, layer, x, prefix):
        """A convolution or a pool: drop its stride where it exceeds the output stride, dilate it."""
        before, excess = self._grid(x)
        factor = layer.strides[0]
        after = before * factor
        dilation = max(1, before // self.output_stride)
        stride = factor * dilation // max(1, after // self.output_stride)
        rates = getattr(layer, "dilation_rate", (1, 1))
        sizes = getattr(layer, "kernel_size", None) or layer.pool_size
        spans = [rate * (size - 1) for rate, size in zip(rates, sizes, strict=True)]
        begins, left = zip(
            *(_pads(layer, factor, *se) for se in zip(spans, excess, strict=True)), strict=True
        )
        if dilation == 1 and stride == factor:
            return self._note(self._copied(layer, prefix)(x), after, left)
        if layer.strides != (factor, factor) or layer.data_format != "channels_last" or stride != 1:
            raise self._refusal(layer, prefix)
        first = [dilation * begin for begin in begins]
        # pads at the end that give `factor * dilation` times as many pixels as the untouched layer does
        gaps = [dilation * (factor * m - e) for m, e in zip(left, excess, strict=True)]
        if type(layer) in _POOLS:
            name = self._name(layer, prefix)
            pool = AtrousPooling2D(sizes, dilation, tuple(first), _POOLS[type(layer)], name=name)
            return self._note(self._grow(pool(x), [(0, gap) for gap in gaps], prefix, layer), after, left)
        ends = [gap + dilation * span - begin for gap, span, begin in zip(gaps, spans, first, strict=True)]
        # 1×1 stays plain: dilated, it would compute the same, slower, and LiteRT cannot fold two on one input
        rates = [dilation * rate if span else 1 for rate, span in zip(rates, spans, strict=True)]
        changes = {"strides": 1, "dilation_rate": rates, "padding": "valid"}
        if first == ends and not any(gaps):
            changes["padding"] = "same"
        else:
            x = self._grow(x, list(zip(first, ends, strict=True)), prefix, layer)
        return self._note(self._copied(layer, prefix, **changes)(x), after, left)

    def _grow(self, x, sides, prefix, layer):
        """Pad with zeros, or crop where a side is negative."""
        pads = [tuple(max(side, 0) for side in pair) for pair in sides]
        crops = [tuple(max(-side, 0) for side in pair) for pair in sides]
        if any(map(any, pads)):
            x = layers.ZeroPadding2D(pads, name=self._name(layer, prefix, "_atrous_pad"))(x)
        if any(map(any, crops)):
            x = layers.Cropping2D(crops, name=self._name(layer, prefix, "_atrous_crop"))(x)
        return x

    def _copied(self, layer, prefix, **changes):
        """Return the layer's copy, one for all its calls, which takes the weights when it is first called."""
        if not isinstance(layer, layers.Layer):
            return layer  # an op has no state
        key = (id(layer), str(changes))
        if key in self._copies:
            return self._copies[key][0]
        copy = self.copy(layer, self._name(layer, prefix))
        if changes:
            copy = type(copy).from_config({**copy.get_config(), **changes})
        self._copies[key] = (copy, layer)  # keeps the layer, and so its id, alive

        def first_call(*args, **kwargs):
            outputs = copy(*args, **kwargs)
            take_weights(copy, layer)
            return outputs

        return first_call

    def _name(self, layer, prefix, suffix=""):
        """Return a unique name; names that Keras numbered by itself are told apart by their place."""
        name = layer.name if layer.name.startswith(prefix) else prefix + layer.name
        plain = re.sub(r"_\d+$", "", layer.name)
        if prefix and plain.replace("_", "") == type(layer).__name__.lower():
            name = prefix + plain
        name += suffix
        unique, number = name, 1
        while unique in self._names:
            unique, number = f"{name}_{number}", number + 1
        self._names.add(unique)
        return unique

    def _refusal(self, layer, prefix):
        return ValueError(
            f"backbone {self.backbone!r} cannot have output_stride={self.output_stride}: its layer "
            f"{prefix + layer.name!r} ({type(layer).__name__}) cannot be dilated; use output_stride=32 or "
            f"a backbone of convolutions and pools"
        )


def _pads(layer, stride, span, excess):
    """Return the pixels a layer pads at the beginning, and the excess of its output.

    The side of its input is a multiple of the stride plus `excess`; `span` is its reach, kernel minus one.
    """
    if layer.padding == "valid":
        return 0, (excess - span - 1) // stride + 1
    left = -(-excess // stride)
    return max(stride * left - stride - excess + span + 1, 0) // 2, left
