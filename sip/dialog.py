"""Dialogs (RFC 3261 section 12): the value from which another process can go on, and the object that works with
it."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from sip.wire.errors import Malformed
from sip.wire.message import Message, Request, Response, elements, split_commas, value_of
from sip.wire.uri import Uri

UAC: Final = "initiator"
UAS: Final = "recipient"
_CACHED: Final = 256
"""Longer Contacts than this are not kept in the cache, which strangers can fill."""
_BY_TLS: Final = re.compile(r"\s*SIP\s*/\s*2\.0\s*/\s*(?:TLS|WSS)\s", re.IGNORECASE)


class DialogState(NamedTuple):
    """The state of a dialog (RFC 3261 section 12), named as in RFC 4235."""

    call_id: str
    local_tag: str
    remote_tag: str
    """Empty as long as no response with a tag has come."""
    local: str
    """The From (UAC) or To (UAS) value of our side without its tag, as it stood on the wire."""
    remote: str
    local_cseq: int = 0
    """The last number used by our side; 0 when it has sent no request."""
    remote_cseq: int = 0
    target: str = ""
    """The remote target: the URI of the last Contact from there."""
    route_set: tuple[str, ...] = ()
    """Route values in the order in which we send them."""
    direction: str = UAC


class Dialog:
    """A dialog in use. It is made from a :class:`DialogState` and from nothing else."""

    __slots__ = (
        "call_id",
        "direction",
        "local",
        "local_cseq",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "route_set",
        "target",
    )

    def __init__(self, state: DialogState) -> None:
        (
            self.call_id,
            self.local_tag,
            self.remote_tag,
            self.local,
            self.remote,
            self.local_cseq,
            self.remote_cseq,
            self.target,
            self.route_set,
            self.direction,
        ) = state

    def export(self) -> DialogState:
        """The frozen value from which the same dialog can be made elsewhere."""
        return DialogState(
            self.call_id,
            self.local_tag,
            self.remote_tag,
            self.local,
            self.remote,
            self.local_cseq,
            self.remote_cseq,
            self.target,
            self.route_set,
            self.direction,
        )

    @property
    def key(self) -> str:
        """The key by which a received request is matched to this dialog; see :func:`dialog_key`."""
        return dialog_key(self.call_id, self.local_tag)

    def establish(self, response: Response) -> None:
        """Take remote tag, target and route set from a 1xx or 2xx to our INVITE (section 12.1.2)."""
        self.remote_tag = response.to_tag
        self.target = contact_uri(response) or self.target
        self.route_set = tuple(reversed(elements(response, "record-route"))) if "record-route" in response else ()

    def head(self, method: str, cseq: int, via: str) -> tuple[str, list[str]]:
        """The Request-URI and the first lines of a request in this dialog (section 12.2.1.1): Via to CSeq, with
        Routes.
        """
        uri = self.target
        lines = [via]
        if self.route_set:
            first = self.route_set[0]
            if _is_loose(first):
                lines += [f"Route: {route}" for route in self.route_set]
            else:  # a strict router of RFC 2543: its URI is the Request-URI, the target becomes the last route
                lines += [f"Route: {route}" for route in (*self.route_set[1:], f"<{uri}>")]
                uri = bare_uri(first)
        remote_tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        lines += (
            f"From: {self.local};tag={self.local_tag}",
            f"To: {self.remote}{remote_tag}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
        )
        return uri, lines


def dialog_key(call_id: str, local_tag: str) -> str:
    """The key under which a dialog is registered, to be matched to received requests (RFC 3261 section 12.2.2); the
    remote tag is compared afterwards."""
    return f"{call_id} {local_tag}"


def called_by(request: Request, local_tag: str) -> DialogState:
    """The dialog that a received INVITE opens at the UAS (section 12.1.1), with the given local tag."""
    return DialogState(
        call_id=request.call_id,
        local_tag=local_tag,
        remote_tag=request.from_tag,
        local=request.to_untagged,
        remote=request.from_untagged,
        local_cseq=0,
        remote_cseq=request.cseq,
        target=contact_uri(request),
        route_set=tuple(elements(request, "record-route")) if "record-route" in request.first else (),
        direction=UAS,
    )


def contact_uri(message: Message) -> str:
    """The URI of a message's Contact, as the remote target of a dialog: fit for a request line.

    ``""`` when there is none: no Contact, several, ``*``, or one that is not a valid SIP URI (RFC 3261 section
    8.1.1.8). A ``sips`` URI is accepted only in a message whose topmost Via is of TLS, since it must not be used
    without TLS (section 26.2.2). Headers of the URI are left out (section 19.1.1, table 1).
    """
    line = message.first.get("contact")
    if line is None or message.names.count("contact") != 1:
        return ""
    if len(line) <= _CACHED:
        return _contact_cached(line) or _secure_contact(message, line)
    return _contact(value_of(line)) or _secure_contact(message, line)


def _secure_contact(message: Message, line: str) -> str:
    value = value_of(line)
    if bare_uri(value)[:5].lower() != "sips:" or not _BY_TLS.match(message.get("via") or ""):
        return ""
    return _contact(value, "sips")


def _contact(value: str, scheme: str = "sip") -> str:
    if "," in value and len([*split_commas(value)]) > 1:
        return ""
    text = bare_uri(value)
    try:
        uri = Uri.parse(text)
    except Malformed:
        return ""
    if uri.scheme != scheme:
        return ""
    return str(replace(uri, headers=())) if uri.headers else text


@lru_cache(maxsize=4096)
def _contact_cached(line: str) -> str:
    return _contact(value_of(line))


def _is_loose(route: str) -> bool:
    """Whether a Route value names a loose router, by the URI parameter ``lr`` alone (section 19.1.1).

    True also for a value that cannot be parsed, since that must not become a Request-URI.
    """
    try:
        return Uri.parse(bare_uri(route)).loose
    except Malformed:
        return True


def bare_uri(value: str) -> str:
    """The URI of a name-addr or addr-spec (section 20.10: without brackets, parameters are the header's)."""
    if value[:1] == "<":
        return value[1:].partition(">")[0]
    quote = value.rfind('"')
    start = value.find("<", quote + 1)
    if start >= 0:
        return value[start + 1 :].partition(">")[0]
    return value.partition(";")[0].strip()
