"""The reference of the site file, written from the dataclasses: ``python -m heartbeat.site.doc [--check]``.

Without an option it rewrites the tables of ``docs/site-file.md``, each between its two comments; with ``--check`` its
exit status says whether they are current. A shell: it reads and writes that file.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from heartbeat.site import lines, model
from heartbeat.site.tables import hints_of, keys_of
from heartbeat.site.values import Api, Endpoint, Pattern, PeerUri, Secret, Source, Within, figure

DOCUMENT = Path(__file__).parents[2] / "docs" / "site-file.md"
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
BELOW = "table, see below"
SAID: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    Secret: "secret",
    Endpoint: "address to listen at",
    Api: "API address",
    PeerUri: "SIP URI",
    Source: "address",
    Pattern: "pattern",
}
LIMITED = {
    "host": "host",
    "URL": "http or https address",
    "origin": "origin of web pages",
    "name": "name",
    "number": "number or user name",
    "https URL": "URL",
    "field": "name of a header field",
    "header line": "header line",
    "regular expression": "regular expression",
    "header text": "text",
}


def table(kind: type[Any]) -> str:
    """The Markdown table of one dataclass: key, type, default, meaning."""
    strings = strings_of(kind)
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, spec in keys_of(kind).items():
        cells = (f"`{key}`", said(hints_of(kind)[spec.name]), _default(spec), strings[spec.name].replace("``", "`"))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def strings_of(kind: type[Any]) -> dict[str, str]:
    """The string under each field of a dataclass, as one line."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[field.target.id] = " ".join(text.value.split())
    return found


def said(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        limit = arguments[1]
        return said(arguments[0]) + _range(limit) if isinstance(limit, Within) else LIMITED[limit]
    if origin in (typing.Union, types.UnionType):
        return said(arguments[0])
    if origin is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            item = said(arguments[0])
            return "list of tables, see below" if item == BELOW else f"list: {item}"
        return f"list of {len(arguments)}, each: {said(arguments[0])}"
    if origin is not None:
        return f"table, each: {said(arguments[1])}"
    return SAID.get(hint, BELOW)


def _range(limit: Within) -> str:
    return f", {figure(limit.least)} to {figure(limit.most)}"


def _default(spec: dataclasses.Field[Any]) -> str:
    value = spec.default
    if spec.default_factory is not dataclasses.MISSING:
        return ""
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value in ("", ()) or dataclasses.is_dataclass(value):
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(list(value))}`"
    return f"`{value}`" if isinstance(value, int) else f'`"{value}"`'


def current(text: str) -> str:
    """The document with rewritten tables."""

    def anew(found: re.Match[str]) -> str:
        kind = getattr(model, found[2], None) or getattr(lines, found[2])
        return f"{found[1]}{table(kind)}{found[3]}"

    return TABLE.sub(anew, text)


def main(arguments: list[str]) -> int:
    """Write the document, or check it; the exit status."""
    text = DOCUMENT.read_text(encoding="utf-8")
    if current(text) == text:
        return 0
    if "--check" in arguments:
        print(f"{DOCUMENT.name} is not current: run python -m heartbeat.site.doc", file=sys.stderr)
        return 1
    DOCUMENT.write_text(current(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
