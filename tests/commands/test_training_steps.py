"""What a training checks and says before it begins, and how it explains what TensorFlow cannot do."""

import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.commands.fitting import fit
from kseg.commands.plain_words import in_plain_words
from kseg.commands.run_folder import check_output, remove_remains


@pytest.fixture
def nobody():
    """Somebody who may not write everywhere, where the tests run as root."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_a_folder_without_permission_is_refused_before_all_else(nobody):
    with pytest.raises(
        OSError, match=r"^\[Errno 13\] /etc: nothing can be written there \(Permission denied\)"
    ):
        check_output(Path("/etc/run"), resume=False)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"file: nothing can be written there"):
        check_output(tmp_path / "file" / "run", resume=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_others_is_neither_taken_nor_cleared(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"holds holiday\.jpg, but no states to resume from"):
        check_output(tmp_path, resume=True)
    remove_remains(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_fit_that_cannot_begin_says_why_and_leaves_nothing(tmp_path):
    """Signals are given back although none was taken, and the error is its own."""
    scenes = kseg.data.shapes(4, (32, 32), batch_size=2)
    model = stack(3)  # not compiled
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "classes.txt").write_text("a")
    with pytest.raises(ValueError, match=r"must call `compile\(\)`"):
        fit(model, scenes, scenes, tmp_path / "run", {"epochs": 1})
    assert not (tmp_path / "run").exists()


def test_too_large_a_batch_is_explained():
    line = (
        "a batch of 8 crops 64×96 does not fit into the memory; try half the batch_size= with twice the "
        "gradient_accumulation_steps=, a smaller crop_size= or a smaller model"
    )
    with pytest.raises(MemoryError, match=line), in_plain_words(8, (64, 96), resume=False):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,64,96,3]")


def test_a_full_disk_is_no_want_of_memory():
    text = "run/tensorboard/events.out.tfevents.1; No space left on device"
    with pytest.raises(OSError, match=f"{text}; make room"), in_plain_words(8, (64, 96), resume=False):
        raise tf.errors.ResourceExhaustedError(None, None, text)


def test_an_operator_without_a_deterministic_form_is_named():
    text = "Determinism is not yet supported [[{{node gradient_tape/unet/decoder_up1/ResizeGrad}}]]"
    with (
        pytest.raises(
            ValueError, match=r"deterministic=True: gradient_tape/unet/decoder_up1/ResizeGrad has no"
        ),
        in_plain_words(8, (64, 96), resume=False),
    ):
        raise tf.errors.UnimplementedError(None, None, text)


def stack(num_classes, **arguments):
    return kseg.build_conv_stack(num_classes, depth=2, filters=4, **arguments)


def test_weights_go_over_wherever_layers_agree(tmp_path):
    source = stack(11)
    source.save(tmp_path / "source.keras")
    for given in (source, tmp_path / "source.keras"):
        model = stack(3)
        head = model.get_layer("logits").get_weights()
        report = kseg.copy_weights(model, given)
        assert list(report.skipped) == ["logits"]
        for layer in model.layers:
            expected = head if layer.name == "logits" else source.get_layer(layer.name).get_weights()
            for a, b in zip(layer.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(a, b)
        assert re.search(
            r"logits starts anew: kernel is \(1, 1, 4, 3\) here, \(1, 1, 4, 11\) there", str(report)
        )


def test_weights_go_over_inside_a_backbone():
    def tiny():
        image = keras.Input((None, None, 3))
        x = image
        for width in (2, 3, 4, 5, 6):
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=f"conv{width}")(x)
        return keras.Model(image, x, name="tiny")

    source = kseg.build_fcn(3, backbone=tiny())
    model = kseg.build_fcn(5, backbone=tiny())
    report = kseg.copy_weights(model, source)
    assert {"tiny/conv2", "tiny/conv6"} <= set(report.copied)
    assert all(name.startswith(("scores", "head", "logits")) for name in report.skipped)
    for a, b in zip(model.get_layer("tiny").weights, source.get_layer("tiny").weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_without_common_layers_is_refused():
    with pytest.raises(
        ValueError, match=r"no layer of 'unet' is in conv_stack with the same name and shapes"
    ):
        kseg.copy_weights(kseg.build_unet(2, filters=2), kseg.build_conv_stack(2, depth=1, filters=4))
