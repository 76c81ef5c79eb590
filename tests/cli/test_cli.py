"""The shell, in process; and the demo."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.cli import main
from kseg.commands.demo import run as run_demo
from kseg.data.shapes import scene


def write_scenes(root, counts):
    for split, count in counts.items():
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = scene(index, (48, 64), seed=len(split))
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(mask.astype("uint8")).save(root / split / "masks" / f"{index}.png")


@pytest.fixture
def folder(tmp_path):
    write_scenes(tmp_path / "data", {"train": 6, "val": 3})
    (tmp_path / "data" / "classes.txt").write_text("\n".join(kseg.data.shapes(1).class_names))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    write_scenes(root / "data", {"train": 8, "val": 3})
    arguments = ["train", "--data", root / "data", "--output", root / "run", "--model", "conv_stack"]
    arguments += ["--crop", "32x48", "--epochs", "2", "--batch-size", "4"]
    arguments += ["--class-weights", "sqrt_median_frequency"]
    assert main([str(a) for a in arguments]) == 0
    return root


def shell(capsys, *arguments):
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def refused(capsys, *arguments):
    """Run a command that must fail; return its one line."""
    code, _, err = shell(capsys, *arguments)
    assert code == 1
    (line,) = err.strip().splitlines()
    assert line.startswith("kseg: error: ")
    return line


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_train_leaves_model_names_history_and_pictures(trained):
    run = trained / "run"
    assert sorted(file.name for file in run.iterdir()) == [
        "classes.txt",
        "history.csv",
        "learning_curve.png",
        "model.keras",
        "predictions.png",
        "states",
    ]
    assert pixels(run / "learning_curve.png").shape == (260, 840, 3)
    assert (run / "classes.txt").read_text().split("\n")[:2] == ["class 0", "class 1"]
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 <= float(rows[1]["val_iou_class 0"]) <= 1


def test_export_evaluate_and_predict_what_was_trained(trained, capsys):
    run, out = trained / "run", trained / "out"
    for target, options in (
        ("int8.tflite", ["--quantize", "int8", "--input-size", "48x64", "--mediapipe"]),
        ("float32.tflite", ["--input-size", "48x64"]),
        ("saved", []),
    ):
        arguments = ["export", run / "model.keras", trained / target, "--data", trained / "data", *options]
        code, text, err = shell(capsys, *arguments)
        assert code == 0, err
        assert "mean IoU" in text and target in text
    code, text, _ = shell(capsys, "export", "--inspect", trained / "int8.tflite")
    assert code == 0 and "labels: class 0, class 1" in text and '"sha256"' in text
    models = [run / "model.keras", trained / "saved", trained / "float32.tflite", trained / "int8.tflite"]
    code, text, err = shell(capsys, "evaluate", *models, "--data", trained / "data")
    assert code == 0, err
    mean = next(line for line in text.splitlines() if line.startswith("mean IoU")).split()[2:]
    assert len(mean) == 4 and mean[0] == mean[1] == mean[2]
    code, text, err = shell(capsys, "benchmark", *models[1:], "--runs", "2", "--threads", "1,2")
    assert code == 0, err
    lines = text.splitlines()
    assert "1 thread, ms" in lines[0] and "2 threads, ms" in lines[0]
    assert [str(path) in line for path, line in zip(models[1:], lines[1:], strict=True)] == [True] * 3
    assert all("48x64" in line for line in lines[1:])
    picture = trained / "data" / "val" / "images" / "0.png"
    code, _, err = shell(capsys, "predict", trained / "float32.tflite", picture, "--output", out)
    assert code == 0, err
    np.testing.assert_array_equal(pixels(out / "0.png"), kseg.predict(run / "model.keras", picture))
    assert pixels(out / "0_overlay.png").shape[0] == 48
    assert "exists already" in refused(capsys, "predict", trained / "saved", picture, "--output", out)
    code, _, err = shell(
        capsys, "predict", run / "model.keras", picture, "--output", out, "--crf", "--overwrite"
    )
    assert code == 0, err
    expected = kseg.predict(run / "model.keras", picture, crf=True)
    np.testing.assert_array_equal(pixels(out / "0.png"), expected)


def test_check_prints_classes_and_every_problem(folder, capsys):
    assert shell(capsys, "check", "--data", folder)[0] == 0
    (folder / "train" / "images" / "1.png").write_bytes(b"no picture")
    (folder / "train" / "masks" / "2.png").write_bytes(b"")
    code, text, _ = shell(capsys, "check", "--data", folder)
    assert code == 1
    assert "images/1.png: cannot be read as a picture" in text and "masks/2.png: the file is empty" in text


def spoil_missing_folder(folder):
    return folder.rename(folder.with_name("elsewhere"))


def spoil_no_pairs(folder):
    for number, mask in enumerate(sorted((folder / "train" / "masks").iterdir())):
        mask.rename(mask.with_name(f"other{number}.png"))


def spoil_image_without_mask(folder):
    (folder / "train" / "masks" / "2.png").unlink()


def spoil_size(folder):
    Image.new("L", (10, 12)).save(folder / "train" / "masks" / "2.png")


def spoil_picture(folder):
    whole = (folder / "train" / "images" / "2.png").read_bytes()
    (folder / "train" / "images" / "2.png").write_bytes(whole[: len(whole) // 2])


def spoil_ids(folder):
    Image.new("L", (64, 48), 77).save(folder / "val" / "masks" / "2.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing_folder, "data: no such folder"),
        (spoil_no_pairs, "train/images: no picture shares its stem with a mask"),
        (spoil_image_without_mask, "train/images: pictures without a mask in"),
        (spoil_size, "train/masks/2.png: 10×12 pixels, but 2.png has 64×48"),
        (spoil_picture, "train/images/2.png: the file is cut short"),
        (spoil_ids, "val/masks/2.png: class ids [77] outside 0..5"),
    ],
)
def test_train_refuses_bad_data_in_one_line(folder, capsys, spoil, message):
    spoil(folder)
    output = folder.parent / "run"
    line = refused(capsys, "train", "--data", folder, "--output", output, "--epochs", "1")
    assert message in line
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "unnet"], "unknown model 'unnet'; did you mean 'unet'?"),
        (["--backbone", "mobilnet_v2"], "unknown backbone 'mobilnet_v2'; did you mean 'mobilenet_v2'?"),
        (["--model", "conv_stack", "--backbone", "vgg16"], "'conv_stack' takes no argument 'backbone'"),
        (["--classes", "a,b"], "outside 0..1"),
        (["--start-from", "none.keras"], "none.keras: no such file"),
        (["--freeze-encoder"], "freeze_encoder would keep random weights"),
        (["--freeze-encoder", "--encoder-learning-rate", "1"], "give one of them"),
        (["--ema", "1"], "ema_momentum must be a number from 0 to below 1"),
        (["--weight-decay", "-1"], "weight_decay must be a number of 0 or more"),
        (["--seed", "-1"], "seed must be an int of 0 or more"),
        (["--accumulate", "99"], "gradient_accumulation_steps=99 is more than all"),
        (["--aux-heads"], "'unet' takes no argument 'aux_heads'"),
    ],
)
def test_train_refuses_bad_options_in_one_line(folder, capsys, options, message):
    output = folder.parent / "run"
    line = refused(capsys, "train", "--data", folder, "--output", output, "--epochs", "1", *options)
    assert message in line
    assert not output.exists()


SMALL = ["--model", "conv_stack", "--crop", "32x32", "--batch-size", "2", "--epochs"]


def test_a_stopped_training_is_resumed(folder, capsys):
    output = folder.parent / "run"
    command = [sys.executable, "-c", "import sys; from kseg.cli import main; sys.exit(main())", "train"]
    command += ["--data", str(folder), "--output", str(output), *SMALL, "12"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (output / "states" / "epoch-000002").exists():
        assert process.poll() is None
        time.sleep(0.01)
    arguments = ("train", "--data", folder, "--output", output, *SMALL)
    assert f"run is in use by process {process.pid}" in refused(capsys, *arguments, "12", "--resume")
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 143
    assert "stopped by SIGTERM in" in err and "go on with the same command and --resume" in err
    assert "add --resume to go on" in refused(capsys, *arguments, "12")
    assert "epochs: 12 before, 13 now" in refused(capsys, *arguments, "13", "--resume")
    code, out, _ = shell(capsys, *arguments, "12", "--resume")
    assert code == 0 and "resuming after epoch" in out
    with (output / "history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 13))


def test_a_training_that_diverges_leaves_no_broken_model(folder, capsys):
    output = folder.parent / "run"
    arguments = ["--data", folder, "--output", output, *SMALL, "2", "--learning-rate", "1e30"]
    code, _, err = shell(capsys, "train", *arguments)
    assert code == 4
    assert re.search(
        r"^kseg: error: epoch \d, step \d: the loss is (nan|inf); its pictures: .*train/images", err
    )
    assert not output.exists()


@pytest.mark.slow
def test_train_takes_every_option(folder, capsys):
    """From the weights of a model with other classes."""
    output, start = folder.parent / "run", folder.parent / "start.keras"
    kseg.build_unet(6, backbone="mobilenet_v2").save(start)
    arguments = ["--data", folder, "--output", output, "--start-from", start]
    arguments += ["--classes", "a,b,c,d,e,f,g", "--crop", "32x48", "--batch-size", "2", "--epochs", "2"]
    arguments += ["--backbone", "mobilenet_v2", "--precision", "mixed_bfloat16", "--tensorboard"]
    arguments += ["--optimizer", "sgd", "--schedule", "cosine", "--encoder-learning-rate", "0.001"]
    arguments += ["--clip-norm", "1", "--accumulate", "2", "--ema", "0.9", "--weight-decay", "0"]
    code, out, err = shell(capsys, "train", *arguments)
    assert code == 0, err
    assert re.search(r"logits starts anew: kernel is \(.*, 7\) here, \(.*, 6\) there", out)
    assert re.search(r"optimizer  SGD; .*optimizer sgd, schedule cosine", out)
    assert "devices    1 in step, mixed_bfloat16" in out
    kinds = {path.parent.name for path in (output / "tensorboard").rglob("events.out.tfevents.*")}
    assert kinds == {"train", "validation", "predictions"}
    model = kseg.load(output / "model.keras")
    assert model.output_shape[-1] == 7 and model.optimizer.use_ema


def test_resume_needs_states(trained, folder, capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").write_bytes(b"mine")
    line = refused(capsys, "train", "--data", folder, "--output", tmp_path / "run", "--resume")
    assert "holds model.keras, but no states to resume from" in line


def test_evaluate_names_the_mask_with_an_unknown_id(trained, folder, capsys):
    spoil_ids(folder)
    line = refused(capsys, "evaluate", trained / "run" / "model.keras", "--data", folder)
    assert "val/masks/2.png" in line and "77" in line and "label_map" in line


def test_train_leaves_an_existing_run_alone(folder, trained, capsys):
    before = (trained / "run" / "model.keras").read_bytes()
    line = refused(capsys, "train", "--data", folder, "--output", trained / "run")
    assert "run: exists already and is not empty" in line
    assert (trained / "run" / "model.keras").read_bytes() == before


def test_export_refuses_in_one_line(trained, capsys, tmp_path):
    model = trained / "run" / "model.keras"
    target = tmp_path / "m.tflite"
    assert "input_size=(H, W) is missing" in refused(capsys, "export", model, target)
    arguments = ("export", model, target, "--input-size", "32x32", "--quantize", "int8")
    assert "representative_data is missing" in refused(capsys, *arguments)
    assert "MODEL and PATH are missing" in refused(capsys, "export", model)
    assert "are for paths that end" in refused(capsys, "export", model, tmp_path / "saved", "--mediapipe")
    layer = [*arguments[:5], "--float-layers", "1"]
    assert "float_layers is for quantize='int8'" in refused(capsys, *layer)
    assert "no such file" in refused(capsys, "export", tmp_path / "none.keras", target)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"mine")
    assert "exists already" in refused(capsys, "export", model, target, "--input-size", "32x32")
    assert target.read_bytes() == b"mine"


def test_predict_refuses_an_unreadable_picture_and_writes_nothing(trained, capsys, tmp_path):
    (tmp_path / "a.jpg").write_text("<html>")
    line = refused(
        capsys, "predict", trained / "run" / "model.keras", tmp_path / "a.jpg", "--output", tmp_path / "o"
    )
    assert "a.jpg: cannot be read as a picture" in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["train"], ["train", "--crop", "big"], ["demo", "--epochs", "0"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: kseg" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "check", "train", "evaluate", "predict", "export", "benchmark"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert len(capsys.readouterr().out) > 400


def test_the_installed_command_shows_one_line_and_no_noise(tmp_path):
    command = [Path(sys.executable).with_name("kseg"), "check", "--data", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("kseg: error: ") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_demo_leaves_every_file_and_compares_them(tmp_path, capsys):
    results = run_demo(tmp_path / "demo", train_scenes=24, held_out_scenes=20, epochs=1, filters=2)
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    files = ["model.keras", "saved_model", "float32.tflite", "float16.tflite", "int8.tflite"]
    reports = [f"{name}.json" for name in files if name.endswith(".tflite")]
    assert names == {*files, *reports, "predictions.png"}
    assert list(results) == files
    out = capsys.readouterr().out
    assert "mean IoU" in out and "ms/picture" in out
    with pytest.raises(FileExistsError, match="exists already"):
        run_demo(tmp_path / "demo")
