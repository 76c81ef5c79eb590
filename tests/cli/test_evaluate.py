"""`kseg evaluate`."""

import hashlib
import json
import shlex

from PIL import Image


def test_evaluate_shows_a_model_and_its_files_side_by_side(trained, exported, shell):
    code, text, err = shell("evaluate", *exported, "--data", trained / "data")
    assert code == 0, err
    mean = next(line for line in text.splitlines() if line.startswith("mean IoU")).split()[2:]
    assert len(mean) == 4 and mean[0] == mean[1] == mean[2]


def test_evaluate_names_the_mask_with_an_unknown_id(trained, folder, refused):
    Image.new("L", (64, 48), 77).save(folder / "val" / "masks" / "2.png")
    line = refused("evaluate", trained / "run" / "model.keras", "--data", folder)
    assert "val/masks/2.png" in line and "77" in line and "label_map" in line


def test_evaluate_of_one_model_shows_every_score(trained, shell):
    code, text, err = shell("evaluate", trained / "run" / "model.keras", "--data", trained / "data")
    assert code == 0, err
    head, *rows = text.splitlines()
    assert head.split("  ")[0] == "model.keras" and "boundary F1" in head and "precision" in head
    labels = [row[:18].strip() for row in rows]
    assert labels[:6] == [f"class {number}" for number in range(6)]
    assert {"mean IoU", "95 % interval", "boundary F1", "calibration error"} <= set(labels)


def test_evaluate_writes_json_and_csv_of_several_models(trained, exported, shell, tmp_path):
    paths = tmp_path / "out" / "e.json", tmp_path / "e.csv"
    words = [*exported[:3:2], "--data", trained / "data", "--json", paths[0], "--csv", paths[1]]
    code, text, err = shell("evaluate", *words)
    assert code == 0, err
    told = json.loads(paths[0].read_text())
    assert list(told["models"]) == [path.name for path in exported[:3:2]]
    for name in told["models"]:
        mean = f"{told['models'][name]['mean_iou']:.4f}"
        assert mean in next(line for line in text.splitlines() if line.startswith("mean IoU"))
    assert told["command"] == shlex.join(["kseg", "evaluate", *map(str, words)])
    assert told["data"] == {"root": str(trained / "data"), "split": "val"}
    assert told["models"]["model.keras"]["by_picture"][0]["name"] == "0.png"
    assert len(paths[1].read_text().splitlines()) == 1 + 2 * 7


def test_evaluate_renews_the_scores_of_a_model_card(trained, refused, shell, tmp_path):
    card = tmp_path / "README.md"
    words = ["evaluate", trained / "run" / "model.keras", "--data", trained / "data", "--card", card]
    code, text, err = shell(*words)
    assert code == 0, err
    mean = next(line for line in text.splitlines() if line.startswith("mean IoU")).split()[-1]
    written = card.read_text(encoding="utf-8")
    assert f"| mean IoU | {float(mean):.3f} (" in written and "## Training\n\n" in written
    assert "README.md: exists already" in refused(*words)
    card.write_text(written.replace("# ", "# My own ", 1), encoding="utf-8")
    code, _, err = shell(*words, "--overwrite")
    assert code == 0, err
    assert card.read_text(encoding="utf-8").startswith("# My own ")
    card.write_text("all mine", encoding="utf-8")
    assert "between which scores would stand" in refused(*words, "--overwrite")
    assert card.read_text(encoding="utf-8") == "all mine"


def test_evaluate_writes_over_no_file_unasked(trained, refused, shell, tmp_path):
    (tmp_path / "e.csv").write_text("mine")
    words = ["evaluate", trained / "run" / "model.keras", "--data", trained / "data"]
    line = refused(*words, "--json", tmp_path / "e.json", "--csv", tmp_path / "e.csv")
    assert "e.csv: exists already" in line and "--overwrite" in line
    assert not (tmp_path / "e.json").exists()
    assert "choose another --csv" in refused(
        *words, "--json", tmp_path / "new", "--csv", tmp_path / "." / "new"
    )
    code, _, err = shell(*words, "--csv", tmp_path / "e.csv", "--overwrite")
    assert code == 0 and (tmp_path / "e.csv").read_text() != "mine", err


def test_evaluate_never_writes_over_a_model(trained, refused):
    model = trained / "run" / "model.keras"
    line = refused("evaluate", model, "--data", trained / "data", "--json", model, "--overwrite")
    assert "model.keras: is a model" in line and "--json" in line


def test_evaluate_writes_a_report_of_several_models(trained, exported, shell, tmp_path):
    words = [*exported[:3:2], "--data", trained / "data", "--report", tmp_path / "report.html"]
    code, _, err = shell("evaluate", *words)
    assert code == 0, err
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Evaluation of 2 models" in text and hashlib.sha256(exported[0].read_bytes()).hexdigest() in text
    assert text.count("<figure") == 2 * 3 and '<bdi class="name">0.png</bdi>' in text
    assert shlex.join(["kseg", "evaluate", *map(str, words)]) in text
