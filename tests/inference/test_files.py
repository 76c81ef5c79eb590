"""A file is opened anew whenever it is another file."""

import os
import shutil

import numpy as np
import pytest

import kseg

PICTURE = np.zeros((16, 16, 3), "uint8")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of three models, each of which gives its own class everywhere."""
    folder = tmp_path_factory.mktemp("models")
    for number in range(3):
        model = kseg.build_conv_stack(3, (16, 16, 3), depth=1, filters=2)
        bias = np.zeros(3, "float32")
        bias[number] = 9
        model.set_weights([*model.get_weights()[:-1], bias])
        place = folder / str(number)
        place.mkdir()
        model.save(place / "m.keras")
        kseg.export_tflite(model, place / "m.tflite")
        kseg.export_saved_model(model, place / "saved")
    return folder


def class_of(path):
    (found,) = np.unique(kseg.predict(path, PICTURE))
    return found


def with_old_time(path):
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(file, ns=(10**18, 10**18))


def put(source, target):
    """Write one file or folder over another in place, times kept."""
    for file in [each for each in source.rglob("*") if each.is_file()] if source.is_dir() else [source]:
        place = target / file.relative_to(source) if source.is_dir() else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    with_old_time(target)


@pytest.mark.parametrize("name", ["m.keras", "m.tflite", "saved"])
def test_what_is_written_over_a_file_runs(models, tmp_path, name):
    for number in (0, 2, 1, 2):
        put(models / str(number) / name, tmp_path / name)
        if name == "m.tflite":
            put(models / str(number) / "m.tflite.json", tmp_path / "m.tflite.json")
        assert class_of(tmp_path / name) == number


@pytest.mark.parametrize("name", ["m.keras", "saved"])
def test_a_link_that_is_turned_runs_what_it_points_to(models, tmp_path, name):
    link = tmp_path / name
    for number in (0, 1, 0):
        link.unlink(missing_ok=True)
        link.symlink_to(models / str(number) / name)
        assert class_of(link) == number


def test_a_relative_path_is_of_the_folder_one_is_in(models, monkeypatch):
    for number in (0, 1, 2, 0):
        monkeypatch.chdir(models / str(number))
        assert class_of("m.keras") == number


def test_a_file_that_stays_is_opened_once(models):
    from kseg.inference import open_model

    assert open_model(models / "0" / "m.keras") is open_model(str(models / "0" / "m.keras"))


def test_a_json_of_others_beside_a_file_is_no_report(models, tmp_path):
    for told in ('{"sha256": "0123"}', '{"path": "m", "sha256": "0123"}', "[" * 9999, "3"):
        shutil.copy(models / "1" / "m.tflite", tmp_path / "m.tflite")
        (tmp_path / "m.tflite.json").write_text(told)
        assert class_of(tmp_path / "m.tflite") == 1
