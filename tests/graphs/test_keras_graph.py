"""What is asked of a Keras graph: the facts of a model, where tensors come from, and Keras' private names."""

import ast
from pathlib import Path

import keras
import pytest

from kseg import graphs

ROOT = Path(__file__).parents[2] / "kseg"
# Names of other libraries, which have no public ones for this; and one of our own.
NOT_OF_KERAS = {
    "_get_ops_details": "of ai_edge_litert's interpreter",
    "_get_operand_name_and_index": "of TensorFlow's quantization debugger",
    "_quant_interpreter": "of TensorFlow's quantization debugger",
    "_get_tensor_details": "of ai_edge_litert's interpreter",
    "_experimental_calibrate_only": "of TensorFlow's converter",
    "_kseg_runner": "our own, on a model",
    "_variant_tensor": "of tf.data's datasets, handed on by a subclass",
    "_SubParsersAction": "of argparse",
}


def test_a_tensor_of_a_layer_called_twice_comes_from_its_own_call():
    a, b = keras.Input((4, 4, 3), name="a"), keras.Input((4, 4, 3), name="b")
    layer = keras.layers.Conv2D(2, 1)
    first, second = layer(a), layer(b)
    assert graphs.origin(first) == (layer, [a]) and graphs.origin(second) == (layer, [b])
    last = keras.layers.Activation("softmax")(keras.layers.Add()([first, second]))
    model = keras.Model([a, b], last)
    assert graphs.ModelFacts(keras.Model([a], keras.layers.Softmax()(layer(a)))).activation == "softmax"
    assert {id(call.outputs[0]) for call in graphs.calls_of(model, layer)} == {id(first), id(second)}
    one = keras.Model(a, keras.layers.ReLU()(first))
    assert [call.outputs for call in graphs.calls_of(one, layer)] == [[first]]
    assert [type(each).__name__ for each in graphs.readers(one, layer)] == ["ReLU"]
    order = [call.operation for call in graphs.calls(model)]
    assert order.count(layer) == 2 and order[-1].name == last._keras_history.operation.name


def test_layers_inside_of_models_inside():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 1, name="deep")], name="inner")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="logits")(inner(image)))
    assert graphs.layer_names(model)[0] == "logits" and "deep" in graphs.layer_names(model)
    assert inner not in graphs.layers_inside(model)
    assert inner in graphs.layers_inside(model, with_models=True)
    assert graphs.functional(inner).layers[-1].name == "deep" and graphs.functional(model) is model


def test_a_version_of_keras_that_lacks_a_name_is_refused():
    with pytest.raises(
        RuntimeError, match=r"tested with Keras 3\.15\.1; object of Keras .* has no _layers: pip"
    ):
        graphs.has_layers_inside(object())


def private_names(path):
    """Yield the private attributes of other objects than `self`, `cls` and `super()` that a file asks for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
            yield node.module, node.lineno
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            hook = isinstance(owner, ast.Call) and getattr(owner.func, "id", None) == "super"
            if not own and not hook:
                yield node.attr, node.lineno


def test_keras_private_names_are_asked_for_in_two_files():
    places = [
        ROOT / "graphs" / "keras_graph.py",
        ROOT / "distribution" / "keras_trainer.py",
        ROOT / "distribution" / "class_weight.py",
    ]
    elsewhere = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(ROOT.rglob("*.py"))
        if path not in places
        for name, line in private_names(path)
        if name not in NOT_OF_KERAS
    ]
    assert elsewhere == []
    assert all(list(private_names(path)) for path in places[1:])  # the search finds what is there
