"""Losses by name."""

import keras
import numpy as np
import pytest

import kseg
from kseg import losses
from kseg.losses.base import MaskLoss
from kseg.training.named_losses import list_losses, named_loss

NAMES = ["boundary", "cross_entropy", "dice", "focal", "jaccard", "lovasz", "ohem_cross_entropy", "tversky"]
OVER_PIXELS = {"cross_entropy", "focal", "ohem_cross_entropy"}
WEIGHTS = [1.0, 2.0, 0.5]


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    mask = rng.choice([0, 1, 2, 255], (2, 16, 16))
    return mask, rng.normal(size=(2, 16, 16, 3)).astype("float32")


def test_every_loss_has_its_own_name():
    assert list_losses() == NAMES
    for name in NAMES:
        assert named_loss(name).name == name
    kinds = {kind for kind in map(losses.__dict__.get, losses.__all__) if issubclass(kind, MaskLoss)}
    assert {type(named_loss(name)) for name in NAMES} == kinds


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_several_are_the_sum_of_each(batch, weights):
    values = [
        float(named_loss(name, class_weights=weights if name in OVER_PIXELS else None)(*batch))
        for name in NAMES
    ]
    assert all(np.isfinite(values))
    np.testing.assert_allclose(
        float(named_loss(NAMES, class_weights=weights)(*batch)), sum(values), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("names", "weighted"),
    [
        (["focal", "dice", "lovasz"], [True, False, False]),
        (["dice", "ohem_cross_entropy"], [False, True]),
        (["dice"], [True]),  # they would be for nothing else
        (["boundary", "tversky"], [True, True]),
    ],
)
def test_class_weights_are_for_losses_over_pixels_where_there_are_any(names, weighted):
    total = named_loss(names, class_weights=WEIGHTS)
    parts = [part for part, _ in getattr(total, "parts", [(total, 1.0)])]
    assert [part.class_weights is not None for part in parts] == weighted


def test_labels_that_a_pixel_has_several_of(batch):
    target = (batch[1] > 0).astype("int32")
    total = named_loss(["cross_entropy", "dice"], multilabel=True)
    parts = losses.CrossEntropy(multilabel=True), losses.Dice(multilabel=True)
    expected = sum(float(part(target, batch[1])) for part in parts)
    np.testing.assert_allclose(float(total(target, batch[1])), expected, rtol=1e-6)


def test_auxiliary_heads_train_with_the_sum(batch):
    mask, scores = batch
    model = kseg.build_ddrnet(3, filters=2, aux_heads=True)
    kseg.compile(model, loss=named_loss(["cross_entropy", "tversky"]))
    assert isinstance(model.loss, losses.Auxiliary)
    both = np.stack([scores, scores[::-1]], axis=-1)
    total = named_loss(["cross_entropy", "tversky"])
    expected = float(total(mask, scores)) + 0.4 * float(total(mask, scores[::-1]))
    np.testing.assert_allclose(float(model.loss(mask, both)), expected, rtol=1e-6)


def test_it_survives_a_file(batch):
    loss = named_loss(["cross_entropy", "dice"], class_weights=WEIGHTS)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(loss(*batch)) == float(again(*batch))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("CrossEntropy", "unknown loss 'CrossEntropy'; did you mean 'cross_entropy'"),
        (["dice", "lovaz"], "unknown loss 'lovaz'; did you mean 'lovasz'"),
        (["dice+focal"], "unknown loss 'dice\\+focal'"),
        ([], "loss must be names of losses, each once"),
        (["dice", "focal", "dice"], "each once, got \\['dice', 'focal', 'dice'\\]"),
    ],
)
def test_what_is_no_name_is_refused(names, words):
    with pytest.raises(ValueError, match=words):
        named_loss(names)
