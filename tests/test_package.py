"""The package as a whole: import, layers of imports, README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kseg

ROOT = Path(__file__).parents[1]
# A module may import those that stand before it, and modules of its own row.
ROWS = [
    [
        "checks",
        "version",
        "quiet",
        "replicas",
        "distribution",
        "xla",
        "states",
        "litert",
        "sandbox",
        "runtime",
    ],
    ["masks", "layers"],
    ["losses", "metrics", "blocks"],
    ["encoders"],
    ["models"],
    ["optimizers"],
    ["training", "callbacks", "visualization", "data", "costs", "crf"],
    ["inference"],
    ["evaluation", "export", "transfer", "crf_tuning"],
    ["commands"],
    ["cli"],
]
GRAPH_CODE = ["layers", "blocks", "encoders", "models", "losses", "metrics", "masks"]


def modules():
    return sorted((ROOT / "kseg").rglob("*.py"))


def part_of(path):
    return path.relative_to(ROOT / "kseg").parts[0].removesuffix(".py")


def imported_parts(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kseg":
            parts = node.module.split(".")[1:]
            yield from parts[:1] or [alias.name for alias in node.names]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    row = next(number for number, names in enumerate(ROWS) if part in names)
    allowed = {name for names in ROWS[: row + 1] for name in names}
    assert set(imported_parts(path)) <= allowed
    if part in ("data", "training", "export", "inference"):
        assert "models" not in imported_parts(path)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "kseg" / "models").glob("[a-z]*.py")), ids=lambda path: path.name
)
def test_a_model_never_imports_a_model(path):
    assert "kseg.models" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", [p for p in modules() if part_of(p) in GRAPH_CODE], ids=lambda path: path.name
)
def test_graph_code_loads_without_tensorflow(path):
    top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.Import)]
    assert not any(alias.name.startswith("tensorflow") for node in top for alias in node.names)


def test_import_prints_nothing_and_loads_no_edges():
    script = """
import keras, sys
print("now kseg", file=sys.stderr)  # what comes before is of Keras and TensorFlow
before = set(sys.modules)
import kseg
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "now kseg"
    (line,) = done.stdout.splitlines()
    edges = {"keras_cv", "tensorflow_datasets", "ai_edge_litert", "PIL", "scipy", "kseg.data", "kseg.export"}
    assert not edges & set(line.split())


def test_every_public_name_is_there():
    for name in kseg.__all__:
        assert getattr(kseg, name) is not None
    assert set(dir(kseg)) == set(kseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'build_unett'"):
        kseg.build_unett  # noqa: B018 - the lookup is what is tested


def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_is_short_and_starts_with_a_program():
    lines = readme().splitlines()
    assert len(lines) <= 120
    assert next(number for number, line in enumerate(lines) if line.startswith("```python")) < 25


def test_readme_programs_run(tmp_path, monkeypatch, capsys):
    programs = re.findall(r"```python\n(.*?)```", readme(), re.DOTALL)
    assert len(programs) == 2
    program = (
        "\n".join(programs)
        .replace("400", "16")
        .replace("val = kseg.data.shapes(50", "val = kseg.data.shapes(8")
    )
    program = program.replace("kseg.build_unet(6)", "kseg.build_unet(6, filters=2)")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})  # in this process: TensorFlow is loaded
    assert (tmp_path / "model.tflite").is_file()
    assert "LiteRT float32" in capsys.readouterr().out


def test_readme_names_every_architecture():
    for name in kseg.list_models():
        assert f"build_{name}" in readme()


def test_the_top_level_is_tidy():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    top = {Path(name).parts[0] for name in tracked}
    allowed = {"setup.cfg", "pyproject.toml", "README.md", "kseg", "examples", "tests", "saved_models"}
    allowed |= {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert {name for name in top if not name.startswith(".")} <= allowed
