"""The factor of the normalisation, taken from the start of a `.tflite` file into its first convolutions."""

import numpy as np


def fold_scale(model, schema):
    """Move `scale` of `scale * image + offset` into the kernels that read it; return how many take it.

    `image + offset / scale` is one operator less at full resolution.
    The shift stays, for zeros are padded around what it gives. Ranges of calibration become those of pictures
    of 0–255. Only float32 kernels are touched, and only if the channels are scaled alike, or in 8 bits the
    step of one would be too long for another.

    Args:
        model: object of a file in float, calibrated or not; others stay as they are.
        schema: module of LiteRT's schema.
    """
    graph, kinds = _Graph(model, schema), schema.BuiltinOperator
    scaling = graph.only_reader(graph.image, kinds.MUL)
    scale = graph.per_channel(scaling)
    if scale is None or np.abs(scale).max() > 1.2 * np.abs(scale).min():
        return 0
    shift = graph.only_reader(scaling.outputs[0], kinds.ADD)
    offset = graph.per_channel(shift)
    if offset is None:
        return 0
    with np.errstate(all="ignore"):
        offset = offset / scale
    shifted = [shift.outputs[0]]
    padding = graph.only_reader(shifted[0], kinds.PAD)
    if padding is not None:
        shifted.append(padding.outputs[0])
    same_depth = graph.tensors[shifted[-1]].shape[-1] == graph.depth
    kernels = [graph.own_kernel(operator) for operator in graph.readers(shifted[-1])]
    if not np.isfinite(offset).all() or not same_depth or not kernels or None in kernels:
        return 0
    for index in kernels:
        kernel = graph.constant(index)
        factors = np.repeat(scale, kernel.shape[-1] // graph.depth)  # a depthwise one has several per channel
        graph.store(index, kernel * factors)
    for index in shifted:
        graph.set_range(index, min(offset.min(), 0), max(255 + offset.max(), 0))
    if (offset == offset[0]).all():
        offset = offset[:1]
    else:  # a row of pixels: int8 adds three values at a time slowly
        offset = np.tile(offset, (1, 1, graph.tensors[graph.image].shape[2], 1))
    shift.inputs = [graph.image, graph.add_constant(offset)]
    graph.graph.operators.remove(scaling)
    return len(kernels)


class _Graph:
    """The first graph of a file; tensors go by their indices.

    Attributes:
        image: index of what goes in.
        depth: int, its channels.
        tensors: list of all.
    """

    def __init__(self, model, schema):
        self.model, self.schema, self.graph = model, schema, model.subgraphs[0]
        self.tensors, self.image = self.graph.tensors, self.graph.inputs[0]
        self.depth = int(self.tensors[self.image].shape[-1])

    def kind(self, operator):
        return self.model.operatorCodes[operator.opcodeIndex].builtinCode

    def readers(self, index):
        """Return the operators that read a tensor, none if the file gives it as well."""
        if index in list(self.graph.outputs):
            return []
        return [operator for operator in self.graph.operators if index in list(operator.inputs)]

    def only_reader(self, index, kind):
        """Return the operator that alone reads a tensor, `None` if it is of another kind or activates."""
        readers = self.readers(index)
        if len(readers) != 1 or self.kind(readers[0]) != kind:
            return None
        activates = getattr(readers[0].builtinOptions, "fusedActivationFunction", 0)
        return None if activates else readers[0]

    def constant(self, index):
        """Return the values of a float32 constant, `None` if it is something else."""
        tensor = self.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if tensor.type != self.schema.TensorType.FLOAT32 or data is None or len(data) == 0:
            return None
        shape = (1,) if tensor.shape is None or len(tensor.shape) == 0 else tensor.shape
        return np.asarray(data, "uint8").view("float32").reshape(shape)

    def per_channel(self, operator):
        """Return the constant an operator takes, as one value per channel of the image, or `None`."""
        for index in [] if operator is None else operator.inputs:
            values = self.constant(index)
            if values is not None and values.size in (1, self.depth) and values.size == values.shape[-1]:
                return np.broadcast_to(values.ravel(), self.depth)
        return None

    def own_kernel(self, operator):
        """Return the index of the float32 kernel that a convolution has for itself, or `None`."""
        kinds = self.schema.BuiltinOperator
        if self.kind(operator) not in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            return None
        index = operator.inputs[1]
        kernel = self.constant(index)
        if kernel is None or len(self.readers(index)) != 1 or kernel.shape[-1] % self.depth:
            return None
        buffer = self.tensors[index].buffer
        holders = [each for graph in self.model.subgraphs for each in graph.tensors if each.buffer == buffer]
        return index if len(holders) == 1 else None

    def store(self, index, values):
        """Set the values of a float32 constant."""
        data = np.frombuffer(values.astype("float32").tobytes(), "uint8")
        self.model.buffers[self.tensors[index].buffer].data = data

    def add_constant(self, values):
        """Return the index of a new float32 tensor of these values."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.type, tensor.shape = b"shift", self.schema.TensorType.FLOAT32, list(values.shape)
        self.model.buffers.append(self.schema.BufferT())
        tensor.buffer = len(self.model.buffers) - 1
        self.tensors.append(tensor)
        self.store(len(self.tensors) - 1, values)
        return len(self.tensors) - 1

    def set_range(self, index, low, high):
        """Set what calibration saw of a tensor, if there was one."""
        seen = self.tensors[index].quantization
        if seen is not None and seen.min is not None and len(seen.min):
            seen.min, seen.max = [float(low)], [float(high)]
