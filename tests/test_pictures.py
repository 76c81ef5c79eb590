"""The door of pictures: what is not 0–255 is refused, or brought there by a range that was stated."""

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import kseg
from kseg.pictures import check_pictures, checked_range, fault_of, in_pixel_range, probes, scaled

RAMP = np.tile(np.linspace(0, 255, 12).round(), (10, 1))[..., None].repeat(3, -1)
WRONG = {
    "0–1": (RAMP / 255).astype("float32"),
    "0–1 in float16": (RAMP / 255).astype("float16"),
    "-1..1": RAMP / 127.5 - 1,
    "16 bits": (RAMP * 257).astype("uint16"),
    "12 bits": (RAMP * 16).astype("int32"),
    "Caffe's means taken off": (RAMP - 104).astype("float32"),
    "0–1 that interpolation exceeds": (RAMP / 250).astype("float32"),
    "signed bytes": (RAMP - 128).astype("int8"),
    "NaN": np.where(RAMP == 255, np.nan, RAMP),
    "infinite": np.where(RAMP == 255, np.inf, RAMP),
    "bool": RAMP > 100,
    "complex": RAMP.astype("complex64"),
}
RIGHT = {
    "uint8": RAMP.astype("uint8"),
    "float32": RAMP.astype("float32"),
    "float16": RAMP.astype("float16"),
    "int64": RAMP.astype("int64"),
    "uint16 of 0–255": RAMP.astype("uint16"),
    "black floats": np.zeros((10, 12, 3), "float32"),
    "dark bytes": np.ones((10, 12, 3), "uint8"),
}


@pytest.fixture(scope="module")
def model():
    return quarters()


def quarters(scale=1.0, offset=0.0):
    """A model whose class is the quarter of the brightness, of pictures `scale * pixels + offset`."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(4, 1)
    out = keras.Model(image, conv(keras.layers.Rescaling(1 / scale, -offset / scale)(image)))
    centres = np.array([(k + 0.5) * 255 / 4 for k in range(4)])
    kernel = np.tile(2 * centres / 3, (3, 1)).reshape(1, 1, 3, 4)
    conv.set_weights([kernel.astype("float32"), -(centres**2).astype("float32")])
    return out


def verbs(model, **stated):
    """Yield what predicts, evaluates and refines, as functions of a picture that return ids."""

    def evaluated(picture):
        right = kseg.predict(model, RAMP.astype("uint8"), **stated)
        score = kseg.evaluate(model, [(picture[None], right[None])], **stated).pixel_accuracy
        return right if score == 1 else right + 1

    yield lambda picture: kseg.predict(model, picture, **stated)
    yield evaluated
    yield lambda picture: kseg.predict(model, picture, crf=True, **stated)


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_0_to_255_is_refused_with_what_was_seen(model, kind):
    for verb in verbs(model):
        with pytest.raises(ValueError, match=r"must hold pixel values 0–255, got|pictures must be numbers"):
            verb(WRONG[kind])
    with pytest.raises(ValueError, match="image must"):
        kseg.dense_crf(np.full((10, 12, 2), 0.5, "float32"), WRONG[kind])


@pytest.mark.parametrize("kind", RIGHT)
def test_values_0_to_255_are_taken_in_any_type(model, kind):
    check_pictures(RIGHT[kind])
    mask = kseg.predict(model, RIGHT[kind])
    np.testing.assert_array_equal(mask, kseg.predict(model, RIGHT[kind].astype("uint8")))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (-127.5, 127.5), (0, 65535)])
def test_a_model_of_another_scale_is_used_by_saying_so(model, low, high):
    other = quarters((high - low) / 255, low)
    for verb, right in zip(verbs(other, input_range=(low, high)), verbs(model), strict=True):
        expected = right(RAMP.astype("uint8"))
        np.testing.assert_array_equal(verb(RAMP.astype("uint8")), expected)
        if high <= 255:
            np.testing.assert_array_equal(verb(RAMP.astype("float32")), expected)
        else:
            with pytest.raises(ValueError, match="can be pixel values 0–255 or on the stated input_range"):
                verb(RAMP.astype("float32"))
    if high <= 1:  # pictures that are on the model's scale already
        on_scale = (RAMP * (high - low) / 255 + low).astype("float32")
        np.testing.assert_array_equal(kseg.predict(other, on_scale, input_range=(low, high)), expected)
        with pytest.raises(ValueError, match="or floats of the stated input_range"):
            kseg.predict(other, 3 * on_scale - 5, input_range=(low, high))


@pytest.mark.parametrize("wrong", [(1, 0), (0, 0), (0, np.nan), (0,), 3, "01", (0, 1, 2), ("a", "b")])
def test_a_range_that_is_none_is_named(model, wrong):
    with pytest.raises(ValueError, match=r"input_range must be \(low, high\)"):
        kseg.predict(model, RAMP.astype("uint8"), input_range=wrong)
    assert checked_range(None) is None and checked_range((0, 1)) == (0.0, 1.0)


@hypothesis.given(
    arrays.arrays(st.sampled_from(["uint8", "uint16", "int16", "float32"]), (2, 3, 1)),
)
def test_bytes_always_pass_and_nothing_passes_that_is_outside(pixels):
    fault = fault_of(pixels)
    inside = bool(np.all((pixels >= 0) & (pixels <= 255)))
    assert not (fault is None and not inside)
    if pixels.dtype.kind in "iu":
        assert (fault is None) == inside


@hypothesis.given(
    arrays.arrays("uint8", (3, 4, 1)), st.sampled_from([(0, 1), (-1, 1), (0, 255), (-128, 127)])
)
def test_both_scales_are_one_picture(pixels, input_range):
    there = scaled(in_pixel_range(pixels), input_range)
    assert there.dtype == "float32"
    assert there.min() >= input_range[0] - 1e-4 and there.max() <= input_range[1] + 1e-4
    if fault_of(there) is not None:
        np.testing.assert_allclose(in_pixel_range(there, input_range), pixels, atol=1e-4)


@pytest.mark.parametrize(("size", "channels"), [(None, 3), ((5, 9), 1)])
def test_probes_are_pictures(size, channels):
    for picture in probes(size, channels):
        check_pictures(picture)
        assert picture.shape == (1, *(size or (64, 64)), channels)


def test_each_picture_of_a_batch_is_judged(model):
    pictures = np.stack([RAMP, RAMP / 255]).astype("float32")
    with pytest.raises(ValueError, match="multiply by 255"):
        kseg.evaluate(model, [(pictures, np.zeros((2, 10, 12), "int32"))])


BOTH = [(-3, 5, (0.5, 4)), (-127.5, 127.5, (0, 120)), (-1, 1, (0, 0))]


@pytest.mark.parametrize(("low", "high", "values"), BOTH)
def test_floats_that_can_be_both_are_refused(low, high, values):
    picture = np.linspace(*values, 12, dtype="float32").reshape(2, 6, 1)
    with pytest.raises(ValueError, match="can be pixel values 0–255 or on the stated"):
        in_pixel_range(picture, (low, high))
    np.testing.assert_array_equal(in_pixel_range(np.zeros((2, 2, 1), "float32"), (0, 1)), 0)


def test_bytes_are_judged_by_their_type_alone_however_dark(model, tmp_path):
    """Nothing that becomes of them on the way is judged again."""
    dark = np.zeros((5, 10, 12, 3), "uint8")
    dark[1:, 3], dark[0] = 1, RAMP
    masks = np.stack([kseg.predict(model, picture) for picture in dark])
    kseg.predict(model, dark[1], crf={"iterations": 1})
    kseg.tune_crf(
        model, (dark, masks), iterations=1, appearance_weight=[3], appearance_xy=[40], appearance_rgb=[3]
    )
    given = {"input_size": (10, 12), "validation_data": (dark, masks)}
    assert kseg.export_tflite(model, tmp_path / "m.tflite", **given).same_class == 1
    given |= {"quantize": "int8", "representative_data": dark}
    kseg.export_tflite(model, tmp_path / "int8.tflite", **given)
    assert kseg.evaluate(tmp_path / "m.tflite", (dark, masks)).pixel_accuracy == 1
