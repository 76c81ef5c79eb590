"""The graph of a `.tflite` file, for what reads and rewrites it."""

from __future__ import annotations

from typing import Any

import numpy as np


def parsed(content: bytes) -> tuple[Any, list[Graph]]:
    """Return the object of a `.tflite` file and its graphs."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    return model, [Graph(model, schema, each) for each in model.subgraphs]


def packed(model: Any) -> bytes:
    """Return the bytes of a `.tflite` file from its object, without codes that no operator has any more."""
    from tensorflow.lite.tools import flatbuffer_utils

    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class Graph:
    """A graph of a file; tensors go by their indices.

    Args:
        model: object of the file.
        schema: module of LiteRT's schema.
        graph: one of its `subgraphs`.

    Attributes:
        operators, tensors: lists of all.
    """

    def __init__(self, model: Any, schema: Any, graph: Any) -> None:
        self.model, self.schema, self.graph = model, schema, graph
        self.operators, self.tensors = graph.operators, graph.tensors

    @property
    def image(self) -> int:
        """The index of what goes in."""
        return self.graph.inputs[0]

    @property
    def depth(self) -> int:
        """The channels of the image."""
        return int(self.tensors[self.image].shape[-1])

    @property
    def activations(self) -> dict[int, int]:
        """Operators that activate → what other operators end in instead."""
        kinds, ends = self.schema.BuiltinOperator, self.schema.ActivationFunctionType
        return {kinds.RELU: ends.RELU, kinds.RELU6: ends.RELU6}

    def kind(self, operator: Any) -> int:
        return _kind_of(self.model.operatorCodes[operator.opcodeIndex])

    def readers(self, index: int) -> list[Any]:
        """Return the operators that read a tensor, none if the file gives it as well."""
        if index in list(self.graph.outputs):
            return []
        return [operator for operator in self.operators if index in list(operator.inputs)]

    def only_reader(self, index: int, kind: int) -> Any:
        """Return the operator that alone reads a tensor, `None` if it is of another kind or activates."""
        readers = self.readers(index)
        if len(readers) != 1 or self.kind(readers[0]) != kind:
            return None
        activates = getattr(readers[0].builtinOptions, "fusedActivationFunction", 0)
        return None if activates else readers[0]

    def maker(self, index: int) -> Any:
        """Return the operator that gives a tensor, `None` if it is a constant or the image."""
        return next((each for each in self.operators if index in list(each.outputs)), None)

    def stored(self, index: int) -> int:
        """Return the constant behind a tensor: itself, or that which an operator widens to it."""
        maker = self.maker(index)
        widened = maker is not None and self.kind(maker) == self.schema.BuiltinOperator.DEQUANTIZE
        return int(maker.inputs[0]) if widened else index

    def is_float_constant(self, index: int) -> bool:
        kinds = self.schema.TensorType
        return self.tensors[index].type in (kinds.FLOAT32, kinds.FLOAT16) and self.data(index) is not None

    def size(self, index: int) -> int:
        """Return how many values a tensor has."""
        shape = self.tensors[index].shape
        return 1 if shape is None else int(np.prod(shape))

    def data(self, index: int) -> Any:
        """Return the bytes of a constant, `None` if it is something else."""
        data = self.model.buffers[self.tensors[index].buffer].data
        return None if data is None or len(data) == 0 else data

    def constant(self, index: int) -> np.ndarray | None:
        """Return the values of a float32 constant, `None` if it is something else."""
        return self._numbers(index, {self.schema.TensorType.FLOAT32: "float32"})

    def integers(self, index: int) -> np.ndarray | None:
        """Return the values of an int32 constant, `None` if it is something else."""
        return self._numbers(index, {self.schema.TensorType.INT32: "int32"})

    def values(self, index: int) -> np.ndarray | None:
        """Return the values of a float constant, also of one widened from float16, as float32; or `None`."""
        kinds = self.schema.TensorType
        found = self._numbers(self.stored(index), {kinds.FLOAT32: "float32", kinds.FLOAT16: "float16"})
        return None if found is None else found.astype("float32")

    def _numbers(self, index, dtypes):
        tensor, data = self.tensors[index], self.data(index)
        if data is None or tensor.type not in dtypes:
            return None
        shape = (1,) if tensor.shape is None or len(tensor.shape) == 0 else tensor.shape
        return np.asarray(data, "uint8").view(dtypes[tensor.type]).reshape(shape)

    def per_channel(self, index: int, depth: int) -> np.ndarray | None:
        """Return a float constant as a value for each of `depth` channels; `None` if it is something else."""
        values = self.values(index)
        if values is None or values.size not in (1, depth) or values.size != values.shape[-1]:
            return None
        return np.broadcast_to(values.ravel(), depth)

    def operand(self, operator: Any, depth: int) -> np.ndarray | None:
        """Return the constant an operator takes, as one value per channel, or `None`."""
        found = [self.per_channel(index, depth) for index in operator.inputs]
        return next((each for each in found if each is not None), None)

    def is_convolution(self, operator: Any) -> bool:
        kinds = self.schema.BuiltinOperator
        return self.kind(operator) in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D)

    def has_weights(self, operator: Any) -> bool:
        kinds = self.schema.BuiltinOperator
        others = (kinds.TRANSPOSE_CONV, kinds.FULLY_CONNECTED)
        return self.is_convolution(operator) or self.kind(operator) in others

    def is_stored_for_one(self, index: int) -> bool:
        """Tell if a constant, widened or not, has one reader, and its values belong to no other tensor."""
        stored = self.stored(index)
        tensors = [each for graph in self.model.subgraphs for each in graph.tensors]
        alone = sum(each.buffer == self.tensors[stored].buffer for each in tensors) == 1
        return alone and all(len(self.readers(each)) == 1 for each in (index, stored))

    def store(self, index: int, values: np.ndarray) -> None:
        """Set the values of a float constant, in float16 if it is widened from that."""
        tensor = self.tensors[self.stored(index)]
        dtype = "float16" if tensor.type == self.schema.TensorType.FLOAT16 else "float32"
        data = np.frombuffer(values.astype(dtype).tobytes(), "uint8")
        self.model.buffers[tensor.buffer].data = data

    def add_constant(self, values: np.ndarray, name: bytes) -> int:
        """Return the index of a new float32 tensor of these values."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.type, tensor.shape = name, self.schema.TensorType.FLOAT32, list(values.shape)
        tensor.buffer = self.add_buffer(np.frombuffer(values.astype("float32").tobytes(), "uint8"))
        return self.add(tensor)

    def add_buffer(self, data: np.ndarray) -> int:
        """Return the index of a new buffer of these bytes."""
        self.model.buffers.append(self.schema.BufferT())
        self.model.buffers[-1].data = data
        return len(self.model.buffers) - 1

    def add(self, tensor: Any) -> int:
        """Return the index of a tensor that is new to the graph."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def replace(self, index: int, tensor: Any) -> None:
        """Put a tensor in the place of another, whose values go if no other has them."""
        buffer = self.tensors[index].buffer
        self.tensors[index] = tensor
        if not any(each.buffer == buffer for graph in self.model.subgraphs for each in graph.tensors):
            self.model.buffers[buffer].data = None

    def code(self, kind: int, version: int = 1) -> int:
        """Return the index of an operator's code in a version or a later one, added if there was none."""
        for index, code in enumerate(self.model.operatorCodes):
            if _kind_of(code) == kind and code.version >= version:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def drop_unread(self, kind: int) -> None:
        """Take away the operators of a kind whose result nobody reads, nor the file gives."""
        read = {int(index) for operator in self.operators for index in operator.inputs} | set(
            self.graph.outputs
        )
        self.operators[:] = [
            each for each in self.operators if self.kind(each) != kind or each.outputs[0] in read
        ]

    def range(self, index: int) -> tuple[float, float] | None:
        """Return what calibration saw of a tensor, `(low, high)`; `None` if there was none."""
        seen = self.tensors[index].quantization
        if seen is None or seen.min is None or len(seen.min) != 1:
            return None
        return float(seen.min[0]), float(seen.max[0])

    def set_range(self, index: int, low: float, high: float) -> None:
        """Set what calibration saw of a tensor, if there was one."""
        if self.range(index) is not None:
            seen = self.tensors[index].quantization
            seen.min, seen.max = [float(low)], [float(high)]


def _kind_of(code):
    """Return the kind that a code stands for; older files have it in the narrower field alone."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)
