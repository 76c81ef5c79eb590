import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

import kseg

CLASSES = 4
VOID = 255
sizes = hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=7)
ids = st.sampled_from([*range(CLASSES), VOID])
masks = hnp.arrays(st.sampled_from(["uint8", "int32", "int64"]), sizes, elements=ids)
few_values = st.integers(-3, 3).map(float)  # ties are the rule
scores = hnp.arrays("float32", hnp.array_shapes(min_dims=2, max_dims=4, min_side=2), elements=few_values)


@settings(max_examples=50, deadline=None)
@given(masks, st.booleans())
def test_one_hot_has_a_one_at_the_id_and_zeros_at_void(mask, with_last_axis):
    hot = kseg.one_hot(mask[..., None] if with_last_axis else mask, CLASSES)
    np.testing.assert_array_equal(hot, mask[..., None] == np.arange(CLASSES))
    assert hot.dtype == "float32"


@pytest.mark.parametrize(
    ("ignore_class", "expected"),
    [(0, [[0, 0], [0, 1]]), ((0, 1), [[0, 0], [0, 0]]), (None, [[1, 0], [0, 1]])],
)
def test_one_hot_leaves_out_what_ignore_class_names(ignore_class, expected):
    hot = kseg.one_hot(np.array([[0, 1]]), 2, ignore_class=ignore_class)
    np.testing.assert_array_equal(hot, [expected])


def test_one_hot_works_in_a_dataset_of_open_sizes():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([np.array([[1, 255]], "uint8")]), output_signature=tf.TensorSpec((None, None), "uint8")
    )
    (hot,) = dataset.map(lambda mask: kseg.one_hot(mask, 2))
    np.testing.assert_array_equal(hot, [[[0, 1], [0, 0]]])


@pytest.mark.parametrize("mask", [np.zeros((2, 3)), np.full((2, 3), 0.5, "float32")])
def test_one_hot_refuses_fractions(mask):
    with pytest.raises(TypeError, match="integer class ids, got dtype float"):
        kseg.one_hot(mask, 2)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 2), (1, 2, 3, 4, 1)])
def test_one_hot_refuses_what_is_no_mask(shape):
    with pytest.raises(ValueError, match="mask must be ids"):
        kseg.one_hot(np.zeros(shape, "uint8"), 2)


@pytest.mark.parametrize(("mask", "outside"), [([[0, 2, 7]], r"\[2, 7\]"), ([[-1, 255]], r"\[-1\]")])
def test_one_hot_names_the_ids_outside(mask, outside):
    with pytest.raises(ValueError, match=f"ids {outside} outside 0..1"):
        kseg.one_hot(np.array(mask), 2)


@settings(max_examples=50, deadline=None)
@given(scores, st.sampled_from(["float32", "float16", "bfloat16", "int32"]))
def test_to_mask_is_numpys_argmax_with_the_lowest_id_on_ties(scores, dtype):
    mask = kseg.to_mask(ops.cast(scores, dtype))
    np.testing.assert_array_equal(mask, scores.argmax(-1))
    assert mask.dtype == "int32"


def test_to_mask_takes_the_lowest_id_on_ties_when_compiled_too():
    compiled = tf.function(kseg.to_mask, jit_compile=True)
    np.testing.assert_array_equal(compiled(np.array([[0.0, 1.0, 1.0], [2.0, 2.0, 2.0]])), [1, 0])


@pytest.mark.parametrize(("from_logits", "threshold"), [(True, 0.0), (False, 0.5)])
def test_to_mask_of_one_channel_is_class_one_above_the_threshold(from_logits, threshold):
    scores = np.array([[[threshold - 0.1], [threshold], [threshold + 0.1]]], "float32")
    np.testing.assert_array_equal(kseg.to_mask(scores, from_logits=from_logits), [[0, 0, 1]])


def test_to_mask_undoes_one_hot():
    mask = np.random.default_rng(0).integers(0, CLASSES, (2, 5, 7)).astype("uint8")
    np.testing.assert_array_equal(kseg.to_mask(kseg.one_hot(mask, CLASSES)), mask)
