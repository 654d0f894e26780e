"""Makes one change of a module effective in this process."""

from __future__ import annotations

import ast
import builtins
import gc
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from tests.mutation.mutants import Mutant, code_in, code_of

ROOT: Final = Path(__file__).parents[2]
OURS: Final = ("sip", "heartbeat", "b2bua", "gateway_agent", "examples", "tests")


class Broken(Exception):
    """What was changed is no program."""


class Loaded:
    """The functions of some modules that are there, and the caches of all."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        paths = {str(ROOT / module) for module in modules}
        everything = gc.get_objects()
        self._functions: defaultdict[tuple[str, str], list[FunctionType]] = defaultdict(list)
        for each in everything:
            if type(each) is FunctionType and each.__code__.co_filename in paths:
                self._functions[each.__code__.co_filename, each.__code__.co_qualname].append(each)
        self._caches = [each for each in everything if type(each) is _lru_cache_wrapper]

    def has(self, module: str, mutant: Mutant) -> bool:
        """Whether anybody has the function that is to be changed."""
        return (str(ROOT / module), mutant.function) in self._functions

    def change(self, module: str, mutant: Mutant) -> None:
        """Give it the changed code. Raises :class:`Broken`."""
        path = str(ROOT / module)
        try:
            code = code_of(mutant.make(), path, mutant.function)
        except (SyntaxError, ValueError):
            raise Broken from None
        assert code is not None
        for each in self._functions[path, mutant.function]:
            each.__code__ = code
        for cache in self._caches:
            cache.cache_clear()

    @contextmanager
    def watched(self) -> Iterator[set[tuple[str, int]]]:
        """Meanwhile it is noted which statements are come by, by path and line."""
        found: set[tuple[str, int]] = set()
        before = [(each, each.__code__) for some in self._functions.values() for each in some]
        setattr(builtins, _NOTE, lambda *place: found.add(place))
        for path in {path for path, _ in self._functions}:
            tree = _Noting(path).visit(ast.parse(Path(path).read_text(encoding="utf-8")))
            whole = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
            for (of, name), some in self._functions.items():
                code = code_in(whole, name) if of == path else None
                for each in some:
                    if code is not None and code.co_freevars == each.__code__.co_freevars:
                        each.__code__ = code
        try:
            yield found
        finally:
            for each, code in before:
                each.__code__ = code
            delattr(builtins, _NOTE)


class _Noting(ast.NodeTransformer):
    """Puts a note before each statement of functions."""

    def __init__(self, path: str) -> None:
        self._path = path

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        for inner in ast.walk(node):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(inner, field, None)
                if isinstance(block, list) and not isinstance(inner, ast.ClassDef):
                    setattr(inner, field, [each for one in block for each in (self._note(one), one)])
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def _note(self, statement: ast.stmt) -> ast.stmt:
        place: list[ast.expr] = [ast.Constant(self._path), ast.Constant(statement.lineno)]
        call = ast.Expr(ast.Call(ast.Name(_NOTE, ast.Load()), place, []))
        return ast.copy_location(call, statement)


_NOTE: Final = "__came_by__"


def load_anew(module: str, mutant: Mutant) -> None:
    """Forget all that is ours, and let the module be imported as it was changed. Raises :class:`Broken`."""
    name, path = module.removesuffix(".py").replace("/", "."), str(ROOT / module)
    try:
        code = compile(mutant.make(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        raise Broken from None
    for each in list(sys.modules):
        if each.partition(".")[0] in OURS and not each.startswith("tests.mutation"):
            del sys.modules[each]
    sys.meta_path.insert(0, _Finder(name, path, code))


class _Finder:
    """Finds one module as it was changed."""

    def __init__(self, name: str, path: str, code: Any) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        spec = ModuleSpec(name, self, origin=self._path)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, vars(module))
