"""`kseg check`."""


def test_check_prints_classes_and_every_problem(folder, shell):
    assert shell("check", "--data", folder)[0] == 0
    (folder / "train" / "images" / "1.png").write_bytes(b"no picture")
    (folder / "train" / "masks" / "2.png").write_bytes(b"")
    code, text, _ = shell("check", "--data", folder)
    assert code == 1
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
