"""Numbers on their way through a line: what a device says, what the site says, and the fields that carry them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from heartbeat.site.lines import Line, rewritten
from sip.wire.errors import Malformed
from sip.wire.headers import NameAddr, bracketed
from sip.wire.message import Request
from sip.wire.uri import Uri

_PLAIN: Final = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,;?/]*\Z")
_ANONYMOUS: Final = "anonymous.invalid"
"""RFC 3323 section 4.1.1.3: the host of a From that tells nothing."""


class Numbers(NamedTuple):
    """Who calls whom, as the message of the other side is to say it."""

    called: str
    """The number called, escaped for a URI."""
    caller: str
    """The number calling, as people read it."""
    sender: str
    """The From value, without tag."""
    recipient: str
    """The To value, without tag."""


def from_device(line: Line, request: Request, realm: str) -> Numbers:
    """An INVITE of a device, as the servers get it. Raises :class:`Malformed`."""
    called = rewritten(line.from_device.called, Uri.parse(request.uri).dialled)
    display, caller, host = _who(request.from_untagged)
    if line.caller_number:
        caller = line.caller_number
    elif host != _ANONYMOUS:
        caller = rewritten(line.from_device.caller, caller)
    where = _ANONYMOUS if host == _ANONYMOUS and not line.caller_number else realm
    return Numbers(escaped(called), caller, _address(display, caller, where), _address("", called, realm))


def to_device(line: Line, request: Request, own_host: str, peer_host: str) -> Numbers:
    """An INVITE of a server, as the device gets it. Raises :class:`Malformed`."""
    called = rewritten(line.to_device.called, Uri.parse(request.uri).dialled)
    display, caller, host = _who(request.from_untagged)
    if host != _ANONYMOUS:
        caller = rewritten(line.to_device.caller, caller)
    where = _ANONYMOUS if host == _ANONYMOUS else own_host
    return Numbers(escaped(called), caller, _address(display, caller, where), _address("", called, peer_host))


def escaped(number: str) -> str:
    """A number or user name as the user part of a URI (RFC 3261 section 19.1.2)."""
    if _PLAIN.match(number):
        return number
    return "".join(c if _PLAIN.match(c) else "".join(f"%{b:02X}" for b in c.encode("latin-1")) for c in number)


def _who(value: str) -> tuple[str, str, str]:
    """Display name as it came (with its space), number and host of a From value."""
    return _who_cached(value) if len(value) <= 200 else _read_who(value)


def _read_who(value: str) -> tuple[str, str, str]:
    try:
        uri = Uri.parse(NameAddr.parse(value).uri)
    except Malformed:  # RFC 4475 section 3.3.4: a From of a scheme that nobody knows is no reason to refuse a call
        return "", "", ""
    display = value.partition("<")[0].strip() if "<" in value else ""
    if value.startswith('"'):
        display = value[: value.rfind('"', 0, value.rfind("<")) + 1]
    return display, uri.dialled, uri.host.lower()


_who_cached: Final = lru_cache(maxsize=2048)(_read_who)


def _address(display: str, number: str, host: str) -> str:
    user = f"{escaped(number)}@" if number else ""
    return f"{display} <sip:{user}{bracketed(host)}>" if display else f"<sip:{user}{bracketed(host)}>"


def line_parameter(uri: str) -> str:
    """The line that a server names in a Request-URI, ``""`` when it does not."""
    try:
        return Uri.parse(uri).get("line") or ""
    except Malformed:
        return ""
