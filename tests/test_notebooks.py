"""The notebooks are small, sound and true to kseg as stored, and run from start to end."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import kseg

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 300_000  # bytes
SECONDS = 900  # of a cell
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
PATH_OF_A_MACHINE = re.compile(r"(?<![\w.])(/(home|Users|root|tmp|var|mnt|work|opt|usr|private)/|[A-Z]:\\)")
# What TensorFlow's native libraries write past Python: `I0000 00:00:1795.7 2245 file.cc:1] ...`
NATIVE_LINE = re.compile(
    r"[IWE]\d{4} \d|WARNING: All log messages before absl::|INFO: Created TensorFlow Lite"
)


def as_run(notebook, folder):
    """Run every cell in `folder`; return the notebook with what they gave."""
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources=resources, coalesce_streams=True
    )
    return client.execute()


def outputs(notebook):
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def texts(notebook):
    """Yield the text of every cell and every output, without pictures."""
    for cell in notebook.cells:
        yield cell.source
    for out in outputs(notebook):
        yield out.get("text", "")
        yield from (PICTURE.sub("", text) for kind, text in out.get("data", {}).items() if "text" in kind)


def programs_in_text(notebook):
    """Return the programs that the text shows and the notebook does not run: they need what kseg does not."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def loud_lines(notebook):
    """Return what was written to stderr by anything but TensorFlow's native libraries."""
    lines = [
        line for out in outputs(notebook) if out.get("name") == "stderr" for line in out.text.splitlines()
    ]
    return [line for line in lines if line.strip() and not NATIVE_LINE.match(line)]


def problems(notebook):
    """Return what is wrong with a notebook as it is stored."""
    first, counts = notebook.cells[0], [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    wrong = [f"holds an error: {out.ename}" for out in outputs(notebook) if out.output_type == "error"]
    wrong += [
        f"has the path {found[1]}"
        for text in texts(notebook)
        if (found := re.search(PATH_OF_A_MACHINE, text))
    ]
    if any(out.get("name") == "stderr" for out in outputs(notebook)):
        wrong.append("holds what was written to stderr")
    if counts != list(range(1, len(counts) + 1)):
        wrong.append("was not run from start to end")
    if first.cell_type != "markdown" or not all(
        word in first.source for word in ("**Data:**", "**Time:**", "cores")
    ):
        wrong.append("does not say first what data and time it needs")
    return wrong + wrong_names("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))


def wrong_names(program):
    """Return the names of kseg, and the arguments of its functions, that a program uses and kseg lacks."""
    wrong = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Attribute) and named(node) is None:
            wrong.append(f"{ast.unparse(node)} is no name of kseg")
        if isinstance(node, ast.Call) and callable(called := named(node.func)):
            known = inspect.signature(called).parameters.values()
            if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in known):
                names = {each.name for each in known}
                extra = [each.arg for each in node.keywords if each.arg and each.arg not in names]
                wrong += [f"{ast.unparse(node.func)} has no argument {name}" for name in extra]
    return wrong


def named(node):
    """Return what `kseg.a.b` names; `None` if there is no such thing, `False` of what is not of kseg."""
    names = ast.unparse(node).split(".")
    if names[0] != "kseg" or not all(map(str.isidentifier, names)):
        return False
    found = kseg
    for name in names[1:]:
        found = getattr(found, name, None)
    return found


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"first_steps", "own_data_to_a_phone"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_sound_as_stored(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert problems(notebook) == []
    assert any("image/png" in out.get("data", {}) for out in outputs(notebook))  # outputs are stored


def test_what_is_wrong_with_a_notebook_is_seen():
    v4 = nbformat.v4
    program = "kseg.bild_unet(2)\nkseg.predict(model, image, windows=3)\nkseg.build('unet', anything=1)"
    cell = v4.new_code_cell(program, execution_count=2)
    cell.outputs = [
        v4.new_output("error", ename="ValueError"),
        v4.new_output("stream", name="stderr", text="UserWarning: odd\nI0000 00:00:1 2 port.cc:1] on\n"),
        v4.new_output(
            "display_data", data={"text/html": '<img src="data:image/png;base64,A/tmp/B=">/home/me'}
        ),
    ]
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Hello"), cell])
    assert sorted(problems(notebook)) == [
        "does not say first what data and time it needs",
        "has the path /home/",
        "holds an error: ValueError",
        "holds what was written to stderr",
        "kseg.bild_unet is no name of kseg",
        "kseg.predict has no argument windows",
        "was not run from start to end",
    ]
    assert loud_lines(notebook) == ["UserWarning: odd"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_start_to_end(path, tmp_path):
    notebook = as_run(nbformat.read(path, as_version=4), tmp_path)  # an error in a cell is raised
    assert loud_lines(notebook) == []
    assert [out.text for out in outputs(notebook) if "Warning" in out.get("text", "")] == []
    written = {file.name for file in tmp_path.rglob("*")}
    assert {"model.keras", "int8.tflite", "int8.tflite.json"} <= written
    assert {file.name for file in tmp_path.iterdir()} == {"runs"}  # all it writes is in one place
    for program in programs_in_text(notebook):
        program = program.replace('"photo.jpg"', repr(str(min(tmp_path.rglob("*.jpg")))))
        program += "\nassert set(mask.ravel().tolist()) == {0, 1}"
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)


def test_a_cell_that_fails_fails_the_run(tmp_path):
    cells = [nbformat.v4.new_code_cell(f"{word}") for word in ("2 + 2", "raise ValueError('no')", "3")]
    with pytest.raises(Exception, match="ValueError"):
        as_run(nbformat.v4.new_notebook(cells=cells), tmp_path)
