import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg import sandbox
from kseg.disk import temporary_folder
from kseg.export import tflite as module
from kseg.inference import open_model

SIZE = (32, 48)
PICTURES = np.random.default_rng(0).integers(20, 220, (12, *SIZE, 3)).astype("uint8")
MASKS = np.random.default_rng(1).integers(0, 3, (12, *SIZE)).astype("int32")
INT8 = {"input_size": SIZE, "quantize": "int8"}
MODES = [None, "float16", "dynamic", "int8", "int16x8"]
LOSSY = ("dynamic", "int8", "int16x8")


@pytest.fixture(scope="module")
def model():
    """Trained a little, so that classes are decided."""
    keras.utils.set_random_seed(0)
    scenes = kseg.data.shapes(100, SIZE, seed=1, shuffle=True)
    model = kseg.compile(kseg.build_unet(6, filters=8), 3 * len(scenes), learning_rate=5e-3)
    model.fit(scenes, epochs=3, verbose=0, shuffle=False)
    return model


def small_model(**arguments):
    return kseg.build_conv_stack(3, (16, 24, 3), depth=2, filters=8, **arguments)


@pytest.fixture(scope="module")
def scenes():
    return kseg.data.shapes(16, SIZE, batch_size=4, seed=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.slow_after(2)
def test_written_file_agrees_and_is_fit_for_phones(model, scenes, tmp_path, mode):
    path = tmp_path / "model.tflite"
    report = kseg.export_tflite(model, path, input_size=SIZE, quantize=mode, representative_data=scenes)
    interpreter = Interpreter(str(path))
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["shape_signature"].tolist() == [1, *SIZE, 3]
    assert wanted["shape_signature"].tolist() == [1, *SIZE, 6]
    kind = np.uint8 if mode == "int8" else np.float32
    assert given["dtype"] == kind and wanted["dtype"] == kind
    assert not any("FLEX" in name.upper() or "BATCH_ND" in name for name in report.operators)
    share = {None: 1, "float16": 0.55, "dynamic": 0.3, "int8": 0.3, "int16x8": 0.3}[mode]
    assert report.size_bytes == path.stat().st_size < share * 4.2 * model.count_params()
    assert report.same_class > (0.95 if mode in LOSSY else 0.999)
    assert report.file_miou == pytest.approx(report.keras_miou, abs=0.03 if mode in LOSSY else 1e-3)
    assert bool(report.worst_layers) == (mode == "int8")
    written = json.loads((tmp_path / "model.tflite.json").read_text())
    assert written["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == report.sha256
    assert written["operators"] == report.operators
    assert f"{report.size_bytes / 1e6:.2f} MB" in str(report)


def test_int8_takes_raw_bytes_whatever_the_calibration_pictures_show(model, tmp_path):
    path = tmp_path / "int8.tflite"
    kseg.export_tflite(model, path, input_size=SIZE, quantize="int8", representative_data=PICTURES)
    assert Interpreter(str(path)).get_input_details()[0]["quantization"] == (1.0, 0)


def small_backbone():
    """Return an encoder of one convolution per stride, normalised."""
    x = image = keras.Input((None, None, 3))
    for _ in range(5):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(image, x, name="small_backbone")


@pytest.mark.parametrize(
    "backbone",
    [small_backbone, pytest.param(lambda: "mobilenet_v2", id="mobilenet_v2", marks=pytest.mark.slow)],
)
def test_a_mixed_precision_model_is_exported_in_float32(backbone, tmp_path):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = kseg.build_unet(3, backbone=backbone(), decoder_filters=(8, 8, 8, 8, 8))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    report = kseg.export_tflite(model, tmp_path / "m.tflite", input_size=(64, 64))
    assert "DEQUANTIZE" not in report.operators


def test_sizes_no_level_divides(model, tmp_path):
    report = kseg.export_tflite(model, tmp_path / "odd.tflite", input_size=(35, 51))
    assert report.same_class > 0.999


def test_a_static_model_needs_no_input_size(tmp_path):
    model = kseg.build_conv_stack(2, (16, 24, 1), depth=1, filters=4)
    assert kseg.export_tflite(model, tmp_path / "m.tflite").pictures == 4


def test_export_leaves_the_model_as_it_was(model, tmp_path):
    before = model.get_weights()
    kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"input_size=\(H, W\) is missing"),
        ({"input_size": (32,)}, "positive ints"),
        ({"input_size": SIZE, "quantize": "int8"}, "representative_data is missing"),
        ({"input_size": SIZE, "quantize": "int-8"}, "did you mean 'int8'"),
        ({"input_size": SIZE, "quantize": "int8", "representative_data": []}, "data .* are empty"),
        ({**INT8, "representative_data": PICTURES * np.float32("nan")}, "got NaN"),
        (
            {**INT8, "representative_data": PICTURES / 255},
            r"got 0.* in float64; multiply by 255",
        ),  # silent elsewhere
        ({**INT8, "representative_data": PICTURES / 127.5 - 1.0}, r"got -.* in float64; \(image \+ 1\)"),
        ({**INT8, "representative_data": PICTURES[:3]}, "holds 3 pictures, at least 4"),
        ({**INT8, "representative_data": PICTURES, "float_layers": ["logit"]}, "did you mean 'logits'"),
        ({"input_size": SIZE, "float_layers": 2}, "float_layers is for quantize='int8'"),
        ({"input_size": SIZE, "output_kind": "ids"}, "unknown output_kind 'ids'"),
        (
            {"input_size": SIZE, "output_kind": "fast_classes"},
            "does not end in one; use output_kind='classes'",
        ),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        kseg.export_tflite(model, tmp_path / "m.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_scores_may_come_from_an_operation_that_is_no_layer(tmp_path):
    model = small_model()
    halved = keras.Model(model.input, model.output * 0.5)
    report = kseg.export_tflite(halved, tmp_path / "m.tflite")
    assert report.same_class == 1


def test_the_suffix_must_be_tflite(model, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.tflite"):
        kseg.export_tflite(model, tmp_path / "m.lite", input_size=SIZE)


@pytest.mark.parametrize("folder", ["[a]", "a\\b", "a]b", "[a-c]*?"])
def test_a_path_that_is_a_pattern_is_taken(folder, tmp_path):
    path = tmp_path / folder / "m[0].tflite"
    given = {"quantize": "int8", "representative_data": PICTURES[:, :16, :24]}
    kseg.export_tflite(small_model(), path, **given)
    assert sorted(each.name for each in path.parent.iterdir()) == ["m[0].tflite", "m[0].tflite.json"]
    assert kseg.predict(path, PICTURES[0]).shape == SIZE


@pytest.mark.parametrize("folder", ["[a]", "a\\b"])
def test_a_saved_model_at_a_path_that_tensorflow_takes_for_a_pattern_is_refused(folder, model, tmp_path):
    with pytest.raises(ValueError, match=r"m: TensorFlow reads .* as a pattern.*; choose another path"):
        kseg.export_saved_model(model, tmp_path / folder / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_static_model_keeps_its_size(tmp_path):
    model = kseg.build_conv_stack(2, (16, 24, 1), depth=1, filters=4)
    with pytest.raises(ValueError, match="is not the size the model was built for"):
        kseg.export_tflite(model, tmp_path / "m.tflite", input_size=(16, 16))


def test_an_existing_file_is_left_alone_unless_told(model, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="exists already"):
        kseg.export_tflite(model, path, input_size=SIZE)
    assert path.read_bytes() == b"precious"
    kseg.export_tflite(model, path, input_size=SIZE, overwrite=True)
    assert path.stat().st_size > 1000


def test_disagreement_is_an_error_and_leaves_nothing(model, tmp_path, monkeypatch):
    other = kseg.build_unet(6, filters=8)
    write = module.write_archive
    monkeypatch.setattr(module, "write_archive", lambda _, *rest: write(other, *rest))
    with pytest.raises(RuntimeError, match="disagrees with the Keras model, nothing was written"):
        kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_conversion_leaves_nothing(tmp_path):
    """An operator that LiteRT lacks is named with its layer."""
    image = keras.Input((8, 8, 3), name="image")

    class Erf(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.erfinv(inputs / 256)

    model = keras.Model(image, Erf(name="strange")(keras.layers.Conv2D(2, 1)(image)))
    with pytest.raises(RuntimeError, match=r"m\.tflite: LiteRT cannot convert .* Erfinv of layer 'strange'"):
        kseg.export_tflite(model, tmp_path / "m.tflite", activation="linear")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", ["convert", "run_file", pytest.param("describe", marks=pytest.mark.slow)])
def test_a_crash_of_converter_or_interpreter_is_an_error_and_leaves_nothing(tmp_path, monkeypatch, job):
    real = sandbox.call

    def call(function, *arguments):
        return real(os.abort) if function.__name__ == job else real(function, *arguments)

    monkeypatch.setattr(sandbox, "call", call)
    with pytest.raises(RuntimeError, match=r"m\.tflite: .*: the process died \(signal 6, SIGABRT\)"):
        kseg.export_tflite(small_model(), tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = kseg.build_conv_stack(2, (16, 24, 3), depth=2, filters=64)
    for pid in (0, sandbox.call(os.getpid)):  # the parent writes the graph, the child the file
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(
                OSError, match=r"m\.tflite: the file was not written \(.*\): .* MB are free; make room"
            ) as caught:
                kseg.export_tflite(model, tmp_path / "m.tflite")
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.ENOSPC
        assert list(tmp_path.iterdir()) == []


FOREIGN = [b"my own notes", b"", b'{"mine": 1}', b"[1]", b"\xff", b'{"sha256": "of my own"}', b"null"]
FOREIGN += [b'{"path": "other.tflite", "format": "LiteRT float32", "sha256": "0123"}']  # of another file


@pytest.mark.parametrize("content", [*FOREIGN, "a folder", "a dangling link"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_stands_where_the_report_goes_is_not_lost(tmp_path, content, overwrite):
    notes = tmp_path / "m.tflite.json"
    if content == "a folder":
        notes.mkdir()
    elif content == "a dangling link":
        notes.symlink_to("nowhere")
    else:
        notes.write_bytes(content)
    with pytest.raises(FileExistsError, match=r"m\.tflite\.json: the report goes there, but"):
        kseg.export_tflite(small_model(), tmp_path / "m.tflite", overwrite=overwrite)
    assert list(tmp_path.iterdir()) == [notes]
    assert not isinstance(content, bytes) or notes.read_bytes() == content


def test_a_report_of_ours_is_replaced_with_its_file(tmp_path):
    """Also one whose file is gone, one whose folder was moved, and one that was renamed with its file."""
    first, second = tmp_path / "a" / "m.tflite", tmp_path / "b" / "n.tflite"
    kseg.export_tflite(small_model(), first)
    first.unlink()
    kseg.export_tflite(small_model(), first)
    second.parent.mkdir()
    first.rename(second)
    first.with_name("m.tflite.json").rename(second.with_name("n.tflite.json"))
    report = kseg.export_tflite(small_model(), second, overwrite=True)
    assert json.loads(second.with_name("n.tflite.json").read_text())["sha256"] == report.sha256


def test_messages_name_no_temporary_path(tmp_path, monkeypatch):
    def fail(error):
        def call(function, *given):
            raise error(str(given[0]))

        monkeypatch.setattr(sandbox, "call", call)
        with pytest.raises((RuntimeError, OSError, ValueError, tf.errors.OpError)) as caught:
            kseg.export_tflite(small_model(), tmp_path / "m.tflite")
        assert ".part" not in str(caught.value) and str(tmp_path / "m.tflite") in str(caught.value)

    for error in (
        lambda path: sandbox.JobFailed(f"SavedModel file does not exist at: {path}/saved_model.pb"),
        lambda path: sandbox.JobFailed(f"Could not open '{path}'."),
        lambda path: OSError(errno.EIO, "Input/output error", f"{path}/variables"),
        lambda path: tf.errors.NotFoundError(None, None, f"{path}/variables/variables.index; no such file"),
        lambda path: ValueError(f"{path}: LiteRT cannot load this file"),
    ):
        fail(error)
    with pytest.raises(OSError, match="name too long") as caught:
        kseg.export_tflite(small_model(), tmp_path / f"{'m' * 245}.tflite")
    assert ".part" not in str(caught.value)


def test_two_exports_to_one_path_do_not_meet(tmp_path):
    with (
        temporary_folder(tmp_path / "m.tflite"),
        pytest.raises(BlockingIOError, match="another process is exporting"),
    ):
        kseg.export_tflite(small_model(), tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [1, 3])
def test_a_file_may_give_probabilities_or_ids(tmp_path, classes):
    model = kseg.build_conv_stack(classes, (16, 24, 3), depth=1, filters=4)
    image = PICTURES[0, :16, :24]
    logits = np.asarray(model(image[None].astype("float32"), training=False))
    ids = logits[0].argmax(-1) if classes > 1 else (logits[0, ..., 0] > 0).astype(int)
    path = tmp_path / "probabilities.tflite"
    kseg.export_tflite(model, path, output_kind="probabilities")
    exponential = np.exp(logits)
    expected = exponential / (exponential.sum(-1, keepdims=True) if classes > 1 else 1 + exponential)
    runner = open_model(path)
    np.testing.assert_allclose(runner.scores(image[None]), expected, atol=1e-4)
    path = tmp_path / "classes.tflite"
    assert kseg.export_tflite(model, path, output_kind="classes").output_kind == "classes"
    detail = Interpreter(str(path)).get_output_details()[0]
    assert detail["dtype"] == np.int32 and detail["shape"].tolist() == [1, 16, 24]
    np.testing.assert_array_equal(kseg.predict(path, image), ids)
    larger = np.repeat(np.repeat(image, 2, 0), 2, 1)
    assert kseg.predict(path, larger).shape == (32, 48)
    with pytest.raises(ValueError, match="gives class ids alone"):
        kseg.predict(path, image, crf=True)
    with pytest.raises(ValueError, match="num_classes is missing"):
        kseg.evaluate(path, [(image[None], np.zeros((1, 16, 24), "int32"))])


def test_the_older_name_of_output_kind_still_works(tmp_path):
    with pytest.warns(DeprecationWarning, match="export_tflite: output= is now output_kind="):
        report = kseg.export_tflite(small_model(), tmp_path / "m.tflite", output="classes")
    assert report.output_kind == "classes"
    with pytest.raises(TypeError, match="give output_kind= alone"):
        kseg.export_tflite(small_model(), tmp_path / "n.tflite", output="classes", output_kind="logits")


def test_logits_cannot_be_had_from_a_model_that_ends_in_softmax(tmp_path):
    with pytest.raises(ValueError, match="build it with activation=None"):
        kseg.export_tflite(small_model(activation="softmax"), tmp_path / "m.tflite", output_kind="logits")


def test_fast_classes_come_from_before_the_last_resize(tmp_path):
    keras.utils.set_random_seed(0)
    model = kseg.build_deeplabv1(3, (35, 51, 3), filters=2, activation="softmax")
    head = keras.Model(model.input, model.get_layer("logits").output)
    image = PICTURES[0].repeat(2, 0).repeat(2, 1)[:35, :51]
    logits = np.asarray(head(image[None], training=False))[0]
    model.get_layer("logits").bias.assign(-np.median(logits, axis=(0, 1)))  # so that no class wins everywhere
    ids = np.asarray(head(image[None], training=False))[0].argmax(-1).repeat(8, 0).repeat(8, 1)[:35, :51]
    report = kseg.export_tflite(
        model,
        tmp_path / "m.tflite",
        output_kind="fast_classes",
        validation_data=image[None],
        quantize="float16",
    )
    assert report.largest_difference is None
    assert (kseg.predict(tmp_path / "m.tflite", image) == ids).mean() > 0.99
    assert report.same_class == pytest.approx((kseg.predict(model, image) == ids).mean(), abs=0.01)
    assert 0.3 < report.same_class < 1


def test_layers_that_lose_most_can_stay_in_float(tmp_path):
    model, data = small_model(), PICTURES[:, :16, :24]
    given = {"quantize": "int8", "representative_data": data}
    plain = kseg.export_tflite(model, tmp_path / "plain.tflite", **given)
    worst = kseg.export_tflite(model, tmp_path / "worst.tflite", **given, float_layers=1)
    assert worst.float_layers == list(plain.worst_layers)[:1] and "kept in float" in str(worst)
    named = kseg.export_tflite(model, tmp_path / "named.tflite", **given, float_layers=["logits"])
    assert named.float_layers == ["logits"]
    for name in ("plain", "worst", "named"):
        tensors = Interpreter(str(tmp_path / f"{name}.tflite")).get_tensor_details()
        assert any(tensor["dtype"] == np.float32 for tensor in tensors) == (name != "plain")


KILLED = """
import sys, kseg
model = kseg.build_unet(3, (32, 32, 3), filters=16)
print("ready", flush=True)
kseg.export_tflite(model, sys.argv[1], overwrite=True)
print("written", flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_whole_file_or_the_one_before(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"the one before")
    for number in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.15 + 1.5 * number)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 60
        while list(tmp_path.glob(".*")) and time.monotonic() < deadline:  # its child clears away after it
            time.sleep(0.1)
        assert {file.name for file in tmp_path.iterdir()} <= {"m.tflite", "m.tflite.json"}
        if path.read_bytes() != b"the one before":
            assert kseg.predict(path, PICTURES[0, :32, :32]).shape == (32, 32)
    kseg.export_tflite(small_model(), path, overwrite=True)
