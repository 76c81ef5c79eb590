"""Folds: `fold=(i, k)` and `--fold I/K`."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.cli.values import fold as fold_of_shell
from kseg.data import check, from_directory
from kseg.data.dividing import divide, divide_by_fold
from kseg.data.patterns import Match


def matches(names, root):
    return {("", name): Match(root / f"{name}.png", ("", name)) for name in names}


def folds(names, count, group, root):
    return [divide_by_fold(matches(names, root), "val", (i, count), group, root) for i in range(1, count + 1)]


def stems(dataset):
    return {re.search(r"(\w+)\.\w+$", path)[1] for path in dataset.image_paths}


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=30), st.integers(2, 12), st.randoms())
def test_folds_are_disjoint_and_complete_and_groups_stay_whole(tmp_path_factory, sizes, count, random):
    root = tmp_path_factory.getbasetemp()
    names = [f"p{patient}_s{number}" for patient, size in enumerate(sizes) for number in range(size)]
    if len(sizes) < count:
        with pytest.raises(
            ValueError, match=f"^{len(sizes)} groups of group=.* are too few for {count} folds"
        ):
            folds(names, count, r"p\d+", root)
        return
    found = folds(names, count, r"p\d+", root)
    assert all(found) and sum(map(len, found)) == len(names)
    assert set().union(*found) == set(matches(names, root))
    patients = [{re.match(r"p\d+", name)[0] for _, name in keys} for keys in found]
    assert sum(map(len, patients)) == len(sizes)
    for index, keys in enumerate(found, 1):
        train = divide_by_fold(matches(names, root), "train", (index, count), r"p\d+", root)
        assert train == set(matches(names, root)) - keys
    random.shuffle(names)
    assert folds(names, count, r"p\d+", root) == found


@settings(deadline=None)
@given(st.sets(st.text("abcdef", min_size=1), min_size=6, max_size=60), st.integers(2, 6))
def test_folds_of_single_pictures_are_of_one_size_and_stay_when_one_is_added(tmp_path_factory, names, count):
    root = tmp_path_factory.getbasetemp()
    before, after = folds(names, count, None, root), folds(names | {"zzz"}, count, None, root)
    assert max(map(len, before)) - min(map(len, before)) <= 1
    moved = [key for one, other in zip(before, after, strict=True) for key in one - other]
    assert len(moved) <= count - 1  # one at each border


def test_folders_without_splits_are_divided_whole(make_files):
    root = make_files([f"seq{s}_{n}" for s in range(5) for n in range(3)])
    options = {"group": r"seq(\d)_"}
    seen = []
    for index in range(1, 6):
        train, val = (stems(from_directory(root, s, fold=(index, 5), **options)) for s in ("train", "val"))
        assert len(val) == 3 and len({name[:4] for name in val}) == 1 and not train & val
        assert len(train) == 12
        assert check(root, fold=(index, 5), **options).pairs == {"train": 12, "val": 3}
        seen += val
    assert len(seen) == len(set(seen)) == 15


def test_folds_divide_the_training_pictures_of_a_folder_with_splits(make_files):
    root = make_files([f"t{n}" for n in range(6)], "train")
    make_files(["v0", "v1"], "val")
    found = [stems(from_directory(root, "val", fold=(index, 3))) for index in (1, 2, 3)]
    assert [len(names) for names in found] == [2, 2, 2]
    assert set().union(*found) == {f"t{n}" for n in range(6)}
    assert check(root, fold=(1, 3), group=r"t\d").pairs == {"train": 4, "val": 2}  # v0 and v1 are left out
    assert stems(from_directory(root, "val")) == {"v0", "v1"}


def test_a_range_is_measured_on_the_training_pictures_of_the_fold(make_files, monkeypatch):
    root, asked = make_files([f"t{n}" for n in range(6)], "train"), []
    measured = kseg.data.opening.reading_options

    def watched(channels, value_range, page, paths, headers, training):
        asked.append({path.stem for path in training})
        return measured(channels, value_range, page, paths, headers, training)

    monkeypatch.setattr("kseg.data.opening.reading_options", watched)
    train = stems(from_directory(root, "train", fold=(2, 3)))
    from_directory(root, "val", fold=(2, 3), value_range="percentiles")
    assert asked[-1] == train and len(train) == 4


@pytest.mark.parametrize(
    ("fold", "split", "words"),
    [
        ((0, 3), "val", r"fold must be \(i, k\), the i-th of k folds with k of 2 or more, got \(0, 3\)"),
        ((4, 3), "val", r"got \(4, 3\)"),
        ((1, 1), "val", r"got \(1, 1\)"),
        ((True, 3), "val", r"got \(True, 3\)"),
        ("1/3", "val", "got '1/3'"),
        (2, "val", "got 2"),
        ((1, 3), "test", "unknown split of a fold 'test'; known: train, val"),
        ((1, 7), "val", "6 pictures are too few for 7 folds; take fewer folds, or add more"),
    ],
)
def test_what_is_no_fold_is_refused(make_files, fold, split, words):
    root = make_files([f"t{n}" for n in range(6)], "train")
    with pytest.raises(ValueError, match=words):
        from_directory(root, split, fold=fold)


def test_a_share_and_a_fold_draw_by_one_hash(tmp_path):
    """The first of five folds is what a fifth draws: neighbours in both."""
    names = matches([f"n{n}" for n in range(20)], tmp_path)
    assert divide_by_fold(names, "val", (1, 5), None, tmp_path) == divide(names, "val", 0.2, None, tmp_path)


def test_a_fold_of_the_shell(capsys):
    assert fold_of_shell("2/5") == (2, 5)
    for text in ("0/5", "6/5", "1/1", "2", "2/5/7", "-1/5", "a/b"):
        with pytest.raises(Exception, match="expected I/K, the I-th of K folds, for instance 1/5, got"):
            fold_of_shell(text)
