"""`kseg check`."""

import json
import re
import shlex

import numpy as np
from PIL import Image


def test_check_prints_classes_and_every_problem(folder, shell):
    assert shell("check", "--data", folder)[0] == 0
    (folder / "train" / "images" / "1.png").write_bytes(b"no picture")
    (folder / "train" / "masks" / "2.png").write_bytes(b"")
    code, text, _ = shell("check", "--data", folder)
    assert code == 3
    assert "images/1.png: cannot be read as a picture" in text and "masks/2.png: the file is empty" in text


def test_check_finds_a_layout_tells_it_and_reads_patterns(folder, shell):
    city = folder.parent / "city"
    for split in ("train", "val"):
        for kind, new in (("images", "leftImg8bit/{}/x/{}_leftImg8bit.png"), ("masks", "gt/{}/x/{}_ids.png")):
            for path in (folder / split / kind).iterdir():
                target = city / new.format(split, path.stem)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    patterns = ["--images", "leftImg8bit/{split}/**/*_leftImg8bit.png", "--masks", "gt/{split}/**/*_ids.png"]
    code, text, _ = shell("check", "--data", city, *patterns)
    assert code == 0 and "train: 6 pairs, val: 3 pairs" in text
    code, _, err = shell("check", "--data", city)
    assert code == 1 and "tell where the files are by --images and --masks" in err
    (city / "gt").rename(city / "gtFine")
    for path in (city / "gtFine").rglob("*_ids.png"):
        path.rename(path.with_name(path.name.replace("_ids", "_gtFine_labelTrainIds")))
    code, text, _ = shell("check", "--data", city)
    assert code == 0 and "has the layout 'cityscapes_train_ids'" in text and "bicycle" in text
    code, _, err = shell("check", "--data", city, "--layout", "vok")
    assert code == 1 and "unknown layout 'vok'; did you mean 'voc'" in err


def test_masks_of_colours_are_checked_and_evaluated(folder, trained, shell, tmp_path):
    colors = np.random.default_rng(0).integers(0, 256, (256, 3)).astype("uint8")
    plain = shell("evaluate", trained / "run/model.keras", "--data", folder)
    for path in folder.glob("*/masks/*.png"):
        Image.fromarray(colors[np.asarray(Image.open(path))]).save(path)
    names = (folder / "classes.txt").read_text().split("\n")
    named = zip([*names, "unlabelled"], colors[[*range(6), 255]].tolist(), strict=True)
    lines = [f"{name},{r},{g},{b}" for name, (r, g, b) in named]
    (tmp_path / "colors.csv").write_text("\n".join(lines))
    assert shell("check", "--data", folder, "--colors", tmp_path / "colors.csv")[0] == 0
    painted = shell(
        "evaluate", trained / "run/model.keras", "--data", folder, "--colors", tmp_path / "colors.csv"
    )
    assert painted[0] == plain[0] == 0 and painted[1] == plain[1]


def test_mends_are_told_in_words_of_the_shell_and_in_json(folder, shell):
    for path in folder.glob("*/masks/*.png"):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype("uint8") * 128).save(path)
    names = ["--classes", "background,object"]
    code, text, _ = shell("check", "--data", folder, *names)
    assert code == 3 and "map them by --label-map 128:1" in text and "label_map" not in text
    code, text, _ = shell("check", "--data", folder, *names, "--json")
    assert code == 3 and "--label-map 128:1" in json.loads(text)["suggestions"]
    code, text, _ = shell("check", "--data", folder, *names, "--label-map", "128:1", "--json")
    assert code == 0 and json.loads(text)["problems"] == []


def trains(shell, output, *options):
    small = ["--model", "conv_stack", "--crop-size", "32x48", "--batch-size", "2", "--epochs", "1"]
    return shell("train", "--output", output, *small, *options)[0]


def test_masks_of_0_and_255_train_by_the_command_that_the_check_suggests(folder, shell, tmp_path):
    for path in folder.glob("*/masks/*.png"):
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype("uint8") * 255).save(path)
    options = ["--data", folder, "--classes", "background,object"]
    assert trains(shell, tmp_path / "run", *options) == 1
    code, text, _ = shell("check", *options)
    assert code == 3
    mend = shlex.split(re.search(r"^suggestion: (--label-map.*)$", text, re.MULTILINE)[1])
    code, text, _ = shell("check", *options, *mend, "--json")
    assert code == 0 and json.loads(text)["problems"] == []
    assert trains(shell, tmp_path / "run", *options, *mend) == 0


def test_a_tree_of_cities_trains_by_the_command_that_the_check_offers(folder, shell, tmp_path):
    root = tmp_path / "tree"
    for path in folder.glob("*/*/*.png"):
        kind, ending = ("rgb", "rgb") if path.parent.name == "images" else ("labels", "ids")
        target = root / f"{kind}/{path.parts[-3]}/town_{int(path.stem) % 2}/{path.stem}_{ending}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    code, _, err = shell("check", "--data", root)
    offered = re.search(r"(--images \S+) with (--masks \S+) would pair 9 of its files", err)
    assert code == 1 and offered
    options = ["--data", root, *shlex.split(f"{offered[1]} {offered[2]}")]
    code, text, _ = shell("check", *options)
    assert code == 0 and "train: 6 pairs, val: 3 pairs" in text
    assert trains(shell, tmp_path / "run", *options) == 0
