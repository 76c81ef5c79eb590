"""An architecture, loss, metric, layer, callback or LiteRT pass that was added has all that belongs to one.

Each row below is a place that a newcomer forgets; CONTRIBUTING.md names them in its recipes.
"""

import ast
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What is made by `+`, `kseg.compile` or a strategy, not chosen by name.
MADE_BY_OTHERS = {"WeightedSum", "Auxiliary", "PerReplica"}


def text_of(root, *patterns):
    return "\n".join(
        path.read_text(encoding="utf-8") for pattern in patterns for path in sorted(root.glob(pattern))
    )


def public_classes(folder):
    """Yield `(name, decorators and bases as text)` of the public classes of a room."""
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, " ".join(map(ast.unparse, [*node.decorator_list, *node.bases]))


def architectures(root):
    for path in sorted((root / "kseg" / "models").glob("[a-z]*.py")):
        name = path.stem
        yield (
            name,
            {
                "a builder `build_{0}` in kseg/models/{0}.py": f"def build_{name}("
                in path.read_text("utf-8"),
                "its import and row of _BUILDERS in kseg/models/__init__.py": f'"{name}": build_{name},'
                in text_of(root, "kseg/models/__init__.py"),
                "its name in kseg/__init__.py": text_of(root, "kseg/__init__.py").count(f"build_{name},")
                >= 1,
                "a row of SMALL in tests/models/contract.py": f'("{name}",'
                in text_of(root, "tests/models/contract.py"),
                "tests in tests/models/test_{0}.py": (root / f"tests/models/test_{name}.py").is_file(),
                "its parameters in tests/models/test_parameter_counts.py": f'"{name}"'
                in text_of(root, "tests/models/test_parameter_counts.py"),
                "a row of the table in README.md": f"| `build_{name}` |" in text_of(root, "README.md"),
            },
        )


def losses(root):
    for name, marks in public_classes(root / "kseg" / "losses"):
        if "register_keras_serializable" not in marks:
            continue
        own = name not in MADE_BY_OTHERS
        tests = "tests/losses/formulas.py" if own else "tests/*/test_*.py"
        yield (
            name,
            {
                "its name in `__all__` of kseg/losses/__init__.py": f'"{name}",'
                in text_of(root, "kseg/losses/__init__.py"),
                "its formula in tests/losses/formulas.py": name in text_of(root, tests),
                "its name in README.md": not own or f"`{name}`" in text_of(root, "README.md"),
            },
        )


def metrics(root):
    for name, marks in public_classes(root / "kseg" / "metrics"):
        if "register_keras_serializable" in marks:
            yield (
                name,
                {
                    "its name in `__all__` of kseg/metrics/__init__.py": f'"{name}",'
                    in text_of(root, "kseg/metrics/__init__.py"),
                    "a test in tests/metrics": name in text_of(root, "tests/metrics/*.py"),
                    "its name in README.md": f"`{name}`" in text_of(root, "README.md"),
                },
            )


def layers(root):
    for name, marks in public_classes(root / "kseg" / "layers"):
        if "register" in marks:
            yield (
                name,
                {
                    "its name in `__all__` of kseg/layers/__init__.py": f'"{name}",'
                    in text_of(root, "kseg/layers/__init__.py"),
                    "a test": name in text_of(root, "tests/test_*.py", "tests/models/*.py"),
                },
            )


def callbacks(root):
    for name, marks in public_classes(root / "kseg" / "callbacks"):
        if "keras.callbacks.Callback" in marks:
            yield (
                name,
                {
                    "its name in `__all__` of kseg/callbacks/__init__.py": f'"{name}",'
                    in text_of(root, "kseg/callbacks/__init__.py"),
                    "a test in tests": f"{name}(" in text_of(root, "tests/test_*.py", "tests/*/test_*.py"),
                    "its name in README.md": f"`{name}`" in text_of(root, "README.md"),
                },
            )


def passes(root):
    for path in sorted((root / "kseg" / "litert" / "passes").glob("[a-z]*.py")):
        yield (
            path.stem,
            {
                "a caller in kseg/litert": f"passes.{path.stem} import"
                in text_of(root, "kseg/litert/*.py", "kseg/litert/passes/__init__.py"),
                "a test in tests/litert": any(
                    f"{function}" in text_of(root, "tests/litert/*.py")
                    for function in _public_functions(path)
                ),
            },
        )


def _public_functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]


KINDS = [architectures, losses, metrics, layers, callbacks, passes]


def missing(kind, root=ROOT):
    """Return a line for each thing that lacks something, `name: what`."""
    rows = [(name, what.format(name), there) for name, rows in kind(root) for what, there in rows.items()]
    assert rows  # the search finds what is there
    return [f"{name} lacks {what}" for name, what, there in rows if not there]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_all_that_belongs_to_one_is_there(kind):
    assert missing(kind) == []


CLASS = '@keras.saving.register_keras_serializable(package="kseg")\nclass {}(keras.losses.Loss):\n    pass\n'
ADDED = {
    architectures: ("models/toynet.py", "import keras\n", "toynet", 7),
    losses: ("losses/toy.py", CLASS.format("Toy"), "Toy", 3),
    metrics: ("metrics/toy.py", CLASS.format("Toy"), "Toy", 3),
    layers: ("layers/toy.py", "@register\nclass Toy:\n    pass\n", "Toy", 2),
    callbacks: ("callbacks/toy.py", "class Toy(keras.callbacks.Callback):\n    pass\n", "Toy", 3),
    passes: ("litert/passes/toy.py", "def toy_pass(graph):\n    return 0\n", "toy", 2),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_one_that_was_added_alone_lacks_each_row(tmp_path, kind):
    for folder in ("kseg", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.keras", "*.npz", Path(__file__).name)
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "README.md", tmp_path)
    place, content, name, rows = ADDED[kind]
    (tmp_path / "kseg" / place).write_text(content)
    lines = missing(kind, tmp_path)
    assert len(lines) == rows and all(line.startswith(f"{name} lacks ") for line in lines)
