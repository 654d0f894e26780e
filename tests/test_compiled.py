"""The compiled form (setup.py): some of its modules are built in the same way, and pass their own tests."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import import_module
from pathlib import Path

import pytest

import setup
from heartbeat import form
from tests.test_layers import CORES, MODULES

ROOT = Path(__file__).parents[1]
SOME = ("sip/actions.py", "sip/timers.py", "sip/transaction.py", "sip/wire/[begmr]*.py")
"""Some that others are made of; all of them would take minutes."""
THEIRS = ("test_message.py", "test_timers.py", "test_transaction.py", "test_build.py", "test_framing.py")


def test_what_is_compiled_is_there_and_touches_nothing_of_the_world() -> None:
    cores = {str(module.path.relative_to(ROOT)) for module in CORES}
    files = setup.compiled_files()
    assert {"sip/transaction.py", "sip/wire/message.py", "b2bua/call.py"} < set(files) <= cores
    assert all(any(Path(file).match(pattern) for file in files) for pattern in setup.COMPILED)


def test_what_has_a_compiled_base_is_compiled() -> None:
    """Python makes no class of its own of a compiled one, or of an exception one that compiled code does not catch by
    its base. Nothing compiled is there when those of ``sip.io`` are raised.
    """
    files = set(setup.compiled_files())
    names = {name for name, module in MODULES.items() if str(module.path.relative_to(ROOT)) in files}
    wrong = []
    for module in MODULES.values():
        bases = {base.id for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
                 for base in node.bases if isinstance(base, ast.Name)}  # fmt: skip
        for base in bases & module.passed_on.keys() if module.name not in names else ():
            source, name = module.passed_on[base]
            kind = getattr(import_module(source), name)
            harmless = (tuple, Exception) if module.name.startswith("sip.io.") else (tuple,)
            if kind.__module__ in names and not issubclass(kind, harmless) and not is_protocol(kind):
                wrong.append(f"{module.name}: {base}")
    assert not wrong


def test_no_constant_is_one_that_mypyc_takes_for_unset() -> None:
    """A plain ``Final`` of several floats."""
    files = (ROOT / name for name in setup.compiled_files())
    found = [str(path) for path in files if re.search(r"^\w+: Final = \(-?\d+\.\d*, -?\d+\.", path.read_text(), re.M)]
    assert not found


def compared_by_identity(tree: ast.Module) -> set[str]:
    """The names with which something is compared by ``is``, but for None, True and False."""
    sides = (
        side
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        for side in (node.left, *node.comparators)
    )
    return {side.id for side in sides if isinstance(side, ast.Name)}


def test_what_is_compared_by_identity_is_found() -> None:
    tree = ast.parse("if a is WAITING or b is not c and d == OVER:\n    pass\n[x for x in y if x is None]")
    assert compared_by_identity(tree) == {"a", "b", "c", "x", "WAITING"}


def test_no_plain_constant_of_an_interpreted_module_is_compared_by_identity() -> None:
    """Machine code has a text or number of a module that stays Python as an object of its own."""
    files = set(setup.compiled_files())
    names = {name for name, module in MODULES.items() if str(module.path.relative_to(ROOT)) in files}
    wrong = []
    for module in (MODULES[name] for name in sorted(names)):
        for name in compared_by_identity(module.tree) & module.passed_on.keys():
            source, original = module.passed_on[name]
            while source in MODULES and original in MODULES[source].passed_on:
                source, original = MODULES[source].passed_on[original]
            value = getattr(import_module(source), original)
            if source not in names and isinstance(value, str | bytes | int | float):
                wrong.append(f"{module.name}: {name}")
    assert not wrong


def is_protocol(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False)


def test_mypyc_takes_all_that_is_compiled(tmp_path: Path) -> None:
    """As far as to C, which takes seconds; a C compiler takes what mypyc writes."""
    for name in ("sip", "heartbeat", "b2bua"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", tmp_path)
    _run([sys.executable, "-c", "import setup; print(len(setup.extensions()))"], tmp_path)


def test_a_clone_runs_as_plain_python() -> None:
    assert form() == "python"


def test_some_modules_are_compiled_and_behave_as_before(tmp_path: Path) -> None:
    if shutil.which("gcc") is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("there is no C compiler here, or no headers of Python: install gcc and python3-dev")
    for name in ("sip", "heartbeat"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    tests = tmp_path / "tests"
    shutil.copytree(ROOT / "tests" / "sip", tests / "sip", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {**os.environ, setup.SWITCH: "1", "CFLAGS": "-O0"}
    build = f"import setup; setup.COMPILED = {SOME!r}; setup.main()"
    _run([sys.executable, "-c", build, "-q", "build_ext", "--inplace"], tmp_path, environment)
    ask = "from heartbeat import form; from sip.wire import message; print(form(), message.__file__)"
    said = _run([sys.executable, "-c", ask], tmp_path, environment)
    assert said.startswith("compiled ") and ".so" in said
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    names = [f"tests/sip/{name}" for name in THEIRS if (tests / "sip" / name).exists()]
    _run(
        [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", *names], tmp_path
    )


def _run(command: list[str], where: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=where, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
