"""Poison requests: a request during which servers crashed repeatedly is not given to another server.

A request of a device is replayed to whichever server leads next (docs/wire.md), so one that makes a server crash
would take down one server after the other. Its agent sees each of these crashes: soon after the server got the
request its connection breaks without a goodbye, and another server, or another start of it, leads next.
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
"""Weight of the crash of a server that had not responded to the request at all: it probably crashed while reading it.
Two of these suffice."""
RESPONDED: Final = 1
"""Weight of the crash of a server that had responded, if only with 100: the request is less likely the cause."""
SOON: Final = 2.0
"""Seconds after a server got a request within which its crash counts. A later one is not ascribed to the request, so
that a call which rings through many crashes goes on."""
REASON: Final = 'SIP;cause=500;text="Servers died while they had this request"'


def count(sent: PendingRequest, died_at: float | None, now: float) -> bool:
    """Count the crash of the server that had the request, at ``died_at`` (None: it did not crash), before the request
    is given to the next server. Returns whether it must not be given to it."""
    if died_at is not None and sent.reached and died_at - sent.handed_at <= SOON:
        sent.deaths += RESPONDED if sent.heard else SILENT
    sent.handed_at, sent.heard = now, False
    return sent.deaths >= MOST_WEIGHT


def give_up(sent: PendingRequest, now: float) -> None:
    """Answer the request as if a server had: 500, with a Reason that gets into the call record."""
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
