import keras
import numpy as np
import pytest

from kseg import build_ddrnet
from kseg.models.ddrnet import dappm


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((360, 480), {"low3": (23, 30), "low4": (12, 15), "low_last": (6, 8), "high_last": (45, 60)}),
        ((1, 70), {"low3": (1, 5), "low_last": (1, 2), "high_last": (1, 9)}),
    ],
)
def test_stages_round_up(size, sizes):
    model = build_ddrnet(2, (*size, 3), filters=2)
    outputs = {layer.name: layer.output.shape[1:3] for layer in model.layers}
    for stage, expected in sizes.items():
        last = f"{stage}_block2_add" if stage[-1].isdigit() else f"{stage}_add"
        assert outputs[last] == expected


def normalized(x, weights):
    gamma, beta, mean, variance = weights
    return np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)


def convolved(x, kernel):
    size = len(kernel)
    padded = np.pad(x, [(size // 2,) * 2] * 2 + [(0, 0)])
    height, width = x.shape[:2]
    return sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(size) for j in range(size))


def averaged(x, window):
    """Means over windows at half their stride, zeros beyond the border counted."""
    if window is None:
        return x.mean((0, 1), keepdims=True)
    pad, stride = window // 2, window // 2
    padded = np.pad(x, [(pad, pad)] * 2 + [(0, 0)])
    rows, columns = (-(-side // stride) for side in x.shape[:2])
    result = np.zeros((rows, columns, x.shape[2]))
    for i in range(rows):
        for j in range(columns):
            part = padded[i * stride : i * stride + window, j * stride : j * stride + window]
            result[i, j] = part.sum((0, 1)) / window**2
    return result


def resized(x, size):
    """Bilinear with half-pixel centres, restated."""
    axes = []
    for old, new in zip(x.shape[:2], size, strict=True):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        axes.append((low, np.minimum(low + 1, old - 1), at - low))
    (top, bottom, down), (left, right, along) = axes
    rows = x[top] * (1 - down)[:, None, None] + x[bottom] * down[:, None, None]
    return rows[:, left] * (1 - along)[:, None] + rows[:, right] * along[:, None]


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 3), (12, 15)])
def test_dappm_is_its_equation(size):
    rng = np.random.default_rng(0)
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, dappm(inputs, 4, 5, name="dappm"))
    for weight in model.weights:
        value = rng.normal(size=weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    x = rng.normal(size=(*size, 6)).astype("float32")

    def step(x, name):
        norm, conv = model.get_layer(f"dappm_{name}_norm"), model.get_layer(f"dappm_{name}")
        return convolved(normalized(x, norm.get_weights()), conv.get_weights()[0])

    y = [step(x, "scale0")]
    for number, window in enumerate((5, 9, 17, None), start=1):
        pooled = resized(step(averaged(x, window), f"scale{number}"), size)
        y.append(step(pooled + y[-1], f"scale{number}_fuse"))
    expected = step(np.concatenate(y, -1), "compress") + step(x, "shortcut")
    got = model(x[None])[0]
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_both_fusions_read_what_the_other_branch_was_before():
    model = build_ddrnet(2, (64, 64, 3), filters=2)
    low, high = (model.get_layer(f"fusion3_{branch}") for branch in ("low", "high"))
    read = {tensor._keras_history.operation.name for tensor in (*low.input, *high.input)}
    assert read == {"low3_block2_add", "fusion3_down1_norm", "high3_block2_add", "fusion3_up_resize"}
    assert model.get_layer("fusion3_down1_in_relu").input is high.input[0]
    assert model.get_layer("fusion3_up_in_relu").input is low.input[0]


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match=r"unknown variant '23-slm'; did you mean '23-slim'\?"):
        build_ddrnet(19, variant="23-slm")
