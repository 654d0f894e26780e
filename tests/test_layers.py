"""The architecture, tested: which way imports point, and who may touch the world. Read from the sources by `ast`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ARROWS = {
    "sip": set[str](),
    "heartbeat": {"sip"},
    "b2bua": {"sip", "heartbeat"},
    "gateway_agent": {"sip", "heartbeat"},
}
"""Each package and what it may import of ours."""

OURS = {*ARROWS, "tests", "examples"}

SHELLS = (
    "sip.io.*",
    "heartbeat.cli*",
    "heartbeat.console.*",
    "heartbeat.program",
    "heartbeat.site.doc",  # writes a page of docs/
    "heartbeat.site.load",  # reads the site file and the keys that it names
    "heartbeat.persistence",
    "b2bua.api*",
    "b2bua.cdr_store",
    "b2bua.cli*",
    "b2bua.server",
    "gateway_agent.api*",
    "gateway_agent.cli*",
    "gateway_agent.media.*",
    "gateway_agent.server",
)
"""The modules that touch the world; every other one is a core."""

BESIDE = (
    "heartbeat.console.metrics",
    "heartbeat.console.process_stats",
    "heartbeat.console.sanitize",
    "heartbeat.console.view",
    "gateway_agent.media.ports",
)
"""Cores in spite of their names."""

WORLD = {
    "asyncio",
    "concurrent",
    "fcntl",
    "gc",
    "http",
    "io",
    "multiprocessing",
    "os",
    "resource",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
"""What only shells import: loops, clocks, sockets, files, processes, threads, chance that cannot be injected."""

HOMES = {
    "uvloop": ("sip.io.loop",),
    "dns": ("sip.io.dns",),
    "aiohttp": ("heartbeat.console.*",),
    "click": ("heartbeat.cli*", "heartbeat.console.*", "b2bua.cli*", "gateway_agent.cli*"),
    "rich": ("heartbeat.cli*", "heartbeat.console.*", "b2bua.cli*", "gateway_agent.cli*"),
}
"""Each third-party package and the modules that may import it."""

PURE = {"os.path", "urllib.parse"}
"""Parts of these that only reckon."""

FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir"}
POOR_NAMES = ("manager", "handler", "helper", "utils")
LONGEST_FILE = 500


@dataclass
class Module:
    """One source file, taken apart."""

    name: str
    path: Path
    tree: ast.Module
    imports: list[tuple[str, int]] = field(default_factory=list)
    """Dotted names and lines, those for type checkers only left out."""
    passed_on: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What it imports from modules of ours, and so may pass on: a front door is no shell for the values of others."""

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_shell(self) -> bool:
        return matches(self.name, SHELLS) and not matches(self.name, BESIDE)

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """As `ast.walk`, without the branches that only type checkers see."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for otherwise in node.orelse:
            yield from walk(otherwise)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from walk(child)


def source_of(module: Module, node: ast.ImportFrom) -> str:
    """The module that is imported from, a relative one in full."""
    parts = module.name.split(".") + (["__init__"] if module.path.name == "__init__.py" else [])
    return ".".join(parts[: len(parts) - node.level] * bool(node.level) + ([node.module] if node.module else []))


def load() -> dict[str, Module]:
    found = {}
    for package in ARROWS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = Module(name, path, ast.parse(path.read_text(), str(path)))
    for module in found.values():
        for node in walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (base := source_of(module, node)) in found:
                module.passed_on |= {alias.asname or alias.name: (base, alias.name) for alias in node.names}
    for module in found.values():
        for node in walk(module.tree):
            if isinstance(node, ast.Import):
                module.imports += [(alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = source_of(module, node)
                for alias in node.names:
                    # `from sip import pump` names a module, `from sip.io.pump import Pump` what is in one.
                    source, name = base, alias.name
                    while source in found and name in found[source].passed_on:
                        source, name = found[source].passed_on[name]
                    inner = f"{source}.{name}"
                    module.imports.append((inner if inner in found else source, node.lineno))
    return found


MODULES = load()
CORES = [module for module in MODULES.values() if not module.is_shell]
every_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES.keys())
every_core = pytest.mark.parametrize("module", CORES, ids=[module.name for module in CORES])


@every_module
def test_arrows_point_one_way(module: Module) -> None:
    allowed = ARROWS[module.package] | {module.package}
    ours = [
        (name, line)
        for name, line in module.imports
        if name.partition(".")[0] in ARROWS | {"tests": 0, "examples": 0}
    ]
    wrong = [f"{module.at(line)} imports {name}" for name, line in ours if name.partition(".")[0] not in allowed]
    assert not wrong


@every_module
def test_third_party_packages_have_their_homes(module: Module) -> None:
    wrong = []
    for name, line in module.imports:
        top = name.partition(".")[0]
        if top not in ARROWS and top not in sys.stdlib_module_names and not matches(module.name, HOMES.get(top, ())):
            wrong.append(f"{module.at(line)} imports {name}")
    assert not wrong


@every_core
def test_cores_do_not_touch_the_world(module: Module) -> None:
    wrong = []
    for name, line in module.imports:
        if name.partition(".")[0] in WORLD and name not in PURE:
            wrong.append(f"{module.at(line)} imports {name}")
        elif name in MODULES and MODULES[name].is_shell:
            wrong.append(f"{module.at(line)} imports the shell {name}")
    assert not wrong


@every_core
def test_cores_are_plain_functions_without_files_or_chance_of_their_own(module: Module) -> None:
    wrong = []
    has_random = any(name == "random" for name, _ in module.imports)
    random_is_module = any(
        isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names)
        for node in walk(module.tree)
    )
    for node in walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            wrong.append(f"{module.at(node.lineno)} is asynchronous")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "open" or (isinstance(node.func, ast.Attribute) and node.func.attr in FILE_METHODS):
            wrong.append(f"{module.at(node.lineno)} touches a file: {called}")
        if (has_random and called == "Random") or (random_is_module and called.startswith("random.")):
            wrong.append(f"{module.at(node.lineno)} makes its own chance: {called}")
        if called.endswith(("datetime.now", "datetime.utcnow", "date.today")):
            wrong.append(f"{module.at(node.lineno)} reads a clock: {called}")
    assert not wrong


@every_module
def test_files_and_names(module: Module) -> None:
    lines = module.path.read_text().count("\n")
    assert lines <= LONGEST_FILE, f"{module.name} has {lines} lines"
    names = [node.name for node in walk(module.tree) if isinstance(node, ast.ClassDef)] + module.name.split(".")
    assert not [name for name in names if name.lower().endswith(POOR_NAMES)]


def test_every_pattern_is_of_use() -> None:
    imported = {name.partition(".")[0] for module in MODULES.values() for name, _ in module.imports}
    assert set(HOMES) <= imported
    assert all((ROOT / package / "py.typed").exists() for package in ARROWS)
