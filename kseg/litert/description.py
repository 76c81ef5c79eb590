"""What a `.tflite` file is made of: operators, delegates, types, memory."""

import contextlib
import io
from collections import Counter
from typing import Any

import numpy as np


def describe(path: str) -> dict[str, Any]:
    """Return the facts of a file.

    Returns:
        dict: `operators` name → count; `types` of all tensors, name → count; `not_on_xnnpack` name → count;
        `not_on_gpu` list of str; `arena_bytes`; `input` and `output`, each `(type, shape, (scale, zero))`.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = Interpreter(path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    plain.allocate_tensors()
    operators, tensors = plain._get_ops_details(), plain.get_tensor_details()
    accelerated = Interpreter(path)
    accelerated.allocate_tensors()
    return {
        "operators": dict(Counter(op["op_name"] for op in operators)),
        "types": dict(Counter(np.dtype(tensor["dtype"]).name for tensor in tensors)),
        "not_on_xnnpack": dict(Counter(_left_out(accelerated._get_ops_details()))),
        "not_on_gpu": _gpu_complaints(path),
        "arena_bytes": _arena(operators, tensors, plain),
        "input": _interface(plain.get_input_details()[0]),
        "output": _interface(plain.get_output_details()[0]),
    }


def _interface(detail):
    kind = np.dtype(detail["dtype"]).name
    return kind, tuple(int(side) for side in detail["shape_signature"]), detail["quantization"]


def _left_out(operators):
    """Yield the names of the operators that no delegate took: those that do not feed its outputs."""
    maker = {out: op for op in operators if op["op_name"] != "DELEGATE" for out in op["outputs"].tolist()}
    taken = set()
    for delegate in (op for op in operators if op["op_name"] == "DELEGATE"):
        outside, waiting = set(delegate["inputs"].tolist()), delegate["outputs"].tolist()
        while waiting:
            op = maker.get(waiting.pop())
            if op is not None and op["index"] not in taken:
                taken.add(op["index"])
                waiting += [tensor for tensor in op["inputs"].tolist() if tensor not in outside]
    for op in operators:
        if op["op_name"] != "DELEGATE" and op["index"] not in taken:
            yield op["op_name"]


def _gpu_complaints(path):
    """Return what TensorFlow's analyser says of operators that the GPU delegate cannot take."""
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        tf.lite.experimental.Analyzer.analyze(model_path=path, gpu_compatibility=True)
    lines = [line.strip() for line in printed.getvalue().splitlines()]
    return [line for line in lines if "GPU COMPATIBILITY WARNING" in line]


def _arena(operators, tensors, interpreter):
    """Return the most bytes that activations need at a time: from their maker to their last reader."""
    made = {int(interpreter.get_input_details()[0]["index"]): 0}
    read = {int(interpreter.get_output_details()[0]["index"]): len(operators)}
    for time, op in enumerate(operators):
        for tensor in op["outputs"].tolist():
            made[tensor] = time
        for tensor in op["inputs"].tolist():
            read[tensor] = max(read.get(tensor, 0), time)
    size = {
        tensor["index"]: int(np.prod(tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize
        for tensor in tensors
    }
    alive = [
        sum(size[tensor] for tensor, start in made.items() if start <= time <= read.get(tensor, start))
        for time in range(len(operators))
    ]
    return max(alive, default=0)
