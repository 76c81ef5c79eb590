"""What all commands share: wrong usage, one line of error."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from kseg.cli import _one_line, main


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["train"], ["train", "--crop-size", "big"], ["demo", "--epochs", "0"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: kseg" in capsys.readouterr().err


def test_the_installed_command_shows_one_line_and_no_noise(tmp_path):
    command = [Path(sys.executable).with_name("kseg"), "check", "--data", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("kseg: error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "Graph execution error:\n\na/c.png; No such file or directory\n\t [[]]",
            "a/c.png: No such file or directory",
        ),
        ("{{node}} PermissionError: Permission denied: 'c.png'\nTraceback", "Permission denied: 'c.png'"),
    ],
)
def test_what_a_pipeline_says_is_one_line_with_the_file(text, line):
    assert _one_line(tf.errors.InvalidArgumentError(None, None, text)) == line
