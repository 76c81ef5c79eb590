"""Evaluations as JSON and CSV."""

import csv
import hashlib
import json

import numpy as np
import pytest

import kseg
from kseg.evaluation import Evaluation, write_csv, write_json


@pytest.fixture(scope="module")
def evaluation():
    model = kseg.build_conv_stack(6, depth=1, filters=2)
    scenes = kseg.data.shapes(3, (48, 64), batch_size=2)
    pairs = [(images, np.where(np.asarray(masks) == 4, 255, masks)) for images, masks in scenes]
    return kseg.evaluate(model, pairs, class_names=scenes.class_names)


def strict(path):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_json_holds_every_figure(evaluation, tmp_path):
    path = tmp_path / "new" / "scores.json"
    write_json(path, {"a": evaluation, "b": evaluation}, data_root="d", split="val", command="kseg evaluate")
    told = strict(path)
    assert set(told) == {"versions", "data", "command", "models"}
    assert told["data"] == {"root": "d", "split": "val"} and told["versions"]["kseg"] == kseg.__version__
    assert list(told["models"]) == ["a", "b"]
    found = told["models"]["b"]
    assert set(found) == {*evaluation.as_dict()}
    for name in kseg.evaluation.figures.MEANS:
        assert found[name] == pytest.approx(getattr(evaluation, name))
        assert found["intervals"][name] == pytest.approx(evaluation.intervals[name].tolist())
    assert found["confusion_matrix"] == evaluation.matrix.tolist() and found["pictures"] == 3
    assert "ring" in found["absent"] and found["classes"][4]["in_truth"] is False
    for row, name in zip(found["classes"], evaluation.class_names, strict=True):
        assert row["name"] == name
        for key in ("iou", "dice", "precision", "recall", "boundary_iou", "boundary_f1"):
            value = evaluation.scores[f"class_{key}"][row["id"]]
            assert row[key] is None if np.isnan(value) else row[key] == pytest.approx(value)
    assert sum(each["pixels"] for each in found["calibration"]) == evaluation.support.sum()
    assert [each["name"] for each in found["by_picture"]] == ["picture 1", "picture 2", "picture 3"]
    assert found["model"]["architecture"] == "conv_stack" and found["model"]["sha256"] is None


def test_what_is_no_number_is_null(tmp_path):
    empty = Evaluation(np.zeros((2, 2), "int64"), ["a", "b"])
    write_json(tmp_path / "e.json", {"m": empty})
    found = strict(tmp_path / "e.json")["models"]["m"]
    assert (
        found["mean_iou"] is found["classes"][0]["iou"] is found["intervals"] is found["by_picture"] is None
    )
    assert found["absent"] == ["a", "b"]


def test_labels_have_no_matrix(tmp_path):
    model = kseg.compile(kseg.build_conv_stack(2, depth=1, filters=2), multilabel=True)
    masks = np.random.default_rng(0).choice([0, 1, 255], (2, 8, 9, 2))
    result = kseg.evaluate(model, [(np.zeros((2, 8, 9, 3), "uint8"), masks)])
    write_json(tmp_path / "e.json", {"m": result})
    found = strict(tmp_path / "e.json")["models"]["m"]
    assert found["confusion_matrix"] is None and found["model"]["multilabel"] is True
    assert [row["pixels"] for row in found["classes"]] == (masks == 1).sum((0, 1, 2)).tolist()


def test_csv_has_a_row_for_each_class_and_one_of_means(evaluation, tmp_path):
    write_csv(tmp_path / "scores.csv", {"a": evaluation, "b,1": evaluation})
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == 7 * ["a"] + 7 * ["b,1"]
    assert [row["class"] for row in rows[:7]] == [*evaluation.class_names, ""]
    for index, row in enumerate(rows[:6]):
        assert row["class_id"] == str(index) and int(row["pixels"]) == evaluation.support[index]
        assert row["in_truth"] == ("yes" if evaluation.support[index] else "no")
        value = evaluation.class_boundary_f1[index]
        assert row["boundary_f1"] == "" if np.isnan(value) else float(row["boundary_f1"]) == value
    assert float(rows[6]["iou"]) == evaluation.mean_iou
    assert float(rows[6]["iou_low"]) == evaluation.intervals["mean_iou"][0]
    assert float(rows[6]["recall"]) == evaluation.mean_accuracy
    assert "nan" not in (tmp_path / "scores.csv").read_text()


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_nothing_is_written_over_another_file_unasked(evaluation, tmp_path, write):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="file: exists already; add overwrite=True"):
        write(path, {"m": evaluation})
    assert path.read_text() == "mine"
    write(path, {"m": evaluation}, overwrite=True)
    assert path.read_text() != "mine" and [each.name for each in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileExistsError, match="is a folder"):
        write(tmp_path, {"m": evaluation}, overwrite=True)


def test_a_file_is_told_by_its_digest(tmp_path):
    model = kseg.build_conv_stack(2, depth=1, filters=2, name="my_net")
    model.save(tmp_path / "m.keras")
    picture, mask = np.zeros((1, 16, 16, 3), "uint8"), np.eye(16, dtype="int32")[None]
    write_json(tmp_path / "e.json", {"m": kseg.evaluate(tmp_path / "m.keras", [(picture, mask)])})
    found = strict(tmp_path / "e.json")["models"]["m"]["model"]
    content = (tmp_path / "m.keras").read_bytes()
    assert found["sha256"] == hashlib.sha256(content).hexdigest() and found["size_bytes"] == len(content)
    assert found["architecture"] == "my_net" and found["parameters"] == model.count_params()


def test_the_digest_of_a_folder_tells_every_change(tmp_path):
    from kseg.evaluation.facts import sha256_of

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_bytes(b"1")
    digests = [sha256_of(tmp_path / "m")]
    (tmp_path / "m" / "b").write_bytes(b"")
    digests.append(sha256_of(tmp_path / "m"))
    (tmp_path / "m" / "a").rename(tmp_path / "m" / "c")
    digests.append(sha256_of(tmp_path / "m"))
    (tmp_path / "m" / "c").write_bytes(b"2")
    digests.append(sha256_of(tmp_path / "m"))
    assert len(set(digests)) == 4
