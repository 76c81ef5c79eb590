"""What is asked of a Keras graph: the facts of a model, where tensors come from, and Keras' private names."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

import kseg
from kseg import graphs
from kseg.graphs import ModelFacts

ROOT = Path(__file__).parents[1] / "kseg"
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


def test_facts_of_a_model():
    model = kseg.build_ddrnet(1, (32, 48, 4), filters=2, aux_heads=True, activation="sigmoid")
    facts = ModelFacts(model)
    assert (facts.activation, facts.output_kind, facts.auxiliary_heads) == ("sigmoid", "probabilities", True)
    assert (facts.input_size, facts.fixed_size, facts.channels) == ((32, 48), (32, 48), 4)
    assert (facts.num_scores, facts.num_classes) == (1, 2)
    assert not facts.scores_only_centre and not facts.rounds_indices
    assert facts.float32 is model
    facts.check_one_picture()


def test_facts_of_layers_that_say_them_of_themselves():
    unpadded = ModelFacts(kseg.build_unet(3, filters=2, padding="valid"))
    assert unpadded.scores_only_centre and unpadded.output_kind == "logits" and unpadded.fixed_size is None
    assert ModelFacts(kseg.build_segnet(3, variant="basic", filters=4)).rounds_indices


def test_the_float32_copy_of_a_mixed_precision_model_has_its_weights():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inner = kseg.build_conv_stack(3, depth=1, filters=4)
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, keras.layers.Softmax(dtype="float32")(inner(image)))
    finally:
        keras.config.set_dtype_policy("float32")
    facts = ModelFacts(model)
    assert graphs.computes_in_float16(model) and facts.activation == "softmax"
    assert facts.float32 is facts.float32 and not graphs.computes_in_float16(facts.float32)
    for copy, weight in zip(facts.float32.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(copy, weight)


@pytest.mark.parametrize("inputs", [1, 2])
def test_models_that_are_not_one_picture_in_and_one_map_out_are_named(inputs):
    images = [keras.Input((8, 8, 3)) for _ in range(inputs)]
    x = keras.layers.Add()(images) if inputs > 1 else keras.layers.GlobalAveragePooling2D()(images[0])
    with pytest.raises(
        ValueError, match=r"model 'mine': expected \(B, H, W, C\) in and \(B, H, W, classes\)"
    ):
        ModelFacts(keras.Model(images, x, name="mine")).check_one_picture()


class Subclass(keras.Model):
    """A model whose graph nobody can read."""

    def __init__(self):
        super().__init__(name="sub")
        self.conv = keras.layers.Conv2D(2, 1)

    def call(self, x):
        return self.conv(x)


def ends_in_a_subclass():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, Subclass()(image))


def of_outputs(pack):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 1)(image)
    return keras.Model(image, pack(x), name="mine")


DOORS = {
    "predict": lambda model, path: kseg.predict(model, np.zeros((8, 8, 3), "uint8")),
    "export_saved_model": lambda model, path: kseg.export_saved_model(model, path / "saved"),
    "export_tflite": lambda model, path: kseg.export_tflite(model, path / "m.tflite", input_size=(8, 8)),
    "compile": lambda model, path: kseg.compile(model),
    "costs": lambda model, path: kseg.costs.multiply_adds(model, (8, 8)),
}
STRANGE = {
    "a subclass": (Subclass, ValueError, r"model 'sub' \(Subclass\) has no graph that can be read"),
    "not built": (
        lambda: keras.Sequential([keras.layers.Conv2D(2, 1)], name="mine"),
        ValueError,
        r"model 'mine' \(Sequential\) has no graph",
    ),
    "no model": (lambda: 3, TypeError, r"expected a keras\.Model, got int"),
    "four outputs": (lambda: of_outputs(lambda x: [x] * 4), ValueError, r"model 'mine'"),
    "an output by name": (lambda: of_outputs(lambda x: {"a": x}), ValueError, r"model 'mine': expected"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", STRANGE)
def test_strange_models_are_named_by_every_door(tmp_path, door, kind):
    make, error, message = STRANGE[kind]
    takes = {("an output by name", "compile"), ("an output by name", "costs"), ("four outputs", "costs")}
    if (kind, door) in takes:
        DOORS[door](make(), tmp_path)
    elif (kind, door) == ("no model", "predict"):  # a path is meant
        with pytest.raises(TypeError):
            DOORS[door](make(), tmp_path)
    else:
        with pytest.raises(error, match=message):
            DOORS[door](make(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_inside_without_a_graph_is_named():
    with pytest.raises(ValueError, match=r"model 'sub' \(Subclass\) has no graph that can be read"):
        ModelFacts(ends_in_a_subclass()).activation  # noqa: B018 - the look is what is tested


def test_a_tensor_of_a_layer_called_twice_comes_from_its_own_call():
    a, b = keras.Input((4, 4, 3), name="a"), keras.Input((4, 4, 3), name="b")
    layer = keras.layers.Conv2D(2, 1)
    first, second = layer(a), layer(b)
    assert graphs.origin(first) == (layer, [a]) and graphs.origin(second) == (layer, [b])
    assert graphs.num_calls(layer) == 2
    assert graphs.call_outputs(layer) == [[first], [second]]
    last = keras.layers.Activation("softmax")(keras.layers.Add()([first, second]))
    model = keras.Model([a, b], last)
    assert graphs.output_activation(model) == "softmax"
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
    places = [ROOT / "graphs" / "keras_graph.py", ROOT / "distribution" / "keras_trainer.py"]
    elsewhere = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(ROOT.rglob("*.py"))
        if path not in places
        for name, line in private_names(path)
        if name not in NOT_OF_KERAS
    ]
    assert elsewhere == []
    assert all(list(private_names(path)) for path in places[1:])  # the search finds what is there
