"""Folders segmented: all of it, what fails listed, what is finished skipped, parts for several machines."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import kseg
from kseg.cli import main
from kseg.commands.predict import predict_files
from kseg.results.jobs import Job, in_shard

NAMES = st.lists(st.text("abcäß /\ud800", min_size=1, max_size=8), unique=True, max_size=30)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_keeps_its_folders_and_every_mask_is_that_of_predict(model_file, pictures, tmp_path, ids_of):
    root, out = pictures(), tmp_path / "out"
    found = predict_files(model_file, root, out)
    assert (found.done, found.skipped, found.failed) == (5, 0, 0)
    for path in root.rglob("*.png"):
        mask = ids_of(out / path.relative_to(root))
        np.testing.assert_array_equal(mask, kseg.predict(model_file, path))
    assert len(files_in(out)) == 11  # masks, overlays, predict.json
    told = json.loads((out / "predict.json").read_text())
    assert told["models"][0]["path"] == str(model_file)


def test_a_bad_file_does_not_end_the_folder(model_file, pictures, tmp_path, capsys):
    root, out = pictures(), tmp_path / "out"
    (root / "bad.png").write_bytes((root / "000.png").read_bytes()[:40])
    (root / "text.jpg").write_text("<html>")
    assert main(["predict", str(model_file), str(root), "--output", str(out)]) == 3
    lines = (out / "failed.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(root / "bad.png"), str(root / "text.jpg")]
    assert "cut short" in lines[0]
    assert f"5 segmented, 2 failed: see {out / 'failed.txt'}" in capsys.readouterr().err
    (root / "bad.png").write_bytes((root / "000.png").read_bytes())
    (root / "text.jpg").unlink()
    found = predict_files(model_file, root, out)
    assert (found.done, found.skipped, found.failed) == (1, 5, 0)
    assert not (out / "failed.txt").exists()


def test_pictures_that_do_not_fit_the_model_are_listed_alone(model_file, pictures, tmp_path):
    root = pictures()
    np.save(root / "dark.npy", np.full((20, 30, 3), 0.5, "float32"))
    np.save(root / "many.npy", np.zeros((20, 30, 7), "uint8"))
    found = predict_files(model_file, root, tmp_path / "out")
    assert (found.done, found.failed) == (5, 2)
    assert "dark.npy" in found.failed_list.read_text()


def test_what_is_finished_is_skipped_and_what_changed_is_not(model_file, pictures, tmp_path):
    root, out = pictures(), tmp_path / "out"
    predict_files(model_file, root, out)
    (out / "002.png").unlink()
    changed = out / "inner" / "001.png"
    before = changed.read_bytes()
    later = time.time_ns() + 10**9
    Image.new("RGB", (30, 20), "white").save(root / "inner" / "001.png")
    os.utime(root / "inner" / "001.png", ns=(later, later))
    found = predict_files(model_file, root, out)
    assert (found.done, found.skipped) == (2, 3)
    assert (out / "002.png").exists()
    assert changed.read_bytes() != before


def test_results_of_another_model_or_other_options_are_not_mixed(model_file, pictures, tmp_path):
    root, out = pictures(), tmp_path / "out"
    predict_files(model_file, root, out)
    with pytest.raises(FileExistsError, match="exists already, by another model or other options; add"):
        predict_files(model_file, root, out, tta="flip")
    with pytest.raises(FileExistsError, match="exists already"):
        predict_files(model_file, root, out, crf={})
    other = tmp_path / "other.keras"
    kseg.build_conv_stack(3, depth=1, filters=4).save(other)
    with pytest.raises(FileExistsError, match="exists already"):
        predict_files(other, root, out)
    assert predict_files(other, root, out, overwrite=True).done == 5
    assert predict_files(other, root, out).skipped == 5
    copy = tmp_path / "copy.keras"
    copy.write_bytes(other.read_bytes())
    assert predict_files(copy, root, out).skipped == 5  # the same model


RUN = """
import sys
from kseg.commands.predict import predict_files
predict_files(sys.argv[1], sys.argv[2], sys.argv[3], batch_size=2)
"""


@pytest.mark.slow
def test_500_pictures_killed_twice_and_run_again(model_file, pictures, tmp_path, ids_of):
    check_killed(model_file, pictures(499, (60, 80)), tmp_path / "out", ids_of, kills=(120, 330))


def test_a_folder_is_killed_and_run_again(model_file, pictures, tmp_path, ids_of):
    check_killed(model_file, pictures(60), tmp_path / "out", ids_of, kills=(15,))


def check_killed(model_file, root, out, ids_of, kills):
    """Kill a run when so many masks are there; the last one must find all, none torn, one in the list."""
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    count = len(list(root.rglob("*.png")))
    command = [sys.executable, "-c", RUN, model_file, root, out]
    stamps = {}
    for least in kills:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while len(list(out.rglob("*_overlay.png"))) < least:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        finished = [path for path in out.rglob("*.png") if not path.name.startswith(".")]
        stamps |= {path: path.stat().st_mtime_ns for path in finished if "overlay" not in path.name}
    found = predict_files(model_file, root, out)
    assert found.failed == 1
    assert found.done + found.skipped == count
    assert found.skipped >= kills[-1] - 8
    assert "broken.jpg" in (out / "failed.txt").read_text()
    masks = [path for path in out.rglob("[!.]*.png") if not path.stem.endswith("_overlay")]
    assert len(masks) == count
    for path in masks[:: max(1, count // 40)]:
        np.testing.assert_array_equal(ids_of(path), kseg.predict(model_file, root / path.relative_to(out)))
    kept = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert len(kept) >= found.skipped * 0.9  # none is made twice


@given(NAMES, st.integers(1, 5), st.randoms())
def test_shards_are_disjoint_complete_and_know_no_order(names, count, random):
    jobs = [Job(name, name, name, False, {}) for name in names]
    shards = [{job.name for job in in_shard(jobs, (number, count))} for number in range(1, count + 1)]
    assert sum(map(len, shards)) == len(names)
    assert set().union(*shards) == set(names)
    random.shuffle(jobs)
    assert [{job.name for job in in_shard(jobs, (n, count))} for n in range(1, count + 1)] == shards
    fewer = jobs[: len(jobs) // 2]
    assert {job.name for job in in_shard(fewer, (1, count))} == shards[0] & {job.name for job in fewer}


def test_two_shards_equal_one(model_file, pictures, tmp_path):
    root = pictures(9)
    (root / "bad.png").write_text("none")
    predict_files(model_file, root, tmp_path / "one")
    parts = [predict_files(model_file, root, tmp_path / "two", shard=(number, 2)) for number in (1, 2)]
    assert sum(part.done for part in parts) == 9
    assert all(part.done for part in parts)
    assert sum(part.failed for part in parts) == 1
    names = [name for name in files_in(tmp_path / "one") if name.endswith(".png")]
    assert names == [name for name in files_in(tmp_path / "two") if name.endswith(".png")]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_names_that_collide_are_refused_before_anything_is_written(model_file, pictures, tmp_path):
    root = pictures()
    Image.new("RGB", (8, 8)).save(root / "000.jpg")
    with pytest.raises(ValueError, match=r"000\.jpg and .*000\.png: .* would have the same name"):
        predict_files(model_file, root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_inside_of_the_folder_are_no_pictures(model_file, pictures):
    root = pictures()
    with pytest.raises(ValueError, match="holds the pictures; choose another output="):
        predict_files(model_file, root, root)
    assert predict_files(model_file, root, root / "masks").done == 5
    assert predict_files(model_file, root, root / "masks").skipped == 5
    with pytest.raises(FileNotFoundError, match="no pictures but those in"):
        predict_files(model_file, root / "masks", root / "masks" / ".." / "masks" / "..")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (0, 2)}, "shard must be"),
        ({"shard": (3, 2)}, "shard must be"),
        ({"shard": 2}, "shard must be"),
        ({"save": ["masks"]}, "did you mean 'mask'"),
        ({"save": []}, "save must name files"),
        ({"save": ["probabilities", "probabilities16"]}, "save must name files"),
        ({"overlap": 1.5}, "overlap must be"),
    ],
)
def test_arguments_that_do_not_fit_leave_no_folder(model_file, pictures, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        predict_files(model_file, pictures(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_missing_is_named(pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.keras: no such file; expected"):
        predict_files(tmp_path / "none.keras", pictures(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_a_disk_that_is_full_are_told(model_file, pictures, tmp_path, monkeypatch):
    root = pictures()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no pictures in this folder"):
        predict_files(model_file, tmp_path / "empty", tmp_path / "out")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OSError, match="was not written"):  # it is no fault of a picture
        predict_files(model_file, root, tmp_path / "out")


def test_progress_tells_the_time_left_also_where_it_is_piped():
    import io

    from kseg.cli.options import Progress

    stream = io.StringIO()
    progress = Progress("predicting", stream, every=0.0)
    progress(1, 4)
    assert stream.getvalue().startswith("predicting: 1/4, 0 s left")
    progress = Progress("predicting", stream := io.StringIO(), every=60)
    progress(1, 4)
    assert stream.getvalue() == ""


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_of_any_kind_work_and_are_printed_on_a_line_each(model_file, tmp_path, locale):
    names = [b"a\xff.png", b"b [1] *?.png", b"c\nd.png", "ä ö.png".encode(), b"%d.png", b"-x.png", b"v.2.png"]
    (tmp_path / "p").mkdir()
    picture = tmp_path / "p" / "first.png"
    Image.new("RGB", (9, 8)).save(picture)
    for name in names:
        (tmp_path / "p" / os.fsdecode(name)).write_bytes(picture.read_bytes())
    (tmp_path / "p" / os.fsdecode(b"bad\xfe\n.png")).write_text("none")
    program = "import sys; from kseg.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [
        sys.executable,
        "-c",
        program,
        "predict",
        model_file,
        tmp_path / "p",
        "--output",
        tmp_path / "out",
    ]
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert run.returncode == 3, run.stderr
    assert len(run.stdout.splitlines()) == 2 * (len(names) + 1)
    assert len((tmp_path / "out" / "failed.txt").read_text().splitlines()) == 1
    for name in names:
        assert (tmp_path / "out" / os.fsdecode(name)).is_file()


MEASURED = """
import resource, sys
import numpy as np
from kseg.commands.predict import predict_files
predict_files(sys.argv[1], sys.argv[2], sys.argv[3], save=["mask"], **eval(sys.argv[4]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_is_that_of_windows_and_not_of_the_picture(tmp_path):
    """8,000 × 12,000 pixels of 21 classes have 8 GB of scores."""
    kseg.build_conv_stack(21, depth=1, filters=4).save(tmp_path / "m.keras")
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "small.png")
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", "uint8", (8000, 12000, 3)).flush()

    def peak(name, options):
        words = [
            sys.executable,
            "-c",
            MEASURED,
            tmp_path / "m.keras",
            tmp_path / name,
            tmp_path / "out",
            options,
        ]
        run = subprocess.run(words, capture_output=True, check=True, text=True)
        return int(run.stdout.split()[-1]) / 1e6

    assert peak("large.npy", "{'window': (512, 512), 'overlap': 0.25}") - peak("small.png", "{}") < 0.7


def test_masks_lie_as_pictures_are_displayed(model_file, tmp_path, ids_of):
    (tmp_path / "p").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype="uint8")
    turned = Image.Exif()
    turned[274] = 6  # a quarter turn
    Image.fromarray(pixels).save(tmp_path / "p" / "turned.png", exif=turned)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "p" / "grey.png")
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(tmp_path / "p" / "alpha.png")
    Image.fromarray(pixels[..., 0].astype("uint16") * 257).save(tmp_path / "p" / "deep.png")
    assert predict_files(model_file, tmp_path / "p", tmp_path / "out").done == 4
    grey = np.repeat(pixels[..., :1], 3, -1)
    expected = {"turned": np.rot90(pixels, -1), "grey": grey, "alpha": pixels, "deep": grey}
    for name, picture in expected.items():
        mask = ids_of(tmp_path / "out" / f"{name}.png")
        np.testing.assert_array_equal(mask, kseg.predict(model_file, np.ascontiguousarray(picture)))


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_without_noise(model_file, pictures, tmp_path):
    root = pictures(40)
    program = "import sys; from kseg.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "predict", model_file, root, "--output", tmp_path / "out"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.readline()
        run.stdout.close()
        errors = run.stderr.read().decode()
    assert run.returncode in (0, 1)
    assert "Traceback" not in errors and "BrokenPipe" not in errors
    assert predict_files(model_file, root, tmp_path / "out").failed == 0
    assert len(list((tmp_path / "out").rglob("*_overlay.png"))) == 40


def test_results_are_of_the_folder_they_were_made_of(model_file, pictures, tmp_path):
    predict_files(model_file, pictures(3, folder="a"), tmp_path / "out")
    with pytest.raises(FileExistsError, match="exists already"):
        predict_files(model_file, pictures(3, (8, 9), folder="b"), tmp_path / "out")


def test_names_that_collide_are_refused_in_every_shard(model_file, pictures, tmp_path):
    root = pictures(6)
    for path in list(root.rglob("*.png")):
        Image.new("RGB", (8, 8)).save(path.with_suffix(".bmp"))
    for number in (1, 2):
        with pytest.raises(ValueError, match="would have the same name"):
            predict_files(model_file, root, tmp_path / "out", shard=(number, 2))


def test_an_output_that_is_a_file_and_a_list_with_a_mark_of_order(model_file, pictures, tmp_path):
    root = pictures(2)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"predict\.json: the record was not written"):
        predict_files(model_file, root, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    (root / "list.txt").write_text("000.png\n", encoding="utf-8-sig")
    assert [name for name, _ in kseg.predict(model_file, root / "list.txt")] == ["000.png"]


def test_what_cannot_be_written_of_one_picture_does_not_end_the_folder(
    model_file, pictures, tmp_path, monkeypatch
):
    from kseg.results import kinds

    save, root = kinds.save_mask, pictures(3)

    def refused(ids, path):
        if path.stem == "001":
            raise ValueError("a mask of ids up to 70000 does not fit into 16 bits")
        save(ids, path)

    monkeypatch.setattr(kinds, "save_mask", refused)
    found = predict_files(model_file, (path for path in [root]), tmp_path / "out", save="mask")
    assert (found.done, found.failed) == (2, 1)
    assert "70000" in found.failed_list.read_text()
