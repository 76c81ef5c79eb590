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
