"""`kseg train`: what it writes, refuses and resumes."""

import csv
import functools
import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.cli import main
from kseg.commands.monitoring import check_monitor
from kseg.commands.run_record import write_record
from kseg.commands.train import train
from kseg.training.named_losses import list_losses


def test_train_leaves_model_names_history_and_pictures(trained, pixels):
    run = trained / "run"
    assert sorted(file.name for file in run.iterdir()) == [
        "classes.txt",
        "config.json",
        "history.csv",
        "learning_curve.png",
        "model.keras",
        "predictions.png",
        "report.html",
        "states",
    ]
    assert pixels(run / "learning_curve.png").shape == (260, 840, 3)
    page = (run / "report.html").read_text()
    assert "class 0" in page and "val" in page and "data:image/" in page
    assert (run / "classes.txt").read_text().split("\n")[:2] == ["class 0", "class 1"]
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 <= float(rows[1]["val_iou_class 0"]) <= 1


def test_a_run_tells_what_it_was_asked_for(folder, shell, monkeypatch):
    """And nothing of the environment; a resume leaves it as it was."""
    monkeypatch.setenv("API_TOKEN", "a-secret-of-the-environment")
    output = folder.parent / "my run"
    (folder / "classes.txt").write_text("Straße\nb\nc\nd\ne\nf\n", encoding="utf-8")
    arguments = ["train", "--data", folder, "--output", output, *SMALL, "1", "--filters", "4", "--seed", "7"]
    arguments += ["--loss", "focal", "dice", "--early-stopping", "3", "--learning-rate", "0.01", "--hue", "5"]
    code, _, err = shell(*arguments)
    assert code == 0, err
    text = (output / "config.json").read_text(encoding="utf-8")
    assert "secret" not in text and "Straße" in text
    record = json.loads(text)
    assert shlex.split(record["command"]) == ["kseg", *map(str, arguments)]
    model = kseg.load(output / "model.keras")
    assert record["model"] == {
        "name": "conv_stack",
        "arguments": {"filters": 4},
        "parameters": model.count_params(),
    }
    data = record["data"]
    assert data["root"] == str(folder) and data["layout"] == "kseg"
    assert (data["training_pictures"], data["validation_pictures"]) == (6, 3)
    assert data["classes"] == ["Straße", "b", "c", "d", "e", "f"]
    expected = {"seed": 7, "batch_size": 2, "epochs": 1, "crop_size": [32, 32], "steps_per_epoch": 3}
    expected |= {"loss": ["focal", "dice"], "monitor": "val_mean_iou", "early_stopping": 3, "devices": 1}
    expected |= {"learning_rate": 0.01, "weight_decay": 0.05, "optimizer": "adamw", "schedule": "poly"}
    expected |= {"augmentation": {"hue": 5.0}, "class_weights": None, "deterministic": False}
    assert expected.items() <= record["training"].items()
    assert record["versions"]["keras"] == keras.__version__
    assert set(record["versions"]) == {"kseg", "keras", "tensorflow", "numpy", "python"}
    assert shell(*arguments, "--resume")[0] == 0
    assert (output / "config.json").read_text(encoding="utf-8") == text


def test_a_name_that_is_no_text_stands_in_the_record_as_an_escape(tmp_path):
    write_record({"data": "a\udcff"}, tmp_path)
    assert json.loads((tmp_path / "config.json").read_bytes()) == {"data": "a\udcff"}


def test_the_states_of_trainings_that_exist_stay_those_of_the_same_training(trained):
    """What a state remembers of the arguments, key by key: another key would refuse every older state."""

    def digest(count):
        names = "\n".join(f"{number}.png" for number in range(count))
        return f"{count} files, {hashlib.sha256(names.encode()).hexdigest()[:12]}"

    (record, *_) = (trained / "run" / "states").glob("epoch-*/state.json")
    assert json.loads(record.read_text())["facts"]["config"] == {
        "model": "conv_stack",
        "start_from": None,
        "freeze_encoder": False,
        "classes": [f"class {number}" for number in range(6)],
        "label_map": {},
        "pictures": digest(8),
        "validation": digest(3),
        "crop_size": [32, 48],
        "batch_size": 4,
        "epochs": 2,
        "class_weights": "sqrt_median_frequency",
        "precision": "float32",
        "seed": 0,
        "deterministic": False,
        "optimizer": "adamw",
        "schedule": "poly",
    }


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
def test_train_refuses_bad_data_in_one_line(folder, spoil, message, refused):
    spoil(folder)
    output = folder.parent / "run"
    line = refused("train", "--data", folder, "--output", output, "--epochs", "1")
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
        (["--ema-momentum", "1"], "ema_momentum must be a number from 0 to below 1"),
        (["--weight-decay", "-1"], "weight_decay must be a number of 0 or more"),
        (["--seed", "-1"], "seed must be an int of 0 or more"),
        (["--gradient-accumulation-steps", "99"], "gradient_accumulation_steps=99 is more than all"),
        (["--model", "unet", "--aux-heads"], "'unet' takes no argument 'aux_heads'"),
        (["--rotation", "200"], "rotation must be an angle in degrees in [0, 180], got 200.0"),
        (["--color", "1"], "color must be a number in [0, 1), got 1.0"),
        (["--loss", "dice", "tverski"], "unknown loss 'tverski'; did you mean 'tversky'?"),
        (["--loss", "dice", "dice"], "loss must be names of losses, each once, got ['dice', 'dice']"),
        (["--monitor", "val_mean_io"], "unknown monitor 'val_mean_io'; did you mean 'val_mean_iou'?"),
        (["--monitor", "val_iou_rign"], "unknown monitor 'val_iou_rign'; did you mean 'val_iou_ring'?"),
        (
            ["--model", "unet", "--filters", "8", "--backbone", "vgg16"],
            "--filters is the width of the model's own encoder",
        ),
        (["--model", "segnet", "--variant", "basik"], "unknown variant 'basik'; did you mean 'basic'?"),
        (["--model", "segnet", "--output-stride", "8"], "'segnet' takes no argument 'output_stride'"),
        (["--model", "pspnet", "--output-stride", "7"], "output_stride"),
        (["--cache", ""], "cache must be None, 'memory' or the path of a folder"),
    ],
)
def test_train_refuses_bad_options_in_one_line(folder, options, message, refused):
    output = folder.parent / "run"
    line = refused("train", "--data", folder, "--output", output, "--epochs", "1", *options)
    assert message in line
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ([], "ddrnet"),
        (["--filters", "8"], "ddrnet"),
        (["--backbone", "mobilenet_v2"], "unet"),
        (["--backbone", "mobilenet_v2", "--decoder-filters", "64,48,32,24,16"], "unet"),
        (["--model", "segnet", "--variant", "basic", "--filters", "8"], "segnet"),
        (["--model", "pspnet", "--variant", "resnet50", "--output-stride", "16", "--filters", "8"], "pspnet"),
    ],
)
def test_the_model_by_default_is_one_that_two_cores_train(folder, shell, monkeypatch, options, model):
    built = []

    def begun(name, count, **arguments):
        built.append((name, arguments))
        raise LookupError(name)

    monkeypatch.setattr("kseg.commands.preparation.build", begun)
    with pytest.raises(LookupError):
        shell("train", "--data", folder, "--output", folder.parent / "run", *options)
    ((name, arguments),) = built
    assert name == model
    for word in ("variant", "output-stride", "filters"):
        if f"--{word}" in options:
            assert str(arguments[word.replace("-", "_")]) == options[options.index(f"--{word}") + 1]
    network = kseg.build(name, 6, **arguments)
    assert network.count_params() < 10e6


@pytest.mark.slow  # its graph takes a while; the one before is quick
def test_the_model_by_default_trains(folder, shell):
    output = folder.parent / "run"
    arguments = ["--data", folder, "--output", output, "--crop-size", "32x32", "--filters", "4"]
    code, out, err = shell("train", *arguments, "--epochs", "1", "--batch-size", "2")
    assert code == 0, err
    assert "\nmodel      ddrnet, " in out
    assert kseg.load(output / "model.keras").name == "ddrnet"
    (record, *_) = (output / "states").glob("epoch-*/state.json")
    assert json.loads(record.read_text())["facts"]["config"]["model"] == "ddrnet"


SMALL = ["--model", "conv_stack", "--crop-size", "32x32", "--batch-size", "2", "--epochs"]


@pytest.mark.slow  # three trainings by the shell; tests/test_resume.py has the quick one
def test_a_stopped_training_is_resumed(folder, shell, refused):
    output = folder.parent / "run"
    command = [sys.executable, "-c", "import sys; from kseg.cli import main; sys.exit(main())", "train"]
    command += ["--data", str(folder), "--output", str(output), *SMALL, "12"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (output / "states" / "epoch-000002").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # else it may be done before the next command asks
    arguments = ("train", "--data", folder, "--output", output, *SMALL)
    assert f"run is in use by process {process.pid}" in refused(*arguments, "12", "--resume")
    process.terminate()
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate()
    assert process.returncode == 143
    assert "stopped by SIGTERM in" in err and "go on with the same command and --resume" in err
    assert "add --resume to go on" in refused(*arguments, "12")
    assert "epochs: 12 before, 13 now" in refused(*arguments, "13", "--resume")
    code, out, _ = shell(*arguments, "12", "--resume")
    assert code == 0 and "resuming after epoch" in out
    with (output / "history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 13))


def test_a_training_that_diverges_leaves_no_broken_model(folder, shell):
    output = folder.parent / "run"
    arguments = ["--data", folder, "--output", output, *SMALL, "2", "--learning-rate", "1e30"]
    code, _, err = shell("train", *arguments)
    assert code == 4
    assert re.search(
        r"^kseg: error: epoch \d, step \d: the loss is (nan|inf); its pictures: .*train/images", err
    )
    assert not output.exists()


EARLY = ["--early-stopping", "2", "--monitor", "val_loss", "--loss", "cross_entropy", "dice"]
EARLY += ["--learning-rate", "0.3", "--filters", "4", "--deterministic"]


def scores_of(output):
    with (output / "history.csv").open() as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file)]


@pytest.fixture
def determinism():
    """What `--deterministic` asks TensorFlow for holds for a process; here for a test."""
    yield
    from tensorflow.python.framework.config import disable_op_determinism  # it has no public name

    disable_op_determinism()


@pytest.mark.slow  # tests/commands/test_monitoring.py has what stops early without a training
def test_a_training_stops_early_and_resumed_ends_where_it_did(
    folder, shell, refused, monkeypatch, determinism
):
    """With a rate that is too high; killed as it waits and as it ends, it has the same epochs and model."""
    whole, parts = folder.parent / "whole", folder.parent / "parts"
    arguments = ["train", "--data", folder, *SMALL, "30", *EARLY, "--output"]
    code, out, err = shell(*arguments, whole)
    assert code == 0, err
    scores = scores_of(whole)
    best = scores.index(min(scores))
    assert len(scores) < 30 and best == len(scores) - 3
    assert "loss       cross-entropy + dice\n" in out
    ends = "that of the least val_loss; the training stops after 2 epochs without a better one"
    assert f"best epoch {ends}\n" in out
    assert "stopped early: 2 epochs without a better val_loss" in out
    assert f"best epoch {best + 1}, val_loss {scores[best]:.4f}: " in out
    written = kseg.callbacks.ExactResume.on_epoch_end

    def killed(self, epoch, logs=None):
        written(self, epoch, logs)
        if epoch >= len(scores) - 2:
            raise LookupError(epoch)

    with monkeypatch.context() as patch:
        patch.setattr(kseg.callbacks.ExactResume, "on_epoch_end", killed)
        for epoch in range(len(scores) - 2, len(scores)):
            with pytest.raises(LookupError, match=str(epoch)):
                shell(*arguments, parts, "--resume")
    code, out, err = shell(*arguments, parts, "--resume")
    assert code == 0, err
    assert f"after epoch {len(scores)}, where it was stopped early: nothing is left to train" in out
    assert scores_of(parts) == scores
    first, second = (kseg.load(output / "model.keras").get_weights() for output in (whole, parts))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "early_stopping: 2 before, 3 now" in refused(
        *arguments, parts, "--resume", "--early-stopping", "3"
    )


@pytest.mark.parametrize("monitor", ["val_mean_dice", "val_boundary_f1", "val_iou_class 1", "mean_iou"])
@pytest.mark.slow_after(1)
def test_any_value_may_tell_the_best_epoch(trained, tmp_path, shell, monitor):
    arguments = ["--data", trained / "data", "--output", tmp_path / "run", *SMALL, "2", "--monitor", monitor]
    code, out, err = shell("train", *arguments)
    assert code == 0, err
    with (tmp_path / "run" / "history.csv").open() as file:
        values = [float(row[monitor]) for row in csv.DictReader(file)]
    best = values.index(max(values))
    assert f"best epoch {best + 1}, {monitor} {values[best]:.4f}: " in out
    (line,) = (line for line in out.splitlines() if "epoch 2/2" in line)
    assert f"  {monitor} {values[1]:.4f}  " in line


@pytest.mark.slow
def test_train_takes_every_option(folder, shell):
    """From the weights of a model with other classes."""
    output, start = folder.parent / "run", folder.parent / "start.keras"
    kseg.build_unet(6, backbone="mobilenet_v2").save(start)
    arguments = ["--data", folder, "--output", output, "--start-from", start]
    arguments += ["--classes", "a,b,c,d,e,f,g", "--crop-size", "32x48", "--batch-size", "2", "--epochs", "2"]
    arguments += ["--backbone", "mobilenet_v2", "--precision", "mixed_bfloat16", "--tensorboard"]
    arguments += ["--optimizer", "sgd", "--schedule", "cosine", "--encoder-learning-rate", "0.001"]
    arguments += ["--global-clipnorm", "1", "--gradient-accumulation-steps", "2"]
    arguments += ["--ema-momentum", "0.9", "--weight-decay", "0"]
    code, out, err = shell("train", *arguments)
    assert code == 0, err
    assert re.search(r"logits starts anew: kernel is \(.*, 7\) here, \(.*, 6\) there", out)
    expected = "SGD, learning rate 0.01, weight decay 0.0, encoder learning rate 0.001, global clipnorm 1.0, "
    expected += "gradient accumulation steps 2, ema momentum 0.9, cosine schedule"
    assert f"optimizer  {expected}\n" in out
    assert "devices    1 CPU, mixed_bfloat16\n" in out
    kinds = {path.parent.name for path in (output / "tensorboard").rglob("events.out.tfevents.*")}
    assert kinds == {"train", "validation", "predictions"}
    model = kseg.load(output / "model.keras")
    assert model.output_shape[-1] == 7 and model.optimizer.use_ema


def test_a_training_varies_its_crops_as_asked(folder, shell, refused, monkeypatch):
    seen = {}
    augment = kseg.data.augment

    @functools.wraps(augment)
    def watched(crop_size, **options):
        seen.update(options)
        return augment(crop_size, **options)

    monkeypatch.setattr(kseg.data, "augment", watched)
    place = ["--data", folder, "--output", folder.parent / "run", *SMALL, "1"]
    varied = ["--augment", "strong", "--rotation", "10", "--scale", "0.5,2", "--flip", "none", "--rare-crops"]
    code, _, err = shell("train", *place, *varied, "--cache", folder.parent / "kept")
    assert code == 0, err
    weights = seen.pop("class_weights")
    assert len(weights) == 6 and all(weight > 0 for weight in weights)
    assert seen == {"strength": "strong", "rotation": 10.0, "scale": (0.5, 2.0), "flip": False}
    assert len(list((folder.parent / "kept").glob("*.pair"))) == 6 + 3
    assert shell("train", *place, *varied, "--resume")[0] == 0  # a cache is no part of what was asked
    assert "augmentation" in refused("train", *place, *varied, "--hue", "3", "--resume")


def test_a_training_says_every_thing_once_and_before_it_is_done(folder, shell):
    """What stands in the terminal, in the words of the shell; and that a second run has nothing to do."""
    arguments = ["train", "--data", folder, "--output", folder.parent / "first", *SMALL, "1"]
    code, out, err = shell(*arguments)
    assert code == 0, err
    lines = [re.sub(r"\d+ s\b", "N s", re.sub(r"\d\.\d+", "N", line)) for line in out.splitlines()]
    model = kseg.load(folder.parent / "first" / "model.keras")
    (start,) = (n for n, line in enumerate(lines) if line.startswith("suggestion: "))
    assert lines[start].startswith("suggestion: --class-weights sqrt_median_frequency, as ")
    assert lines[start + 1 :] == [
        f"model      conv_stack, {model.count_params():,} parameters",
        "data       6 pictures to train on, 3 to validate, 6 classes",
        "steps      1 epoch of 3 steps of 2 crops 32×32",
        "loss       cross-entropy",
        "optimizer  AdamW, learning rate N, weight decay N, poly schedule",
        "devices    1 CPU, float32",
        f"output     {folder.parent / 'first'}",
        "best epoch that of the highest val_mean_iou",
        "first: first step: building the graph, may take a minute",
        "first: first step after N s",
        "first: about N s an epoch",
        "first: epoch 1/1  loss N  val_loss N  val_mean_iou N  N min",
        "val_mean_iou N is the best so far: writing model.keras",
        "drawing predictions.png: what the model of the best epoch predicts",
        "writing report.html: its scores, its worst and best pictures",
        f"best epoch 1, val_mean_iou N: {folder.parent / 'first' / 'model.keras'}",
        f"pictures: {folder.parent / 'first' / 'predictions.png'}",
        f"report: {folder.parent / 'first' / 'report.html'}",
    ]
    code, again, _ = shell(*arguments, "--resume")
    assert code == 0 and "resuming after epoch 1, the last one: nothing is left to train" in again
    assert "first step" not in again


def test_class_weights_are_not_suggested_where_they_are_given(folder, shell):
    arguments = ["--data", folder, "--output", folder.parent / "first", *SMALL, "1"]
    arguments += ["--class-weights", "median_frequency", "--loss", "focal", "dice"]
    code, out, err = shell("train", *arguments)
    assert code == 0, err
    assert "suggestion" not in out
    assert "\nloss       focal + dice, classes weighed by median frequency\n" in out
    loss = kseg.load(folder.parent / "first" / "model.keras").loss
    train = kseg.data.from_directory(folder, "train", batch_size=None)
    weights = kseg.data.class_weights(train, "median_frequency")
    (focal, one), (dice, other) = loss.parts
    assert (one, other, dice.class_weights) == (1, 1, None)
    np.testing.assert_allclose(focal.class_weights, weights, rtol=1e-6)


def test_the_help_names_every_loss_and_value(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert set(list_losses()) <= words
    with pytest.raises(ValueError, match="unknown monitor") as caught:
        check_monitor("?")
    known = set(re.findall(r"val_\w+", str(caught.value)))
    assert len(known) == 6 and known <= words


def test_resume_needs_states(trained, folder, tmp_path, refused):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").write_bytes(b"mine")
    line = refused("train", "--data", folder, "--output", tmp_path / "run", "--resume")
    assert "holds model.keras, but no states to resume from" in line


def test_train_leaves_an_existing_run_alone(folder, trained, refused):
    before = (trained / "run" / "model.keras").read_bytes()
    line = refused("train", "--data", folder, "--output", trained / "run")
    assert "run: exists already and is not empty" in line
    assert (trained / "run" / "model.keras").read_bytes() == before


def test_a_training_on_patterns_is_evaluated_exported_and_resumed_with_them(folder, shell, refused):
    """A state remembers them: other files are another training."""
    for split in ("train", "val"):
        for path in (folder / split / "masks").iterdir():
            path.rename(path.with_name(f"{path.stem}_gt.png"))
    run = folder.parent / "run"
    places = ["--data", folder, "--masks", "{split}/masks/*_gt.png", "--images", "{split}/images/*"]
    arguments = [*places, "--output", run, "--model", "conv_stack", "--crop-size", "32x32", "--epochs", "1"]
    code, _, err = shell("train", *arguments)
    assert code == 0, err
    (record, *_) = (run / "states").glob("epoch-*/state.json")
    assert json.loads(record.read_text())["facts"]["config"]["reading"] == {
        "images": "{split}/images/*",
        "masks": "{split}/masks/*_gt.png",
    }
    assert shell("train", *arguments, "--resume")[0] == 0
    assert shell("evaluate", run / "model.keras", *places)[0] == 0
    assert shell("export", run / "model.keras", folder.parent / "saved", *places)[0] == 0
    assert "or say --masks '{split}/masks/**/*_gt.*'" in refused(
        "evaluate", run / "model.keras", "--data", folder
    )


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        ({"rotatoin": 5}, "unknown argument of augmentation 'rotatoin'; did you mean 'rotation'"),
        ({"crop_size": (32, 32)}, "unknown argument of augmentation 'crop_size'"),
        ("strong", "augmentation must be arguments of kseg.data.augment, got 'strong'"),
        ({"blur": -1}, "blur must be a number of pixels of 0 or more"),
    ],
)
def test_an_augmentation_is_judged_before_the_data_are_read(tmp_path, augmentation, words):
    with pytest.raises(ValueError, match=words):
        train(tmp_path / "nowhere", tmp_path / "run", augmentation=augmentation)


@pytest.mark.slow  # tests/data/test_folds.py has folds without a training
def test_a_fold_is_trained_evaluated_and_remembered(folder, shell, refused):
    """The second of three: two of six pictures validate, and those of `val` take no part."""
    run = folder.parent / "run"
    arguments = ["--data", folder, "--output", run, *SMALL, "1", "--fold"]
    code, out, err = shell("train", *arguments, "2/3")
    assert code == 0, err
    assert "train: 4 pairs, val: 2 pairs\n" in out
    assert "4 pictures to train on, 2 to validate" in out
    assert shell("train", *arguments, "2/3", "--resume")[0] == 0
    assert "'fold': [2, 3]} before" in refused("train", *arguments, "1/3", "--resume")
    code, out, err = shell("evaluate", run / "model.keras", "--data", folder, "--fold", "2/3")
    assert code == 0, err
    with (run / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    dataset = kseg.data.from_directory(folder, "val", fold=(2, 3), batch_size=1)
    score = kseg.evaluate(run / "model.keras", dataset).mean_iou
    assert score == pytest.approx(float(row["val_mean_iou"]), abs=1e-4)
