"""Windows: a pointwise model tiled equals the whole, weights equal a plain restatement, seams stay local."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.inference import open_predictor, windows
from kseg.inference.windows import Windows, run_windows, whole_map

SIDES = st.tuples(st.integers(1, 50), st.integers(1, 50))
OVERLAPS = st.sampled_from([0, 0.1, 0.25, 0.5, 0.75, 0.9])
BLENDS = st.sampled_from(["gaussian", "mean", "nearest"])


def pixels(size, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype="uint8")


def pointwise(images):
    images = images.astype("float32")
    return np.stack([images[..., 0] * 2 - images[..., 1], images.sum(-1), np.sin(images[..., 2])], -1)


def model_of(num_classes=3, input_shape=(None, None, 3), **arguments):
    keras.utils.set_random_seed(1)
    return kseg.build_conv_stack(num_classes, input_shape, depth=1, filters=4, **arguments)


@given(SIDES, SIDES, OVERLAPS, BLENDS, st.integers(1, 4), st.sampled_from([1, 600, 2**28]))
@settings(deadline=None)
def test_a_pointwise_model_by_windows_equals_the_whole_exactly(size, side, overlap, blend, batch_size, kept):
    picture, before = pixels(size), windows._KEPT
    result, times = np.full((*size, 3), np.nan, "float32"), np.zeros(size, int)
    windows._KEPT = kept  # so that wide pictures fall into panels
    try:
        tiling = Windows(side, overlap, blend)
        for region, part in run_windows(
            pointwise, picture.__getitem__, size, tiling, pixel_bytes=12, batch_size=batch_size
        ):
            result[region] = part
            times[region] += 1
    finally:
        windows._KEPT = before
    assert (times == 1).all()
    np.testing.assert_array_equal(result, pointwise(picture))


@given(SIDES, SIDES, OVERLAPS, st.sampled_from(["gaussian", "mean"]), st.sampled_from([1, 600, 2**28]))
@settings(deadline=None)
def test_windows_are_averaged_by_weights_that_sum_to_one(size, side, overlap, blend, kept):
    picture, before = pixels(size, 1), windows._KEPT
    windows._KEPT = kept
    values = iter(np.random.default_rng(2).normal(size=100_000))
    seen = {}

    def by_content(images):  # one value for each window, the same where a panel runs it again
        return np.stack(
            [
                np.full((*each.shape[:2], 1), seen.setdefault(each.tobytes(), next(values)), "float32")
                for each in images
            ]
        )

    try:
        tiling, found = Windows(side, overlap, blend), np.zeros(size)
        parts = run_windows(by_content, picture.__getitem__, size, tiling, pixel_bytes=4)
        for region, part in parts:
            found[region] = part[..., 0]
        padded = np.pad(
            picture, [(0, max(0, w - s)) for w, s in zip(side, size, strict=True)] + [(0, 0)], "reflect"
        )
        total, weights = np.zeros(padded.shape[:2]), np.zeros(padded.shape[:2])
        axes = [(np.arange(length) + 0.5) / length - 0.5 for length in side]
        curves = [
            np.maximum(np.exp(-32 * axis**2), 1e-3) if blend == "gaussian" else axis * 0 + 1 for axis in axes
        ]
        tops, lefts = tiling.starts(size)
        for top in tops:
            for left in lefts:
                here = np.s_[top : top + side[0], left : left + side[1]]
                total[here] += np.outer(*curves) * by_content(padded[here][None])[0, 0, 0, 0]
                weights[here] += np.outer(*curves)
    finally:
        windows._KEPT = before
    np.testing.assert_allclose(found, (total / weights)[: size[0], : size[1]], atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 60), OVERLAPS)
def test_windows_cover_a_picture_and_overlap_as_asked(length, side, overlap):
    starts = Windows((side, side), overlap).starts((length, length))[0]
    assert starts[0] == 0
    assert starts[-1] == max(0, length - side)
    steps = np.diff(starts)
    assert (steps <= max(1, side * (1 - overlap) + 1e-6)).all()
    assert (steps > 0).all()


def test_seams_of_a_unet_lie_within_its_sight_and_a_gaussian_makes_them_smaller():
    keras.utils.set_random_seed(3)
    model = kseg.build_unet(3, filters=2)
    picture = pixels((384, 384), seed=5)
    sight = 110  # pixels to each side, of the 200 in all that `kseg.costs` tells, and a pool's more
    whole = kseg.predict(model, picture, output_kind="probabilities")

    def differences(side, **options):
        found = kseg.predict(model, picture, window=(side, side), output_kind="probabilities", **options)
        return np.abs(found - whole).max(-1)

    one_seam = differences(192, overlap=0, blend="mean")
    far = np.abs(np.arange(384) - 191.5) > sight
    assert one_seam[np.ix_(far, far)].max() < 1e-5 < one_seam.max() / 100
    gaussian, mean = (differences(192, overlap=0.5, blend=blend).mean() for blend in ("gaussian", "mean"))
    assert gaussian < mean < one_seam.mean()


@pytest.mark.parametrize("kind", ["classes", "probabilities", "confidence"])
def test_a_file_of_fixed_size_runs_over_a_larger_picture(kind, tmp_path):
    model = model_of(input_shape=(16, 24, 3))
    kseg.export_tflite(model, tmp_path / "m.tflite")
    picture = pixels((45, 50))
    for path in (model, tmp_path / "m.tflite"):
        found = kseg.predict(path, picture, window="auto", output_kind=kind)
        assert found.shape[:2] == (45, 50)
    left = kseg.predict(model, picture[:16, :24], output_kind=kind)
    found = kseg.predict(model, picture, window="auto", overlap=0, output_kind=kind)
    np.testing.assert_allclose(found[:10, :10], left[:10, :10], atol=1e-5)  # seen by the first window alone


@pytest.mark.parametrize("size", [(3, 5), (1, 40), (16, 24), (90, 7)])
def test_pictures_smaller_than_a_window_just_work(size):
    picture = pixels(size)
    fixed, free = model_of(input_shape=(16, 24, 3)), model_of()
    assert kseg.predict(fixed, picture, window="auto").shape == size
    assert kseg.predict(fixed, picture, window=(64, 64)).shape == size
    whole = kseg.predict(free, picture)
    np.testing.assert_array_equal(kseg.predict(free, picture, window=(200, 200)), whole)


def test_ids_alone_are_taken_from_the_window_whose_middle_is_nearest(tmp_path):
    model = model_of(input_shape=(16, 16, 3))
    kseg.export_tflite(model, tmp_path / "ids.tflite", output_kind="classes")
    picture = pixels((40, 40))
    found = kseg.predict(tmp_path / "ids.tflite", picture, window="auto")

    def run(part):
        return open_predictor(model).runner.ids(part)[..., None]

    expected = whole_map(run, picture, Windows((16, 16), 0.5, "nearest"))[..., 0]
    assert (found == expected).mean() > 0.999
    with pytest.raises(ValueError, match="class ids alone"):
        kseg.predict(tmp_path / "ids.tflite", picture, output_kind="confidence")
    with pytest.raises(ValueError, match="class ids alone"):
        kseg.predict(tmp_path / "ids.tflite", picture, tta="flip")


def test_several_labels_and_one_channel_go_through_windows():
    picture = pixels((40, 50))
    for model in (model_of(1), model_of(3, activation="sigmoid")):
        several = model.output_shape[-1] == 3
        options = {"multilabel": several or None, "window": (200, 200)}
        for kind in ("classes", "probabilities", "confidence"):
            expected = kseg.predict(model, picture, output_kind=kind, multilabel=several or None)
            found = kseg.predict(model, picture, output_kind=kind, **options)
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_dark_part_of_a_bright_float_picture_is_no_picture_of_another_scale():
    picture = np.zeros((64, 64, 3), "float32")
    picture[40:] = 255
    picture[:16] = 1.5
    assert kseg.predict(model_of(), picture, window=(16, 16)).shape == (64, 64)
    with pytest.raises(ValueError, match="multiply by 255"):
        kseg.predict(model_of(), picture[:16], window=(16, 16))


def test_a_picture_that_is_too_large_goes_to_windows_by_itself_and_says_so(monkeypatch):
    monkeypatch.setattr("kseg.inference.predictor._LARGEST_MAP", 4 * 16 * 300 * 300)
    model, picture = model_of(), pixels((300, 301))
    assert kseg.predict(model, picture[:, :300]).shape == (300, 300)
    with pytest.warns(UserWarning, match="301×300 pixels is too large.*704×704; window="):
        found = kseg.predict(model, picture)
    np.testing.assert_array_equal(found, kseg.predict(model, picture, window=(300, 301)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 1}, r"overlap must be .* in \[0, 1\), got 1"),
        ({"overlap": -0.1}, "overlap must be"),
        ({"overlap": "half"}, "overlap must be"),
        ({"overlap": float("nan")}, "overlap must be"),
        ({"window": (0, 4)}, r"window must be \(H, W\)"),
        ({"window": 64}, r"window must be \(H, W\)"),
        ({"window": "large"}, "window must be None, 'auto'"),
        ({"window": (8, 8), "blend": "gausian"}, "did you mean 'gaussian'"),
        ({"blend": "nearest"}, "unknown blend"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        kseg.predict(model_of(), pixels((20, 20)), **options)


def test_scores_in_a_window_that_are_not_finite_are_an_error():
    model = model_of()
    model.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match="not finite"):
        kseg.predict(model, pixels((40, 40)), window=(16, 16))
