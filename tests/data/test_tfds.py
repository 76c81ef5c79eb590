"""`kseg.data.from_tfds` on small data sets that the tests make."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import kseg
from kseg.data.tfds import KNOWN

COUNT = 7


def pair(index, channels=3):
    """Return the picture and the mask of an example: its number is in both."""
    rng = np.random.default_rng(index)
    mask = rng.integers(1, 4, (12, 16, 1)).astype("uint8")
    image = rng.integers(0, 256, (12, 16, channels)).astype("uint8")
    image[0, 0], mask[0, 0] = index, 1 + index % 3
    return image, mask


class Trimaps(tfds.core.GeneratorBasedBuilder):
    """Pictures and masks of 1 to 3."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        features = tfds.features.FeaturesDict({"image": image, "segmentation_mask": mask})
        keys = ("image", "segmentation_mask")
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=keys)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "test": self._generate_examples(100)}

    def _generate_examples(self, first):
        for index in range(first, first + COUNT):
            image, mask = pair(index)
            yield index, {"image": image, "segmentation_mask": mask}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    builder = Trimaps(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare()
    return builder


ONE_TO_THREE = {1: 0, 2: 1, 3: 2}


@pytest.mark.parametrize("form", ["builder", "folder", "supervised", "keys"])
def test_every_example_comes_once_with_its_own_mask(builder, form):
    source = str(builder.data_dir) if form == "folder" else builder
    options = {"supervised": {"as_supervised": True}}.get(form, {})
    if form == "keys":
        options = {"image_key": "image", "mask_key": "segmentation_mask"}
    data = kseg.data.from_tfds(source, batch_size=None, shuffle=False, label_map=ONE_TO_THREE, **options)
    assert (data.class_names, data.num_classes, data.channels) == (["class 0", "class 1", "class 2"], 3, 3)
    seen = set()
    for image, mask in data.as_numpy_iterator():
        index = int(image[0, 0, 0])
        expected, ids = pair(index)
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(mask, ids[..., 0].astype(int) - 1)
        seen.add(index)
    assert seen == set(range(COUNT))


@pytest.mark.parametrize("split", ["train[:3]", "train[3:]", "train[50%:]", "train+test", "test", "all"])
def test_splits_are_those_of_tfds(builder, split):
    mine = kseg.data.from_tfds(builder, split, batch_size=None, shuffle=False, label_map=ONE_TO_THREE)
    images = [image for image, _ in mine.as_numpy_iterator()]
    theirs = [each["image"] for each in tfds.as_numpy(builder.as_dataset(split=split))]
    assert {image.tobytes() for image in images} == {image.tobytes() for image in theirs}
    assert len(images) == len(theirs)


def test_epochs_are_shuffled_whole_and_again_the_same(builder):
    def epochs():
        data = kseg.data.from_tfds(builder, batch_size=2, seed=3, label_map=ONE_TO_THREE)
        return [[image[:, 0, 0, 0].tolist() for image, _ in data.as_numpy_iterator()] for _ in range(2)]

    first, second = epochs()
    assert first != second and [first, second] == epochs()
    assert len({index for batch in first for index in batch}) == 6  # the last, smaller batch is left out


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_files_of_other_kinds(tmp_path, file_format):
    other = Trimaps(data_dir=tmp_path, file_format=file_format)
    other.download_and_prepare()
    data = kseg.data.from_tfds(other, batch_size=None, shuffle=False, label_map=ONE_TO_THREE)
    images = {image.tobytes() for image, _ in data.as_numpy_iterator()}
    assert images == {pair(index)[0].tobytes() for index in range(COUNT)}


def test_damage_inside_a_picture_names_its_example(tmp_path):
    broken = Trimaps(data_dir=tmp_path)
    broken.download_and_prepare()
    (path,) = (path for path in tmp_path.rglob("*train.tfrecord*"))
    content = bytearray(path.read_bytes())
    place = content.index(b"IDAT") + 40
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"train, example 0: is damaged"):
        list(kseg.data.from_tfds(broken, batch_size=None, shuffle=False, class_names="abcd"))


class Copied(tfds.core.GeneratorBasedBuilder):
    """Pictures and masks whose files TFDS takes as they are: palette masks, grey and transparent pictures."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None
    folder = None

    _info = Trimaps._info

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for name in ("L", "RGBA", "GIF"):
            yield (
                name,
                {"image": self.folder / f"{name}.jpg", "segmentation_mask": self.folder / f"{name}.png"},
            )


def test_files_that_are_taken_as_they_are(tmp_path):
    ids = (np.arange(12).reshape(3, 4) % 3).astype("uint8")
    palette = Image.fromarray(ids, mode="P")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 80, 0])
    grey = Image.fromarray(ids * 50)
    for image in (grey, palette):
        image.getexif()[274] = 6  # TensorFlow turns neither
    for name, image, kind in (
        ("L", grey, "PNG"),
        ("RGBA", grey.convert("RGBA"), "PNG"),
        ("GIF", grey, "GIF"),
    ):
        image.save(tmp_path / f"{name}.jpg", format=kind, exif=grey.getexif())
        palette.save(tmp_path / f"{name}.png", exif=grey.getexif())
    builder = Copied(data_dir=tmp_path / "tfds")
    builder.folder = tmp_path
    builder.download_and_prepare()
    data = kseg.data.from_tfds(builder, batch_size=None, shuffle=False)
    for image, mask in data.as_numpy_iterator():
        np.testing.assert_array_equal(image, np.repeat(ids[..., None] * 50, 3, -1))
        np.testing.assert_array_equal(mask, ids)
    assert data.epochs.count == 3


def test_the_known_fix_of_the_pets(builder, monkeypatch):
    monkeypatch.setattr(type(builder.info), "name", "oxford_iiit_pet")
    data = kseg.data.from_tfds(builder, batch_size=None, shuffle=False)
    assert data.class_names == ["pet", "background", "border"]
    assert {id for _, mask in data.as_numpy_iterator() for id in np.unique(mask)} == {0, 1, 2}
    turned = kseg.data.from_tfds(builder, label_map={1: 1, 2: 0, 3: 255}, batch_size=None)
    assert turned.class_names == ["class 0", "class 1"]  # not those of the ids before


def test_it_trains(builder):
    crops = kseg.data.from_tfds(
        builder, augment=kseg.data.augment((8, 8)), batch_size=2, label_map=ONE_TO_THREE
    )
    model = kseg.build_conv_stack(crops.num_classes, depth=1, filters=4)
    kseg.compile(model, steps=3)
    losses = model.fit(crops, epochs=1, verbose=0, shuffle=False).history["loss"]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "trian"}, "did you mean 'train'"),
        ({"image_key": "imag"}, "did you mean 'image'"),
        ({"mask_key": "mask"}, "segmentation_mask"),
        ({"class_names": ["a", "b"]}, "outside 0..1"),
        ({"split": "train+tset"}, "did you mean 'test'"),
        ({"split": "train[7"}, "split 'train.7': "),
        ({"label_map": {"1": 0}}, "label_map must be"),
    ],
)
def test_what_does_not_fit_is_named(builder, options, words):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=words):
        for _ in kseg.data.from_tfds(builder, **{"batch_size": None, "shuffle": False, **options}):
            pass


def test_an_id_that_is_no_class_names_its_example(builder):
    data = kseg.data.from_tfds(builder, batch_size=None, shuffle=False, class_names=["a", "b"])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"trimaps/1.0.0, train, example 0: class ids \["
    ):
        next(data.as_numpy_iterator())


def test_a_name_is_corrected_and_a_missing_data_set_tells_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'oxford_iiit_pet'"):
        kseg.data.from_tfds("oxford_iit_pet", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="download=True"):
        kseg.data.from_tfds("oxford_iiit_pet", data_dir=tmp_path)


def test_of_many_known_names_the_nearest_are_told(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'oxford_pets'") as caught:
        kseg.data.from_tfds("oxford_pets", data_dir=tmp_path)
    assert len(str(caught.value)) < 400 and "oxford_iiit_pet" in str(caught.value)


def test_ids_that_begin_with_1_are_told_with_their_map(builder):
    map_of_three = re.escape("ids begin with 1; map them by label_map={1: 0, 2: 1, 3: 2}")
    with pytest.warns(UserWarning, match=rf"trimaps/1.0.0, train: {map_of_three}"):
        assert kseg.data.from_tfds(builder).num_classes == 4
    assert kseg.data.from_tfds(builder, class_names="abcd").num_classes == 4
    assert kseg.data.from_tfds(builder, label_map=ONE_TO_THREE).num_classes == 3


class Spread(Trimaps):
    """Masks of 60, 120 and 180."""

    def _generate_examples(self, first):
        for index, example in super()._generate_examples(first):
            yield index, {**example, "segmentation_mask": 60 * example["segmentation_mask"]}


def test_ids_with_gaps_are_refused_with_their_map(tmp_path):
    spread = Spread(data_dir=tmp_path)
    spread.download_and_prepare()
    words = re.escape("ids are [60, 120, 180], with gaps; map them by label_map={60: 0, 120: 1, 180: 2}")
    with pytest.raises(ValueError, match=f"spread/1.0.0, train: {words}, or give class_names"):
        kseg.data.from_tfds(spread)


class Labelled(tfds.core.GeneratorBasedBuilder):
    """Pictures of 16 bits with a class each, and no masks."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
        label = tfds.features.ClassLabel(num_classes=2)
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": [(0, {"image": np.zeros((4, 4, 1), "uint16"), "label": 1})]}

    def _generate_examples(self):
        return ()


def test_a_data_set_without_masks_or_of_deep_pictures_says_so(tmp_path):
    builder = Labelled(data_dir=tmp_path)
    builder.download_and_prepare()
    with pytest.raises(ValueError, match="labelled: which features are picture and mask is not clear"):
        kseg.data.from_tfds(builder)
    with pytest.raises(ValueError, match="'image' holds uint16"):
        kseg.data.from_tfds(builder, image_key="image", mask_key="image")


def test_the_train_ids_of_cityscapes():
    label_map, names = KNOWN["cityscapes"]
    kept = {old: new for old, new in label_map.items() if new != 255}
    assert len(names) == 19 and sorted(kept.values()) == list(range(19))
    # of the data set's own table: road, building, car, bicycle; unlabeled, caravan
    assert (kept[7], kept[11], kept[26], kept[33]) == (0, 2, 13, 18)
    assert label_map[0] == label_map[29] == 255


@pytest.mark.slow
def test_the_example_runs(builder, tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "examples" / "train_on_tfds.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.CROP = (16, 16)
    # four classes: this data set is unknown, so its ids 1 to 3 stay as they are
    monkeypatch.setattr(sys, "argv", [path.name, str(builder.data_dir), "--epochs", "1"])
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="ids begin with 1"):
        example.main()
    assert (tmp_path / "tfds.tflite").stat().st_size > 1000
