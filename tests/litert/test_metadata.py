"""Metadata in `.tflite` files, and the program that reads them: MediaPipe's `ImageSegmenter`."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg.export import Metadata, read_metadata
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


def official(name):
    """Return the code that MediaPipe has of a schema, without MediaPipe."""
    (folder,) = importlib.util.find_spec("mediapipe").submodule_search_locations
    path = Path(folder) / "tasks" / "metadata" / f"{name}_py_generated.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_of(content):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def metadata_of(content):
    model = model_of(content)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    return model.buffers[entry.buffer]


def facts(thing):
    """Return all that an object of a schema holds, to compare."""
    if isinstance(thing, np.ndarray):
        return thing.dtype.str, thing.tolist()
    if isinstance(thing, list):
        return [facts(each) for each in thing]
    return {key: facts(value) for key, value in vars(thing).items()} if hasattr(thing, "__dict__") else thing


def test_the_rest_of_the_file_stays_as_it_was(exported):
    content = exported.read_bytes()
    again = with_metadata(content, Metadata("other", "text", activation="none"), SIZE)
    before, after = facts(model_of(content)), facts(model_of(again))
    assert before["signatureDefs"] and before["subgraphs"] and before["operatorCodes"]
    metadata = next(entry["buffer"] for entry in before["metadata"] if entry["name"] == b"TFLITE_METADATA")
    assert before["buffers"].pop(metadata) != after["buffers"].pop(metadata)
    assert before == after


def test_metadata_of_another_takes_no_place_but_its_own(exported):
    model = model_of(exported.read_bytes())
    model.metadata, model.buffers = model.metadata[:-1], model.buffers[:-1]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    without = bytes(builder.Output())
    first = with_metadata(without, Metadata("first", labels=["a"]), SIZE)
    second = with_metadata(first, Metadata("second", labels=["b"]), SIZE)
    assert second == with_metadata(without, Metadata("second", labels=["b"]), SIZE)
    assert facts(model_of(second).buffers[:-1]) == facts(model.buffers)


def test_weights_begin_at_multiples_of_16(exported):
    content = exported.read_bytes()
    start = np.frombuffer(content, "uint8").ctypes.data
    buffers = [b.data for b in model_of(content).buffers if b.data is not None and len(b.data)]
    assert len(buffers) > 4 and {(data.ctypes.data - start) % 16 for data in buffers} == {0}


@pytest.mark.parametrize("grey", [False, True])
def test_the_official_schemas_read_what_is_written(exported, grey):
    names, options = official("metadata_schema"), official("image_segmenter_metadata_schema")
    content = with_metadata(
        exported.read_bytes(), Metadata("Ü", "text", 1.5, 2.0, "sigmoid", NAMES), SIZE, grey
    )
    found = names.ModelMetadataT.InitFromPackedBuf(metadata_of(content).data.tobytes())
    assert (found.name, found.description, found.minParserVersion) == ("Ü".encode(), b"text", b"1.5.0")
    (graph,) = found.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    (custom,) = graph.customMetadata
    assert image.content.contentPropertiesType == names.ContentProperties.ImageProperties
    shown = image.content.contentProperties
    colors = names.ColorSpaceType
    assert shown.colorSpace == (colors.GRAYSCALE if grey else colors.RGB)
    assert (shown.defaultSize.height, shown.defaultSize.width) == SIZE
    assert (image.stats.max.tolist(), image.stats.min.tolist()) == ([255], [0])
    (unit,) = image.processUnits
    assert unit.optionsType == names.ProcessUnitOptions.NormalizationOptions
    assert (unit.options.mean.tolist(), unit.options.std.tolist()) == ([1.5], [2.0])
    (labels,) = scores.associatedFiles
    assert (labels.name, labels.type) == (b"labels.txt", names.AssociatedFileType.TENSOR_AXIS_LABELS)
    assert custom.name == b"SEGMENTER_METADATA"
    activation = options.ImageSegmenterOptionsT.InitFromPackedBuf(custom.data.tobytes()).activation
    assert activation == options.Activation.SIGMOID


def with_metadata_of(content, metadata):
    """Return a file with metadata that another program wrote."""
    builder = flatbuffers.Builder()
    builder.Finish(metadata.Pack(builder), b"M001")
    model = model_of(content)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    model.buffers[entry.buffer].data = np.frombuffer(builder.Output(), "uint8")
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_metadata_of_others_is_read(exported, tmp_path):
    names, path = official("metadata_schema"), tmp_path / "other.tflite"
    kinds = names.ProcessUnitOptions
    units = [
        names.ProcessUnitT(kinds.ScoreThresholdingOptions, names.ScoreThresholdingOptionsT(0.5)),
        names.ProcessUnitT(kinds.NormalizationOptions, names.NormalizationOptionsT([127.5, 1], [64.0, 1])),
        names.ProcessUnitT(),
    ]
    graph = names.SubGraphMetadataT(
        inputTensorMetadata=[names.TensorMetadataT(processUnits=units)],
        outputTensorMetadata=[names.TensorMetadataT()],
    )
    theirs = names.ModelMetadataT("theirs", subgraphMetadata=[graph])
    path.write_bytes(with_metadata_of(exported.read_bytes(), theirs))
    found = read_metadata(path)
    assert found == Metadata("theirs", "", 127.5, 64.0, None, None, uniform=False)
    assert "in the first channel" in str(found)
    nothing = names.ModelMetadataT(subgraphMetadata=[names.SubGraphMetadataT()])
    path.write_bytes(with_metadata_of(exported.read_bytes(), nothing))
    assert read_metadata(path) == Metadata()


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


def test_a_file_damaged_anywhere_is_read_or_named(exported, tmp_path):
    content, path = exported.read_bytes(), tmp_path / "bad.tflite"
    rng = np.random.default_rng(0)
    metadata = content.index(b"M001")
    refused = 0
    for place in [*rng.integers(metadata, metadata + 700, 300), *rng.integers(0, len(content), 100)]:
        damaged = bytearray(content)
        damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_metadata(path)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
    assert refused > 20


def test_only_tflite_files_get_metadata():
    with pytest.raises(ValueError, match="no FlatBuffer TFL3"):
        with_metadata(b"something else altogether", Metadata(), SIZE)


@pytest.mark.parametrize(
    ("model", "output_kind", "message"),
    [
        ({"num_classes": 2}, "classes", "takes the arg-max itself"),
        ({"num_classes": 2, "input_shape": (8, 8, 1)}, None, "pictures of 3 or 4 channels"),
        ({"num_classes": 1}, None, "build with num_classes=2"),
    ],
)
def test_what_mediapipe_would_misread_is_refused(tmp_path, model, output_kind, message):
    model = kseg.build_conv_stack(**{"input_shape": (8, 8, 3), "depth": 1, "filters": 2, **model})
    with pytest.raises(ValueError, match=f"mediapipe=True: .*{message}"):
        kseg.export_tflite(model, tmp_path / "m.tflite", output_kind=output_kind, mediapipe=True)
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
