"""The guides and README.md: kseg takes every command; those for large data sets run on small ones."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseg.cli import main, make_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*/*.md"))]
PAGES += sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
SIZES = ROOT / "examples" / "guides" / "training_sizes.md"
OF_EXAMPLES = {  # options that a page may name beside those of kseg
    word
    for path in (ROOT / "examples").rglob("*.py")
    for word in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text(encoding="utf-8"))
}
# What makes a command small, and spares a download.
SMALL = {"--crop-size": "64x64", "--batch-size": "2", "--epochs": "1", "--window": "64x64"}
# Folder → pictures, masks, ids in the files, and the names of the splits.
DATA = {
    "cityscapes": (
        "leftImg8bit/{split}/ulm/ulm_{number:06}_000019_leftImg8bit.png",
        "gtFine/{split}/ulm/ulm_{number:06}_000019_gtFine_labelIds.png",
        [0, 4, 7, 8, 11, 26, 33],
        ("train", "val"),
    ),
    "ADEChallengeData2016": (
        "images/{split}/ADE_{split}_{number:08}.jpg",
        "annotations/{split}/ADE_{split}_{number:08}.png",
        range(151),
        ("training", "validation"),
    ),
}


def commands(page):
    """Return the lines of code of a page that run `kseg` as lists of words; a backslash joins lines."""
    fenced, found = False, []
    for line in re.sub(r"\\\n\s*", "", page).splitlines():
        fenced ^= line.startswith("```")
        if fenced or line.startswith("    "):
            line = re.sub(r"\$(\(\([^)]*\)\)|\w+)", "1", line)  # what a shell would put there
            parts = re.split(r"&&|\bsrun\b", line)
            found += [shlex.split(part, comments=True)[1:] for part in parts if re.match(r"\s*kseg ", part)]
    return found


def options_in_text(page):
    """Yield the option, and the command or `None`, of the code within the text of a page."""
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
        first, *others = span.split() or [""]
        if first == "kseg" or first.startswith("--"):
            name = others[0] if first == "kseg" and others else None
            yield from ((word, name) for word in [first, *others] if re.fullmatch(r"--[a-z][a-z-]*", word))


def option_words():
    """Return command → its options."""
    (found,) = [action.choices for action in make_parser()._actions if action.choices]
    return {
        name: {word for action in parser._actions for word in action.option_strings}
        for name, parser in found.items()
    }


def wrong_commands(page):
    """Return the commands of a page that the parser refuses, and options that it would only complete."""
    wrong, known = [], option_words()
    for words in commands(page):
        try:
            name = make_parser().parse_args(words).name
        except SystemExit:
            wrong.append(shlex.join(words))
            continue
        wrong += [word for word in words if word.startswith("--") and word not in known[name]]
    for word, name in options_in_text(page):
        if word not in known.get(name, set().union(*known.values(), OF_EXAMPLES)):
            wrong.append(word)
    return wrong


def text_of(page):
    """Return the text of a page; of a notebook that of its cells without code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if "outputs" not in cell)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_kseg_takes_every_command_of_a_page(page):
    assert commands(text_of(page)) or "python examples/" in text_of(page) or page.suffix == ".ipynb"
    assert wrong_commands(text_of(page)) == []


def test_commands_that_kseg_does_not_take_are_seen():
    page = """
`--windo` is no option, `kseg check --epochs` neither, but `--epochs` and `kseg COMMAND --help` are.

    kseg predict a.keras b --output c --shard "$((INDEX + 1))/16"
    pip install . && kseg predict a.keras  # kseg nothing
    kseg train --data a --output b \\
        --epoch 3

```shell
kseg train --data a --output b --crop-size 512
```
"""
    assert wrong_commands(page) == [
        "predict a.keras",
        "--epoch",
        "train --data a --output b --crop-size 512",
        "--windo",
        "--epochs",
    ]


def made_small(words):
    """Return a command with small numbers in place of its own."""
    words = list(words)
    for option, value in SMALL.items():
        if option in words:
            words[words.index(option) + 1] = value
    if "--backbone-weights" in words:
        del words[(at := words.index("--backbone-weights")) : at + 2]
    return words


def write_data(folder):
    """Write three pictures to train on and one to validate, small and of noise, as the data set has them."""
    image, mask, ids, splits = DATA[folder.name]
    rng = np.random.default_rng(0)
    for split, count in zip(splits, (3, 1), strict=True):
        for number in range(count):
            stored = rng.permutation(np.resize(ids, 72 * 96)).reshape(72, 96).astype("uint8")
            for path, pixels in ((image, rng.integers(0, 256, (72, 96, 3), "uint8")), (mask, stored)):
                path = folder / path.format(split=split, number=number)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)


def words_with(folder):
    """Return the commands of the guide that read a folder of this name, made small."""
    found = commands(SIZES.read_text(encoding="utf-8"))
    return [made_small(words) for words in found if folder in words]


@pytest.mark.parametrize("folder", DATA)
def test_the_guide_reads_a_large_data_set_as_it_lies(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / folder)
    (check,) = [words for words in words_with(folder) if words[0] == "check"]
    assert main(check) == 0
    assert f"has the layout '{folder.lower().replace('challengedata2016', '20k')}'" in capsys.readouterr().out
    assert {words[0] for words in words_with(folder)} == {"check", "train", "evaluate"}


@pytest.mark.slow
@pytest.mark.parametrize("folder", DATA)
def test_a_large_data_set_is_trained_on_as_the_guide_says(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / folder)
    runs = []
    for words in words_with(folder):
        code = main(words)
        assert code == 0, f"kseg {shlex.join(words)}: {capsys.readouterr().err}"
        runs += [words[words.index("--output") + 1]] if "--output" in words else []
    assert len(runs) >= 1
    assert all((tmp_path / run / "model.keras").is_file() for run in runs)


def script():
    """Return examples/benchmarks/training_sizes.py as a module."""
    path = ROOT / "examples" / "benchmarks" / "training_sizes.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_of_the_guide_stand_under_the_headings_of_their_script():
    before, after = SIZES.read_text(encoding="utf-8").split(
        "<!-- figures: examples/benchmarks/training_sizes.py -->"
    )
    rows = [line for line in after.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert rows[0] == f"| {' | '.join(script().HEADINGS)} |"
    assert {line.count("|") for line in rows} == {len(script().HEADINGS) + 1}
    assert "|" not in before  # no other table lies before


def test_the_memory_of_a_row_is_foreseen_by_two_before():
    module = script()
    assert module.expected({}, 100) == module.expected({10: 2.0}, 100) == 0
    assert module.expected({20: 3.0, 10: 2.0}, 40) == pytest.approx(5.0)  # 1 GB, and one for every 10 pixels


def test_a_row_that_needs_too_much_memory_is_left_out():
    (reason, *others) = script().row_of("unet", {}, (64, 64), 2, None, gigabytes=1e6)
    assert reason == "left out: needs some 1000000 GB" and others == ["", "", ""]


@pytest.mark.slow
def test_training_sizes_are_measured():
    program = [sys.executable, "examples/benchmarks/training_sizes.py", "--quick"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if "DDRNet" in line]
    assert [row[2].strip() for row in rows] == ["2", "4"]
    for row in rows:
        seconds, peak, steps, crops = (float(cell.replace(",", "")) for cell in row[3:])
        assert seconds > 0 and 0.2 < peak < 20 and crops == pytest.approx(steps * int(row[2]), rel=0.01)
