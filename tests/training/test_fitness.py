"""What `kseg.compile` says to losses and metrics that do not fit the scores."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kseg
from kseg.losses import Auxiliary, CrossEntropy, Dice, PerReplica

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 12, 12, 3)).astype("uint8")
MASKS = RNG.integers(0, 2, (6, 12, 12)).astype("uint8")


def network(classes=2, activation=None, **more):
    return kseg.build_conv_stack(classes, depth=1, filters=4, activation=activation, **more)


def untold(classes=1):
    image = keras.Input((12, 12, 3))
    scores = layers.Lambda(lambda t: keras.ops.sigmoid(t) * 1.0)(layers.Conv2D(classes, 1)(image))
    return keras.Model(image, scores, name="own")


OF_KERAS = {
    "Dice": keras.losses.Dice,
    "Tversky": keras.losses.Tversky,
    "KLDivergence": keras.losses.KLDivergence,
    "Poisson": keras.losses.Poisson,
    "MeanSquaredLogarithmicError": keras.losses.MeanSquaredLogarithmicError,
    "by name": lambda: "dice",
    "a function": lambda: keras.losses.kl_divergence,
    "in a sum": lambda: 0.5 * CrossEntropy() + keras.losses.Dice(),
    "in a sum of sums": lambda: 2 * (Dice() + (CrossEntropy() + keras.losses.Tversky())),
    "of auxiliary heads": lambda: Auxiliary(keras.losses.Dice()),
    "per replica": lambda: PerReplica(keras.losses.Poisson()),
    "in a list": lambda: [keras.losses.Dice()],
    "in a dict": lambda: {"logits": keras.losses.Dice()},
}


@pytest.mark.parametrize("kind", OF_KERAS)
def test_losses_of_probabilities_are_refused_for_logits(kind):
    with pytest.raises(ValueError, match="of Keras takes probabilities, but the model gives logits"):
        kseg.compile(network(), loss=OF_KERAS[kind]())
    with pytest.raises(ValueError, match=r"takes probabilities|softmax over one channel|from_logits"):
        kseg.compile(network(1), loss=OF_KERAS[kind]())
    if "sum" not in kind:
        kseg.compile(network(activation="softmax"), loss=OF_KERAS[kind]())


@pytest.mark.parametrize("pack", [lambda x: [x], lambda x: (x,), lambda x: {"logits": x}])
def test_a_loss_in_a_list_or_dict_of_one_is_that_loss(pack):
    model = kseg.compile(network(), loss=pack(CrossEntropy(from_logits=True)), learning_rate=0.01)
    assert isinstance(model.loss, CrossEntropy)
    with pytest.raises(ValueError, match="set from_logits=True"):
        kseg.compile(network(), loss=pack(CrossEntropy(from_logits=False)))
    with pytest.raises(ValueError, match="loss holds 2, the model has one output"):
        kseg.compile(network(), loss=[CrossEntropy(), Dice()])


METRICS = {
    "MeanIoU": kseg.metrics.MeanIoU,
    "MeanDice": kseg.metrics.MeanDice,
    "PixelAccuracy": kseg.metrics.PixelAccuracy,
    "ClassIoU": lambda n, **more: kseg.metrics.ClassIoU(n, 1, **more),
    "BoundaryIoU": kseg.metrics.BoundaryIoU,
    "BoundaryF1": kseg.metrics.BoundaryF1,
    "ConfusionMatrix": kseg.metrics.ConfusionMatrix,
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_metrics_read_what_the_model_gives(name, activation):
    right, wrong = (
        METRICS[name](2, from_logits=flag) for flag in (activation is None, activation is not None)
    )
    for metrics in ([wrong], wrong, {"logits": [wrong]}, [right, wrong]):
        with pytest.raises(ValueError, match=f"metric .* set from_logits={activation is None}"):
            kseg.compile(network(1, activation), metrics=metrics)
    kseg.compile(network(1, activation), metrics=[right])
    kseg.compile(network(2, activation and "softmax"), metrics=[wrong])  # the arg-max is the same
    with pytest.raises(ValueError, match="from_logits"):
        kseg.compile(network(1, activation), weighted_metrics=[wrong], metrics=[])


@pytest.mark.parametrize(
    ("classes", "activation", "word"),
    [(1, None, "acc"), (1, "sigmoid", "accuracy"), (2, None, "accuracy"), (2, "softmax", "acc")],
)
def test_accuracy_is_that_of_pixels_without_void(classes, activation, word):
    masks = MASKS.copy()
    masks[:, :4] = 255
    model = kseg.compile(network(classes, activation), metrics=[word])
    logs = model.evaluate(IMAGES, masks, verbose=0, return_dict=True)
    ids = np.stack([kseg.predict(model, image) for image in IMAGES])
    assert logs["accuracy"] == pytest.approx((ids == masks)[masks != 255].mean())


WRONG_METRICS = [
    "sparse_categorical_accuracy",
    "binary_accuracy",
    keras.metrics.SparseCategoricalAccuracy(),
    keras.metrics.CategoricalAccuracy(name="mine_accuracy"),
    keras.metrics.BinaryAccuracy(),
    keras.metrics.Accuracy(),
    keras.metrics.MeanIoU(2),
    keras.metrics.IoU(2, [1]),
]


@pytest.mark.parametrize("metric", WRONG_METRICS, ids=str)
def test_metrics_of_keras_that_are_wrong_for_masks_name_the_right_one(metric):
    with pytest.raises(ValueError, match=r"of Keras .* take kseg\.metrics\.(PixelAccuracy|MeanIoU)"):
        kseg.compile(network(), metrics=[metric])


def test_other_metrics_are_left_alone():
    own = keras.metrics.MeanMetricWrapper(lambda y, p: keras.ops.mean(p), name="accuracy_of_mine")
    model = kseg.compile(network(), metrics=[own, "mse", keras.metrics.MeanIoU(2, sparse_y_pred=False)])
    assert model.compiled


@pytest.mark.parametrize("classes", [1, 3])
def test_a_graph_that_does_not_tell_is_asked_for_in_compile(classes):
    with pytest.raises(ValueError, match=r"model 'own': nothing tells .* activation=: 'linear'"):
        kseg.compile(untold(classes))
    model = kseg.compile(untold(), activation="sigmoid")
    assert model.loss.from_logits is False
    model.fit(IMAGES, MASKS, verbose=0)
    with pytest.raises(ValueError, match=r"but .* gives logits"):
        kseg.compile(network(), activation="softmax")


def test_a_model_that_gives_ids_has_no_gradient():
    image = keras.Input((12, 12, 3))
    with pytest.raises(ValueError, match="gives class ids, which have no gradient"):
        kseg.compile(keras.Model(image, keras.ops.argmax(layers.Conv2D(3, 1)(image), -1)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("batched", [False, True])
def test_class_weight_in_fit_names_class_weights(axis, batched):
    masks = MASKS[..., None] if axis else MASKS
    model = kseg.compile(network(), learning_rate=0.01)
    data = (tf.data.Dataset.from_tensor_slices((IMAGES, masks)).batch(2),) if batched else (IMAGES, masks)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="give class_weights to"):
        model.fit(*data, class_weight={0: 1.0, 1: 5.0}, verbose=0, shuffle=False)


def test_class_weight_of_a_classifier_is_keras_own():
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(image)))
    kseg.compile(network())
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.array([0, 1] * 3)
    for data in ((IMAGES, labels), (tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(2),)):
        model.fit(*data, class_weight={0: 1.0, 1: 5.0}, verbose=0, shuffle=False)


class OwnParts(keras.losses.Loss):
    """A loss of one's own whose attributes have the names of ours."""

    def __init__(self, parts):
        super().__init__()
        self.parts, self.loss = parts, keras.losses.Dice()

    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred, axis=(1, 2, 3))


@pytest.mark.parametrize("parts", [3, [Dice(), Dice()]])
def test_a_loss_of_ones_own_is_not_opened(parts):
    assert kseg.compile(network(), loss=OwnParts(parts)).compiled


ON_LOGITS = [
    "kl_divergence",
    "binary_crossentropy",
    keras.metrics.SparseCategoricalCrossentropy(),
    keras.metrics.Precision(),
    keras.metrics.AUC(),
    keras.metrics.SparseCategoricalAccuracy(name="acc_of_mine"),
]


@pytest.mark.parametrize("metric", ON_LOGITS, ids=str)
def test_metrics_of_probabilities_are_refused_for_logits(metric):
    with pytest.raises(ValueError, match="of Keras"):
        kseg.compile(network(), metrics=[metric])


@pytest.mark.parametrize(
    "metric",
    [
        keras.metrics.BinaryIoU(),
        keras.metrics.Mean(name="x_accuracy"),
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        keras.metrics.AUC(from_logits=True),
    ],
    ids=str,
)
def test_metrics_that_fit_are_taken(metric):
    assert kseg.compile(network(), metrics=[metric]).compiled


def test_without_void_the_accuracy_of_keras_is_right():
    metric = keras.metrics.SparseCategoricalAccuracy()
    assert kseg.compile(network(), ignore_class=None, metrics=[metric]).compiled
    assert kseg.compile(network(), metrics="accuracy").compiled


def test_several_labels_want_a_loss_that_says_so():
    model = network(3)
    with pytest.raises(ValueError, match="says it by an attribute of that name"):
        kseg.compile(model, multilabel=True, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    own = OwnParts(3)
    own.multilabel = True
    kseg.compile(model, multilabel=True, loss=own)
    assert kseg.predict(model, IMAGES[0]).shape == (12, 12, 3)


def test_the_loss_tells_predict_what_compile_was_told():
    model = kseg.compile(untold(), activation="sigmoid")
    expected = np.asarray(model(IMAGES[:1].astype("float32")))[0, ..., 0] > 0.5
    np.testing.assert_array_equal(kseg.predict(model, IMAGES[0]), expected)
