"""What belongs to every command: a file for its parser, a deed, its line in the help, README and tests."""

import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import kseg.commands
from kseg.cli import COMMANDS, main, make_parser

ROOT = Path(__file__).parents[2]
SHARED = {
    "__init__",
    "__main__",
    "augmentation",
    "options",
    "values",
    "words",
}  # files of kseg/cli that are no command
NAMES = sorted({path.stem for path in (ROOT / "kseg" / "cli").glob("*.py")} - SHARED)
NEEDED = {  # words without which a command does not begin
    "benchmark": ["m.keras"],
    "check": ["--data", "d"],
    "convert": ["s", "o", "--from", "coco"],
    "evaluate": ["m.keras", "--data", "d"],
    "export": ["m.keras", "m.tflite"],
    "predict": ["m.keras", "a.png", "--output", "o"],
    "train": ["--data", "d", "--output", "o"],
}
# No words of the deed's arguments: files by their place, names read from a file, the shell's own.
OF_THE_SHELL = {"name", "command", "debug", "data", "classes", "inspect", "json", "model"}
OF_THE_SHELL |= {"augment", "rare_crops"}  # the strength, and weights that are measured
OF_THE_SHELL |= {"average"}  # further models


def deed(name):
    """Return the function of `kseg/commands/NAME.py` that begins with its name, or the one named instead."""
    if (ROOT / "kseg" / "commands" / f"{name}.py").is_file():
        module = importlib.import_module(f"kseg.commands.{name}")
        found = [
            function
            for word, function in inspect.getmembers(module, inspect.isfunction)
            if word.startswith(name) and function.__module__ == module.__name__
        ]
        assert found, f"kseg/commands/{name}.py has no function {name}"
        return found[0]
    instead = re.search(rf"`kseg {name}` is `(kseg\.[\w.]+)\.(\w+)` itself", kseg.commands.__doc__)
    assert instead, f"kseg/commands/{name}.py is missing, and kseg/commands/__init__.py names no other deed"
    return getattr(importlib.import_module(instead[1]), instead[2])


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_shell_knows_the_commands_that_have_files():
    assert sorted(add.__name__ for add in COMMANDS) == [f"add_{name}" for name in NAMES]
    assert [add.__module__ for add in COMMANDS] == [
        f"kseg.cli.{add.__name__.removeprefix('add_')}" for add in COMMANDS
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_its_deed_its_line_and_its_tests(name, capsys):
    assert callable(deed(name))
    assert re.search(rf"^    {name}(?: |\n {{9}}) *\S", help_of(capsys), re.MULTILINE)
    assert name in kseg.cli.__doc__
    assert f"kseg {name}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "tests" / "cli" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name, capsys):
    assert len(help_of(capsys, name)) > 400


@pytest.mark.parametrize("name", NAMES)
def test_an_option_has_the_word_of_the_argument(name):
    words = set(vars(make_parser().parse_args([name, *NEEDED.get(name, [])])))
    known = set(inspect.signature(deed(name)).parameters)
    if "options" in known:  # those of kseg.compile
        known |= set(inspect.signature(kseg.compile).parameters)
    if "reading" in known:
        known |= set(inspect.signature(kseg.data.from_directory).parameters)
    if "augmentation" in known:
        known |= set(inspect.signature(kseg.data.augment).parameters)
    if "tta" in known:  # a dict, whose keys have a word each
        known |= {f"tta_{key}" for key in kseg.inference.views._KEYS}
    assert words - OF_THE_SHELL <= known


def test_an_option_is_defined_once():
    """One that several commands share stands in options.py."""
    defined = Counter()
    for path in (ROOT / "kseg" / "cli").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        defined.update(re.findall(r'add_(?:argument\(|option\(\s*\w+,)\s*"(--[a-z-]+)"', text))
    assert {"--data", "--output", "--overwrite", "--epochs"} <= set(defined)
    assert [word for word, count in defined.items() if count > 1] == []
