"""Finding the session description in a message body: it is the body, or a part of it (RFC 5621, RFC 2046)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

TYPE: Final = "application/sdp"
"""Content-Type of a session description."""
MAX_PARTS: Final = 32
"""Parts of a multipart body that are searched."""
MAX_NESTING: Final = 3
"""Levels of nested multipart bodies that are searched."""

_TYPE = re.compile(r"\s*([\w!#$&^.+-]+)\s*/\s*([\w!#$&^.+-]+)\s*(?:;|$)")
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PART_FIELD = re.compile(rb"^(content-[a-z-]+)[ \t]*:[ \t]*([^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*)", re.I | re.M)


def find_sdp(content_type: str, body: bytes) -> slice | None:
    """Where the session description is in ``body`` (RFC 5621), or None; never raises.

    ``content_type`` is the value of Content-Type. In a multipart body it is the first part of type application/sdp
    that is meant for the session (not ``early-session`` and the like) and not encoded.
    """
    return _find(content_type, body, 0, len(body), MAX_NESTING)


def is_bare_sdp(body: bytes) -> bool:
    """Whether a body without Content-Type is a session description, as some devices send it."""
    return body.startswith(b"v=0")


def replace(body: bytes, where: slice, sdp: bytes) -> bytes:
    """``body`` with ``sdp`` at ``where``, as `find_sdp` gave it, and every other byte as it was."""
    return body[: where.start] + sdp + body[where.stop :]


def _find(content_type: str, body: bytes, start: int, stop: int, nesting: int) -> slice | None:
    if content_type == TYPE:
        return slice(start, stop) if start < stop else None
    kind = _TYPE.match(content_type)
    if kind is None or start >= stop:
        return None
    if (kind[1].lower(), kind[2].lower()) == ("application", "sdp"):
        return slice(start, stop)
    boundary = _BOUNDARY.search(content_type)
    if kind[1].lower() != "multipart" or boundary is None or nesting == 0:
        return None
    mark = b"--" + (boundary[1] or boundary[2]).encode("utf-8", "replace")
    for begin, end in _parts(body, start, stop, mark):
        fields, content = _part(body, begin, end)
        disposition = fields.get(b"content-disposition", b"session").split(b";")[0].strip().lower()
        encoding = fields.get(b"content-transfer-encoding", b"binary").strip().lower()
        if disposition != b"session" or encoding not in (b"7bit", b"8bit", b"binary"):
            continue
        inner = fields.get(b"content-type", b"text/plain").decode("latin-1")
        found = _find(inner, body, content, end, nesting - 1)
        if found is not None:
            return found
    return None


def _parts(body: bytes, start: int, stop: int, mark: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each part between two delimiter lines; the line end before a delimiter line belongs to the
    delimiter (RFC 2046 section 5.1.1)."""
    delimiter = re.compile(rb"(?:^|(?<=\n))" + re.escape(mark) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    begin = None
    for count, found in enumerate(delimiter.finditer(body, start, stop)):
        if begin is not None:
            end = found.start() - 1
            yield begin, max(begin, end - 1 if body[end - 1] == 13 else end)
        if found[1] or count == MAX_PARTS:
            return
        begin = found.end()


def _part(body: bytes, begin: int, end: int) -> tuple[dict[bytes, bytes], int]:
    """The header fields of a part, names in lower case, and the offset at which its content begins."""
    if body.startswith((b"\r\n", b"\n"), begin):
        return {}, begin + (2 if body[begin] == 13 else 1)
    blank = re.compile(rb"\r?\n\r?\n").search(body, begin, end)
    if blank is None:
        return {}, end
    return {name.lower(): value for name, value in _PART_FIELD.findall(body, begin, blank.start())}, blank.end()
