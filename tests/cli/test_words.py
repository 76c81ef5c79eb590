"""Words that options had before, beginnings of words, and errors in the words of where it was asked."""

from argparse import Namespace

import pytest

from kseg.cli import main, make_parser
from kseg.cli.words import in_words_of_shell

NEEDED = {
    "demo": [],
    "check": ["--data", "d"],
    "train": ["--data", "d", "--output", "o"],
    "evaluate": ["m", "--data", "d"],
    "predict": ["m", "a.png", "--output", "o"],
    "export": ["m", "p"],
    "benchmark": ["m"],
}
# Every option that each command had when some got other words, with a value; `None`: it takes none.
DATA = {"--data": "x", "--label-map": "1:2", "--classes": "a,b"}
BEFORE = {
    "demo": {"--output": "x", "--epochs": "3"},
    "check": DATA,
    "train": DATA
    | {"--output": "x", "--model": "fcn", "--backbone": "b", "--backbone-weights": "w"}
    | {"--decoder-filters": "2,1", "--aux-heads": None, "--start-from": "s", "--freeze-encoder": None}
    | {"--precision": "mixed_float16", "--crop": "32x48", "--batch-size": "3", "--epochs": "3"}
    | {"--class-weights": "median_frequency", "--optimizer": "sgd", "--learning-rate": "0.5"}
    | {"--encoder-learning-rate": "0.5", "--schedule": "cosine", "--weight-decay": "0.5"}
    | {"--clip-norm": "0.5", "--accumulate": "3", "--ema": "0.5", "--seed": "3"}
    | {"--deterministic": None, "--resume": None, "--tensorboard": None},
    "evaluate": DATA | {"--split": "x"},
    "predict": {"--output": "x", "--classes": "a,b", "--crf": None, "--overwrite": None},
    "export": DATA
    | {"--inspect": "x", "--input-size": "32x48", "--quantize": "int8", "--gives": "classes"}
    | {"--float-layers": "3", "--mediapipe": None, "--overwrite": None},
    "benchmark": {"--input-size": "32x48", "--threads": "1,2", "--runs": "3"},
}
# Options that came later, with a value and what it becomes: no beginning of an older word may go to them.
LATER = {
    "train": {
        "--fold": ("2/5", (2, 5)),
        "--filters": ("8", 8),
        "--early-stopping": ("3", 3),
        "--monitor": ("val_loss", "val_loss"),
        "--loss": (["dice", "focal"], ["dice", "focal"]),
        "--log": (["wandb", "mlflow"], ["wandb", "mlflow"]),
    },
    "check": {"--fold": ("1/2", (1, 2))},
    "evaluate": {"--fold": ("1/2", (1, 2))},
    "export": {"--fold": ("1/2", (1, 2))},
}
RENAMED = {
    ("train", "--crop"): ("--crop-size", (32, 48)),
    ("train", "--clip-norm"): ("--global-clipnorm", 0.5),
    ("train", "--accumulate"): ("--gradient-accumulation-steps", 3),
    ("train", "--ema"): ("--ema-momentum", 0.5),
    ("export", "--gives"): ("--output-kind", "classes"),
}


def parsed(command, *words):
    return vars(make_parser().parse_args([command, *NEEDED[command], *words]))


def word_and_value(word, value):
    return [word] if value is None else [word, value]


@pytest.mark.parametrize(("command", "old"), RENAMED)
def test_an_older_word_still_works_and_tells_the_new_one(command, old, capsys):
    new, value = RENAMED[command, old]
    text = BEFORE[command][old]
    before = parsed(command, old, text)
    assert capsys.readouterr().err == f"{old} is now {new}\n"
    assert before == parsed(command, f"{old}={text}") == parsed(command, new, text)
    assert before[new.removeprefix("--").replace("-", "_")] == value
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"{old} " not in capsys.readouterr().out


@pytest.mark.parametrize("command", BEFORE)
def test_the_beginnings_of_words_that_worked_still_work(command):
    options = {**BEFORE[command], "--debug": None}
    tried = 0
    for word, value in options.items():
        whole = parsed(command, *word_and_value(word, value))
        assert whole != parsed(command)
        for end in range(3, len(word)):
            if sum(other.startswith(word[:end]) for other in [*options, "--help"]) == 1:
                assert parsed(command, *word_and_value(word[:end], value)) == whole, word[:end]
                tried += 1
    assert tried > len(options)


@pytest.mark.parametrize("command", LATER)
def test_later_options_are_taken_and_shown(command, capsys):
    for word, (value, expected) in LATER[command].items():
        words = [word, *([value] if isinstance(value, str) else value)]
        assert parsed(command, *words)[word.removeprefix("--").replace("-", "_")] == expected
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"\n  {word} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--fold", "6/5"],
            "argument --fold: expected I/K, the I-th of K folds, for instance 1/5, got '6/5'",
        ),
        (["--filters", "0"], "argument --filters: must be a number of 1 or more, got '0'"),
        (["--early-stopping", "no"], "argument --early-stopping: must be a number of 1 or more, got 'no'"),
        (["--loss"], "argument --loss: expected at least one argument"),
        (["--log"], "argument --log: expected at least one argument"),
    ],
)
def test_a_wrong_value_of_a_later_option_is_told(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", *NEEDED["train"], *words])
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("command", NEEDED)
@pytest.mark.parametrize("word", ["-h", "--h", "--he", "--help"])
def test_help_is_asked_for_by_any_beginning(command, word, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, word])
    assert caught.value.code == 0 and "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--output", "--outpu", "--outp", "--out", "--ou"])
def test_output_is_a_place_and_never_a_kind(word, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["export", "m.keras", "m.tflite", word, "classes"])
    assert caught.value.code == 2
    assert f"no option {word}: the new file is PATH" in capsys.readouterr().err
    assert parsed("export", "--output-k", "classes")["output_kind"] == "classes"


def test_a_wrong_value_is_told_under_the_word_that_was_given(capsys):
    with pytest.raises(SystemExit):
        main(["train", *NEEDED["train"], "--crop", "big"])
    assert "argument --crop: expected HxW in pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("run: exists; add resume=True to go on", "run: exists; add --resume to go on"),
        ("or choose another output=", "or choose another --output"),
        ("give output=, or crop_size= and more", "give --output, or --crop-size and more"),
        ("mask: give class_names= or root=", "mask: give --classes or --data"),
        ("resume=True: no states", "--resume: no states"),
        ("and output='a' for scores; use output='b'", "and --output a for scores; use --output b"),
        ("or say output='{split}/*.png'", "or say --output '{split}/*.png'"),
        ("got output='a b', other='c'", "got output='a b', other='c'"),
        ("say input_range=(0, 1) or (-1, 1)", "say --input-range 0 1 or (-1, 1)"),
        # values and what is no option of the command stay as they are
        ("crop_size=(32, 48) is missing", "crop_size=(32, 48) is missing"),
        ("it needs use_bias=True", "it needs use_bias=True"),
        ("a/output=/b.png and output=.png", "a/output=/b.png and output=.png"),
    ],
)
def test_an_error_of_python_names_flags_in_the_shell(python, shell):
    assert (
        in_words_of_shell(python, Namespace(output="o", resume=False, crop_size=None, input_range=None))
        == shell
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze-encoder"], "give --backbone-weights or --start-from as well"),
        (["--start-from", "none.keras"], "none.keras: no such file; --start-from takes a .keras file"),
    ],
)
def test_train_names_flags(folder, refused, options, message):
    assert message in refused("train", "--data", folder, "--output", folder.parent / "run", *options)


def test_export_names_flags(trained, refused, tmp_path):
    model, target = trained / "run" / "model.keras", tmp_path / "m.tflite"
    assert refused("export", model, target).endswith("a .tflite file one; give --input-size")
    arguments = ("export", model, target, "--input-size", "32x32", "--quantize", "int8")
    assert refused(*arguments).endswith("int8 needs pictures to calibrate with; give --data")
    line = refused("export", model, tmp_path / "saved", "--output-kind", "classes")
    assert "--quantize, --output-kind, --float-layers and --mediapipe are for paths" in line
    line = refused("export", model, tmp_path / "saved", "--input-size", "32x32")
    assert "--input-size is for paths that end in .tflite or .onnx" in line


def test_predict_and_demo_name_flags(trained, refused, tmp_path):
    picture = trained / "data" / "val" / "images" / "0.png"
    (tmp_path / "0.png").write_bytes(b"mine")
    line = refused("predict", trained / "run" / "model.keras", picture, "--output", tmp_path)
    assert line.endswith("exists already; add --overwrite or choose another --output")
    assert refused("demo", "--output", tmp_path).endswith("remove it or choose another --output")
