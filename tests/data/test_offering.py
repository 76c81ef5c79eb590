"""A folder without a layout that is known: what would read it is offered, and does."""

import re
import shutil

import pytest

from kseg.data import from_directory

PLACES = {
    "other words": ("{split}/image/{stem}.png", "{split}/mask/{stem}.png"),
    "labels": ("images/{split}/{stem}.png", "labels/{split}/{stem}.png"),
    "no splits": ("img/{stem}.png", "gt/{stem}_gt.png"),
    "a word before": ("photos/{split}/{stem}.png", "annotations/{split}/seg_{stem}.png"),
    "one folder": ("{split}/{stem}.jpg", "{split}/{stem}_mask.png"),
    "a word behind each": ("rgb/{split}/{stem}_rgb.png", "labels/{split}/{stem}_ids.png"),
    "cities": ("rgb/{split}/{stem}town/{stem}_rgb.png", "labels/{split}/{stem}town/{stem}_ids.png"),
    "cities above": ("{stem}town/rgb/{split}/{stem}.png", "{stem}town/annots/{split}/{stem}.png"),
    "no splits, folders": ("scans/p{stem}/{stem}.png", "segmentation/p{stem}/{stem}.png"),
    "masks below": ("data/pictures/{stem}.png", "data/pictures_masks/{stem}.png"),
}


@pytest.fixture
def place(make_files, tmp_path):
    def move(images, masks):
        root = tmp_path / "new"
        for split, stems in (("training", "abcd"), ("valid", "ef")):
            make_files(stems, split)
            for kind, form in (("images", images), ("masks", masks)):
                for stem in stems:
                    target = root / form.format(split=split, stem=stem)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(tmp_path / f"data/{split}/{kind}/{stem}.png", target)
        return root

    return move


@pytest.mark.parametrize("kind", PLACES)
def test_patterns_that_would_pair_files_are_offered_and_do(place, kind):
    root = place(*PLACES[kind])
    with pytest.raises(FileNotFoundError) as caught:
        from_directory(root, class_names=["a", "b", "c"])
    images, masks = re.search(r"images='([^']*)' with masks='([^']*)' would pair", str(caught.value)).groups()
    data = from_directory(root, images=images, masks=masks, class_names=["a", "b", "c"])
    assert len(data.image_paths) >= 4


def test_of_several_masks_those_of_ids_are_offered(place):
    root = place("camera/{split}/{stem}/{stem}_camera.png", "gt/{split}/{stem}/{stem}_gt_labels.png")
    for path in root.glob("gt/*/*/*"):
        for kind in ("color", "instances", "aaa_colour"):
            shutil.copy(path, str(path).replace("labels", kind))
    with pytest.raises(FileNotFoundError) as caught:
        from_directory(root)
    assert "masks='gt/{split}/**/*_gt_labels.*' would pair 6 of its files" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("annotations/instances_train2017.json", "coco"),
        ("train/_annotations.coco.json", "coco"),
        ("annotations.xml", "cvat"),
        ("labels/train/a.txt", "yolo"),
        ("images/a.json", "labelme"),
    ],
)
def test_annotations_are_known_by_their_files(make_files, file, kind):
    root = make_files("a")
    shutil.rmtree(root / "masks")
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("{}")
    with pytest.raises(FileNotFoundError, match=rf"has annotations of {kind}: .*`kseg convert` make masks"):
        from_directory(root)


def test_nothing_is_offered_where_nothing_shows(make_files):
    root = make_files("abc")
    shutil.rmtree(root / "masks")
    with pytest.raises(FileNotFoundError, match=r"masks: no such folder; masks go there, one per picture"):
        from_directory(root)
