"""Which header lines are copied from one leg of a call to the other: all, unchanged, but those of the hop.

Left out are the fields that a leg writes itself (Via to CSeq, Contact, the lengths), those of authentication and
reliability on the hop, and those of the site; of ``Supported``, ``Allow`` and ``Require`` the values that this hop
handles itself or does not support.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2s
from typing import Final

from sip.wire.message import Message, Request, value_of
from sip.wire.sdp_body import TYPE, is_bare_sdp

SITE: Final = frozenset({"heartbeat", "call-state", "call-origin", "line", "line-state", "media-quality"})
"""Fields of the site (docs/wire.md): never sent to a device, and ignored from one."""

HOP: Final = SITE | frozenset(
    "via from to call-id cseq contact max-forwards record-route route content-length timestamp proxy-require "
    "path service-route rseq rack allow-events replaces join target-dialog".split()
)
"""Never passed on; ``Replaces`` and the like name dialogs by Call-IDs that are valid on one hop only."""

DEVICE_HOP: Final = HOP | frozenset(
    "authorization proxy-authorization www-authenticate proxy-authenticate authentication-info "
    "session-expires min-se".split()
)
"""Also the fields that an agent and its device use between themselves: digest and the session timer."""

SITE_HOP: Final = DEVICE_HOP - {"join", "target-dialog"}
"""The same for an INVITE from a server to an agent: Join and Target-Dialog are valid on these hops (docs/wire.md)."""

PASSED_METHODS: Final = frozenset("INVITE ACK BYE CANCEL INFO MESSAGE NOTIFY OPTIONS PRACK REFER UPDATE".split())
"""Methods that are passed on in a call."""

ALLOW: Final = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE"

_OF_DIALOGS: Final = frozenset("BYE INFO UPDATE PRACK NOTIFY".split())
_NEVER_TAKEN: Final = frozenset("MESSAGE SUBSCRIBE PUBLISH REFER REGISTER".split())

_OURS: Final = frozenset("100rel timer replaces outbound path gruu norefersub explicitsub precondition".split())
"""Option tags that would promise support by this hop."""

_HARMLESS: Final = frozenset(
    "answermode early-session from-change histinfo ice join nosub resource-priority sdp-anat tdialog".split()
)
"""Option tags that only the two ends must understand."""

_OF_REGISTRAR: Final = _HARMLESS | {"path"}
"""The same of a REGISTER, whose Path is kept (RFC 3327)."""

_OF_HOP: Final = frozenset(("timer", "100rel", "replaces", "norefersub"))
"""Option tags that this hop supports itself; whether it does on a line is for the line to decide."""

_DESCRIPTION: Final = f"Content-Type: {TYPE}"
_FILTERED: Final = frozenset({"supported", "allow", "require"})
_CACHED: Final = 256
"""Characters of a line; longer ones are not cached, since devices choose what fills the cache."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}\Z")


def crossing(message: Message, drop: frozenset[str] = HOP) -> list[str]:
    """The header lines of ``message`` for the message on the other leg, unchanged and in order."""
    names = message.names
    bare = message.body and "content-type" not in message.first and is_bare_sdp(message.body)
    kept = [_DESCRIPTION] if bare else []
    if not kept and _FILTERED.isdisjoint(names):
        return [line for name, line in zip(names, message.lines, strict=True) if name not in drop]
    for name, line in zip(names, message.lines, strict=True):
        if name in drop:
            continue
        if name in _FILTERED:
            line = _remembered(name, line) if len(line) <= _CACHED else _filtered(name, line)
            if not line:
                continue
        kept.append(line)
    return kept


def _filtered(name: str, line: str) -> str:
    """The line without the values that are not passed on; ``""`` where none is left."""
    spelled, _, value = line.partition(":")
    given = [token for token in (part.strip(" \t\r\n") for part in value.split(",")) if token]
    if name == "allow":
        kept = [token for token in given if token.upper() in PASSED_METHODS and token.upper() != "PRACK"]
    else:
        kept = [token for token in given if token.lower() not in _OURS]
    if len(kept) == len(given):
        return line if given or name != "require" else ""
    return f"{spelled}: {', '.join(kept)}" if kept else ""


_remembered: Final = lru_cache(maxsize=1024)(_filtered)


def lines_of_body(lines: Iterable[str]) -> list[str]:
    """Those of the header lines that describe the body."""
    return [line for line in lines if line[:8].lower() == "content-" or line[:2].lower() == "c:"]


def unsupported(request: Request) -> list[str]:
    """The option tags of ``Require`` that are supported on no line (RFC 3261 section 8.2.2.3): answer 420."""
    if "require" not in request.first:
        return []
    given = [part.strip(" \t\r\n") for value in request.all("require") for part in value.split(",")]
    known = _HARMLESS if request.method != "REGISTER" else _OF_REGISTRAR
    return [token for token in given if token and token.lower() not in known and token.lower() not in _OF_HOP]


def passable_tag(tag: str) -> str:
    """``tag`` if it is a token of at most 64 characters, else its hash, the same on each hop (docs/wire.md)."""
    if _TOKEN.match(tag):
        return tag
    return blake2s(tag.encode("latin-1"), digest_size=12).hexdigest() if tag else ""


def max_forwards_left(request: Request) -> int:
    """Max-Forwards for the request on the other leg, one less (RFC 3261 section 16.6); it was validated on
    arrival."""
    line = request.first.get("max-forwards")
    return 69 if line is None else _one_less(line)


@lru_cache(maxsize=_CACHED)
def _one_less(max_forwards: str) -> int:
    value = value_of(max_forwards)
    return min(int(value), 256) - 1 if value else 69


def refused_outside_dialogs(method: str, more: str = "") -> tuple[int, tuple[str, ...]]:
    """Status and header lines for a request that belongs to no dialog and cannot begin one.

    481 where the method is defined in dialogs only (RFC 3261 section 15.1.2, RFC 6665 section 4.1.3), 405 with Allow
    (section 8.2.1; ``more``: another method in it) where the method is known, else 501 with Allow.
    """
    if method in _OF_DIALOGS:
        return 481, ()
    allow = f"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS{', ' if more else ''}{more}"
    return 405 if method in _NEVER_TAKEN else 501, (allow,)
