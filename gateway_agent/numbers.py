"""Numbers on their way through a line: what a device says, what the site says, and the fields that carry them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from heartbeat.site.lines import LineSettings, rewritten
from sip.wire.errors import Malformed
from sip.wire.headers import NameAddr, bracketed
from sip.wire.message import Request
from sip.wire.uri import NO_PARAMS, NumberParams, Uri, as_user

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
    carried: NumberParams
    """What the Request-URI says of the number called besides its digits."""

    def uri(self, host: str) -> str:
        """The Request-URI at ``host``, which may have a port and parameters."""
        return f"sip:{self.called}{self.carried.user}@{host}{self.carried.uri}"


class Party(NamedTuple):
    """Who a From names."""

    display: str
    """The display name as it came, quotes included."""
    number: str
    host: str
    """In lower case."""
    carried: NumberParams
    """What is said of the number besides its digits."""
    whole: str = ""
    """The value as it came, where nothing else is known of it: a URI of another scheme crosses as it is."""


def from_device(line: LineSettings, request: Request, realm: str) -> Numbers:
    """An INVITE of a device, as the servers get it. Raises :class:`Malformed`."""
    uri = Uri.parse(request.uri)
    called = rewritten(line.from_device.called, uri.dialled)
    if not called:
        raise Malformed("a Request-URI without a number")
    party = _who(request.from_untagged)
    if line.caller_number:
        party = Party(party.display, line.caller_number, realm, NO_PARAMS)
    elif party.host != _ANONYMOUS:
        party = party._replace(number=rewritten(line.from_device.caller, party.number), host=realm)
    return Numbers(as_user(called), party.number, _from(party), _address(called, realm), uri.number_params)


def to_device(line: LineSettings, request: Request, own_host: str, peer_host: str) -> Numbers:
    """An INVITE of a server, as the device gets it. Raises :class:`Malformed`."""
    uri = Uri.parse(request.uri)
    called = rewritten(line.to_device.called, uri.dialled)
    party = _who(request.from_untagged)
    if party.host != _ANONYMOUS:
        party = party._replace(number=rewritten(line.to_device.caller, party.number), host=own_host)
    return Numbers(as_user(called), party.number, _from(party), _address(called, peer_host), uri.number_params)


def _who(value: str) -> Party:
    """Who a From value names."""
    return _who_cached(value) if len(value) <= 200 else _read_who(value)


def _read_who(value: str) -> Party:
    try:
        uri = Uri.parse(NameAddr.parse(value).uri)
    except Malformed:  # RFC 4475 section 3.3.4: a From of a scheme that nobody knows is no reason to refuse a call
        return Party("", "", "", NO_PARAMS, value)
    display = value.partition("<")[0].strip() if "<" in value else ""
    if value.startswith('"'):
        display = value[: value.rfind('"', 0, value.rfind("<")) + 1]
    return Party(display, uri.dialled, uri.host.lower(), uri.number_params)


_who_cached: Final = lru_cache(maxsize=2048)(_read_who)


def _from(party: Party) -> str:
    if party.whole:
        return party.whole
    address = _address(party.number, party.host, party.carried)
    return f"{party.display} {address}" if party.display else address


def _address(number: str, host: str, carried: NumberParams = NO_PARAMS) -> str:
    user = f"{as_user(number)}{carried.user}@" if number else ""
    return f"<sip:{user}{bracketed(host)}{carried.uri}>"


def line_parameter(uri: str) -> str:
    """The line that a server names in a Request-URI, ``""`` when it does not."""
    try:
        return Uri.parse(uri).get("line") or ""
    except Malformed:
        return ""
