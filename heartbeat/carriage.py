"""Statements of nodes on the wire: OPTIONS with a Heartbeat header, and their responses (docs/wire.md).

They use no SIP transactions: over UDP a heartbeat is not retransmitted, since the next one replaces it, and a
response is matched to its request by ``re``.
"""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat.header import Beat, BeatError, parse_signed, serialize
from sip.actions import Address
from sip.wire.build import request_bytes, response_bytes
from sip.wire.message import Request, Response

METHOD = "OPTIONS"


def beat_in(message: Request | Response, keys: Sequence[bytes]) -> Beat:
    """The statement in a message, its signature verified. Raises :class:`BeatError`."""
    return signed_in(message, keys)[0]


def signed_in(message: Request | Response, keys: Sequence[bytes]) -> tuple[Beat, bytes]:
    """As `beat_in`, with the key that signed it. Raises :class:`BeatError`."""
    value = message.get("heartbeat")
    if value is None and isinstance(message, Response):
        raise BeatError(
            f"it answers {message.status} without a Heartbeat header: it has another site key, or is no node of this"
            " site"
        )
    if value is None:
        raise BeatError("the message has no Heartbeat header")
    return parse_signed(value, keys, message.cseq_method, message.call_id, message.cseq)


def header(beat: Beat, key: bytes, method: str, call_id: str, cseq: int) -> str:
    """The Heartbeat line for a message with that method, Call-ID and CSeq number."""
    return f"Heartbeat: {serialize(beat, key, method, call_id, cseq)}"


def request(beat: Beat, key: bytes, via: str, remote: Address, call_id: str, cseq: int) -> bytes:
    """The OPTIONS with ``beat`` for the node that it names, at ``remote``; ``via``: the Via line."""
    host = f"[{remote[0]}]" if ":" in remote[0] else remote[0]
    lines = (
        via,
        "Max-Forwards: 1",
        f"From: <sip:{beat.node}@{beat.site}>;tag={call_id[:8]}",
        f"To: <sip:{beat.to}@{beat.site}>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} OPTIONS",
        header(beat, key, METHOD, call_id, cseq),
    )
    return request_bytes("OPTIONS", f"sip:{beat.to}@{host}:{remote[1]}", lines)


def answer(asked: Request, beat: Beat, key: bytes) -> bytes:
    """The response with ``beat``: 200, or 403 where it is a refusal."""
    to = asked.get("to") or ""
    tag = "" if asked.to_tag else f";tag={asked.call_id[:8]}"
    lines = (
        *(f"Via: {value}" for value in asked.all("via")),
        f"From: {asked.get('from') or ''}",
        f"To: {to}{tag}",
        f"Call-ID: {asked.call_id}",
        f"CSeq: {asked.cseq} {asked.cseq_method}",
        header(beat, key, asked.cseq_method, asked.call_id, asked.cseq),
    )
    return response_bytes(403 if beat.no else 200, "", lines)
