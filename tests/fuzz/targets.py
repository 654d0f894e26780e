"""What is fuzzed: each target takes bytes, whatever they are, and raises only where the product has a fault.

A target says what must hold besides: what was read and is written again is read alike, a stream is cut into the same
messages however it comes in pieces, a core that was sent anything still answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from heartbeat.console_exchange import LONGEST
from heartbeat.header import CONSOLE
from sip import references
from sip.actions import Send
from sip.packages import json_values, line_dialog
from sip.packages.line_dialog import BadRecord, DialogRecord, Head, LineRecord, ListRequest
from sip.wire import headers, sdp, sdp_body
from sip.wire.errors import SipError
from sip.wire.framing import Framer
from sip.wire.message import Request, Response, parse
from sip.wire.uri import Uri
from tests.device_rigs import AgentRig, ServerRig
from tests.gateway_agent.agent_fixture import CARRIER, SDP
from tests.heartbeat.test_console_exchange import Pair
from tests.security.test_fuzz import WELL
from tests.security.test_torture_kinds import message

MARK: Final = b"\n\0\n"
"""Between two messages for a core, and before the cuts of a stream."""
_FIELDS: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    ("via", headers.Via.parse),
    ("from", headers.NameAddr.parse),
    ("to", headers.NameAddr.parse),
    ("contact", headers.NameAddr.parse),
    ("route", headers.NameAddr.parse),
    ("cseq", headers.CSeq.parse),
    ("event", headers.Event.parse),
    ("subscription-state", headers.SubscriptionState.parse),
    ("session-expires", headers.SessionExpires.parse),
    ("reason", headers.Reason.parse),
    ("authorization", headers.AuthParams.parse_all),
    ("proxy-authenticate", headers.AuthParams.parse_all),
    ("retry-after", headers.retry_after),
    ("replaces", references.DialogId.parse),
)


class Target(NamedTuple):
    """One of them, and good inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def read_message(data: bytes) -> None:
    """A datagram, with all that is read of its header fields."""
    try:
        found = parse(data)
    except SipError:
        return
    again = parse(found.to_bytes())
    assert (again.names, again.body) == (found.names, found.body), (data, found.to_bytes())
    for name, read in _FIELDS:
        for value in found.all(name):
            with suppress(SipError):
                read(value)
    if isinstance(found, Request):
        with suppress(SipError):
            _read_uri(found.uri)
        with suppress(SipError):
            references.ReferTo.of(found).line("sip:1@a", lambda dialog: dialog)
        references.naming_lines(found, lambda dialog: dialog)
    if (where := sdp_body.find_sdp(found.get("content-type") or "", found.body)) is not None:
        read_description(found.body[where])


def _read_uri(text: str) -> None:
    uri = Uri.parse(text)
    assert uri.matches(uri) and uri.same_user_and_host(uri), text
    assert isinstance(uri.dialled, str) and uri.number_params is not None


def cut_stream(data: bytes) -> None:
    """The same messages come out of a stream, and the same fault, wherever it is cut."""
    stream, _, cuts = data.partition(MARK)
    whole, pieces = Framer(), Framer()
    at_once, in_pieces, start = whole.feed(stream), list[bytes](), 0
    for cut in cuts:
        in_pieces += pieces.feed(stream[start : start + cut])
        start += cut
    in_pieces += pieces.feed(stream[start:])
    kept = [one for one in in_pieces if one.strip()], [one for one in at_once if one.strip()]  # pings may be joined
    assert kept[0] == kept[1], (in_pieces, at_once)
    assert (whole.fault is None) == (pieces.fault is None), (whole.fault, pieces.fault)
    for each in at_once:
        with suppress(SipError):
            parse(each)


def read_description(data: bytes) -> None:
    """A session description."""
    try:
        places = sdp.endpoints(data)
        direction, origin = sdp.direction(data), sdp.origin_of(data)
    except SipError:
        return
    assert sdp.is_hold(data) in (True, False) and direction
    with suppress(SipError):
        told = sdp.with_endpoints(data, [("127.0.0.1", 20000)] * len(places))
        read = sdp.endpoints(told)
        assert len(read) == len(places), (data, told)
        assert all(one.rejected or one.address in ("127.0.0.1", "0.0.0.0") for one in read), (data, told)
    assert sdp.origin_of(sdp.with_origin(data, origin)) == origin
    with suppress(SipError):
        assert all(one.rejected for one in sdp.endpoints(sdp.refused(data))), data
        sdp.continued(data, data)
    for one, other in ((data, _SECTIONS), (_SECTIONS, data)):
        with suppress(SipError):
            padded = sdp.padded(one, other)
            assert len(sdp.endpoints(padded)) == max(sdp.count(one), sdp.count(other)), padded
            assert sdp.count(sdp.shortened(padded, 1)) == 1, padded
            assert sdp.count(b"\n" + sdp.outline(padded)) == sdp.count(padded), padded
            assert sdp.origin_of(padded) == sdp.origin_of(one), padded


_SECTIONS: Final = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
    b"m=audio 9 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\nm=video 9 RTP/AVP 96\r\na=mid:1\r\n"
    b"m=image 9 udptl t38\r\n"
)
"""Of a session that knows more than most."""


def read_records(data: bytes) -> None:
    """Bodies that servers and agents exchange."""
    readers: tuple[Callable[[bytes], Any], ...] = (Head.decode, DialogRecord.decode, ListRequest.decode)
    for piece in (data, *line_dialog.split(data)):
        for read in readers:
            with suppress(BadRecord):
                found = read(piece)
                text = found.encode()
                again = read(text if isinstance(text, bytes) else text.encode("latin-1"))
                assert again.encode() == text, (piece, text)
        with suppress(BadRecord):
            members = line_dialog.members_of(piece)
            with suppress(BadRecord):
                LineRecord.of(members)
            for value in members.values():
                json_values.text_of(value)
                json_values.number_of(value)
                json_values.seconds_of(value)
                json_values.message_of(value)
                json_values.members_in(value)
        line_dialog.request_of(piece)


def mislead_exchange(data: bytes) -> None:
    """What a server asks of a node, and is told, line by line: each question ends, once, and nothing stays of it."""
    pair = Pair()
    pair.answer = None
    number = pair.m1.exchange.ask("m2", b"status", pair.now)
    for line in data.split(b"\n"):
        text = line.decode("latin-1")
        told = pair.m2.exchange.answer(pair.m1.stamp("m2", kind=CONSOLE, fetch=text), pair.now)
        pair.m1.exchange.answered(replace(told, piece=text), pair.now)
    pair.run(LONGEST + 1.0)
    assert [one.number for one in pair.m1.answered] == [number], data
    assert len(pair.m2.asked) <= 2 + data.count(b"\n"), "one for each statement at most"
    assert pair.m1.due_at is None, data


def _deafen(make: Callable[[], Any], data: bytes) -> None:
    """Messages for a whole core, after which it answers OPTIONS."""
    rig = make()
    for number, each in enumerate(data.split(MARK)[:8]):
        rig.core.receive(each, CARRIER, rig.now + number / 100)
        rig.core.handle_timer(rig.now + number / 100)
    rig.core.to_do()
    well = message("OPTIONS", body=SDP, Call_ID="after", Via="SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKafter")
    rig.core.receive(well, CARRIER, rig.now + 1.0)
    answers = [parse(each.data) for each in rig.core.to_do() if isinstance(each, Send) and b"after" in each.data]
    assert any(isinstance(each, Response) and each.status in (200, 503) for each in answers), answers


def deafen_agent(data: bytes) -> None:
    _deafen(AgentRig, data)


def deafen_server(data: bytes) -> None:
    _deafen(ServerRig, data)


def _records() -> Iterable[bytes]:
    yield json.dumps(
        {"call-id": "c1", "direction": "UAC", "local-tag": "a", "remote-tag": "b", "phase": "x"}
    ).encode()
    yield json.dumps({"line": "trunk1", "in-service": True, "channels": 30, "busy": 2, "kind": "trunk"}).encode()
    yield ListRequest(3, "proof", ("a", "b"), 1, ("c1",)).encode()
    yield b'\x1e{"agent":"gw1","state":"full","more":true}\n\x1e{"call-id":"c","direction":"UAS"}\n'


DESCRIPTIONS: Final = (
    SDP,
    b"v=0\r\no=a 1 1 IN IP6 ::1\r\ns=-\r\nt=0 0\r\nm=audio 4000/2 RTP/AVP 0 8\r\nc=IN IP6 ::1\r\na=sendonly\r\n"
    b"a=rtcp:4001 IN IP4 127.0.0.1\r\nm=image 5000 udptl t38\r\nc=IN IP4 127.0.0.1/127\r\na=inactive\r\n",
    b"v=0\no=- 1 2 IN IP4 0.0.0.0\ns=x\nc=IN IP4 example.org\nt=0 0\na=recvonly\nm=video 0 RTP/SAVPF 96\n",
)
TARGETS: Final = {
    "message": Target(read_message, tuple(WELL)),
    "framing": Target(cut_stream, tuple(each + each + MARK + bytes((1, 7, 90, 200)) for each in WELL)),
    "sdp": Target(read_description, DESCRIPTIONS),
    "records": Target(read_records, tuple(_records())),
    "console": Target(
        mislead_exchange,
        (b"1/q/0/5/aGVsbG8\n1/a/0", b"1/a/0/0/\n1/a/0/4/ZmluZQ", b"1/q/0\n1/gone\n1/a/0/1800/ZmluZQ"),
    ),
    "agent": Target(deafen_agent, (*WELL, MARK.join(WELL[:4]), MARK.join(WELL[-4:]))),
    "server": Target(deafen_server, (*WELL, MARK.join(WELL[:4]), MARK.join(WELL[-4:]))),
}
"""By name, for ``python -m tests.fuzz``."""
