"""Header rules of a line: single header fields are added, removed or changed in its messages, in each direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from sip.header_policy import DEVICE_HOP
from sip.wire.message import canonical, value_of

PROTECTED = DEVICE_HOP | frozenset("content-length content-type content-encoding require supported allow".split())
"""Fields of the dialog and of the body, which no rule may touch."""


class HeaderRule(Protocol):
    """One of ``to_device.headers`` or ``from_device.headers``: exactly one of ``remove``, ``add`` and ``replace`` is
    set."""

    @property
    def remove(self) -> str: ...

    @property
    def add(self) -> str: ...

    @property
    def replace(self) -> str: ...

    @property
    def match(self) -> str: ...

    @property
    def by(self) -> str: ...


def ruled(rules: Sequence[HeaderRule], lines: Iterable[str]) -> list[str]:
    """Header lines with the rules applied, one after the other. ``add`` adds no second field of a name; ``remove``
    and ``replace`` apply to values in which the pattern ``match`` is found."""
    found = list(lines)
    for rule in rules:
        if rule.add:
            name = field_of(rule.add)
            if all(field_of(line) != name for line in found):
                found.append(rule.add)
        elif rule.remove:
            name, pattern = field_of(rule.remove), _compiled(rule.match)
            found = [line for line in found if field_of(line) != name or not pattern.search(value_of(line))]
        else:
            name, pattern = field_of(rule.replace), _compiled(rule.match)
            found = [_replaced(line, pattern, rule.by) if field_of(line) == name else line for line in found]
    return found


def field_of(line: str) -> str:
    """The name of a line's field, in lower case and in its long form."""
    return canonical(line.partition(":")[0])


def without(lines: Iterable[str], field: str) -> list[str]:
    """All lines except those of that field."""
    return [line for line in lines if field_of(line) != field]


def _replaced(line: str, pattern: re.Pattern[str], by: str) -> str:
    value, changes = pattern.subn(by, value_of(line))
    return f"{line.partition(':')[0]}: {value}" if changes else line


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
