"""What an editor sees: hints on everything public, wrong calls reported, names completed."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
import types
import typing
from pathlib import Path

import jedi
import pytest

import kseg

ROOT = Path(__file__).parents[1]
MODULES = (
    "kseg",
    *(f"kseg.{name}" for name in ("losses", "metrics", "callbacks", "data", "layers", "optimizers")),
)
WRONG = {
    "kseg.predict(3, [], windows=3)": "call-overload",
    'kseg.build_unet("six")': "arg-type",
    'kseg.build_unet(6, activation="softmaxx")': "arg-type",
    "kseg.build_unet(6, filter=8)": "call-arg",
    "kseg.build_unett(6)": "attr-defined",
    "kseg.losses.CrossEntropy(from_logit=False)": "call-arg",
    'kseg.metrics.MeanIoU("six")': "arg-type",
    "kseg.list_backbones().parameters": "attr-defined",
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Run the type checker once; return its messages by the name of the file."""
    folder = tmp_path_factory.mktemp("programs")
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(programs) == 2
    (folder / "readme.py").write_text("\n".join(programs), encoding="utf-8")
    (folder / "wrong.py").write_text("\n".join(["import kseg", *WRONG]), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        [*command, "kseg", "examples", *map(str, folder.glob("*.py"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    messages = {}
    for line in done.stdout.splitlines()[:-1]:  # the last one counts them
        messages.setdefault(Path(line.split(":")[0]).name, []).append(line)
    return messages


def test_programs_examples_and_package_have_no_type_errors(checked):
    assert set(checked) <= {"wrong.py"}, "\n".join(line for lines in checked.values() for line in lines)


@pytest.mark.parametrize(("number", "call"), list(enumerate(WRONG, start=2)), ids=str)
def test_a_wrong_call_is_reported(checked, number, call):
    found = [line for line in checked["wrong.py"] if f"wrong.py:{number}: error: " in line]
    assert any(line.endswith(f"[{WRONG[call]}]") for line in found), checked["wrong.py"]


def editor(text):
    return jedi.Script(
        text, project=jedi.Project(ROOT), environment=jedi.InterpreterEnvironment(), path=ROOT / "program.py"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kseg.pre", "predict"),
        ("kseg.build_un", "build_unet"),
        ("kseg.callbacks.SaveB", "SaveBest"),
        ("kseg.costs.mul", "multiply_adds"),
        ("kseg.losses.Dice().get_c", "get_config"),
    ],
)
def test_an_editor_completes(text, name):
    assert name in [completion.name for completion in editor(f"import kseg\n{text}").complete()]


def test_an_editor_shows_the_arguments():
    (signature,) = editor("import kseg\nkseg.build_unet(").get_signatures()
    assert [param.name for param in signature.params] == list(inspect.signature(kseg.build_unet).parameters)
    assert "num_classes: int" in signature.to_string() and "keras.Model" in signature.to_string()


def without_hints(label, function):
    """Return the arguments of a function that have no hint, and its result where that has none."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters), None)
    yield from (
        f"{label}({name})"
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and not (name == first and name in ("self", "cls"))
    )
    if signature.return_annotation is signature.empty:
        yield f"{label} -> "


def functions_of(item):
    """Return the functions of a public thing by their name: itself, or what a class of kseg brings along."""
    if isinstance(item, types.FunctionType):
        return {"": item}
    if isinstance(item, functools._lru_cache_wrapper):
        return {"": item.__wrapped__}
    if not isinstance(item, type):
        return {}
    found = {}
    for base in reversed(item.__mro__):
        if base.__module__.split(".")[0] != "kseg":
            continue
        for name, member in vars(base).items():
            member = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if isinstance(member, types.FunctionType) and (
                name[0] != "_" or name in ("__init__", "__call__")
            ):
                found[f".{name}"] = member
    return found


def missing_hints(module):
    missing = []
    for name in module.__all__:
        for suffix, function in functions_of(getattr(module, name)).items():
            missing += without_hints(f"{module.__name__}.{name}{suffix}", function)
    return missing


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_hints(module):
    assert missing_hints(importlib.import_module(module)) == []


def test_missing_hints_are_found():
    class Tool:
        def __init__(self, size: int, shape=()) -> None: ...

        def call(self, x: int): ...

        @property
        def width(self): ...

        def _private(self, x): ...

    Tool.__module__ = "kseg.tool"
    module = types.ModuleType("kseg.tool")
    module.Tool, module.__all__ = Tool, ["Tool"]
    for function in (Tool.__init__, Tool.call, Tool.width.fget):
        function.__module__ = "kseg.tool"
    expected = ["kseg.tool.Tool.__init__(shape)", "kseg.tool.Tool.call -> ", "kseg.tool.Tool.width -> "]
    assert missing_hints(module) == expected


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sorted((ROOT / "kseg").rglob("*.py")), ids=module_of)
def test_public_functions_have_hints(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    missing = []
    for owner, nodes in [("", body), *((f"{node.name}.", node.body) for node in classes)]:
        for node in nodes:
            if not isinstance(node, ast.FunctionDef) or (node.name[0] == "_" and node.name != "__init__"):
                continue
            arguments = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            hints = [
                arg.annotation for arg in arguments if arg is not None and arg.arg not in ("self", "cls")
            ]
            if None in [*hints, node.returns]:
                missing.append(f"{owner}{node.name}")
    assert missing == []


def literals(hint):
    """Return the choices that a hint names, without `None`."""
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return set().union(*map(literals, typing.get_args(hint))) if typing.get_args(hint) else set()


CHOICES = [
    (model, argument, literals(hint))
    for model in kseg.list_models()
    for argument, hint in typing.get_type_hints(getattr(kseg, f"build_{model}")).items()
    if literals(hint)
]


@pytest.mark.parametrize(("model", "argument", "choices"), CHOICES)
def test_hints_name_the_choices_that_a_builder_takes(model, argument, choices):
    with pytest.raises(ValueError, match=f"unknown {argument} 'other'") as error:
        kseg.build(model, 2, (64, 64, 3), filters=6, **{argument: "other"})
    assert set(str(error.value).split("known: ")[1].split(", ")) == choices
