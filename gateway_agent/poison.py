"""Requests that kill servers: what servers died of is not shown to one more.

A request of a device is replayed to whichever server leads next (docs/wire.md), so one that makes a server crash
would take down one server after the other. The agent where it came from sees each of these deaths: the connection to
the server that had it breaks soon after, without a goodbye, and another start of a server leads next.
"""

from __future__ import annotations

from typing import Final

from gateway_agent.call_environment import NOWHERE
from gateway_agent.server_side import PendingRequest
from sip.transaction import ClientTransaction
from sip.wire.build import response_bytes
from sip.wire.message import Request, Response, parse

MOST_WEIGHT: Final = 4
SILENT: Final = 2
"""Weight of the death of a server that had not said a word to the request: it died of looking at it. Two suffice."""
SPOKEN: Final = 1
"""Of one that had said something, if only 100: perhaps it died of what came of the request."""
SOON: Final = 2.0
"""Seconds from when a server had a request within which a death counts. One that comes later is none of its doing, so
that a call which rings through many of them goes on."""
REASON: Final = 'SIP;cause=500;text="Servers died while they had this request"'


def count(sent: PendingRequest, died_at: float | None, now: float) -> bool:
    """It is handed to the next server now, after the death of the one that had it, if there was one (``died_at``);
    whether it is not to be."""
    if died_at is not None and sent.reached and died_at - sent.handed_at <= SOON:
        sent.deaths += SPOKEN if sent.heard else SILENT
    sent.handed_at, sent.heard = now, False
    return sent.deaths >= MOST_WEIGHT


def give_up(sent: PendingRequest, now: float) -> None:
    """Answer it as if a server had: 500, with a Reason that gets into the call record."""
    client = sent.client
    client.flow = NOWHERE
    client.receive(_refusal(client), now)


def _refusal(client: ClientTransaction) -> Response:
    request = parse(client.request)
    assert isinstance(request, Request)
    kept = {"via": "Via", "from": "From", "call-id": "Call-ID", "cseq": "CSeq"}
    lines = [f"{word}: {value}" for name, word in kept.items() for value in request.all(name)]
    to = request.get("to") or ""
    lines += [f"To: {to}" if request.to_tag else f"To: {to};tag=none", f"Reason: {REASON}"]
    response = parse(response_bytes(500, "", lines))
    assert isinstance(response, Response)
    return response
