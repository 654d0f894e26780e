"""The architecture, tested: which way imports point, and who may touch the world. Read from the sources by `ast`."""

from __future__ import annotations

import ast
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

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
    "heartbeat.service",
    "heartbeat.signed_callers",
    "heartbeat.site.certificates",  # reads certificates and keys
    "heartbeat.site.doc",  # writes a page of docs/
    "heartbeat.site.load",  # reads the site file and the keys that it names
    "heartbeat.site.tables",  # has pydantic
    "heartbeat.deaths",
    "heartbeat.persistence",
    "heartbeat.supervised",
    "heartbeat.supervisor",
    "b2bua.api*",
    "b2bua.call_stories",
    "b2bua.cdr_query",
    "b2bua.cdr_store",
    "b2bua.cli*",
    "b2bua.page_views",
    "b2bua.postgres",
    "b2bua.record_sinks",
    "b2bua.record_tail",
    "b2bua.server",
    "b2bua.takeover_file",
    "gateway_agent.api*",
    "gateway_agent.cli*",
    "gateway_agent.media.*",
    "gateway_agent.server",
    "gateway_agent.station.audio_files",
    "gateway_agent.station.process",
    "gateway_agent.station.softphone",
    "gateway_agent.web_pages",
    "gateway_agent.webrtc.codecs",
    "gateway_agent.rtpengine.link",
    "gateway_agent.webrtc.companion",
    "gateway_agent.webrtc.endpoint",
    "gateway_agent.webrtc.process",
    "gateway_agent.webrtc.session",
)
"""The modules that touch the world; every other one is a core."""

BESIDE = (
    "heartbeat.console.process_stats",
    "heartbeat.console.sanitize",
    "heartbeat.console.schema",
    "heartbeat.console.contract",
    "heartbeat.console.views.*",
    "gateway_agent.media.ports",
    "gateway_agent.media.reception",
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
    "ssl": ("sip.io.tls",),
    "websockets": ("sip.io.websocket",),
    "dns": ("sip.io.dns_client",),
    "prometheus_client": ("heartbeat.console.metrics",),
    "pydantic": ("heartbeat.site.tables",),
    "pjsua2": ("gateway_agent.station.softphone",),
    "aiortc": ("gateway_agent.webrtc.codecs", "gateway_agent.webrtc.endpoint"),
    "aioice": ("gateway_agent.webrtc.endpoint",),
    "pylibsrtp": ("gateway_agent.media.srtp", "gateway_agent.webrtc.endpoint"),
    "av": ("gateway_agent.webrtc.codecs",),
    "aiohttp": ("heartbeat.console.*", "sip.io.fetch"),
    "cryptography": ("sip.stir.es256", "b2bua.cookie_cipher"),
    "psycopg": ("b2bua.postgres",),
    "click": ("heartbeat.cli*", "heartbeat.console.*", "b2bua.cli*", "gateway_agent.cli*"),
    "rich": ("heartbeat.cli*", "heartbeat.console.*", "b2bua.cli*", "gateway_agent.cli*"),
}
"""Each third-party package, and `ssl`, and the modules that may import it."""

PURE = {"os.path", "urllib.parse"}
"""Parts of these that only reckon."""

FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir"}
POOR_NAMES = ("manager", "handler", "helper", "utils")

MOST_LINES = 300
MOST_METHODS = 25
"""Of a class, with all its bases of ours: what is cut into files by inheritance is still one class."""

KNOWN_HALVES: frozenset[str] = frozenset()
"""Classes that leave methods to the one class below them still; this list only becomes shorter."""


@dataclass
class Module:
    """One source file, taken apart."""

    name: str
    path: Path
    tree: ast.Module
    imports: list[tuple[str, int]] = field(default_factory=list)
    """Dotted names and lines, those for type checkers too."""
    needs: set[str] = field(default_factory=set)
    """The modules of ours that its imports name, front doors not looked through."""
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


def source_of(module: Module, node: ast.ImportFrom) -> str:
    """The module that is imported from, a relative one in full."""
    parts = module.name.split(".") + (["__init__"] if module.path.name == "__init__.py" else [])
    return ".".join(parts[: len(parts) - node.level] * bool(node.level) + ([node.module] if node.module else []))


def load(root: Path) -> dict[str, Module]:
    found = {}
    for package in ARROWS:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = Module(name, path, ast.parse(path.read_text(), str(path)))
    for module in found.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (base := source_of(module, node)) in found:
                module.passed_on |= {alias.asname or alias.name: (base, alias.name) for alias in node.names}
    for module in found.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                module.imports += [(alias.name, node.lineno) for alias in node.names]
                module.needs |= {alias.name for alias in node.names} & (found.keys() - {module.name})
            elif isinstance(node, ast.ImportFrom):
                base = source_of(module, node)
                for alias in node.names:
                    named = f"{base}.{alias.name}"
                    module.needs |= {named if named in found else base} & (found.keys() - {module.name})
                    # `from sip import pump` names a module, `from sip.pump import Pump` what is in one.
                    source, name = base, alias.name
                    while source in found and name in found[source].passed_on:
                        source, name = found[source].passed_on[name]
                    inner = f"{source}.{name}"
                    module.imports.append((inner if inner in found else source, node.lineno))
    return found


MODULES = load(ROOT)
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
        for node in ast.walk(module.tree)
    )
    for node in ast.walk(module.tree):
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
def test_names(module: Module) -> None:
    names = [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)] + module.name.split(".")
    assert not [name for name in names if name.lower().endswith(POOR_NAMES)]


def circle_of(name: str, needs: Mapping[str, set[str]]) -> list[str]:
    """The shortest way by which a module imports itself; empty: there is none."""
    ways = deque([[name]])
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for other in sorted(needs[way[-1]] - seen):
            if other == name:
                return [*way, name]
            seen.add(other)
            ways.append([*way, other])
    return []


def test_a_circle_is_found_over_any_number_of_modules() -> None:
    needs = {"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": set[str]()}
    found = {name: circle_of(name, needs) for name in needs}
    assert found == {
        "a": ["a", "b", "c", "a"],
        "b": ["b", "c", "a", "b"],
        "c": ["c", "a", "b", "c"],
        "d": [],
        "e": [],
    }


def test_no_circles_of_imports() -> None:
    needs = {module.name: module.needs for module in MODULES.values()}
    circles = {name: circle for name in MODULES if (circle := circle_of(name, needs))}
    found = [" > ".join(circle) for circle in circles.values()]
    assert not found, "circles of imports:\n" + "\n".join(found)


class Size(NamedTuple):
    """Of a class and all its bases of ours."""

    lines: int
    methods: int


def leaves_methods(node: ast.ClassDef) -> bool:
    """Whether a class has a method that only raises ``NotImplementedError``, or is marked as abstract."""
    for item in node.body:
        if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any("abstract" in ast.unparse(decorator) for decorator in item.decorator_list):
            return True
        if any(isinstance(each, ast.Raise) and "NotImplementedError" in ast.unparse(each) for each in item.body):
            return True
    return False


class Classes:
    """Every class of some modules, by its full name."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules = modules
        self._nodes = {
            f"{module.name}.{node.name}": (module, node)
            for module in modules.values()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef)
        }

    def sizes(self) -> dict[str, Size]:
        return {name: self._size(name) for name in self._nodes}

    def halves(self) -> set[str]:
        """Classes that leave methods to others of which there is one at most: one class, cut in two."""
        below: dict[str, set[str]] = {name: set() for name in self._nodes}
        for name, (module, node) in self._nodes.items():
            for base in node.bases:
                if (named := self._named(module, base)) in below:
                    below[named].add(name)
        return {name for name, (_, node) in self._nodes.items() if leaves_methods(node) and len(below[name]) < 2}

    def _size(self, name: str) -> Size:
        nodes = [self._nodes[one][1] for one in self._lineage(name)]
        return Size(
            sum((node.end_lineno or 0) - node.lineno + 1 for node in nodes),
            sum(isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes for item in node.body),
        )

    def _lineage(self, name: str) -> set[str]:
        """A class and all its bases of ours."""
        if name not in self._nodes:
            return set()
        module, node = self._nodes[name]
        return {name}.union(*(self._lineage(self._named(module, base)) for base in node.bases))

    def _named(self, module: Module, base: ast.expr) -> str:
        """The full name of a base, wherever its module has it from."""
        while isinstance(base, ast.Subscript):
            base = base.value
        source, name = module.name, ast.unparse(base)
        if isinstance(base, ast.Attribute) and (front := module.passed_on.get(ast.unparse(base.value))):
            source, name = ".".join(front), base.attr
        while source in self._modules and name in self._modules[source].passed_on:
            source, name = self._modules[source].passed_on[name]
        return f"{source}.{name}"


def test_the_size_of_a_class_is_that_of_all_its_bases(tmp_path: Path) -> None:
    texts = {
        "sip/__init__.py": "from sip.one import One\n",
        "sip/one.py": "class One:\n    def a(self): ...\n    def b(self): ...\n",
        "heartbeat/__init__.py": "",
        "heartbeat/two.py": "from sip import One\nclass Two(One):\n    def c(self): ...\n",
        "b2bua/three.py": (
            "from typing import TYPE_CHECKING\nfrom heartbeat import two\n"
            "class Three(two.Two, dict[str, int]):\n    async def d(self): ...\n"
            "if TYPE_CHECKING:\n    from b2bua import three\n"
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    modules = load(tmp_path)
    assert Classes(modules).sizes() == {
        "sip.one.One": (3, 2),
        "heartbeat.two.Two": (5, 3),
        "b2bua.three.Three": (7, 4),
    }
    assert modules["b2bua.three"].needs == {"heartbeat.two"}


def test_no_class_is_too_large() -> None:
    sizes = Classes(MODULES).sizes()
    large = {name for name, size in sizes.items() if size.lines > MOST_LINES or size.methods > MOST_METHODS}
    found = {name: sizes[name] for name in sorted(large)}
    assert not found, f"too large with their bases: {found}"


def test_a_class_that_is_finished_by_one_other_is_a_half(tmp_path: Path) -> None:
    unfinished = "    def run(self): raise NotImplementedError\n"
    texts = {
        "sip/__init__.py": "",
        "sip/half.py": f"class Half:\n{unfinished}class Whole(Half): ...\n",
        "sip/kinds.py": f"class Kind:\n{unfinished}class One(Kind): ...\nclass Two(Kind): ...\n",
        "heartbeat/marked.py": "import abc\nclass Marked:\n    @abc.abstractmethod\n    def run(self): ...\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert Classes(load(tmp_path)).halves() == {"sip.half.Half", "heartbeat.marked.Marked"}


def test_no_class_is_half_a_class() -> None:
    halves = Classes(MODULES).halves()
    new = sorted(halves - KNOWN_HALVES)
    assert not new, f"abstract halves: {new}"
    free = sorted(KNOWN_HALVES - halves)
    assert not free, f"whole now, take them off KNOWN_HALVES: {free}"


def test_every_pattern_is_of_use() -> None:
    imported = {name.partition(".")[0] for module in MODULES.values() for name, _ in module.imports}
    assert set(HOMES) <= imported
    assert all((ROOT / package / "py.typed").exists() for package in ARROWS)
