"""The view ``cdrs``: call records from the SQLite database of one server, a limited page at a time.

It reads from disk, so it is called in a thread. Only the selected records are decoded.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from heartbeat.console.contract import Refused

MOST: Final = 2000
_WHERE: Final[Mapping[str, tuple[str, type[float] | type[str]]]] = MappingProxyType(
    {
        "since": ("started >= :since", float),
        "until": ("started < :until", float),
        "from": ("instr(caller, :from) > 0", str),
        "to": ("(instr(callee, :to) > 0 OR instr(record ->> 'dialled', :to) > 0)", str),
    }
)


def page(directory: Path, node: str, params: Mapping[str, str]) -> dict[str, Any]:
    """``cdrs``: parameters ``since``, ``until`` (epoch seconds of the start), ``from``, ``to`` (parts of numbers),
    ``limit`` (default and most 2000), ``offset``. The newest first. Raises :class:`Refused`.
    """
    path = directory / f"{node}.sqlite"
    where, values = ["1"], dict[str, float | str]()
    for name, (condition, kind) in _WHERE.items():
        if text := params.get(name, ""):
            try:
                values[name] = kind(text)
            except ValueError:
                raise Refused(f"{name} is in epoch seconds, not {text[:40]!r}", 400) from None
            where.append(condition)
    chosen, limit, offset = " AND ".join(where), _number(params, "limit", MOST), _number(params, "offset", 0)
    if not path.exists():
        return {"cdrs": [], "matched": 0}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as connection:
            matched = connection.execute(f"SELECT count(*) FROM cdr WHERE {chosen}", values).fetchone()[0]
            rows = connection.execute(
                f"SELECT record FROM cdr WHERE {chosen} ORDER BY started DESC, id LIMIT {limit} OFFSET {offset}",
                values,
            ).fetchall()
    except sqlite3.Error as error:
        raise Refused(f"the call records of {node} cannot be read: {error}") from None
    return {"cdrs": [json.loads(text) for (text,) in rows], "matched": matched}


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(f"{name} must be a number, is {text[:40]!r}", 400)
    return int(text) if name == "offset" else min(int(text), MOST)
