"""Metadata in `.tflite` files, and the program that reads them: MediaPipe's `ImageSegmenter`."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg.export import Metadata, read_metadata
from kseg.litert.flatbuffer import Table
from kseg.litert.metadata import with_metadata

SIZE = (48, 64)
NAMES = ["sky", "Straße", "a, b"]
STREET = [f"class {number}" for number in range(11)]
PICTURES = np.random.default_rng(0).integers(0, 256, (6, *SIZE, 3)).astype("uint8")
# MediaPipe brings its own copies of what TensorFlow has: it runs in its own process.
SEGMENT = """
import json, sys
import mediapipe, numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

path, pictures, masks = sys.argv[1:]
options = vision.ImageSegmenterOptions(
    tasks.BaseOptions(model_asset_path=path), output_category_mask=True, output_confidence_masks=True
)
found = []
with vision.ImageSegmenter.create_from_options(options) as segmenter:
    for picture in np.load(pictures):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        result = segmenter.segment(image)
        found.append(result.category_mask.numpy_view().squeeze().copy())
        total = sum(mask.numpy_view() for mask in result.confidence_masks)
    np.save(masks, found)
    print(json.dumps({"labels": segmenter.labels, "least": float(total.min()), "most": float(total.max())}))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.tflite"
    model = kseg.build_conv_stack(3, (*SIZE, 3), depth=2, filters=8)
    kseg.export_tflite(model, path, class_names=NAMES)
    return path


def segment_by_mediapipe(path, pictures, folder):
    """Return the masks and what MediaPipe says of the file."""
    np.save(folder / "pictures.npy", pictures)
    arguments = [str(path), str(folder / "pictures.npy"), str(folder / "masks.npy")]
    done = subprocess.run([sys.executable, "-c", SEGMENT, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "masks.npy"), json.loads(done.stdout.splitlines()[-1])


def test_what_is_written_is_read(exported):
    found = read_metadata(exported)
    assert found.labels == NAMES and found.activation == "softmax" and (found.mean, found.std) == (0, 1)
    assert "labels: sky, Straße, a, b" in str(found)


def test_the_official_schema_reads_the_file_as_it_was_with_one_buffer_more(exported):
    content = exported.read_bytes()
    again = with_metadata(content, Metadata("other", "text", activation="none"), SIZE)
    models = [schema.ModelT.InitFromObj(schema.Model.GetRootAs(c, 0)) for c in (content, again)]
    assert [m.name for m in models[0].metadata][-1] == b"TFLITE_METADATA"
    assert sum(m.name == b"TFLITE_METADATA" for m in models[1].metadata) == 1
    first, second = ([bytes(b"" if b.data is None else b.data) for b in m.buffers] for m in models)
    assert first == second[:-1]
    for model in models:
        assert model.subgraphs[0].tensors[0].shape.tolist() == [1, *SIZE, 3]
    before, after = ([b.target(0) for b in Table.root(c, b"TFL3").tables(4)] for c in (content, again))
    moved = {new - old for old, new in zip(before, after, strict=False) if old is not None}
    assert len(moved) == 1 and moved.pop() % 16 == 0  # weights keep their alignment


def test_the_file_with_metadata_computes_the_same(exported, tmp_path):
    content = exported.read_bytes()
    scores = []
    for part in (content, with_metadata(content, Metadata(labels=["x"]), SIZE)):
        interpreter = Interpreter(model_content=part)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], PICTURES[:1].astype("float32"))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*scores)


def test_the_same_model_gives_the_same_bytes(exported):
    content, metadata = exported.read_bytes(), Metadata("m", "d", 0.0, 1.0, "softmax", NAMES)
    assert with_metadata(content, metadata, SIZE) == with_metadata(content, metadata, SIZE)


def test_files_without_metadata_or_damaged_are_named(exported, tmp_path):
    content = exported.read_bytes()
    path = tmp_path / "cut.tflite"
    for length in (0, 7, 40, 200, 1000, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.tflite: "):
            read_metadata(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_metadata(tmp_path / "none.tflite")


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        ({"num_classes": 2}, "classes", "takes the arg-max itself"),
        ({"num_classes": 2, "input_shape": (8, 8, 1)}, None, "pictures of 3 or 4 channels"),
        ({"num_classes": 1}, None, "build with num_classes=2"),
    ],
)
def test_what_mediapipe_would_misread_is_refused(tmp_path, model, output, message):
    model = kseg.build_conv_stack(**{"input_shape": (8, 8, 3), "depth": 1, "filters": 2, **model})
    with pytest.raises(ValueError, match=f"mediapipe=True: .*{message}"):
        kseg.export_tflite(model, tmp_path / "m.tflite", output=output, mediapipe=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quantize", [pytest.param(None, marks=pytest.mark.slow), "int8"])
def test_mediapipe_gives_the_masks_of_kseg(tmp_path, quantize):
    model = kseg.build_unet(2, (*SIZE, 3), filters=4)
    head = model.get_layer("logits")
    head.bias.assign(-np.median(model(PICTURES, training=False), axis=(0, 1, 2)))  # neither class wins all
    kseg.export_tflite(
        model,
        tmp_path / "m.tflite",
        quantize=quantize,
        representative_data=PICTURES,
        class_names=["background", "thing"],
        mediapipe=True,
    )
    masks, said = segment_by_mediapipe(tmp_path / "m.tflite", PICTURES, tmp_path)
    expected = np.stack([kseg.predict(tmp_path / "m.tflite", picture) for picture in PICTURES])
    assert 0.1 < expected.mean() < 0.9
    assert (masks == expected).mean() >= 0.995
    assert said["labels"] == ["background", "thing"]
    assert 0.99 < said["least"] <= said["most"] < 1.01  # probabilities, by the activation of the metadata


@pytest.mark.slow
@pytest.mark.parametrize("build", [kseg.build_unet, kseg.build_deeplabv3plus, kseg.build_ddrnet])
def test_mediapipe_gives_the_masks_of_kseg_on_camvid(tmp_path, camvid, build):
    size, small = (180, 240), {"filters": 16}
    if build is kseg.build_deeplabv3plus:
        small = {"variant": "mobilenet_v2"}
    keras.utils.set_random_seed(0)
    options = {"label_map": {11: 255}, "class_names": STREET, "image_size": size}
    train = kseg.data.from_directory(camvid, "train", batch_size=4, **options)
    held_out = kseg.data.from_directory(camvid, "val", batch_size=1, shuffle=False, **options)
    pictures = np.concatenate([image for image, _ in held_out.take(100).as_numpy_iterator()])[::5]
    model = kseg.compile(build(11, (*size, 3), **small), 60, learning_rate=3e-3)
    model.fit(train.take(60), verbose=0, shuffle=False)
    for quantize in (None, "int8"):
        path = tmp_path / f"{quantize}.tflite"
        options = {"representative_data": pictures, "mediapipe": True, "class_names": STREET}
        kseg.export_tflite(model, path, quantize=quantize, **options)
        masks, said = segment_by_mediapipe(path, pictures, tmp_path)
        expected = np.stack([kseg.predict(path, picture) for picture in pictures])
        assert len(pictures) == 20 and len(np.unique(expected)) > 1
        assert (masks == expected).mean() >= 0.995
        assert said["labels"] == STREET
