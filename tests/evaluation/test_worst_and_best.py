"""The pictures that an evaluation keeps, and their names."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseg
from kseg.evaluation.counting import Tally
from kseg.evaluation.samples import Samples


def model_of_red(num_classes=2):
    """Return a model that takes for class 1 what is redder than half."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(num_classes, 1)
    model = keras.Model(image, conv(image))
    kernel = np.zeros((1, 1, 3, num_classes))
    kernel[0, 0, 0, 1] = 1 / 16
    bias = np.zeros(num_classes)
    bias[1] = -8
    model.layers[-1].set_weights([kernel, bias])
    return model


def offered(shares, count):
    """Return the `Samples` of pictures of which these shares of ten pixels are right."""
    tally, samples = Tally(2, 255, False, False), Samples(count)
    for index, share in enumerate(shares):
        mask, guess = np.zeros((2, 1, 1, 10), "int32")
        guess[..., share:] = 1
        counted = tally.add(mask, guess, None)
        samples.offer(index, str(index), np.full((1, 10, 3), index % 256, "uint8"), counted, None)
    return samples


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=25), st.integers(1, 10))
def test_the_lowest_and_the_highest_are_kept(shares, count):
    samples = offered(shares, count)
    order = sorted(
        range(len(shares)), key=lambda index: (shares[index] / 20 if shares[index] < 10 else 1, index)
    )
    lowest, highest = count - count // 3, count // 3
    worst = order[:lowest]
    best = order[max(lowest, len(order) - highest) :][::-1]
    assert [sample.name for sample in samples.worst] == [str(index) for index in worst]
    assert [sample.name for sample in samples.best] == [str(index) for index in best]
    assert len(samples._kept) <= count  # however many pictures there are


def test_a_sample_is_what_was_seen():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1, 30, 40, 3)).astype("uint8")
    mask = rng.choice([0, 1, 255], (1, 30, 40)).astype("int32")
    result = kseg.evaluate(model_of_red(), [(picture, mask)], samples=9)
    (sample,) = result.worst
    assert (
        result.best == () and sample.name == "picture 1" and sample.mean_iou == pytest.approx(result.mean_iou)
    )
    on = picture[0, ..., 0] / 16 - 8
    np.testing.assert_array_equal(sample.picture, picture[0])
    np.testing.assert_array_equal(sample.true, np.where(mask[0] == 255, -1, mask[0]))
    np.testing.assert_array_equal(sample.predicted, on > 0)
    np.testing.assert_array_equal(sample.wrong, (mask[0] != 255) & (mask[0] != (on > 0)))
    sure = 1 / (1 + np.exp(-np.abs(on)))
    np.testing.assert_allclose(sample.confidence, sure, atol=1e-5)


def test_large_pictures_are_kept_small():
    picture, mask = np.zeros((1, 1000, 1500, 3), "uint8"), np.zeros((1, 1000, 1500), "int32")
    mask[:, :, 750:] = 1
    (sample,) = kseg.evaluate(model_of_red(), [(picture, mask)], samples=1).worst
    assert sample.picture.shape == (320, 480, 3) and sample.confidence.shape == (320, 480)
    assert sample.true[:, :239].max() == 0 and sample.true[:, 241:].min() == 1
    assert sample.wrong.mean() == pytest.approx(0.5, abs=0.01)


def test_labels_are_shown_by_the_first_that_is_on():
    image = keras.Input((None, None, 2))
    conv = keras.layers.Conv2D(2, 1)
    model = kseg.compile(keras.Model(image, conv(image)), multilabel=True)
    conv.set_weights([np.eye(2)[None, None] / 16, np.full(2, -8.0)])
    picture = np.array([[[[0, 0], [255, 255], [0, 255], [255, 0]]]], "uint8")
    mask = np.array([[[[0, 0], [0, 1], [255, 1], [1, 1]]]], "int32")
    (sample,) = kseg.evaluate(model, [(picture, mask)], samples=1).worst
    assert sample.true.tolist() == [[-1, 1, 1, 0]] and sample.predicted.tolist() == [[-1, 0, 1, 0]]
    assert sample.wrong.tolist() == [[False, True, False, True]]


def test_floats_on_the_scale_of_the_model_are_shown_as_pixels():
    model = model_of_red()
    picture = np.full((1, 4, 4, 3), 0.5, "float32")
    mask = np.zeros((1, 4, 4), "int32")
    (sample,) = kseg.evaluate(model, [(picture, mask)], samples=1, input_range=(0, 1)).worst
    assert np.unique(sample.picture).tolist() in ([127], [128])


@pytest.mark.filterwarnings("ignore:the masks seen so far")
def test_a_picture_of_void_alone_is_no_sample():
    picture, mask = np.zeros((1, 4, 4, 3), "uint8"), np.full((1, 4, 4), 255)
    result = kseg.evaluate(model_of_red(), [(picture, mask), (picture, mask * 0)], samples=3)
    assert [sample.name for sample in (*result.worst, *result.best)] == ["picture 2"]


@pytest.fixture
def folder(tmp_path):
    """Five pictures in two folders, the red of each its number."""
    for index, name in enumerate(["a/one", "a/two", "b/one", "b/x\ny", "b/été"]):
        path = tmp_path / "val" / "images" / f"{name}.png"
        for kind, mode, color in (("images", "RGB", (40 * index, 0, 0)), ("masks", "L", index % 2)):
            path = tmp_path / "val" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (6, 4), color).save(path)
    return tmp_path


@pytest.mark.parametrize(("shuffle", "batch_size"), [(False, 1), (True, 2)])
def test_names_are_those_of_the_files(folder, shuffle, batch_size):
    data = kseg.data.from_directory(
        folder,
        "val",
        images="{split}/images/**/*.png",
        masks="{split}/masks/**/*.png",
        class_names=["a", "b"],
        batch_size=batch_size,
        shuffle=shuffle,
    )
    numbers = {"a/one.png": 0, "a/two.png": 1, "b/one.png": 2, "b/x\ny.png": 3, "b/été.png": 4}
    for _ in range(2):  # another epoch has another order
        result = kseg.evaluate(model_of_red(), data, samples=9)
        shown = {sample.name: sample.picture[0, 0, 0] // 40 for sample in (*result.worst, *result.best)}
        assert shown == {name: numbers[name] for name in result.pictures.names}
        assert len(shown) == (4 if shuffle else 5)  # what is shuffled ends with a whole batch
    sample = result.worst[0]
    areas = result.pictures.areas[result.pictures.names.index(sample.name)]
    assert areas[1].tolist() == [24 * (numbers[sample.name] % 2 == 0), 24 * (numbers[sample.name] % 2)]


def test_pictures_without_files_are_numbered():
    result = kseg.evaluate(model_of_red(6), kseg.data.shapes(3, (32, 32), batch_size=2))
    assert result.pictures.names == ["picture 1", "picture 2", "picture 3"]


@pytest.mark.parametrize("samples", [-1, True, 2.5])
def test_samples_is_a_number_of_pictures(samples):
    with pytest.raises(ValueError, match="samples must be"):
        kseg.evaluate(model_of_red(), [(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4), int))], samples=samples)
