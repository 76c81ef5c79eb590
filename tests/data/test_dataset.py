"""What a dataset knows after transformations, against what it then gives."""

import copy
import inspect
import weakref

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.callbacks import ExactResume, StopOnDivergence, TrainingDiverged
from kseg.callbacks.stopping import files_of
from kseg.data import class_weights, from_directory, shapes
from kseg.data.sampling import sample_evenly

ITEMS = {"epochs", "image_paths", "mask_paths"}
CLASSES = {"class_names", "num_classes"}
ALL = {*CLASSES, *ITEMS, "batch_size"}
NAMES = ["sky", "road", "car"]
BATCHES, SINGLES = 4, None


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Ten pictures, each of one grey of its own, and masks of three classes."""
    root = tmp_path_factory.mktemp("greys")
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((8, 8, 3), 20 * number, "uint8")).save(root / f"train/images/{number}.png")
        Image.fromarray(np.full((8, 8), number % 3, "uint8")).save(root / f"train/masks/{number}.png")
    return root


def of_files(root, batch_size=BATCHES, shuffle=True):
    return from_directory(root, batch_size=batch_size, shuffle=shuffle, class_names=NAMES)


def unordered():
    options = tf.data.Options()
    options.deterministic = False
    return options


def with_buffers():
    options = tf.data.Options()
    options.autotune.enabled = True
    return options


def grouped(dataset):
    return dataset.group_by_window(lambda *_: tf.constant(0, tf.int64), lambda _, group: group, window_size=2)


def same(image, mask):
    return image, mask


WITHOUT_ITEMS = {*CLASSES, "batch_size"}
# transformation, batch size before, what is known after, batch size after
CASES = {
    "prefetch": (lambda d: d.prefetch(2), BATCHES, ALL, 4),
    "map": (lambda d: d.map(same, num_parallel_calls=4), BATCHES, ALL, 4),
    "map in any order": (lambda d: d.map(same, 4, deterministic=False), BATCHES, WITHOUT_ITEMS, 4),
    "map by position": (lambda d: d.map(same, 4, False), BATCHES, WITHOUT_ITEMS, 4),
    "with_options": (lambda d: d.with_options(with_buffers()), BATCHES, ALL, 4),
    "any order": (lambda d: d.with_options(unordered()), BATCHES, WITHOUT_ITEMS, 4),
    "scan": (lambda d: d.scan(0, lambda n, element: (n + 1, element)), BATCHES, ALL, 4),
    "apply": (lambda d: d.apply(lambda e: e.map(same).prefetch(1)), BATCHES, ALL, 4),
    "apply take": (lambda d: d.apply(lambda e: e.take(1)), BATCHES, WITHOUT_ITEMS, 4),
    "apply unseen": (lambda d: d.apply(tf.data.experimental.assert_cardinality(2)), BATCHES, CLASSES, None),
    "cache": (lambda d: d.cache(), BATCHES, WITHOUT_ITEMS, 4),
    "shuffle": (lambda d: d.shuffle(3), BATCHES, WITHOUT_ITEMS, 4),
    "filter": (lambda d: d.filter(lambda *_: True), BATCHES, WITHOUT_ITEMS, 4),
    "take": (lambda d: d.take(1), BATCHES, WITHOUT_ITEMS, 4),
    "skip": (lambda d: d.skip(1), BATCHES, WITHOUT_ITEMS, 4),
    "repeat": (lambda d: d.repeat(2), BATCHES, WITHOUT_ITEMS, 4),
    "shard": (lambda d: d.shard(2, 0), BATCHES, WITHOUT_ITEMS, 4),
    "take_while": (lambda d: d.take_while(lambda *_: True), BATCHES, WITHOUT_ITEMS, 4),
    "ignore_errors": (lambda d: d.ignore_errors(), BATCHES, WITHOUT_ITEMS, 4),
    "concatenate": (lambda d: d.concatenate(d.skip(1)), BATCHES, WITHOUT_ITEMS, 4),
    "concatenate another": (lambda d: d.concatenate(d.rebatch(3)), BATCHES, CLASSES, None),
    "batch": (lambda d: d.batch(3), SINGLES, ALL, 3),
    "batch, last left out": (lambda d: d.batch(3, drop_remainder=True), SINGLES, ALL, 3),
    "batch in any order": (
        lambda d: d.batch(3, num_parallel_calls=2, deterministic=False),
        SINGLES,
        WITHOUT_ITEMS,
        3,
    ),
    "padded_batch": (lambda d: d.padded_batch(3), SINGLES, ALL, 3),
    "batch of a tensor": (lambda d: d.batch(tf.constant(3, tf.int64)), SINGLES, CLASSES, None),
    "batch of batches": (lambda d: d.batch(2), BATCHES, CLASSES, None),
    "ragged_batch": (lambda d: d.ragged_batch(2), SINGLES, CLASSES, None),
    "shuffle singles": (lambda d: d.shuffle(9).batch(5), SINGLES, WITHOUT_ITEMS, 5),
    "unbatch": (lambda d: d.unbatch(), BATCHES, ALL, None),
    "unbatch and batch": (lambda d: d.unbatch().batch(2), BATCHES, ALL, 2),
    "unbatch singles": (lambda d: d.unbatch(), SINGLES, CLASSES, None),
    "rebatch": (lambda d: d.rebatch(2), BATCHES, ALL, 2),
    "rebatch by turns": (lambda d: d.rebatch([1, 2]), BATCHES, CLASSES, None),
    "window": (lambda d: d.window(2), BATCHES, CLASSES, None),
    "flat_map": (
        lambda d: d.flat_map(lambda *batch: tf.data.Dataset.from_tensors(batch)),
        BATCHES,
        CLASSES,
        None,
    ),
    "interleave": (
        lambda d: d.interleave(lambda *batch: tf.data.Dataset.from_tensor_slices(batch)),
        BATCHES,
        CLASSES,
        None,
    ),
    "group_by_window": (grouped, BATCHES, CLASSES, None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.slow_after(40)
def test_a_transformation_passes_on_what_stays_true(root, case, shuffle):
    transform, batch_size, known, batch_size_after = CASES[case]
    dataset = transform(of_files(root, batch_size, shuffle))
    assert isinstance(dataset, tf.data.Dataset)
    assert {name for name in ALL if hasattr(dataset, name)} == known
    assert (dataset.class_names, dataset.num_classes) == (NAMES, 3)
    if "batch_size" in known:
        assert dataset.batch_size == batch_size_after
        if batch_size_after is not None:
            assert max(len(images) for images, _ in dataset) == batch_size_after
    if not known >= ITEMS:
        return
    of_batches = dataset.batch(1) if batch_size_after is None else dataset
    for epoch in (dataset.epochs.next, dataset.epochs.next + 1):
        for number, (images, _) in enumerate(of_batches.as_numpy_iterator()):
            greys = [20 * int(path[-5]) for path in files_of(of_batches, epoch, number)]
            assert images[:, 0, 0, 0].tolist() == greys


def test_no_transformation_is_forgotten():
    others = {
        "as_numpy_iterator",
        "cardinality",
        "fingerprint",
        "get_single_element",
        "options",
        "reduce",
        "save",
    }
    for name in dir(tf.data.Dataset):
        attribute = inspect.getattr_static(tf.data.Dataset, name)
        if (
            not name.startswith("_")
            and not isinstance(attribute, staticmethod | property)
            and name not in others
        ):
            assert name in vars(type(shapes(1))), f"what does a dataset know after .{name}()?"


def test_to_ask_for_what_is_lost_names_the_transformation_and_the_mend(root):
    dataset = of_files(root).map(same).cache().shuffle(4).prefetch(1)
    message = (
        r"image_paths is not known after \.cache\(\): every epoch then repeats .*dataset before \.cache\(\)"
    )
    with pytest.raises(AttributeError, match=message):
        dataset.image_paths  # noqa: B018 - the lookup is what is tested
    with pytest.raises(AttributeError, match=r"mask_paths is not known: the dataset was made without"):
        shapes(1).mask_paths  # noqa: B018
    with pytest.raises(AttributeError, match="'SegmentationDataset' object has no attribute 'colour'"):
        dataset.colour  # noqa: B018
    assert getattr(dataset, "epochs", None) is None


def test_datasets_of_other_classes_share_no_names(root):
    both = of_files(root).concatenate(
        shapes(4, (32, 32), batch_size=4).map(lambda i, m: (i[:, :8, :8], m[:, :8, :8]))
    )
    assert both.batch_size == 4
    with pytest.raises(
        AttributeError, match=r"class_names is not known after \.concatenate\(\): it is \['sky'"
    ):
        both.class_names  # noqa: B018


def test_what_the_user_sets_is_passed_on(root):
    dataset = of_files(root).cache()
    dataset.class_names, dataset.num_classes, dataset.image_paths = ["a", "b"], 2, ["x.png"]
    after = dataset.map(same)
    assert (after.class_names, after.num_classes, after.image_paths) == (["a", "b"], 2, ["x.png"])
    assert of_files(root).class_names == NAMES


def test_datasets_made_by_tensorflow_alone_know_nothing(root):
    dataset = of_files(root)
    for other in (
        tf.data.Dataset.zip((dataset, dataset)),
        tf.data.Dataset.from_tensor_slices([1, 2]).map(abs),
    ):
        assert not any(hasattr(other, name) for name in ALL)


def test_it_is_a_dataset_as_any_other(root, tmp_path):
    dataset = of_files(root, shuffle=False)
    plain = dataset._inputs()[0]
    assert (len(dataset), dataset.cardinality(), dataset.element_spec) == (3, 3, plain.element_spec)
    assert bool(dataset) and dataset.options().deterministic == plain.options().deterministic
    expected = list(plain.as_numpy_iterator())
    dataset.save(str(tmp_path / "saved"))
    reduced = tf.function(
        lambda d: d.reduce(0.0, lambda total, batch: total + tf.reduce_sum(tf.cast(batch[0], tf.float32)))
    )
    assert reduced(dataset) == sum(images.sum() for images, _ in expected)
    for other in (dataset, copy.copy(dataset), tf.data.Dataset.load(str(tmp_path / "saved"))):
        for batch, wanted in zip(other.as_numpy_iterator(), expected, strict=True):
            assert all(map(np.array_equal, batch, wanted))
    assert copy.copy(dataset).class_names == NAMES
    assert weakref.ref(dataset)() is dataset


@pytest.mark.parametrize("devices", [None, ["CPU:0", "CPU:1"]])
def test_fit_evaluate_and_predict_take_it(root, devices):
    strategy = kseg.strategy(devices)
    dataset = of_files(root, shuffle=False).map(same).cache()
    if devices:
        images = [
            tf.concat(strategy.experimental_local_results(images), 0)
            for images, _ in strategy.experimental_distribute_dataset(dataset)
        ]
        assert sum(map(len, images)) == 10
    with strategy.scope():
        model = kseg.compile(kseg.build_conv_stack(3, depth=1, filters=2))
    history = model.fit(dataset, validation_data=dataset.take(1), epochs=2, shuffle=False, verbose=0).history
    assert len(history["val_loss"]) == 2 and np.isfinite(history["loss"]).all()
    assert model.evaluate(dataset, verbose=0, return_dict=True)["loss"] > 0
    assert model.predict(dataset, verbose=0).shape == (10, 8, 8, 3)


@pytest.mark.parametrize(
    "change", [lambda d: d, lambda d: d.take(2), lambda d: d.cache().prefetch(1), lambda d: d.map(same)]
)
def test_names_and_weights_are_found_after_transformations(root, change):
    dataset = change(of_files(root, shuffle=False))
    assert class_weights(dataset) == class_weights(change(of_files(root, shuffle=False)), num_classes=3)
    model = kseg.build_conv_stack(3, depth=1, filters=2)
    assert kseg.evaluate(model, dataset).class_names == NAMES
    greys = [int(image[0, 0, 0]) for image, _ in sample_evenly(dataset, 2)]
    assert greys == [0, 20 * (sum(len(images) for images, _ in dataset) - 1)]


@pytest.mark.parametrize("change", [lambda d: d.cache(), lambda d: d.shuffle(2), lambda d: d.repeat()])
def test_what_draws_anew_cannot_be_resumed_exactly(root, tmp_path, change):
    with pytest.raises(
        ValueError, match=r"dataset cannot be set to an epoch.*after \.\w+\(\).*let kseg\.data shuffle"
    ):
        ExactResume(tmp_path, change(of_files(root)))
    plain = tf.data.Dataset.from_tensor_slices([1])
    with pytest.raises(ValueError, match=r"dataset cannot be set to an epoch.*has no attribute 'epochs'"):
        ExactResume(tmp_path, plain)
    ExactResume(tmp_path, of_files(root).map(same))
    ExactResume(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [(lambda d: d.map(same), True), (lambda d: d.cache(), False), (lambda d: d._inputs()[0], False)],
)
def test_a_diverged_training_names_the_files_that_are_known(root, change, named):
    dataset = change(of_files(root))
    model = kseg.compile(kseg.build_conv_stack(3, depth=1, filters=2))
    model.get_layer("logits").bias.assign([np.nan] * 3)
    with pytest.raises(TrainingDiverged, match="the loss is nan") as caught:
        model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks=[StopOnDivergence(dataset)])
    assert ("its pictures: " in str(caught.value)) == named
    assert str(caught.value).count(".png") == (4 if named else 0)


def test_pictures_that_shrink_stay_pictures(root):
    def halved(image, mask):
        return tf.image.resize(image, (4, 4)), mask[::2, ::2]

    singles = of_files(root, batch_size=None, shuffle=False)
    assert singles.map(halved).batch_size is None
    assert singles.map(halved).batch(2).batch_size == 2
    batches = of_files(root, shuffle=False).map(lambda i, m: (tf.image.resize(i, (4, 4)), m))
    assert batches.batch_size == of_files(root, shuffle=False).batch_size


def test_a_batch_that_grew_has_no_batch_size_any_more(root):
    def doubled(images, masks):
        return tf.concat([images, images], 0), tf.concat([masks, masks], 0)

    dataset = of_files(root, shuffle=True)
    size = dataset.batch_size
    assert dataset.map(same).batch_size == size
    with pytest.raises(
        AttributeError, match=r"after \.map\(\): its elements then hold another number of pictures"
    ):
        dataset.map(doubled).batch_size  # noqa: B018 - the lookup is what is tested
