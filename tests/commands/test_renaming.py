"""Arguments of the deeds that had another word before, and errors in the words of Python."""

import inspect

import keras
import pytest
from PIL import Image

import kseg
from kseg.commands.demo import demo
from kseg.commands.export import export
from kseg.commands.predict import predict_files
from kseg.commands.run_folder import check_output
from kseg.commands.train import train


def test_older_words_still_work_with_a_warning(tmp_path):
    """Both come as far as the check of the model's name."""
    with pytest.raises(ValueError, match="unknown model 'unnet'"):
        train(tmp_path, tmp_path / "run", model="unnet", class_weights="median_frequency")
    with (
        pytest.warns(DeprecationWarning, match="train: weighting= is now class_weights="),
        pytest.raises(ValueError, match="unknown model 'unnet'"),
    ):
        train(tmp_path, tmp_path / "run", model="unnet", weighting="median_frequency")
    with pytest.raises(TypeError, match="weighting= is now class_weights=; give class_weights= alone"):
        train(tmp_path, tmp_path / "run", weighting=None, class_weights=None)


def test_an_export_takes_the_older_word(tmp_path):
    kseg.build_conv_stack(2, (16, 16, 3), depth=1, filters=2).save(tmp_path / "model.keras")
    report = export(tmp_path / "model.keras", tmp_path / "a.tflite", output_kind="classes")
    assert report.output_kind == "classes"
    with pytest.warns(DeprecationWarning, match="export: output= is now output_kind="):
        report = export(tmp_path / "model.keras", tmp_path / "b.tflite", output="probabilities")
    assert report.output_kind == "probabilities"


def test_editors_see_the_words_of_today():
    assert "class_weights" in inspect.signature(train).parameters
    assert inspect.signature(train).return_annotation is keras.Model
    assert not {"weighting", "output"} & {*list(inspect.signature(export).parameters)}


def test_errors_name_arguments(tmp_path):
    (tmp_path / "run" / "states").mkdir(parents=True)
    with pytest.raises(FileExistsError, match=r"add resume=True to go on, or choose another output=$"):
        check_output(tmp_path / "run", resume=False)
    with pytest.raises(FileExistsError, match=r"remove it or choose another output=$"):
        demo(tmp_path)
    with pytest.raises(ValueError, match=r"give backbone_weights= or start_from= as well$"):
        train(tmp_path, tmp_path / "new", freeze_encoder=True)
    with pytest.raises(ValueError, match=r"mediapipe= are for paths that end in \.tflite$"):
        export("m.keras", tmp_path / "saved", output_kind="classes")
    with pytest.raises(ValueError, match=r"int8 needs pictures to calibrate with; give data_root=$"):
        export("m.keras", tmp_path / "m.tflite", quantize="int8")
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"would overwrite a picture; choose another output=$"):
        predict_files(tmp_path / "m.keras", [tmp_path / "0.png"], tmp_path)
