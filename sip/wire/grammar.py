"""The rules of RFC 3261 section 25.1 that many headers share: tokens, quoted strings, lists, parameters.

Text is ISO 8859-1, one character a byte, folded or unfolded: line ends count as white space. All patterns use
possessive quantifiers, so that no input takes more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

Params = tuple[tuple[str, str | None], ...]
"""Parameters in order: the name and the value as they came (quotes kept); ``None`` for a flag without ``=``."""

WS: Final = "[ \t\r\n]"
TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]"
QUOTED: Final = r'"(?:[^"\\]++|\\.)*+"'
QUOTED_OR_OPEN: Final = r'"(?:[^"\\]++|\\.?)*+"?+'
"""Also an unterminated one, to the end of the text. For searches, which would else restart at each escaped quote."""
HOST: Final = r"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9_.\-]++)"

_TOKEN_SET: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")
_LWS: Final = " \t\r\n"
# An unterminated quoted string or angle bracket reaches to the end.
_ELEMENT: Final = re.compile(rf'(?:[^,"<]++|{QUOTED_OR_OPEN}|<[^>]*+>?+)*+', re.DOTALL)
_PARAM: Final = re.compile(rf'(?:[^;"]++|{QUOTED_OR_OPEN})++', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def is_token(text: str) -> bool:
    """Whether ``text`` is a token of RFC 3261 section 25.1."""
    return bool(text) and _TOKEN_SET.issuperset(text)


def quote(text: str) -> str:
    """``text`` as a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The content of a quoted-string with its escapes resolved; any other text unchanged."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def split_commas(value: str) -> Iterator[str]:
    """The elements of a comma-separated header value, trimmed; quoted strings and ``<...>`` are kept whole."""
    if "," not in value:
        yield value.strip(_LWS)
        return
    at, end = 0, len(value)
    while True:
        found = _ELEMENT.match(value, at)
        stop = found.end() if found else end
        yield value[at:stop].strip(_LWS)
        if stop >= end:
            return
        at = stop + 1


def top(value: str) -> str:
    """The first element of a comma-separated header value, trimmed."""
    if "," not in value:
        return value
    return next(split_commas(value))


def parse_params(text: str) -> Params:
    """The parameters of ``;name=value;flag``. Empty ones are skipped."""
    parts = _PARAM.findall(text) if '"' in text else text.split(";")
    params: list[tuple[str, str | None]] = []
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_LWS)
        if name or equals:
            params.append((name, value.strip(_LWS) if equals else None))
    return tuple(params)


def format_params(params: Params) -> str:
    """Parameters as ``;name=value;flag``; ``""`` without any."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)


def param(params: Params, name: str) -> str | None:
    """The unquoted value of the parameter with that (lower-case) name, ``""`` of a flag, ``None`` when absent."""
    for key, value in params:
        if key == name or key.lower() == name:
            return unquote(value) if value else ""
    return None


def number(text: str, most: int = 0xFFFFFFFF) -> int | None:
    """A number of ASCII digits, ``most`` at most; ``None`` when ``text`` has anything else."""
    if not (text.isascii() and text.isdigit()):
        return None
    return most if len(text) > 20 else min(int(text), most)
