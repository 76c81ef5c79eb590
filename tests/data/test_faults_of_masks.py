"""What is wrong with masks and labels, row by row: it is named with its mend, or read right; files stay."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fault_rows import SIZE, Row, checked, digest, mask, read, sound, try_row
from PIL import Image

import kseg
from kseg.losses import CrossEntropy
from kseg.metrics import ClassIoU, MeanDice, MeanIoU, PixelAccuracy

RED, BLUE, BLACK = (128, 0, 0), (0, 0, 7), (0, 0, 0)
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3))
NAMES = {"class_names": ["background", "crack"]}


def of(ids, **options):
    """Return what writes pairs whose masks hold ids."""
    return lambda root: sound(root, ids=ids, **options) and None


def written(write, suffix="png"):
    """Return what writes pairs whose masks a function of a path writes anew."""

    def make(root):
        for path in list((sound(root) / "masks").iterdir()):
            path.unlink()
            write(path.with_suffix(f".{suffix}"))

    return make


def array(values, dtype):
    return written(lambda path: np.save(path, np.resize(np.array(values, dtype), SIZE)), "npy")


def floats(path):
    Image.fromarray(np.resize(np.array([0, 1 / 255], "float32"), SIZE)).save(path)


def colours(mode, *odd):
    """Return what writes masks of two colours; of the last one a pixel has a third."""

    def make(root):
        pixels = np.zeros((*SIZE, 3), "uint8")
        pixels[:6] = RED
        for path in (sound(root) / "masks").iterdir():
            if odd and path.stem == "b":
                pixels[3, 4] = odd
            Image.fromarray(pixels).convert(mode).save(path)

    return make


def three_equal(mode):
    def make(root):
        for path in (sound(root, ids=(0, 1, 2, 255)) / "masks").iterdir():
            Image.open(path).convert(mode).save(path)

    return make


def jpeg(name):
    def make(root):
        path = sound(root) / "masks/a.png"
        image = Image.open(path)
        image.load()
        path.unlink()
        image.save(path.with_name(name), format="JPEG", quality=95)

    return make


def void_alone(root):
    mask(sound(root, "abc") / "masks/a.png", (255,))


def background_alone(root):
    mask(sound(root, "abcd", ids=(0,)) / "masks/a.png", (0, 1))


def absent(root):
    sound(root, ids=(0, 1))
    sound(root, "cd", "val", ids=(0, 2))


def holds_ids(*ids):
    return lambda pairs: all(np.unique(found).tolist() == sorted(ids) for _, found in pairs)


def same_as(ids):
    """Tell whether masks are ids repeated over their size."""
    return lambda pairs: all((found == np.resize(ids, SIZE)).all() for _, found in pairs)


TWO_COLOURS = {"colors": {"ground": BLACK, "red": RED}}
VOC = (0, 1, 2, 255)

ROWS = [
    Row("B2", colours("RGB"), ("masks/a.png: ", "2 colours", "#800000", "colors=")),
    Row("B2 RGBA", colours("RGBA"), ("masks/a.png: ", "2 colours", "#800000", "colors=")),
    Row("B2 given", colours("RGB"), reads=holds_ids(0, 1), options=TWO_COLOURS),
    Row("B2 unknown", colours("RGB", *BLUE), ("masks/b.png: ", "#000007", "x=4, y=3"), options=TWO_COLOURS),
    *(Row(f"B3 {m}", three_equal(m), reads=same_as(VOC)) for m in ("RGB", "RGBA", "LA")),
    Row("B6", jpeg("a.jpg"), ("masks/a.jpg: ", "a JPEG mask has wrong ids", "save masks as PNG")),
    Row("B6 in disguise", jpeg("a.png"), ("masks/a.png: ", "a JPEG mask has wrong ids", "save masks as PNG")),
    Row("B7", of((0, 255)), ("class 0 and void (255) alone", "label_map={255: 1}", "class_names")),
    Row("B7 no object", of((0,)), ("class 0", "alone", "class_names")),
    Row(
        "B7 named",
        of((0, 255)),
        check=("class 0 and void (255) alone", "2 classes", "label_map={255: 1}"),
        options=NAMES,
    ),
    Row("B7 mapped", of((0, 255)), reads=holds_ids(0, 1), options={**NAMES, "label_map": {255: 1}}),
    Row("B7 void", of((0, 1, 255)), reads=holds_ids(0, 1, 255), options=NAMES),
    Row(
        "B8",
        of((0, 1, 7)),
        ("masks/a.png: ", "ids [7]", "0..1", "64 of 192 pixels", "label_map"),
        options=NAMES,
    ),
    Row("B8 one more", of((0, 1, 2)), ("masks/a.png: ", "ids [2]", "64 of 192", "{2: 255}"), options=NAMES),
    Row(
        "B9",
        of((0, 1, 255)),
        reads=holds_ids(-1, 0, 1),
        options={**NAMES, "ignore_class": -1, "label_map": {255: -1}},
    ),
    Row("B9 in the file", array([-1, 0, 1], "int16"), ("a.npy: ", "ids -1 to 1", "write void as 255")),
    Row(
        "B10", void_alone, check=("1 of 3 masks are void alone", "a.png"), reads=lambda pairs: len(pairs) == 3
    ),
    Row("B11", background_alone, check=("3 of 4 masks hold 'class 0' alone", "b.png, c.png, d.png")),
    Row(
        "B12",
        absent,
        check=("no mask has a pixel of 'bus'",),
        options={"class_names": ["a", "b", "c", "bus"]},
    ),
    Row(
        "B13", written(floats, "tif"), ("masks/a.tif: ", "class ids, this is floats", "save integers as PNG")
    ),
    Row("B13 array", array([0, 1 / 255], "float32"), ("masks/a.npy: ", "integer class ids, this float32")),
    Row(
        "B16",
        of((0, 1, 2)),
        reads=same_as((255, 0, 1)),
        options={**NAMES, "label_map": {0: 255, 1: 0, 2: 1}},
    ),
    Row("B16 from 1", of((1, 2)), ("ids begin with 1", "label_map={1: 0, 2: 1}"), options=NAMES),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row, tmp_path):
    try_row(row, tmp_path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [None, PALETTE])
def test_b1_b4_few_bits_and_palettes_hold_their_ids(tmp_path, png, bits, palette):
    ids = (0, 1) if bits == 1 else (0, 1, 2, 3) if bits < 8 else VOC
    colours = None if palette is None else palette[: 2**bits]
    content = png(np.resize(ids, SIZE), bits=bits, palette=colours)
    try_row(Row("", written(lambda path: path.write_bytes(content)), reads=same_as(ids)), tmp_path)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, ("data: ", "ids are [0, 1, 300], with gaps", "label_map={300: 2}")),
        (NAMES, ("masks/a.png: ", "ids [300]", "0..1", "label_map={300: 255}")),
        ({**NAMES, "label_map": {300: 255}}, ()),
    ],
)
def test_b5_16_bits_are_read_whole(tmp_path, png, options, problem):
    content = png(np.resize((0, 1, 300), SIZE), bits=16)
    reads = None if problem else same_as((0, 1, 255))
    make = written(lambda path: path.write_bytes(content))
    try_row(Row("", make, problem, reads=reads, options=options), tmp_path)


def test_b12_a_class_that_is_nowhere_is_printed_as_not_available(tmp_path):
    sound(tmp_path)
    before = digest(tmp_path)
    data = kseg.data.from_directory(tmp_path, batch_size=1, class_names=["a", "b", "bus"])
    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1, bias_initializer="ones")]
    )
    model.layers[0].set_weights([np.zeros((1, 1, 3, 3)), np.array([1.0, 0, -1])])
    result = kseg.evaluate(model, data, activation=None)
    assert np.isnan(result.class_iou[2]) and "n/a" in str(result).splitlines()[3]
    assert digest(tmp_path) == before


def test_b14_b15_augmented_masks_hold_their_ids_and_void(tmp_path):
    sound(tmp_path, ids=(1, 3))
    before = digest(tmp_path)
    augment = kseg.data.augment((20, 24), rotation=45, shear=10, scale=(0.4, 2))
    names = ["a", "b", "c", "d"]
    data = kseg.data.from_directory(tmp_path, batch_size=2, augment=augment, class_names=names)
    seen = set()
    for _, ids in data.repeat(10):
        assert ids.dtype == tf.int32
        seen |= set(np.unique(ids).tolist())
    assert seen == {1, 3, 255}  # class 0 is in no corner
    assert digest(tmp_path) == before


def test_b17_names_of_another_number_than_the_classes_of_the_model(tmp_path):
    sound(tmp_path, ids=(0, 1, 2))
    before = digest(tmp_path)
    model = kseg.build_conv_stack(4, depth=1, filters=2)
    data = kseg.data.from_directory(tmp_path, batch_size=1)
    with pytest.raises(
        ValueError, match="class_names has 3 names for num_classes=4; give one name per class"
    ):
        kseg.evaluate(model, data)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("options", [{}, {"class_names": ["a", "b", "c"]}])
@pytest.mark.parametrize("void", [1, (255, 2)])
def test_b18_void_among_the_classes(tmp_path, options, void):
    sound(tmp_path, ids=(0, 1, 2) if void == 1 else (0, 1, 2, 3))
    before = digest(tmp_path)
    options = {**options, "ignore_class": void}
    (problem,), _ = checked(tmp_path, options)
    assert "ignore_class=" in problem and "is one of the" in problem and "give void another id" in problem
    with pytest.raises(ValueError, match="give void another id"):
        read(tmp_path, options)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("loss", [CrossEntropy, kseg.losses.Dice])
def test_b8_ids_beyond_the_classes_never_train(loss):
    ids, scores = np.array([[[0, 7]]]), np.zeros((1, 1, 2, 2), "float32")
    words = r"ids 0..1 or void, got ids from"
    with pytest.raises(ValueError, match=words):
        loss()(ids, scores)
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        tf.function(loss())(ids, scores)
    # in XLA nothing can be raised; a loss of NaN is seen, and never taken for a score
    assert np.isnan(tf.function(loss(), jit_compile=True)(ids, scores))


@pytest.mark.parametrize("weights", [[1, -1], [1, np.nan], [0, 0], "ab", 2.0, [[1, 2]]])
def test_b19_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="class_weights must be one finite float >= 0 per class, not all 0"):
        CrossEntropy(class_weights=weights)


def test_b19_weights_of_another_number():
    with pytest.raises(ValueError, match="class_weights has 2 weights for 3 classes"):
        CrossEntropy(class_weights=[1, 2])(np.zeros((1, 2, 2), "int32"), np.zeros((1, 2, 2, 3), "float32"))


@pytest.mark.parametrize("metric", [MeanIoU, MeanDice, PixelAccuracy, ClassIoU])
def test_b20_void_of_one_hot_masks_does_not_count(metric):
    rng = np.random.default_rng(0)
    ids, predicted = rng.choice([0, 1, 2, 255], (2, 6, 5)), rng.integers(0, 3, (2, 6, 5))
    valid = ids != 255
    matrix = np.zeros((3, 3))
    np.add.at(matrix, (ids[valid], predicted[valid]), 1)
    hits, truth, found = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    expected = {
        MeanIoU: np.mean(hits / (truth + found - hits)),
        MeanDice: np.mean(2 * hits / (truth + found)),
        PixelAccuracy: hits.sum() / matrix.sum(),
        ClassIoU: (hits / (truth + found - hits))[1],
    }[metric]
    judged = metric(3, 1) if metric is ClassIoU else metric(3)
    judged.update_state(kseg.one_hot(ids, 3), np.eye(3, dtype="float32")[predicted])
    np.testing.assert_allclose(judged.result(), expected, rtol=1e-6)
