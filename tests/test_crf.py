"""The dense CRF against a plain restatement, closed forms, noise and real pictures."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import binary_dilation

import kseg
from kseg.crf.lattice import enclosing_simplices, number_distinct
from kseg.data.shapes import scene
from kseg.metrics import Confusion, iou_of

DEFAULTS = {
    "smoothness_weight": 3.0,
    "smoothness_xy": 3.0,
    "appearance_weight": 10.0,
    "appearance_xy": 80.0,
    "appearance_rgb": 13.0,
}


def softmax(scores):
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def noisy(mask, classes, seed=0, confidence=2.0):
    """Return probabilities whose logits are normal noise, and more for the class of the mask."""
    noise = np.random.default_rng(seed).normal(0, 1, (*mask.shape, classes))
    return softmax(noise + confidence * np.eye(classes)[mask]).astype("float32")


def gaussian(features):
    """Return the kernel of `(N, d)` features over all pairs, divided by the roots of its sums."""
    difference = features[:, None, :] - features[None, :, :]
    kernel = np.exp(-np.einsum("ijd,ijd->ij", difference, difference) / 2)
    degree = np.diag(kernel.sum(0) ** -0.5)
    return degree @ kernel @ degree


def mean_field(probabilities, image, iterations, parameters):
    """Return the field after each iteration: algorithm 1 of the paper, equation by equation, in float64."""
    height, width, classes = probabilities.shape
    y, x = np.unravel_index(np.arange(height * width), (height, width))
    place = np.stack([x, y], -1).astype("float64")
    colour = image.reshape(height * width, -1) / parameters["appearance_rgb"]
    smooth = gaussian(place / parameters["smoothness_xy"])
    bilateral = gaussian(np.concatenate([place / parameters["appearance_xy"], colour], -1))
    unary = -np.log(np.clip(probabilities.reshape(-1, classes).astype("float64"), 1e-5, 1))
    potts = 1 - np.eye(classes)
    field, fields = softmax(-unary), []
    for _ in range(iterations):
        message = parameters["smoothness_weight"] * (smooth @ field)
        message += parameters["appearance_weight"] * (bilateral @ field)
        field = softmax(-unary - message @ potts)
        fields.append(field.reshape(height, width, classes))
    return fields


def picture(kind, size, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (*size, channels)).astype("uint8")
    y, x = np.mgrid[: size[0], : size[1]]
    if kind == "smooth":
        ramps = [255 * x / size[1], 255 * y / size[0], 255 * (x + y) / sum(size)]
        return np.stack(ramps, -1).astype("float32")
    return scene(seed, size)[0]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_exact_is_the_plain_mean_field_at_every_iteration(data):
    size = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    classes, channels = data.draw(st.integers(2, 7)), data.draw(st.integers(1, 4))
    parameters = {
        "smoothness_weight": data.draw(st.sampled_from([0.0, 1.0, 3.0])),
        "smoothness_xy": data.draw(st.floats(0.5, 5)),
        "appearance_weight": data.draw(st.sampled_from([0.0, 4.0, 10.0])),
        "appearance_xy": data.draw(st.floats(2, 100)),
        "appearance_rgb": data.draw(st.floats(2, 60)),
    }
    image = picture("noise", size, channels)
    mask = (np.arange(size[1]) * classes // size[1]) * np.ones((size[0], 1), "int64")
    probabilities = noisy(mask, classes)
    for number, expected in enumerate(mean_field(probabilities, image, 5, parameters), start=1):
        refined = kseg.dense_crf(probabilities, image, iterations=number, exact=True, **parameters)
        assert refined.dtype == "float32"
        np.testing.assert_allclose(refined, expected, atol=1e-4)


def test_exact_is_the_plain_mean_field_on_a_larger_picture():
    image, mask = picture("scene", (32, 48)), scene(0, (32, 48))[1] % 5
    probabilities = noisy(mask, 5)
    for number, expected in enumerate(mean_field(probabilities, image, 5, DEFAULTS), start=1):
        refined = kseg.dense_crf(probabilities, image, iterations=number, exact=True)
        np.testing.assert_allclose(refined, expected, atol=1e-4)


def test_smoothness_alone_is_exact_but_for_its_cut():
    size = (37, 50)
    probabilities = noisy(np.zeros(size, "int64"), 3, confidence=0.5)
    for deviation in (0.3, 1.0, 3.0, 20.0):  # 20: the kernel is wider than the picture
        arguments = {"smoothness_xy": deviation, "appearance_weight": 0, "iterations": 1}
        np.testing.assert_allclose(
            kseg.dense_crf(probabilities, picture("noise", size), **arguments),
            kseg.dense_crf(probabilities, picture("noise", size), exact=True, **arguments),
            atol=1e-3,
        )


# Picture, deviations, and bounds: mean |difference| to the exact field after 1 and 5 iterations, share of
# other arg-maxima. A narrow kernel on a ramp is the hard case: corners that the blur needs are not there.
LATTICE = [
    ("scene", 80, 13, (0.003, 0.003), 0.01),
    ("scene", 67, 3, (0.008, 0.008), 0.02),
    ("smooth", 80, 13, (0.005, 0.01), 0.03),
    ("smooth", 67, 3, (0.04, 0.06), 0.15),
    ("noise", 80, 13, (0.02, 0.05), 0.12),
    ("noise", 67, 3, (0.005, 0.01), 0.03),
]


@pytest.mark.parametrize(("kind", "xy", "rgb", "means", "share"), LATTICE)
def test_the_lattice_is_near_the_exact_kernel(kind, xy, rgb, means, share):
    image, mask = picture(kind, (40, 56)), scene(3, (40, 56), 1)[1] % 6
    probabilities = noisy(mask, 6)
    for iterations, bound in zip((1, 5), means, strict=True):
        arguments = {"iterations": iterations, "appearance_xy": xy, "appearance_rgb": rgb}
        refined = kseg.dense_crf(probabilities, image, **arguments)
        exact = kseg.dense_crf(probabilities, image, exact=True, **arguments)
        assert abs(refined - exact).mean() < bound
    assert (refined.argmax(-1) != exact.argmax(-1)).mean() < share


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_pixel_is_the_weighted_mean_of_the_corners_around_it(dimensions, pixels, seed):
    features = np.random.default_rng(seed).normal(0, 20, (dimensions, pixels)).astype("float32")
    basis = np.eye(dimensions + 1, dtype="int64")
    corners = []
    for form in basis[:-1]:  # a key that is one of the coordinates
        keys, weights = enclosing_simplices(features, form)
        corners.append(keys)
        assert weights.min() > -1e-5
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    corners = np.stack(corners)  # (d, d + 1, n)
    remainders = corners % (dimensions + 1)
    np.testing.assert_array_equal(remainders, np.arange(dimensions + 1)[None, :, None] + 0 * remainders)
    placed = np.einsum("dkn,nk->dn", corners.astype("float64"), weights)
    # the columns of the paper's matrix E (section 3.1), each as long as the blur's deviation asks
    expected = np.zeros((dimensions + 1, pixels))
    for axis in range(dimensions):
        column = np.r_[np.ones(axis + 1), -(axis + 1), np.zeros(dimensions - axis - 1)]
        column *= np.sqrt(2 / 3) * (dimensions + 1) / np.linalg.norm(column)
        expected += column[:, None] * features[axis]
    np.testing.assert_allclose(placed, expected[:-1], atol=1e-2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_keys_are_numbered_as_by_sorting(count, kinds, seed):
    rng = np.random.default_rng(seed)
    keys = rng.integers(-(2**63), 2**63 - 1, kinds)[rng.integers(0, kinds, count)]
    keys[keys % 3 == 0] = keys[0] & -1024  # many keys that want the same slot
    distinct, numbers = number_distinct(keys.copy())
    np.testing.assert_array_equal(np.sort(distinct), np.unique(keys))
    np.testing.assert_array_equal(distinct[numbers], keys)


def test_every_pixel_far_from_every_other_is_filtered_alone():
    image = picture("noise", (40, 50))
    probabilities = noisy(np.zeros((40, 50), "int64"), 3)
    arguments = {"smoothness_weight": 0, "appearance_rgb": 0.05, "iterations": 1}
    refined = kseg.dense_crf(probabilities, image, **arguments)
    np.testing.assert_allclose(
        refined, softmax(np.log(np.clip(probabilities, 1e-5, 1)) + 10 * probabilities), atol=1e-4
    )


def test_equal_probabilities_stay_equal():
    probabilities = np.full((21, 30, 5), 0.2, "float32")
    refined = kseg.dense_crf(probabilities, picture("noise", (21, 30)))
    np.testing.assert_allclose(refined, 0.2, atol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_one_step_on_constant_input_is_its_closed_form(exact):
    constant = np.array([0.2, 0.5, 0.3])
    probabilities = np.broadcast_to(constant, (18, 25, 3))
    image = np.full((18, 25, 3), 90, "uint8")
    refined = kseg.dense_crf(probabilities, image, iterations=1, exact=exact)
    y, x = np.divmod(np.arange(18 * 25), 25)
    place = np.stack([x, y], -1)
    sums = 3 * gaussian(place / 3).sum(1) + 10 * gaussian(place / 80).sum(1)
    expected = softmax(np.log(constant) + sums.reshape(18, 25, 1) * constant)
    np.testing.assert_allclose(refined, expected, atol=1e-5 if exact else 1e-2)
    assert np.all(kseg.dense_crf(probabilities, image).argmax(-1) == 1)


def test_wrong_labels_on_a_picture_of_two_colours_are_mended():
    truth = np.zeros((60, 80), "int64")
    truth[20:45, 30:60] = 1
    image = np.where(truth[..., None], [200, 40, 40], [30, 90, 160]).astype("uint8")
    wrong = np.random.default_rng(0).random(truth.shape) < 0.25
    probabilities = np.where((truth ^ wrong)[..., None] == [0, 1], 0.7, 0.3)
    np.testing.assert_array_equal(kseg.dense_crf(probabilities, image).argmax(-1), truth)


def test_classes_may_come_in_any_order():
    probabilities, image = noisy(scene(1, (40, 56))[1] % 6, 6), picture("scene", (40, 56), seed=1)
    order = np.random.default_rng(0).permutation(6)
    refined = kseg.dense_crf(probabilities, image)
    np.testing.assert_allclose(
        kseg.dense_crf(probabilities[..., order], image), refined[..., order], atol=1e-4
    )
    np.testing.assert_allclose(refined.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("classes", [3, 4, 5, 9])
def test_classes_that_are_nowhere_change_nothing(classes):
    image = picture("scene", (40, 56), seed=1)
    two = noisy(scene(1, (40, 56))[1] % 2, 2)
    more = np.concatenate([two, np.zeros((40, 56, classes - 2), "float32")], -1)
    refined = kseg.dense_crf(more, image)
    np.testing.assert_allclose(refined[..., :2], kseg.dense_crf(two, image), atol=1e-3)


def test_heavy_weights_do_not_overflow():
    probabilities, image = noisy(scene(1, (40, 56))[1] % 3, 3), picture("scene", (40, 56), seed=1)
    refined = kseg.dense_crf(probabilities, image, appearance_weight=1e4, smoothness_weight=1e4)
    np.testing.assert_allclose(refined.sum(-1), 1, atol=1e-5)


def test_grey_and_many_channels_are_pictures_too():
    probabilities = noisy(np.zeros((20, 30), "int64"), 2)
    for channels in (1, 2, 6):
        image = picture("noise", (20, 30), channels)
        exact = kseg.dense_crf(probabilities, image, appearance_rgb=60, exact=True)
        assert abs(kseg.dense_crf(probabilities, image, appearance_rgb=60) - exact).mean() < 0.02


def test_inputs_are_left_as_they_are():
    probabilities, image = noisy(np.zeros((20, 30), "int64"), 4), picture("noise", (20, 30))
    before = probabilities.copy(), image.copy()
    kseg.dense_crf(probabilities, image)
    np.testing.assert_array_equal(probabilities, before[0])
    np.testing.assert_array_equal(image, before[1])


GOOD = noisy(np.zeros((8, 10), "int64"), 3)
IMAGE = picture("noise", (8, 10))


@pytest.mark.parametrize(
    ("probabilities", "image", "arguments", "message"),
    [
        (GOOD[0], IMAGE, {}, "probabilities must be"),
        (GOOD[..., :1], IMAGE, {}, "one channel p becomes two"),
        (GOOD[:0], IMAGE[:0], {}, "probabilities must be"),
        (GOOD, IMAGE[:-1], {}, r"image must be \(8, 10, 3\).*got \(7, 10, 3\)"),
        (GOOD, IMAGE[..., 0], {}, "image must be"),
        (GOOD, IMAGE.astype("float32") * 2, {}, "image must hold pixel values 0–255"),
        (GOOD, np.full(IMAGE.shape, np.nan), {}, "image must hold pixel values 0–255"),
        (GOOD * np.nan, IMAGE, {}, "sum to 1 at each pixel"),
        (GOOD * 1.5, IMAGE, {}, "sum to 1 at each pixel.*apply a softmax"),
        (np.log(GOOD), IMAGE, {}, "apply a softmax to logits"),
        (GOOD * [1, 1, 1] + [-1, 0.5, 0.5], IMAGE, {}, "probabilities must be 0 or more"),
        (GOOD, IMAGE, {"iterations": 0}, "iterations must be an int of 1 or more"),
        (GOOD, IMAGE, {"iterations": 2.5}, "iterations must be an int of 1 or more"),
        (GOOD, IMAGE, {"smoothness_weight": -1}, "smoothness_weight must be"),
        (GOOD, IMAGE, {"appearance_weight": np.nan}, "appearance_weight must be"),
        (GOOD, IMAGE, {"smoothness_xy": 0}, "smoothness_xy is a standard deviation"),
        (GOOD, IMAGE, {"appearance_xy": -3}, "appearance_xy is a standard deviation"),
        (GOOD, IMAGE, {"appearance_rgb": 1e-4}, "appearance_rgb=0.0001 is too small"),
        (GOOD, IMAGE, {"appearance_rgb": "3"}, "appearance_rgb is a standard deviation"),
    ],
)
def test_wrong_arguments_are_named(probabilities, image, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        kseg.dense_crf(probabilities, image, **arguments)
    assert "\n" not in str(caught.value)


def test_integer_probabilities_are_refused():
    with pytest.raises(TypeError, match="probabilities must be floats, got dtype int64"):
        kseg.dense_crf(np.ones((8, 10, 3), "int64"), IMAGE)


def test_exact_refuses_pictures_that_would_fill_the_memory():
    with pytest.raises(ValueError, match=r"at most 6144 pixels, got \(100, 100\); use exact=False"):
        kseg.dense_crf(np.full((100, 100, 2), 0.5), np.zeros((100, 100, 3), "uint8"), exact=True)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return kseg.build_unet(3, filters=4)


@pytest.mark.parametrize(
    ("classes", "activation"), [(3, None), (3, "softmax"), (3, "sigmoid"), (1, None), (1, "sigmoid")]
)
@pytest.mark.slow_after(2)
def test_predict_refines_what_the_model_says(classes, activation, tmp_path):
    keras.utils.set_random_seed(0)
    model = kseg.build_conv_stack(classes, (24, 32, 3), depth=2, filters=4, activation=activation)
    image = picture("noise", (24, 32))
    scores = np.asarray(model(image[None].astype("float32"), training=False), "float64")[0]
    if activation is None:
        scores = 1 / (1 + np.exp(-scores)) if classes == 1 else softmax(scores)
    if classes == 1:
        scores = np.concatenate([1 - scores, scores], -1)
    arguments = {"iterations": 2, "appearance_rgb": 20}
    expected = kseg.dense_crf(scores / scores.sum(-1, keepdims=True), image, **arguments).argmax(-1)
    sources = [model]
    if (classes, activation) in ((3, None), (1, "sigmoid")):
        sources += [tmp_path / "a.tflite", tmp_path / "saved"]
        kseg.export_tflite(model, sources[1])
        kseg.export_saved_model(model, sources[2])
    for source in sources:
        mask = kseg.predict(source, image, crf=arguments)
        assert mask.dtype == "uint8"
        assert (mask != expected).mean() < 0.005  # a tie may fall otherwise in float32


def test_predict_refines_a_picture_of_another_size_than_the_models():
    model = kseg.build_conv_stack(3, (24, 32, 3), depth=1, filters=4)
    assert kseg.predict(model, picture("scene", (50, 61)), crf=True).shape == (50, 61)


def test_predict_takes_true_false_or_the_arguments(model):
    image = picture("scene", (40, 56))
    plain, refined = kseg.predict(model, image), kseg.predict(model, image, crf=True)
    np.testing.assert_array_equal(kseg.predict(model, image, crf=False), plain)
    np.testing.assert_array_equal(kseg.predict(model, image, crf={}), refined)
    assert np.any(plain != refined)
    with pytest.raises(ValueError, match="did you mean 'appearance_rgb'"):
        kseg.predict(model, image, crf={"apearance_rgb": 3})
    with pytest.raises(TypeError, match="crf must be True, False or a dict"):
        kseg.predict(model, image, crf="yes")
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\)"):
        kseg.predict(model, image[..., :2], crf=True)


def colour_model():
    """Return a model that knows red from blue where both are pure, and guesses from noise elsewhere."""
    image = keras.Input((None, None, 3))
    red_minus_blue = keras.layers.Conv2D(
        1, 1, use_bias=False, kernel_initializer=keras.initializers.Constant(0)
    )
    scores = red_minus_blue(image)
    red_minus_blue.set_weights([np.array([1.0, 0.0, -1.0]).reshape(1, 1, 3, 1) / 40])
    return keras.Model(image, scores)


def two_colours(count=3, size=(32, 40)):
    """Return pictures of a red rectangle on blue with heavy noise in red and blue; green tells them apart."""
    rng = np.random.default_rng(0)
    masks = np.zeros((count, *size), "int32")
    masks[:, 8:22, 10:30] = 1
    images = np.where(masks[..., None], [150, 60, 110], [110, 140, 150]) + rng.normal(
        0, [50, 3, 50], (*masks.shape, 3)
    )
    masks[:, :3] = 255
    return np.clip(images, 0, 255).astype("uint8"), masks


def test_tuning_finds_parameters_that_help():
    images, masks = two_colours()
    dataset = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    model, seen = colour_model(), []
    search = kseg.tune_crf(
        model,
        dataset,
        pictures=2,
        iterations=3,
        appearance_weight=[1, 10],
        appearance_xy=[20],
        appearance_rgb=[2, 60],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(number, 2 * (4 + 8)) for number in range(1, 25)]
    assert len(search.tried) == 12 and len({tuple(each.items()) for _, each in search.tried}) == 12
    assert [mean for mean, _ in search.tried] == sorted((mean for mean, _ in search.tried), reverse=True)
    assert search.mean_iou > search.mean_iou_without + 0.1
    assert search.parameters["appearance_rgb"] > 10 and search.parameters["appearance_xy"] == 20
    assert "without the CRF" in str(search) and len(str(search).splitlines()) == 14
    counts = {False: Confusion(2), True: Confusion(2)}
    for image, mask in zip(images[:2], masks[:2], strict=True):
        for refined, count in counts.items():
            count.add(mask, kseg.predict(model, image, crf=search.parameters if refined else False))
    assert search.mean_iou_without == pytest.approx(np.nanmean(iou_of(counts[False].matrix)))
    assert search.mean_iou == pytest.approx(np.nanmean(iou_of(counts[True].matrix)))


def test_tuning_names_what_does_not_fit(model):
    scenes = kseg.data.shapes(1, (32, 32))
    with pytest.raises(ValueError, match="the dataset is empty"):
        kseg.tune_crf(model, scenes.take(0))
    with pytest.raises(ValueError, match="appearance_xy must be a list of values"):
        kseg.tune_crf(model, scenes, appearance_xy=80)
    with pytest.raises(ValueError, match="appearance_rgb is a standard deviation"):
        kseg.tune_crf(model, scenes, appearance_rgb=[0, 3])
    with pytest.raises(ValueError, match="pictures must be an int of 1 or more"):
        kseg.tune_crf(model, scenes, pictures=0)


def coarse(mask, classes, seed, stride=32):
    """Return probabilities as a network of output stride 32 might give: blurred at edges, and noisy."""
    truth = np.eye(classes + 1, dtype="float32")[np.minimum(mask, classes)][..., :classes]
    truth += (mask == classes)[..., None] / classes  # void
    height, width = mask.shape
    small = tf.image.resize(truth, (height // stride, width // stride), method="area").numpy()
    scores = tf.image.resize(np.log(small + 0.02), mask.shape).numpy()
    return softmax(scores + np.random.default_rng(seed).normal(0, 1, scores.shape)).astype("float32")


def edges(mask, counted):
    """Return the pixels whose right or lower neighbour has another class, between counted pixels."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= (mask[:, :-1] != mask[:, 1:]) & counted[:, :-1] & counted[:, 1:]
    edge[:-1] |= (mask[:-1] != mask[1:]) & counted[:-1] & counted[1:]
    return edge


def boundary_f(truth, mask, counted, tolerance=3):
    """Return the F-score of edges that lie within `tolerance` pixels of one of the other mask."""
    true, found = edges(truth, counted), edges(mask, counted)
    near = [binary_dilation(each, np.ones((3, 3)), iterations=tolerance) for each in (true, found)]
    precision, recall = (found & near[0]).sum() / found.sum(), (true & near[1]).sum() / true.sum()
    return 2 * precision * recall / (precision + recall)


def test_a_coarse_prediction_on_camvid_gains_at_its_boundaries(camvid):
    counts, scores = {"before": Confusion(11, 11), "after": Confusion(11, 11)}, {"before": [], "after": []}
    for index, path in enumerate(sorted((camvid / "val" / "images").iterdir())[::40]):
        image = np.asarray(Image.open(path))
        mask = np.asarray(Image.open(camvid / "val" / "masks" / f"{path.stem}.png")).astype("int64")
        probabilities = coarse(mask, 11, index)
        refined = kseg.dense_crf(
            probabilities, image, appearance_weight=3, appearance_xy=20, appearance_rgb=6
        )
        for name, each in (("before", probabilities), ("after", refined)):
            counts[name].add(mask, each.argmax(-1))
            scores[name].append(boundary_f(mask, each.argmax(-1), mask < 11))
    iou = {name: np.nanmean(iou_of(count.matrix)) for name, count in counts.items()}
    assert np.mean(scores["after"]) > np.mean(scores["before"]) + 0.1
    assert iou["after"] > iou["before"] + 0.05
