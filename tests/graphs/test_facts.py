"""The facts of a model, and the kinds of model that kseg takes."""

import keras
import numpy as np
import pytest

import kseg
from kseg import graphs
from kseg.graphs import ModelFacts
from kseg.graphs.facts import judged_kind


def test_facts_of_a_model():
    model = kseg.build_ddrnet(1, (32, 48, 4), filters=2, aux_heads=True, activation="sigmoid")
    facts = ModelFacts(model)
    assert (facts.activation, facts.output_kind, facts.auxiliary_heads) == ("sigmoid", "probabilities", True)
    assert (facts.input_size, facts.fixed_size, facts.channels) == ((32, 48), (32, 48), 4)
    assert (facts.num_scores, facts.num_classes) == (1, 2)
    assert not facts.scores_only_centre and not facts.rounds_indices
    assert facts.float32 is model


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


def sigmoid_times_one(x):
    return keras.layers.Lambda(lambda t: keras.ops.sigmoid(t) * 1.0)(x)


def model_that_does_not_tell(channels=1, weight=8.0):
    """Sigmoid of a ramp over the brightness, which no graph tells."""
    image = keras.Input((16, 16, 1))
    conv = keras.layers.Conv2D(channels, 1)
    model = keras.Model(image, sigmoid_times_one(conv(keras.layers.Rescaling(1 / 255)(image))), name="own")
    conv.set_weights([np.full((1, 1, 1, channels), weight), np.full(channels, -weight / 2)])
    return model


def test_what_the_graph_does_not_tell_is_asked_for():
    facts = ModelFacts(model_that_does_not_tell())
    assert not facts.told
    with pytest.raises(ValueError, match=r"model 'own': nothing tells .* activation=: 'linear' \(logits\)"):
        facts.output_kind  # noqa: B018 - the look is what is tested
    assert ModelFacts(model_that_does_not_tell(), "sigmoid").output_kind == "probabilities"
    assert ModelFacts(model_that_does_not_tell(), "linear").output_kind == "logits"


def test_values_that_reach_both_ends_are_probabilities_with_a_word():
    facts = ModelFacts(model_that_does_not_tell(weight=30.0))
    with pytest.warns(UserWarning, match="taken for probabilities"):
        assert facts.settled().activation == "sigmoid"
    assert not facts.told  # nothing is kept: weights change
    with pytest.raises(ValueError, match="nothing tells"):
        ModelFacts(model_that_does_not_tell(weight=1.0)).settled()


def test_what_is_stated_must_not_contradict_the_graph():
    model = kseg.build_conv_stack(3, depth=1, filters=4, activation="softmax")
    assert ModelFacts(model, "softmax").activation == "softmax"
    with pytest.raises(ValueError, match=r"activation='linear', but .* gives probabilities of a softmax"):
        ModelFacts(model, "linear")
    with pytest.raises(ValueError, match="did you mean 'sigmoid'"):
        ModelFacts(model, "sigmoidd")
    with pytest.raises(ValueError, match="multilabel=True takes one sigmoid per label"):
        ModelFacts(model, multilabel=True)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], "softmax"),
        ([[0.2, 0.7], [0.5, 0.5]], None),
        ([[-0.2, 1.2], [0.5, 0.5]], None),  # logits that happen to sum to 1
        ([[0.001], [0.999]], "sigmoid"),
        ([[0.001], [0.6]], None),
        ([[-0.001], [0.999]], None),
        ([[0.001], [1.001]], None),
        ([[np.nan], [1.0]], None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*taken for probabilities")
def test_values_are_judged_only_where_they_can_be_nothing_else(values, kind):
    scores = [np.array([[values]])]
    if kind is None:
        with pytest.raises(ValueError, match="a file: nothing tells"):
            judged_kind("a file", scores)
    else:
        assert judged_kind("a file", scores) == kind


class Subclass(keras.Model):
    """A model with a call of its own."""

    def __init__(self, activation=None):
        super().__init__(name="sub")
        self.conv = keras.layers.Conv2D(2, 1)
        self.last = keras.layers.Activation(activation)

    def call(self, x):
        return self.last(self.conv(x))


def of_outputs(pack):
    image = keras.Input((8, 8, 3))
    return keras.Model(image, pack(keras.layers.Conv2D(2, 1, activation="softmax")(image)), name="mine")


def built(model):
    model(np.zeros((1, 8, 8, 3), "float32"))
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: built(Subclass("softmax")),
        lambda: of_outputs(lambda x: {"a": x}),
        lambda: of_outputs(lambda x: [x]),
    ],
)
def test_what_can_simply_work_works(make, tmp_path):
    model = make()
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    (scores,) = keras.tree.flatten(model(picture[None].astype("float32")))
    assert ModelFacts(model).activation == "softmax"
    np.testing.assert_array_equal(kseg.predict(model, picture), np.argmax(scores[0], -1))
    report = kseg.export_tflite(model, tmp_path / "m.tflite", input_size=(8, 8))
    assert report.output_kind == "probabilities" and report.same_class == 1
    masks = np.argmax(scores, -1)
    assert kseg.evaluate(model, [(picture[None], masks)]).pixel_accuracy == 1
    pictures = picture[None].astype("float32")
    kseg.compile(model, learning_rate=0.01).fit(pictures, masks, verbose=0)
    assert "mean_iou" in model.evaluate(pictures, masks, verbose=0, return_dict=True)


def test_a_subclass_takes_other_sizes_than_the_first():
    model = built(Subclass())
    assert ModelFacts(model).fixed_size is None
    assert kseg.predict(model, np.zeros((5, 9, 3), "uint8")).shape == (5, 9)
