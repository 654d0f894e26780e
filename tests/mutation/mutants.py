"""The changes of one place in a module that its tests must notice: made on its syntax tree.

Numbers at a module's level are left alone: limits are chosen, and one more or less breaks no rule.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from types import CodeType
from typing import Any, Final, NamedTuple

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COUNTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NAMED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SAID: Final = frozenset({"logger", "warnings"})
"""Names whose calls only tell people something."""


class Mutant(NamedTuple):
    """One change."""

    function: str
    """The qualified name of the outermost function around it, ``""`` at the module's level."""
    line: int
    text: str
    """What stood there, and what stands there now; with the function it is the mutant's name."""
    make: Callable[[], ast.Module]
    """The module with the change."""
    statement: int = 0
    """The line on which the innermost statement around it begins."""
    at_import: bool = False
    """It has effect when the module is loaded: at its level, or in what a function's parameters are by default."""

    @property
    def name(self) -> str:
        return f"{self.function or 'module'}: {self.text}"


class _Place(NamedTuple):
    """Where something may be changed."""

    function: str
    path: tuple[tuple[str, int | None], ...]
    """From the module: field and index of each step."""
    change: Callable[[Any], Any]
    """A changed copy of what is there."""
    statement: int
    at_import: bool


def mutants_of(source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    for place in list(_places(tree, "", (), None, 0, True)):
        holder, field, index = _found(tree, place.path)
        old = getattr(holder, field) if index is None else getattr(holder, field)[index]
        text = f"{_text(old)} -> {_text(ast.fix_missing_locations(place.change(old)))}"
        made = partial(_changed, tree, place)
        yield Mutant(place.function, old.lineno, text, made, place.statement, place.at_import)


def _changed(tree: ast.Module, place: _Place) -> ast.Module:
    copy = deepcopy(tree)
    holder, field, index = _found(copy, place.path)
    if index is None:
        setattr(holder, field, place.change(getattr(holder, field)))
    else:
        getattr(holder, field)[index] = place.change(getattr(holder, field)[index])
    return ast.fix_missing_locations(copy)


def code_of(tree: ast.Module, path: str, function: str) -> CodeType | None:
    """The code of a function of a changed module, by its qualified name."""
    return code_in(compile(tree, path, "exec", dont_inherit=True), function)


def code_in(code: CodeType, function: str) -> CodeType | None:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found = each if each.co_qualname == function else code_in(each, function)
            if found is not None:
                return found
    return None


def _text(node: ast.AST) -> str:
    first, *more = ast.unparse(node).splitlines()
    return f"{first} ..." if more else first


def _found(tree: ast.AST, path: tuple[tuple[str, int | None], ...]) -> tuple[Any, str, int | None]:
    node: Any = tree
    for field, index in path[:-1]:
        node = getattr(node, field) if index is None else getattr(node, field)[index]
    return node, *path[-1]


def _places(
    node: ast.AST,
    function: str,
    path: tuple[tuple[str, int | None], ...],
    scope: str | None,
    statement: int,
    at_import: bool,
) -> Iterator[_Place]:
    """``scope``: the qualified name of the class, or None; ``statement``: the line of the one around it."""
    for field, value in ast.iter_fields(node):
        if field in (
            "annotation",
            "returns",
            "decorator_list",
            "type_comment",
            "bases",
            "keywords",
        ) and not isinstance(node, ast.Call):
            continue
        several = value if isinstance(value, list) else [value]
        loaded = at_import and not (field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        for index, child in enumerate(several):
            if not isinstance(child, ast.AST):
                continue
            here = (*path, (field, index if isinstance(value, list) else None))
            if _is_silent(child):
                continue
            around = child.lineno if isinstance(child, ast.stmt) else statement
            if function or not isinstance(child, ast.Constant) or isinstance(child.value, bool):
                changes = _changes(child, node, field)
                yield from (_Place(function, here, change, around, loaded) for change in changes)
            inner, below = function, scope
            if isinstance(child, ast.ClassDef):
                below = f"{scope}.{child.name}" if scope else child.name
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not function:
                inner = f"{scope}.{child.name}" if scope else child.name
            yield from _places(child, inner, here, below, around, loaded)


def _is_silent(node: ast.AST) -> bool:
    """Whether nothing but people and type checkers would notice a change."""
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Constant):
            return True
        call = node.value
        if isinstance(call, ast.Call):
            return any(isinstance(each, ast.Name) and each.id in _SAID for each in ast.walk(call.func)) or any(
                isinstance(each, ast.Attribute) and each.attr == "limited_logger" for each in ast.walk(call.func)
            )
    if isinstance(node, ast.Assign):
        return any(isinstance(each, ast.Name) and each.id in ("__slots__", "logger") for each in node.targets)
    if isinstance(node, ast.If):
        return any(isinstance(each, ast.Name) and each.id == "TYPE_CHECKING" for each in ast.walk(node.test))
    return isinstance(node, ast.Assert | ast.Import | ast.ImportFrom)


def _changes(node: ast.AST, parent: ast.AST, field: str) -> Iterator[Callable[[Any], Any]]:
    if isinstance(node, ast.Compare):
        for at, one in enumerate(node.ops):
            if type(one) in _COMPARED:
                yield lambda old, at=at: _compared(old, at)
            if isinstance(one, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                yield lambda old, at=at: _turned(old, at)
    elif isinstance(node, ast.BoolOp):
        yield _other_junction
        if len(node.values) == 2 or isinstance(node.op, ast.And):
            for at in range(len(node.values)):
                yield lambda old, at=at: _without(old, at)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield lambda old: deepcopy(old.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _COUNTED and not _is_text(node):
        yield _counted
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda old: ast.copy_location(ast.Constant(not old.value), old)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield lambda old: ast.copy_location(ast.Constant(old.value + 1), old)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NAMED:
        yield _other_name
    elif isinstance(node, ast.IfExp):
        yield lambda old: ast.copy_location(ast.IfExp(old.test, old.orelse, old.body), old)
    elif isinstance(node, ast.If) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        yield _negated
    elif isinstance(node, ast.Continue):
        yield lambda old: ast.copy_location(ast.Break(), old)
    elif isinstance(node, ast.Break):
        yield lambda old: ast.copy_location(ast.Continue(), old)
    elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or (
        isinstance(node, ast.Assign | ast.AugAssign)
        and not isinstance(parent, ast.ClassDef | ast.Module)
        and all(isinstance(each, ast.Attribute | ast.Subscript) for each in _targets(node))
    ):
        yield lambda old: ast.copy_location(ast.Pass(), old)


def _targets(node: ast.Assign | ast.AugAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(each, ast.JoinedStr | ast.List | ast.Tuple | ast.Dict)
        or (isinstance(each, ast.Constant) and isinstance(each.value, str | bytes))
        for each in (node.left, node.right)
    )


def _compared(old: ast.Compare, at: int) -> ast.Compare:
    new = deepcopy(old)
    new.ops[at] = _COMPARED[type(old.ops[at])]()
    return new


def _turned(old: ast.Compare, at: int) -> ast.Compare:
    """``<`` to ``>=``: the opposite."""
    opposite = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
    new = deepcopy(old)
    new.ops[at] = opposite[type(old.ops[at])]()
    return new


def _other_junction(old: ast.BoolOp) -> ast.BoolOp:
    new = deepcopy(old)
    new.op = ast.Or() if isinstance(old.op, ast.And) else ast.And()
    return new


def _without(old: ast.BoolOp, at: int) -> ast.expr:
    new = deepcopy(old)
    del new.values[at]
    return new if len(new.values) > 1 else new.values[0]


def _counted(old: ast.BinOp) -> ast.BinOp:
    new = deepcopy(old)
    new.op = _COUNTED[type(old.op)]()
    return new


def _other_name(old: ast.Call) -> ast.Call:
    new = deepcopy(old)
    assert isinstance(new.func, ast.Name)
    new.func.id = _NAMED[new.func.id]
    return new


def _negated(old: ast.If) -> ast.If:
    new = deepcopy(old)
    new.test = ast.copy_location(ast.UnaryOp(ast.Not(), new.test), new.test)
    return new
