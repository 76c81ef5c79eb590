import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.inference import load, open_model

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 56, 3)).astype("uint8")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return kseg.build_unet(3, filters=4)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model.save(folder / "model.keras")
    kseg.export_saved_model(model, folder / "saved")
    kseg.export_tflite(model, folder / "model.tflite", input_size=(40, 56))
    return [folder / "model.keras", folder / "saved", folder / "model.tflite"]


def expected_mask(model, image=IMAGE):
    return np.argmax(model(image[None].astype("float32"), training=False)[0], -1)


def test_all_kinds_of_file_give_the_mask_of_the_model(model, files):
    for source in (model, *files):
        mask = kseg.predict(source, IMAGE)
        assert mask.dtype == "uint8"
        np.testing.assert_array_equal(mask, expected_mask(model))


def test_a_path_is_read_as_the_array_is(model, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(kseg.predict(model, tmp_path / "a.png"), kseg.predict(model, IMAGE))
    np.testing.assert_array_equal(kseg.predict(model, Image.fromarray(IMAGE)), kseg.predict(model, IMAGE))


def test_a_fixed_size_file_gives_the_mask_at_the_pictures_size(files):
    assert kseg.predict(files[2], np.zeros((31, 77, 3), "uint8")).shape == (31, 77)


def test_a_file_written_anew_is_opened_anew(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    before = open_model(path)
    assert open_model(path) is before
    kseg.build_unet(3, filters=4).save(path)
    assert open_model(path) is not before


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_channel_is_class_one_above_the_threshold(activation, tmp_path):
    model = kseg.build_conv_stack(1, (16, 16, 3), depth=1, filters=4, activation=activation)
    image = RNG.integers(0, 256, (16, 16, 3)).astype("uint8")
    scores = np.asarray(model(image[None].astype("float32"), training=False))[0, ..., 0]
    expected = (scores > (0 if activation is None else 0.5)).astype("uint8")
    kseg.export_tflite(model, tmp_path / "one.tflite")
    kseg.export_saved_model(model, tmp_path / "one")
    for source in (model, tmp_path / "one.tflite", tmp_path / "one"):
        np.testing.assert_array_equal(kseg.predict(source, image), expected)


def test_grey_model_takes_a_grey_array():
    model = kseg.build_conv_stack(2, (None, None, 1), depth=1, filters=4)
    assert kseg.predict(model, np.zeros((9, 11), "uint8")).shape == (9, 11)


@pytest.mark.filterwarnings("ignore:.*neither a class nor void")
def test_evaluate_equals_numpy_and_the_metric(model):
    images = RNG.integers(0, 256, (5, 40, 56, 3)).astype("uint8")
    masks = RNG.integers(0, 3, (5, 40, 56)).astype("int32")
    masks[:, :4] = 255
    masks[0, 10, 10] = 9  # neither a class nor void
    dataset = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    result = kseg.evaluate(model, dataset, class_names=["a", "b", "c"])
    predicted = np.stack([expected_mask(model, image) for image in images])
    for index in range(3):
        true, hit = masks == index, (predicted == index) & (masks < 3)
        assert result.class_iou[index] == pytest.approx((true & hit).sum() / (true | hit).sum())
    metric = kseg.metrics.MeanIoU(3)
    metric.update_state(masks, predicted)
    assert result.mean_iou == pytest.approx(float(metric.result()))
    assert result.pixels_outside == 1
    assert result.pixel_accuracy == pytest.approx((masks == predicted)[masks < 3].mean())
    assert "mean IoU" in str(result) and "1 pixels outside" in str(result)


def test_evaluate_compares_at_the_size_of_the_masks(files):
    dataset = tf.data.Dataset.from_tensors(
        (np.zeros((1, 31, 77, 3), "uint8"), np.zeros((1, 31, 77), "int32"))
    )
    assert kseg.evaluate(files[2], dataset).matrix.sum() == 31 * 77


def test_an_absent_class_is_no_part_of_the_mean():
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    result = kseg.evaluation.Evaluation(matrix, ["a", "b", "c"])
    assert np.isnan(result.class_iou[2])
    assert result.mean_iou == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert "n/a" in str(result)


def test_evaluate_refuses_an_empty_dataset(model):
    dataset = tf.data.Dataset.from_tensor_slices((np.zeros((0, 8, 8, 3)), np.zeros((0, 8, 8)))).batch(1)
    with pytest.raises(ValueError, match="the dataset is empty"):
        kseg.evaluate(model, dataset)


def broken_files(folder):
    (folder / "cut.keras").write_bytes(b"PK\x03\x04 cut short")
    (folder / "noise.tflite").write_bytes(bytes(range(256)) * 8)
    (folder / "empty_folder").mkdir()
    (folder / "model.h5").write_bytes(b"x")
    return {
        "cut.keras": "no complete .keras archive",
        "noise.tflite": "LiteRT cannot load this file",
        "empty_folder": "no SavedModel",
        "model.h5": "not a .keras file",
    }


def test_broken_files_are_named(tmp_path):
    for name, message in broken_files(tmp_path).items():
        with pytest.raises(ValueError, match=message) as caught:
            kseg.predict(tmp_path / name, IMAGE)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_tflite_files_are_errors_and_no_crashes(files, tmp_path):
    content = files[2].read_bytes()
    path = tmp_path / "damaged.tflite"
    for length in np.linspace(0, len(content) - 1, 20).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"damaged\.tflite: ") as caught:
            kseg.predict(path, IMAGE)
        assert "export it again" in str(caught.value) and "\n" not in str(caught.value)
    for seed in range(12):  # flips in the structure: some crash the interpreter, some do no harm
        flipped = bytearray(content)
        for place in np.random.default_rng(seed).integers(len(content) * 9 // 10, len(content), 12):
            flipped[place] ^= 1 << seed % 8
        path.write_bytes(flipped)
        try:
            assert kseg.predict(path, IMAGE).shape == IMAGE.shape[:2]
        except ValueError as error:
            assert "damaged.tflite" in str(error)


def test_a_tflite_file_is_held_against_the_digest_in_its_report(files, tmp_path):
    path = tmp_path / "rotten.tflite"
    content = bytearray(files[2].read_bytes())
    shutil.copy(files[2].with_name("model.tflite.json"), tmp_path / "rotten.tflite.json")
    path.write_bytes(content)
    assert kseg.predict(path, IMAGE).shape == IMAGE.shape[:2]
    content[len(content) // 2] ^= 64  # a weight
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"rotten\.tflite: is not the file that rotten\.tflite\.json describes"
    ):
        kseg.predict(path, IMAGE)


def test_a_missing_model_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.keras: no such file"):
        kseg.predict("nowhere.keras", IMAGE)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.keras: no such file"):
        load("nowhere.keras")


def test_code_in_a_model_file_is_refused(tmp_path):
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match=r"code\.keras: Keras cannot load this model"):
        load(tmp_path / "code.keras")


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8)), np.zeros((8, 8, 4)), np.full((8, 8, 3), np.nan), np.zeros((0, 8, 3))]
)
def test_wrong_pictures_are_refused(model, image):
    with pytest.raises(ValueError, match="image must"):
        kseg.predict(model, image)


def test_a_model_without_pictures_is_refused():
    with pytest.raises(ValueError, match="expected"):
        kseg.predict(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), IMAGE)


def test_a_model_that_scores_the_middle_alone_is_refused(tmp_path):
    model = kseg.build_unet(2, padding="valid", filters=2)
    with pytest.raises(ValueError, match="scores the middle of its picture alone"):
        kseg.predict(model, np.zeros((188, 188, 3), "uint8"))
    with pytest.raises(ValueError, match="validation_data is missing"):
        kseg.export_saved_model(model, tmp_path / "saved")
    picture = np.zeros((1, 188, 188, 3), "uint8")
    assert kseg.export_saved_model(model, tmp_path / "saved", validation_data=[picture]).same_class == 1


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("crf", [False, {"iterations": 2}])
def test_probabilities_sum_to_one_and_decide_the_classes(activation, crf):
    keras.utils.set_random_seed(0)
    model = kseg.build_conv_stack(3, depth=1, filters=4, activation=activation)
    image = np.random.default_rng(0).integers(0, 256, (12, 17, 3)).astype("uint8")
    found = kseg.predict(model, image, crf=crf, output_kind="probabilities")
    assert found.shape == (12, 17, 3) and found.dtype == "float32"
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(-1), kseg.predict(model, image, crf=crf))
    if not crf:
        scores = np.asarray(model(image[None].astype("float32")))[0].astype("float64")
        exponents = np.exp(scores - scores.max(-1, keepdims=True))
        expected = scores if activation else exponents / exponents.sum(-1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_channel_gives_the_probabilities_of_two_classes():
    model = kseg.build_conv_stack(1, depth=1, filters=4)
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype("uint8")
    found = kseg.predict(model, image, output_kind="probabilities")
    logits = np.asarray(model(image[None].astype("float32")))[0, ..., 0]
    np.testing.assert_allclose(found[..., 1], 1 / (1 + np.exp(-logits)), atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_an_unknown_output_kind_is_named():
    model = kseg.build_conv_stack(2, depth=1, filters=4)
    with pytest.raises(ValueError, match="unknown output_kind 'probs'; did you mean 'probabilities'"):
        kseg.predict(model, np.zeros((4, 4, 3)), output_kind="probs")
