"""The pool with holes against plain loops."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.layers import AtrousPooling2D


def pooled(x, size, rate, begin, mode):
    """Look at every pixel of every window; those outside do not count."""
    result = np.empty_like(x)
    height, width = x.shape[1:3]
    for row in range(height):
        for column in range(width):
            rows = [row + tap * rate - begin[0] for tap in range(size[0])]
            columns = [column + tap * rate - begin[1] for tap in range(size[1])]
            seen = [x[:, r, c] for r in rows if 0 <= r < height for c in columns if 0 <= c < width]
            result[:, row, column] = np.max(seen, axis=0) if mode == "max" else np.mean(seen, axis=0)
    return result


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    rate=st.integers(1, 4),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    first=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    mode=st.sampled_from(["max", "average"]),
)
def test_equals_plain_loops(height, width, rate, size, first, mode):
    x = -np.random.default_rng(height * 10 + width).integers(0, 6, (2, height, width, 3)).astype("float32")
    begin = tuple(rate * min(f, s - 1) for f, s in zip(first, size, strict=True))
    layer = AtrousPooling2D(size, rate, begin, mode)
    np.testing.assert_allclose(layer(x), pooled(x, size, rate, begin, mode), rtol=1e-5)


@pytest.mark.parametrize("mode", ["max", "average"])
def test_without_holes_it_is_the_pool_of_keras(mode):
    x = np.random.default_rng(0).normal(size=(1, 7, 5, 2)).astype("float32")
    kind = keras.layers.MaxPooling2D if mode == "max" else keras.layers.AveragePooling2D
    expected = kind(3, strides=1, padding="same")(x)
    np.testing.assert_allclose(AtrousPooling2D(3, begin=1, mode=mode)(x), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["max", "average"])
def test_open_sizes_mixed_precision_and_saving(mode, tmp_path):
    image = keras.Input((None, None, 2))
    model = keras.Model(image, AtrousPooling2D(3, 4, 4, mode, dtype="mixed_float16")(image))
    x = np.random.default_rng(0).normal(size=(1, 3, 6, 2)).astype("float32")
    assert model(x).dtype == "float16"
    np.testing.assert_allclose(model(x), pooled(x, (3, 3), 4, (4, 4), mode), atol=2e-3)
    model.save(tmp_path / "pool.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "pool.keras").predict(x, verbose=0), model(x)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mode": "maximum"}, "did you mean 'max'"), ({"dilation_rate": 2, "begin": 1}, "multiple of dilation")],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AtrousPooling2D(3, **arguments)
