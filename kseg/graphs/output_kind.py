"""What a model gives: logits, probabilities or class ids, read from its graph.

From the output backwards, through whatever only moves, cuts, pads, resizes or averages values. Layers that
are not known are traced by TensorFlow, so that a `Lambda`, a layer or a model with a call of its own are
looked into as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

from kseg.graphs.keras_graph import arguments_of, functional, origin, position

# TensorFlow's operators, by what they do to values.
_MOVES = frozenset(
    [
        "AvgPool",
        "BatchToSpaceND",
        "BroadcastTo",
        "Cast",
        "CheckNumerics",
        "CropAndResize",
        "DepthToSpace",
        "EnsureShape",
        "ExpandDims",
        "GatherNd",
        "GatherV2",
        "Identity",
        "ImageProjectiveTransformV3",
        "MaxPool",
        "MirrorPad",
        "Pad",
        "PadV2",
        "PreventGradient",
        "Reshape",
        "ResizeArea",
        "ResizeBicubic",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "ReverseV2",
        "Roll",
        "ScaleAndTranslate",
        "Slice",
        "Snapshot",
        "SpaceToBatchND",
        "SplitV",
        "Squeeze",
        "StopGradient",
        "StridedSlice",
        "Tile",
        "Transpose",
        "Unpack",
    ]
)
_JOINS = frozenset(["AddN", "ConcatV2", "Pack"])
_CLIPS = frozenset(["ClipByValue", "Maximum", "Minimum"])
_ADDS = frozenset(["Add", "AddV2", "AddN", "BiasAdd", "Sub"])
_SCALES = frozenset(["Mul", "RealDiv"])
_COMPUTES = frozenset(
    [
        "BatchMatMulV2",
        "Conv2D",
        "Conv2DBackpropInput",
        "Conv3D",
        "DepthwiseConv2dNative",
        "Einsum",
        "FusedBatchNormV3",
        "MatMul",
    ]
)
_DECIDES = frozenset(
    ["ArgMax", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr"]
)
_ENDS = ("softmax", "sigmoid", "classes")  # which a convolution turns into neither logits nor probabilities
_WITH_KERNEL = ("Conv2D", "Conv2DTranspose", "SeparableConv2D", "DepthwiseConv2D", "Dense")

Kind = str | None


def output_kind(model: keras.Model) -> Kind:
    """Return `"softmax"`, `"sigmoid"`, `"linear"` or `"classes"`; `None` where the graph does not tell.

    Args:
        model: functional `keras.Model` with one output.
    """
    output = model.outputs[0]
    is_integer = "int" in output.dtype or output.dtype == "bool"
    kind = "classes" if is_integer else _Walk(output.shape[-1]).kind(output)
    one_map = len(output.shape) == 3 or output.shape[-1] == 1
    return kind if kind in ("softmax", "sigmoid", "linear") or (kind == "classes" and one_map) else None


class _Walk:
    """The way backwards through a Keras graph.

    Args:
        channels: of the scores; `None` while it is looked at what a convolution reads.
    """

    def __init__(self, channels: int | None, outside: Mapping[int, Callable[[], Kind]] | None = None) -> None:
        self.channels = channels
        self.outside = outside or {}  # what stands for the inputs of a model inside

    def kind(self, tensor: keras.KerasTensor) -> Kind:
        """Return the kind of a Keras tensor."""
        if id(tensor) in self.outside:
            return self.outside[id(tensor)]()
        operation, inputs = origin(tensor)
        if isinstance(operation, keras.layers.InputLayer):
            return None  # the picture itself
        if getattr(operation, "keeps_scores", False):
            return self.kind(inputs[0])
        inside = functional(operation) if isinstance(operation, keras.Model) else None
        if inside is not None:
            outer = {id(i): partial(self.kind, each) for i, each in zip(inside.inputs, inputs, strict=True)}
            return _Walk(self.channels, outer).kind(inside.outputs[position(tensor)])
        return self._by_activation(operation, tensor, inputs) or _traced(tensor, self)

    def reads_probabilities(self, tensor: keras.KerasTensor) -> bool:
        """Tell whether what reads this tensor reads probabilities or ids: of them it makes no logits."""
        return self.channels is not None and _Walk(None, self.outside).kind(tensor) in _ENDS

    def _by_activation(self, layer, tensor, inputs):
        """Return the kind where a layer of Keras' own says it by its activation; it spares the tracing."""
        if type(layer).__name__ not in _WITH_KERNEL or not type(layer).__module__.startswith("keras."):
            return None
        if layer.activation is keras.activations.linear and not self.reads_probabilities(inputs[0]):
            return "linear"
        if layer.activation is keras.activations.sigmoid:
            return "sigmoid"
        if layer.activation is keras.activations.softmax:
            return _softmax(tensor.shape[-1], self.channels)
        return None


def _softmax(size, channels):
    """Return the kind of what a softmax over `size` values gives when `channels` of them come out."""
    if size == channels or channels is None:
        return "softmax"
    return "sigmoid" if channels == 1 and size and size > 1 else None  # one class was cut out


def _traced(tensor, walk):
    """Return the kind of what one operation of a Keras graph gives, by TensorFlow's graph of it."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf  # its graph shows what a layer does, whoever wrote it

    operation, inputs = origin(tensor)
    specs = [tf.TensorSpec(each.shape, each.dtype) for each in inputs]

    def call(*tensors):
        arguments, keywords = arguments_of(tensor, tensors)
        return operation(*arguments, **keywords)

    try:
        graph = tf.function(call, autograph=False).get_concrete_function(*specs).graph
        output = graph.outputs[position(tensor)]
    except Exception:  # whatever a layer of the user's own raises
        return None
    names = [each.name for each in graph.inputs[: len(specs)]]
    return _Operators(dict(zip(names, inputs, strict=True)), walk).kind(output)


def _last(tensor):
    """Return the size of the last axis, `None` of a scalar or an open one."""
    return tensor.shape[-1] if tensor.shape.rank else None


class _Operators:
    """The way backwards through a graph of TensorFlow's, from tensor to tensor.

    Args:
        places: names of placeholders, each with the Keras tensor that it stands for.
        walk: the way through the Keras graph around it.
    """

    def __init__(self, places: dict[str, keras.KerasTensor], walk: _Walk) -> None:
        self.places = places
        self.walk = walk

    def kind(self, tensor: Any) -> Kind:
        """Return the kind of a tensor; `"constant"` of what does not depend on the picture."""
        if tensor.name in self.places:
            return self.walk.kind(self.places[tensor.name])
        if not self._depends(tensor):
            return "constant"
        operator, inputs = tensor.op, list(tensor.op.inputs)
        kind = operator.type
        if kind in _COMPUTES:
            return None if any(map(self._reads_probabilities, inputs)) else "linear"
        if kind in _DECIDES or (kind == "TopKV2" and tensor.value_index == 1):
            return "classes"
        if kind in ("Softmax", "LogSoftmax"):
            found = _softmax(inputs[0].shape[-1], self.walk.channels)
            return found if kind == "Softmax" else ("linear" if found == "softmax" else None)
        if kind == "Sigmoid":
            return "sigmoid"
        if kind in _MOVES or (kind == "Mean" and _last(tensor) == _last(inputs[0])):
            return self.kind(inputs[0])
        if kind == "Split":
            return self.kind(inputs[1])
        if kind == "IdentityN":
            return self.kind(inputs[tensor.value_index])
        return self._of_several(kind, inputs)

    def _of_several(self, kind, inputs):
        if kind not in _JOINS | _CLIPS | _ADDS | _SCALES:
            return None
        kinds = [self.kind(each) for each in inputs]
        varying = {each for each in kinds if each != "constant"}
        if len(varying) != 1:
            return None
        (only,) = varying
        if kind in _JOINS and kind not in _ADDS:
            return only
        if kind in _CLIPS:
            return only if only in ("softmax", "sigmoid") else None
        sums = kind in _ADDS or (kind in _SCALES and kinds.count(only) == 1)
        return "linear" if sums and only == "linear" else None

    def _reads_probabilities(self, tensor):
        """Tell whether a tensor is one of probabilities or ids that were moved at most."""
        if self.walk.channels is None:
            return False
        return _Operators(self.places, _Walk(None, self.walk.outside)).kind(tensor) in _ENDS

    def _depends(self, tensor):
        """Tell whether a tensor depends on the placeholders."""
        waiting, seen = [tensor], set()
        while waiting:
            each = waiting.pop()
            if each.name in self.places:
                return True
            if each.name not in seen:
                seen.add(each.name)
                waiting += each.op.inputs
        return False
