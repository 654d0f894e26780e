"""The product with its hot modules compiled, in ``build/compiled``, and tests run on it: make compiled

Nothing is installed and nothing beside this clone is touched: what is compiled, and how, is ``setup.py``'s, as for
``HOLDFAST_COMPILED=1 pip install .``; here it happens in a copy, which is made anew when a source has changed.
Arguments go to pytest; without any it runs the tests of the three packages, but for those with doubles that
compiled code does not take for what they stand for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

from setup import SWITCH, compiled_files

ROOT: Final = Path(__file__).parents[1]
TREE: Final = ROOT / "build" / "compiled"
_PACKAGES: Final = ("sip", "heartbeat", "b2bua", "gateway_agent")
_COPIED: Final = (*_PACKAGES, "tests", "examples", "tools", "docs")
_DOUBLES: Final = (
    "sip/test_b2b.py",
    "b2bua/test_caller_identity.py",
    "b2bua/test_replay.py",
    "gateway_agent/test_far_side.py",
    "gateway_agent/test_line.py",
    "gateway_agent/test_line_table.py",
    "gateway_agent/test_obedience.py",
    "gateway_agent/test_phone.py",
    "gateway_agent/test_poison.py",
    "gateway_agent/test_stir.py",
)
_TESTS: Final = (
    *(f"tests/{name}" for name in ("sip", "b2bua", "gateway_agent")),
    *(f"--ignore=tests/{name}" for name in _DOUBLES),
)
_STAMP: Final = TREE / "compiled-from"


class NotCompiled(Exception):
    """It could not be compiled; the text says why."""


def built() -> Path:
    """The directory with the product in its compiled form. Raises `NotCompiled`."""
    sources = sha256()
    for path in [ROOT / "setup.py", *sorted(file for name in _PACKAGES for file in (ROOT / name).rglob("*.py"))]:
        sources.update(str(path).encode() + path.read_bytes())
    if _STAMP.exists() and _STAMP.read_text() == sources.hexdigest():
        return TREE
    shutil.rmtree(TREE, ignore_errors=True)
    for name in _PACKAGES:
        shutil.copytree(ROOT / name, TREE / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, TREE)
    files = compiled_files()
    print(f"compiling {len(files)} modules (some minutes, once)", file=sys.stderr, flush=True)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(
        command, cwd=TREE, check=False, capture_output=True, text=True, env={**os.environ, SWITCH: "1"}
    )
    if done.returncode:
        raise NotCompiled(f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
    if missing := _not_loaded(files):
        raise NotCompiled(f"these are still loaded from their sources: {', '.join(missing)}")
    _STAMP.write_text(sources.hexdigest())
    return TREE


def _not_loaded(files: list[str]) -> list[str]:
    """Which of these modules an interpreter in the copy does not load from machine code."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    if not importlib.import_module(name).__file__.endswith('.so'): print(name)"
    )
    names = [path.removesuffix(".py").replace("/", ".") for path in files]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=TREE, check=True, capture_output=True, text=True)
    return done.stdout.split()


def main(arguments: list[str]) -> int:
    """Exit status: pytest's, 1 when a module did not compile."""
    try:
        tree = built()
    except NotCompiled as failure:
        print(failure, file=sys.stderr)
        return 1
    for name in _COPIED:
        if name not in _PACKAGES:
            shutil.rmtree(tree / name, ignore_errors=True)
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = ["-c", str(tree / "pytest.ini"), "--rootdir", str(tree), "--import-mode=importlib", "-W", "error"]
    markers = "".join(f"\n    {name}" for name in ("interop", "wide", "row", "namespaces"))
    (tree / "pytest.ini").write_text(f"[pytest]\npythonpath = .\nmarkers ={markers}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *settings, *(arguments or _TESTS)], cwd=tree
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
