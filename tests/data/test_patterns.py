"""Patterns, split lists and groups: what pairs files and divides them."""

import fnmatch
import re
import shutil
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.data import check, from_directory, from_files
from kseg.data.dividing import divide
from kseg.data.patterns import Match, Pattern, check_pattern

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/.\0"), min_size=1, max_size=8)


def stems(dataset):
    return [path.rpartition("/")[2].partition(".")[0] for path in dataset.image_paths]


def move(root, moves):
    """Move files below a folder: `{path: new path}`."""
    for old, new in moves.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)


# what a pattern matches


@settings(deadline=None, max_examples=40)
@given(st.lists(NAMES, max_size=3), NAMES)
def test_stars_match_what_a_path_was_made_of(tmp_path_factory, folders, name):
    root = tmp_path_factory.mktemp("pattern")
    folder = root.joinpath("sets", "train", *folders)
    folder.mkdir(parents=True)
    path = folder / f"{name}_left.PNG"
    path.touch()
    pattern = Pattern("sets/{split}/**/*_left.png", (".png",))
    composed = [unicodedata.normalize("NFC", text) for text in ("/".join(folders), name)]
    for split in (None, "train"):
        assert list(pattern.find(root, split)) == [Match(path, tuple(composed), "train")]
    assert pattern.splits(root) == ["train"]
    assert list(pattern.find(root, "val")) == []
    shutil.rmtree(root)


@settings(deadline=None, max_examples=60)
@given(st.text("ab*", min_size=1, max_size=5), st.lists(st.text("ab", min_size=1, max_size=4), max_size=5))
def test_stars_within_a_name_match_as_the_shell_does(tmp_path_factory, text, names):
    root = tmp_path_factory.mktemp("names")
    text = re.sub(r"\*+", "*", text)
    for name in names:
        (root / f"{name}.png").touch()
    found = {match.path.stem for match in Pattern(f"{text}.png", (".png",)).find(root)}
    assert found == {name for name in names if fnmatch.fnmatchcase(name, text)}
    shutil.rmtree(root)


@pytest.mark.parametrize("last", ["*", "*.*"])
def test_a_last_star_stands_for_any_suffix(tmp_path, last):
    for name in ("a.png", "b.JPG", "c.txt", "d", ".e.png"):
        (tmp_path / name).touch()
    found = [match.stars for match in Pattern(last, (".png", ".jpg")).find(tmp_path)]
    assert found == [("a",), ("b",)]
    assert Pattern(last, ()).stars == 1


def test_characters_of_other_languages_stand_for_themselves(tmp_path):
    for name in ("a[1].png", "a1.png", "a+.png", "a?.png"):
        (tmp_path / name).touch()
    for name in ("a[1]", "a+", "a?"):
        (match,) = Pattern(f"*{name[1:]}.png", (".png",)).find(tmp_path)
        assert match.path.stem == name


def test_links_that_lead_back_end(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.png").touch()
    (tmp_path / "x/back").symlink_to(tmp_path)
    assert [match.stars for match in Pattern("**/*.png", (".png",)).find(tmp_path)] == [("x", "a")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (3, "must be a pattern"),
        ("", "must be a pattern"),
        ("/abs/*.png", "below the folder"),
        ("../*.png", "below the folder"),
        ("images//*.png", "below the folder"),
        ("images/a.png", "must end in a name with a star"),
        ("images/**", "must end in a name with a star"),
        ("images/x**/*.png", "must end in a name with a star"),
    ],
)
def test_what_is_no_pattern(text, words):
    with pytest.raises(ValueError, match=f"images .*{words}"):
        check_pattern("images", text)


# patterns of from_directory


def test_patterns_pair_other_names_folders_and_suffixes(make_files):
    root = make_files(["a", "b"], "train")
    make_files(["c"], "val")
    moves = {}
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        moves[f"{split}/images/{name}.png"] = f"left/{split}/ulm/{name}_left.PNG"
        moves[f"{split}/masks/{name}.png"] = f"gt/{split}/ulm/{name}_ids.png"
    move(root, moves)
    patterns = {"images": "left/{split}/**/*_left.png", "masks": "gt/{split}/**/*_ids.png"}
    for split, names in (("train", "ab"), ("val", "c")):
        data = from_directory(root, split, **patterns, shuffle=False, batch_size=1)
        listed = from_files(
            [root / f"left/{split}/ulm/{name}_left.PNG" for name in names],
            [root / f"gt/{split}/ulm/{name}_ids.png" for name in names],
            class_names=data.class_names,
            batch_size=1,
        )
        assert (data.image_paths, data.mask_paths) == (listed.image_paths, listed.mask_paths)
        for ours, theirs in zip(data, listed, strict=True):
            np.testing.assert_array_equal(ours[1], theirs[1])
        assert data.layout is None and data.num_classes == 3
    report = check(root, **patterns)
    assert report.pairs == {"train": 2, "val": 1} and report.problems == []


def test_two_lists_have_no_layout(make_files):
    root = make_files(["a"], "train")
    data = from_files([root / "train/images/a.png"], [root / "train/masks/a.png"])
    assert data.layout is None and data.take(1).layout is None
    assert from_directory(root).batch(1).layout == "kseg"


@pytest.mark.parametrize("place", ["/lists/{split}.txt", "../{split}.txt", 3, ""])
def test_lists_that_are_not_below_the_folder(make_files, place):
    with pytest.raises(ValueError, match="split_file must be the path of lists below the folder"):
        from_directory(make_files(["a"]), split_file=place)


def test_pictures_and_masks_in_one_folder(make_files):
    root = make_files(["a", "b", "c", "d"])
    move(root, {f"masks/{n}.png": f"images/{n}_mask.png" for n in "abcd"})
    data = from_directory(root, images="images/*", masks="images/*_mask.png", shuffle=False)
    val = from_directory(root, "val", images="images/*", masks="images/*_mask.png")
    assert sorted(stems(data) + stems(val)) == list("abcd")


@pytest.mark.parametrize("usual", ["train", "val", "test"])
@pytest.mark.parametrize("form", ["{}ing", "{}", "title"])
def test_a_split_is_found_by_the_other_names_in_use(make_files, usual, form):
    there = usual.title() if form == "title" else form.format(usual)
    there = {"valing": "validation"}.get(there, there)
    root = make_files(["a"], there)
    assert stems(from_directory(root, usual)) == stems(from_directory(root, there)) == ["a"]
    assert list(check(root).pairs) == [usual]


def test_two_names_of_one_split_stay_two_splits(make_files):
    make_files(["a"], "val")
    root = make_files(["b"], "valid")
    assert stems(from_directory(root, "val")) == ["a"] and stems(from_directory(root, "valid")) == ["b"]
    assert check(root).pairs == {"val": 1, "valid": 1}


def test_stars_of_two_numbers_are_refused(make_files):
    with pytest.raises(ValueError, match=r"as many stars, .* got 2 in 'images/\*\*/\*' and 1 in 'masks/\*'"):
        from_directory(make_files(["a"]), images="images/**/*", masks="masks/*")


def test_files_with_accents_in_folders_pair(make_files):
    root = make_files(["a", "b"])
    for kind, form in (("images", "NFC"), ("masks", "NFD")):
        folder = unicodedata.normalize(form, "Zürich")
        move(root, {f"{kind}/{n}.png": f"{kind}/{folder}/{n}.png" for n in "ab"})
    train, val = (from_directory(root, split).image_paths for split in ("train", "val"))
    assert len(train + val) == 2


def test_what_is_missing_is_named_by_its_path(make_files):
    root = make_files(["a", "b"], "train")
    (root / "train/masks/b.png").unlink()
    with pytest.raises(ValueError, match=r"without a mask .*: 1 \(b\.png\); expected train/masks/b\.\*;"):
        from_directory(root)
    move(root, {"train/images/b.png": "train/images/x/b.png"})
    with pytest.raises(ValueError, match=r"1 \(b\.png\); expected train/masks/x/b\.\*;"):
        from_directory(root)


@pytest.mark.parametrize(
    ("new", "hint"),
    [
        ("{}_mask.png", "masks='{split}/masks/**/*_mask.*'"),
        ("mask_{}.png", "masks='{split}/masks/**/mask_*'"),
        ("gt-{}-1.png", "masks='{split}/masks/**/gt-*-1.*'"),
    ],
)
def test_the_pattern_that_would_pair_files_is_offered_and_does(make_files, new, hint):
    root = make_files(["one", "two"], "train")
    move(root, {f"train/masks/{n}.png": f"train/masks/{new.format(n)}" for n in ("one", "two")})
    with pytest.raises(ValueError, match=re.escape(f"or say {hint}")):
        from_directory(root)
    assert len(from_directory(root, masks=hint.split("'")[1]).image_paths) == 2


# split lists


@pytest.mark.parametrize(
    "form", ["{}", "{}.png", "images/{}.png", "/images/{}.png /masks/{}.png", "./images/{}"]
)
def test_a_list_says_which_pictures_are_in_a_split(make_files, form):
    root = make_files(["a", "b b", "c", "d"])
    (root / "lists").mkdir()
    for split, names in (("train", ["a", "c"]), ("val", ["d"])):
        text = "# a comment\n\n" + "\n".join(form.format(name, name) for name in names)
        (root / f"lists/{split}.txt").write_text(text, encoding="utf-8-sig")
    options = {"split_file": "lists/{split}.txt"}
    assert stems(from_directory(root, shuffle=False, **options)) == ["a", "c"]
    assert stems(from_directory(root, "val", **options)) == ["d"]
    assert check(root, **options).pairs == {"train": 2, "val": 1}
    with pytest.raises(ValueError, match="unknown split 'vall'; did you mean 'val'"):
        from_directory(root, "vall", **options)


def test_a_listed_name_may_hold_blanks(make_files):
    root = make_files(["a", "b b"])
    (root / "train.txt").write_text("b b\n")
    assert stems(from_directory(root, split_file="{split}.txt")) == ["b b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nx\nb\ny.png 3", r"pictures that are not there: line 2 'x', line 4 'y\.png'"),
        ("a\nb\na.png\n", "a picture twice: lines 1 and 3"),
    ],
)
def test_a_list_that_does_not_fit_names_its_lines(make_files, text, words):
    root = make_files(["a", "b"])
    (root / "train.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"train\.txt: names {words}"):
        from_directory(root, split_file="{split}.txt")
    assert any(re.search(words, problem) for problem in check(root, split_file="{split}.txt").problems)


def test_a_stem_that_two_folders_have_is_listed_by_its_path(make_files):
    root = make_files(["a", "b"])
    for kind in ("images", "masks"):
        move(root, {f"{kind}/a.png": f"{kind}/x/a.png", f"{kind}/b.png": f"{kind}/y/a.png"})
    (root / "train.txt").write_text("x/a\n")
    assert len(from_directory(root, split_file="{split}.txt").image_paths) == 1
    (root / "train.txt").write_text("a\n")
    with pytest.raises(ValueError, match="line 1 'a'"):
        from_directory(root, split_file="{split}.txt")


# what is passed over


def test_hidden_and_stray_files_are_counted(make_files):
    root = make_files(["a"], "train")
    images = root / "train/images"
    for name in (".DS_Store", "._a.png", "Thumbs.db", "notes.txt"):
        (images / name).write_text("x")
    for folder in (images / ".ipynb_checkpoints", root / "__MACOSX/train/images"):
        folder.mkdir(parents=True)
        (folder / "z.png").write_text("x")
    assert stems(from_directory(root)) == ["a"]
    report = check(root)
    assert report.problems == [] and report.pairs == {"train": 1}
    assert report.notes == [
        f"{root}: 4 hidden files and folders (.DS_Store, ._a.png, .ipynb_checkpoints, ...), passed over",
        f"{root}: 2 files that are neither picture nor mask (Thumbs.db, notes.txt), passed over",
    ]


# groups


def matches(names, root):
    return {("", name): Match(root / f"{name}.png", ("", name)) for name in names}


@settings(deadline=None)
@given(st.sets(st.integers(0, 30), min_size=2), st.integers(1, 4), st.floats(0.01, 0.99), st.randoms())
def test_groups_stay_whole_and_every_picture_is_in_one_split(
    tmp_path_factory, patients, slices, share, random
):
    root = tmp_path_factory.getbasetemp()
    names = [f"p{patient}_s{number}" for patient in patients for number in range(slices)]
    images = matches(names, root)
    train, val = (divide(images, split, share, r"p\d+", root) for split in ("train", "val"))
    assert train | val == set(images) and not train & val and train and val
    patients_of = [{re.match(r"p\d+", name)[0] for _, name in keys} for keys in (train, val)]
    assert not patients_of[0] & patients_of[1]
    assert abs(len(val) - share * len(names)) <= slices + 0.5
    random.shuffle(names)
    assert divide(matches(names, root), "val", share, r"p\d+", root) == val


@settings(deadline=None)
@given(st.sets(st.text("abcdef", min_size=1), min_size=3, max_size=40), st.floats(0.1, 0.6))
def test_one_more_picture_moves_one_at_most(tmp_path_factory, names, share):
    root = tmp_path_factory.getbasetemp()
    before = divide(matches(names, root), "val", share, None, root)
    after = divide(matches(names | {"zzz"}, root), "val", share, None, root)
    assert len((before ^ after) - {("", "zzz")}) <= 1


def test_neighbours_are_in_one_split(make_files):
    root = make_files([f"seq{s}_{n}" for s in range(5) for n in range(3)])
    train, val = (stems(from_directory(root, split, group=r"seq(\d)_")) for split in ("train", "val"))
    assert len(val) == 3 and len({name[:4] for name in val}) == 1 and len(train) == 12
    assert check(root, group=r"seq\d").pairs == {"train": 12, "val": 3}


@pytest.mark.parametrize(
    ("folder", "group", "words"),
    [
        ("", r"patient\d", r"\.png: group='.*' finds nothing in images/"),
        ("", "(", "group must be a regular expression, got '\\('"),
        ("", "images", "1 groups of group='images' are too few to split"),
        ("train", "a", "group= divides folders without splits, this one has the split 'train'"),
    ],
)
def test_groups_that_do_not_fit(make_files, folder, group, words):
    with pytest.raises(ValueError, match=words):
        from_directory(make_files(["a", "b"], folder), group=group)
