"""Model cards: their figures are those of the evaluation, and what a person wrote in them stays."""

import json
import re

import keras
import numpy as np
import pytest

import kseg
from kseg.evaluation import Evaluation, write_card
from kseg.evaluation.card import BEGIN, END
from kseg.evaluation.facts import sha256_of

NAMES = ["sky", "ro|ad", "car"]


def evaluation(matrix, **more):
    return Evaluation(np.array(matrix), NAMES, **more)


ONE = evaluation([[90, 10, 0], [30, 70, 0], [0, 5, 15]])
TWO = evaluation([[100, 0, 0], [0, 100, 0], [0, 0, 20]])


def rows(path):
    """Return the cells of all tables, by the first one."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_figures_are_those_of_the_evaluations(tmp_path):
    path = tmp_path / "card.md"
    write_card(
        path, {"a.keras": ONE, "b.tflite": TWO}, data_root="data/streets", split="val", command="kseg x"
    )
    table = rows(path)
    iou = [90 / 130, 70 / 115, 15 / 20]
    assert table["mean IoU"] == [f"{np.mean(iou):.3f}", "1.000"]
    assert table["sky"] == ["45.5%", f"{iou[0]:.3f} / {2 * 90 / 220:.3f}", "1.000 / 1.000"]
    assert table["ro\\|ad"][1].startswith(f"{iou[1]:.3f}")
    text = path.read_text(encoding="utf-8")
    shares = re.findall(r"- ([\d.]+)% of (\S+) is taken for (\S+)\.", text)
    assert shares == [("30.0", "ro|ad", "sky"), ("25.0", "car", "ro|ad"), ("10.0", "sky", "ro|ad")]
    assert "of `streets`, split `val`" in text and "```shell\nkseg x\n```" in text


def test_confusions_are_told_by_pixels_and_share():
    assert [(each.true, each.pixels, each.share) for each in ONE.confusions()] == [
        ("ro|ad", 30, 0.3),
        ("sky", 10, 0.1),
        ("car", 5, 0.25),
    ]
    assert TWO.confusions() == []


def test_what_its_author_wrote_stays(tmp_path):
    path = tmp_path / "README.md"
    write_card(path, {"a": ONE})
    assert path.read_text(encoding="utf-8").startswith(f"# {tmp_path.name}\n")
    path.write_text(f"# Mine\n\nlimits \\1\n\n{BEGIN}\nold\n{END}\n\nthe end\n", encoding="utf-8")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_card(path, {"a": ONE})
    write_card(path, {"a": TWO}, overwrite=True)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# Mine\n\nlimits \\1\n\n{BEGIN}\n") and text.endswith(f"{END}\n\nthe end\n")
    assert "old" not in text and rows(path)["mean IoU"] == ["1.000"]


@pytest.mark.parametrize("content", [b"# Mine\n", b"\xff\xfe\x00", f"{BEGIN}\n".encode()])
def test_a_file_without_a_place_for_scores_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "card.md"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"card\.md: "):
        write_card(path, {"a": ONE}, overwrite=True)
    assert path.read_bytes() == content


def test_intervals_files_and_training_are_told(tmp_path):
    model = kseg.build_conv_stack(6, depth=1, filters=2)
    model.save(tmp_path / "model.keras")
    record = {
        "command": "kseg train --data shapes --output run",
        "data": {"training_pictures": 1500},
        "training": {"epochs": 2, "steps_per_epoch": 30, "batch_size": 8, "crop_size": [32, 48]},
        "versions": {"kseg": "0.1"},
    }
    (tmp_path / "config.json").write_text(json.dumps(record))
    result = kseg.evaluate(tmp_path / "model.keras", kseg.data.shapes(3, (32, 32)))
    write_card(tmp_path / "card.md", {"model.keras": result})
    text, table = (tmp_path / "card.md").read_text(encoding="utf-8"), rows(tmp_path / "card.md")
    low, high = result.intervals["mean_iou"]
    assert table["mean IoU"] == [f"{result.mean_iou:.3f} ({low:.3f}–{high:.3f})"]
    assert table["parameters"] == [f"{keras.models.load_model(tmp_path / 'model.keras').count_params():,}"]
    assert table["model.keras"] == [f"`{sha256_of(tmp_path / 'model.keras')}`"]
    assert "1,500 pictures, 2 epochs, 60 steps of 8 crops of 32×48 pixels" in text
    assert record["command"] in text


@pytest.mark.parametrize("content", ["{", "[]", '{"data": {}}', '{"model_type": "bert", "training": 3}'])
def test_a_record_that_others_wrote_is_passed_over(tmp_path, content):
    kseg.build_conv_stack(6, depth=1, filters=2).save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_text(content)
    result = kseg.evaluate(tmp_path / "model.keras", kseg.data.shapes(2, (32, 32)))
    write_card(tmp_path / "card.md", {"model.keras": result})
    assert "## Training" not in (tmp_path / "card.md").read_text(encoding="utf-8")
