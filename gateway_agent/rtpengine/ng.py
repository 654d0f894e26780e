"""The messages of rtpengine's control protocol "NG": a cookie, a space, and a dictionary in bencoding (BEP 3), each
way one datagram. A command that is sent again under its cookie is answered again, and not obeyed again. Strings are
bytes on the wire; rtpengine writes ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MOST_BYTES: Final = 65_507
"""Of one message: what a datagram holds."""
_DEEPEST: Final = 16
"""Dictionaries and lists within each other; rtpengine's have seven."""
_LONGEST_NUMBER: Final = 20

Value = str | bytes | int | Sequence[Any] | Mapping[str, Any]


class BadMessage(ValueError):
    """It cannot be read."""


def message(cookie: str, words: Mapping[str, Value]) -> bytes:
    """A command. ``cookie`` has no space."""
    return cookie.encode("ascii") + b" " + encode(words)


def parsed(data: bytes) -> tuple[str, dict[str, Any]]:
    """The cookie and the dictionary of an answer; its strings are `str`. Raises `BadMessage`."""
    cookie, _, rest = data.partition(b" ")
    value, end = _decoded(rest, 0, 0)
    if not isinstance(value, dict) or end != len(rest):
        raise BadMessage("it is no dictionary")
    return cookie.decode("ascii", "replace"), value


def encode(value: Value) -> bytes:
    """A value in bencoding. Dictionaries keep their order: rtpengine does not ask for sorted ones."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, Mapping):
        return b"d" + b"".join(encode(key) + encode(each) for key, each in value.items()) + b"e"
    return b"l" + b"".join(map(encode, value)) + b"e"


def _decoded(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at ``at``, and where it ends."""
    kind = data[at : at + 1]
    if kind in (b"d", b"l"):
        if depth == _DEEPEST:
            raise BadMessage("it is too deep")
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = _decoded(data, at, depth + 1)
            items.append(item)
        if kind == b"l":
            return items, at + 1
        if len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
            raise BadMessage("a dictionary has a key that is none, or no value for it")
        return dict(zip(items[::2], items[1::2], strict=True)), at + 1
    if kind == b"i":
        number, end = _number(data, at + 1, b"e")
        return number, end
    size, start = _number(data, at, b":")
    if not 0 <= size <= len(data) - start:
        raise BadMessage("a string is longer than the message")
    return data[start : start + size].decode("utf-8", "replace"), start + size


def _number(data: bytes, at: int, end: bytes) -> tuple[int, int]:
    """The number from ``at`` to ``end``, and where what follows begins."""
    stop = data.find(end, at, at + _LONGEST_NUMBER + 1)
    digits = data[at:stop]
    if stop < 0 or not digits.removeprefix(b"-").isdigit():
        raise BadMessage("a number cannot be read")
    return int(digits), stop + 1
