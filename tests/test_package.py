"""The package as a whole: import, layers of imports, README."""

import ast
import graphlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kseg

ROOT = Path(__file__).parents[1]
# The rooms from the ground up: a module may import those of the rows before, and modules of its own room.
ROWS = [
    ["version", "quiet", "types", "sandbox"],
    ["checks", "pictures", "value_range", "replicas", "xla", "litert", "runtime"],
    ["disk", "graphs"],
    ["states", "costs", "crf", "visualization"],
    ["distribution"],
    ["masks", "layers"],
    ["targets", "remembering"],
    ["losses", "metrics", "blocks"],
    ["encoders"],
    ["models"],
    ["data"],
    ["optimizers"],
    ["callbacks"],
    ["training"],
    ["inference"],
    ["evaluation", "transfer"],
    ["results"],
    ["crf_tuning", "export"],
    ["commands"],
    ["cli"],
]
# Where Keras has no right name for a thing, graph code asks TensorFlow, inside these functions.
ASK_TENSORFLOW = {
    "layers/normalization.py": {"BatchNormalization.call"},
    "layers/sizes.py": {"resize", "PadToMultiple.call"},
    "masks.py": {"count_ids"},
    "targets.py": {"size_checked", "stop_where"},
    "metrics/reading.py": {"_by_arg_max"},
}
GRAPH_CODE = ["layers", "blocks", "encoders", "models", "losses", "metrics", "masks", "targets"]
LONGEST_FUNCTION = 60  # lines of code, without docstring, comments and empty lines


def modules():
    return sorted((ROOT / "kseg").rglob("*.py"))


def part_of(path):
    return path.relative_to(ROOT / "kseg").parts[0].removesuffix(".py")


def imported_modules(tree):
    """Yield the modules of kseg that code imports, for instance "kseg.layers.sizes"."""
    known = {module_name(path) for path in modules()}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kseg":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name for name in inside if name in known] or [node.module]


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_for_tools(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    row = next(number for number, names in enumerate(ROWS) if part in names)
    allowed = {name for names in ROWS[:row] for name in names} | {part}
    parts = {name.split(".")[1] for name in imported_modules(ast.parse(path.read_text(encoding="utf-8")))}
    assert parts <= allowed


def test_no_modules_import_each_other_in_a_circle():
    graph = {}
    for path in modules():
        body = ast.parse(path.read_text(encoding="utf-8")).body
        top = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        graph[module_name(path)] = {name for node in top for name in imported_modules(node)}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def functions(path):
    """Yield `(qualified name, node)` of the functions of a file, also of those in classes and functions."""

    def walk(node, names):
        for child in ast.iter_child_nodes(node):
            inner = [*names, child.name] if isinstance(child, ast.FunctionDef | ast.ClassDef) else names
            if isinstance(child, ast.FunctionDef):
                yield ".".join(inner), child
            yield from walk(child, inner)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), [])


def test_no_function_is_long():
    long = []
    for path in modules():
        lines = path.read_text(encoding="utf-8").splitlines()
        for name, node in functions(path):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            code = lines[node.lineno - 1 : node.body[0].lineno - 1]
            code += lines[body[0].lineno - 1 : node.end_lineno] if body else []
            count = sum(bool(line.strip()) and not line.strip().startswith("#") for line in code)
            if count > LONGEST_FUNCTION:
                long.append(f"{path.relative_to(ROOT)}: {name} has {count} lines of code")
    assert long == []


def code_lines(path):
    """Count the lines of a file that are code: no docstring, comment or empty line."""
    text = path.read_text(encoding="utf-8")
    told = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            told |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in told
        for number, line in lines
    )


def test_the_spine_can_be_read_in_an_hour():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    spine = re.findall(r"^\d+\. `([^`]+)`", contributing, re.MULTILINE)
    assert 10 <= len(spine) <= 20
    assert sum(code_lines(ROOT / name) for name in spine) <= 2000


def test_every_module_says_in_its_first_line_what_it_holds():
    for path in modules():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert path.name == "__main__.py" or text, path
        if text:
            assert text.splitlines()[0].endswith((".", ":", "`")), f"{path}: {text.splitlines()[0]}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "kseg" / "models").glob("[a-z]*.py")), ids=lambda path: path.name
)
def test_a_model_never_imports_a_model(path):
    assert "kseg.models" not in path.read_text(encoding="utf-8")


def asks_tensorflow(node):
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] == "tensorflow" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tensorflow"


@pytest.mark.parametrize(
    "path", [p for p in modules() if part_of(p) in GRAPH_CODE], ids=lambda path: path.name
)
def test_graph_code_asks_tensorflow_only_inside_named_functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {name for name, node in functions(path) if any(map(asks_tensorflow, ast.walk(node)))}
    assert inside == ASK_TENSORFLOW.get(str(path.relative_to(ROOT / "kseg")), set())
    counted = sum(map(asks_tensorflow, ast.walk(tree)))
    in_functions = sum(
        asks_tensorflow(each) for name, node in functions(path) if name in inside for each in ast.walk(node)
    )
    for_tools = sum(
        asks_tensorflow(each) for node in tree.body if is_for_tools(node) for each in ast.walk(node)
    )
    assert counted == in_functions + for_tools


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


def test_the_wheel_has_hints_and_pages(tmp_path):
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "kseg", tmp_path / "kseg", ignore=shutil.ignore_patterns("__pycache__"))
    script = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "kseg/py.typed" in names
    pages = [path for path in (ROOT / "kseg").rglob("*") if path.suffix in (".html", ".css", ".js")]
    assert len(pages) >= 5 and {path.relative_to(ROOT).as_posix() for path in pages} <= set(names)


def test_every_public_name_is_there():
    for name in kseg.__all__:
        assert getattr(kseg, name) is not None
    assert set(dir(kseg)) == set(kseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'build_unett'"):
        kseg.build_unett  # noqa: B018 - the lookup is what is tested


def names_imported(nodes):
    """Return `{name: module}` of the imports at the top of a module that come from kseg."""
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names if alias.asname is None}


def test_tools_see_the_names_that_load_when_first_used():
    body = ast.parse((ROOT / "kseg" / "__init__.py").read_text(encoding="utf-8")).body
    (seen,) = [
        node for node in body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    (loaded,) = [node for node in body if isinstance(node, ast.With)]
    (listed,) = [node for node in body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    assert ast.literal_eval(listed.value) == sorted(kseg.__all__)  # a list of strings, as pyright needs it
    lazy, eager = names_imported(seen.body), names_imported(loaded.body)
    assert {*lazy, *eager, "__version__"} == set(kseg.__all__) and not set(lazy) & set(eager)
    modules = dict.fromkeys(kseg._LAZY_MODULES, "kseg")
    assert lazy == modules | {name: f"kseg.{module}" for name, module in kseg._LAZY_NAMES.items()}


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
