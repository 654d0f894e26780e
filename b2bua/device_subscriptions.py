"""Subscriptions with a line of the server's own (RFC 6665): one dialog between its peer and an agent, of which no
server knows anything that another one would not.

Call-ID and tags cross as they are. Where the peer is stands in the Contact that the agent has for it, and what of the
agent's side the peer cannot tell again in the Contact that it has: each side's next request brings it (docs/wire.md).
Numbers towards the peer are twice those of the agent, and one more with the answer to a challenge, so nothing counts.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

from sip.actions import Flow
from sip.dialog import Dialog, DialogState, contact_uri
from sip.layer import Stack
from sip.wire.errors import SipError
from sip.wire.message import Request, Response, elements
from sip.wire.uri import Uri

PARAM: Final = "far"
SITE: Final = "servers"
"""The host of a Contact that agents have for the peer of a line."""
LONGEST: Final = 2000
"""Characters of a value; of more, the way back is lost."""
OF_DIALOGS: Final = frozenset({"SUBSCRIBE", "NOTIFY"})


class PeerRoute(NamedTuple):
    """Where the peer of a line is, in the dialog of a subscription."""

    target: str = ""
    """The URI of its Contact; ``""`` where its own request will say."""
    route_set: tuple[str, ...] = ()


def encode(far: PeerRoute) -> str:
    """The parameter of a URI."""
    text = json.dumps([far.target, far.route_set], separators=(",", ":")).encode()
    value = urlsafe_b64encode(text).decode().rstrip("=")
    return f";{PARAM}={value}" if len(value) <= LONGEST else ""


def decode(uri: str) -> PeerRoute | None:
    """What a Request-URI says of it; None where it says nothing that can be read."""
    try:
        value = Uri.parse(uri).get(PARAM) or ""
        if not value or len(value) > LONGEST:
            return None
        target, route_set = json.loads(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        far = PeerRoute(str(target), tuple(map(str, route_set)))
    except (SipError, ValueError, TypeError, RecursionError):
        return None
    return far if all(text.isascii() and text.isprintable() for text in (far.target, *far.route_set)) else None


def known_by(agent: str, line: str) -> str:
    """The URI of an agent's end, as on the hop between servers and agents."""
    return f"sip:{line}@{agent};transport=tcp"


def contact_for_agent(line: str, far: PeerRoute) -> str:
    """The Contact line by which an agent reaches the peer of a line."""
    return f"Contact: <sip:{line}@{SITE};transport=tcp{encode(far)}>"


def contact_for_peer(stack: Stack, flow: Flow, line: str, far: PeerRoute | None) -> str:
    """The Contact line by which the peer of a line reaches that line of an agent; ``far``: its routes are known."""
    more = encode(PeerRoute("", far.route_set)) if far is not None else ""
    return f"Contact: <{stack.contact_uri(flow, line)}{more}>"


def from_peer(request: Request, line: str) -> list[str]:
    """The head of a request of the peer of ``line``, as the agent gets it."""
    lines = [request.line(name) for name in ("from", "to", "call-id", "cseq") if name in request]
    target = contact_uri(request)
    far = decode(request.uri) if request.to_tag else PeerRoute("", tuple(elements(request, "record-route")))
    if target and far is not None:  # else what the agent has is better
        lines.append(contact_for_agent(line, far._replace(target=target)))
    return lines


def dialog_of(request: Request, far: PeerRoute, sender: str, recipient: str) -> Dialog:
    """The dialog with the peer in which an agent's request goes on."""
    return Dialog(
        DialogState(
            request.call_id,
            request.from_tag,
            request.to_tag,
            sender,
            recipient,
            target=far.target,
            route_set=far.route_set,
        )
    )


def number_there(request: Request) -> int:
    """Its CSeq towards the peer."""
    return 2 * request.cseq


def far_after(request: Request, dialog: Dialog, response: Response) -> PeerRoute:
    """Where the peer is from its 2xx to an agent's request on."""
    if not request.to_tag:
        dialog.establish(response)
    return PeerRoute(contact_uri(response) or dialog.target, dialog.route_set)
