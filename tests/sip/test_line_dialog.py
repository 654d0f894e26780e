"""Package line-dialog: a golden file holds what goes over the wire, to the octet; readers bear anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.dialog import UAC, UAS, DialogState
from sip.packages import line_dialog
from sip.packages.line_dialog import (
    ACK_AWAITED,
    ACK_PENDING,
    NO_ACK,
    Ack,
    Ages,
    BadRecord,
    DialogRecord,
    EarlyDialog,
    Ended,
    Head,
    LineRecord,
    ListRequest,
    ReceivedRequest,
    SentRequest,
)

GOLDEN = Path(__file__).with_name("line_dialog.golden")
"""Changes only when the wire does: then a server of the version before must still read it, and the reverse."""

INVITE = b"INVITE sip:1@x SIP/2.0\r\nCall-ID: c\r\nSubject: \xe9\x80\xff\r\n\r\n"
RINGING = b"SIP/2.0 180 Ringing\r\n\r\n"
TALKING = DialogRecord(
    DialogState("c1", "t1", "r1", "<sip:b@x>", '"a" <sip:a@x>', 2, 7, "sip:gw1;transport=tcp", (), UAS),
    "1.4.abc.payload.mac",
    line_dialog.CONFIRMED,
    "alice",
    3,
    "hot",
    ages=Ages(50.031, 50.024, 48.0),
    ack=Ack(message=b"ACK sip:x SIP/2.0\r\n\r\n", cseq=1),
    held="remote",
    sdp_sent=b"v=0\r\n",
    sdp_received=b"v=0\r\n",
)
RECORDS = (
    Head("paris", "gw1", 3, 8, 1, 1, False),
    LineRecord("trunk1", "trunk", "idle", True, 30, 2, 0, ""),
    LineRecord("carol", "phone", "out of service", False, 1, 0, 0, 'no "device" is registered'),
    TALKING,
    TALKING._replace(
        dialog=TALKING.dialog._replace(direction=UAC, route_set=("<sip:p;lr>", "<sip:q;lr>")),
        origin="gw2;z9hG4bK1;2",
        ack=Ack(ACK_AWAITED, b"", 1, "gw2;z9hG4bK1;2"),
        sent=(SentRequest(INVITE), SentRequest(INVITE, True)),
        received=(ReceivedRequest(INVITE, "gw2;b;1"), ReceivedRequest(INVITE, "gw2;b;2", RINGING, True)),
    ),
    TALKING._replace(ack=Ack(ACK_PENDING, b"", 4), held="none", sdp_sent=b"", sdp_received=b""),
    DialogRecord(
        DialogState("c2", "", "r2", "<sip:b@x>", "<sip:a@x>", 0, 0, "sip:gw1", (), UAS),
        state=line_dialog.TRYING,
        line="trunk1/7",
        recovery="cold",
        ages=Ages(0.5),
        early=(EarlyDialog("e1", (RINGING, RINGING)), EarlyDialog("e2", ())),
    ),
    TALKING._replace(
        state=line_dialog.TERMINATED, ack=NO_ACK, held="none", ended=Ended(1.25, "device", "Q.850;cause=16", 200)
    ),
)


def decoded(piece: bytes) -> Any:
    members = line_dialog.members_of(piece)
    kind = LineRecord.of(members) if "line" in members and "call-id" not in members else None
    return kind or (DialogRecord.decode(piece) if "call-id" in members else Head.decode(piece))


def test_the_wire_is_as_the_golden_file_has_it() -> None:
    assert line_dialog.body_of(record.encode() for record in RECORDS) == GOLDEN.read_bytes()


def test_all_that_is_written_is_read() -> None:
    assert tuple(map(decoded, line_dialog.split(GOLDEN.read_bytes()))) == RECORDS


def test_unknown_members_are_passed_over_and_those_left_out_have_their_defaults() -> None:
    value = {"later": [1], "call-id": "c1", "ended": {"ago": 1, "soon": {}}, "sent": [{"request": "x", "n": 1}]}
    record = DialogRecord.decode(json.dumps(value).encode())
    assert record.sent == (SentRequest(b"x"),) and record.ended == Ended(1.0) and record.held == "none"
    assert record.dialog == DialogState("c1", "", "", "", "", 0, 0, "", (), UAS) and record.ack is NO_ACK


@pytest.mark.parametrize("piece", [b"", b"{", b"[]", b"{}", b'{"call-id":7}', b'{"call-id":"a\\nb"}', b"[" * 90_000])
def test_what_is_no_record_of_a_dialog(piece: bytes) -> None:
    with pytest.raises(BadRecord):
        DialogRecord.decode(piece)


@pytest.mark.parametrize(
    "more",
    [
        {"cseq": 7, "route-set": "x", "age": [], "ended": "no", "ack": [], "sent": {}, "received": 1, "held": 0},
        {"cseq": {"local": -1, "remote": "2"}, "age": {"answer": "x"}, "ended": {"ago": -1, "status": 2**40}},
        {"cseq": {"local": 1.5}, "origin": 5, "state": None, "direction": [], "target": {}, "remote-tag": 1},
        {"age": {"answer": 1e300}, "ended": {"ago": 1e300, "by": 1, "reason": []}, "ack": {"message": 1}},
        {"local": "a\r\nVia: b", "target": "sip:\u20ac", "remote-tag": "x\x00", "early": [{"tag": 1}, 2]},
    ],
)
def test_members_of_other_kinds_are_as_if_left_out(more: dict[str, Any]) -> None:
    record = DialogRecord.decode(json.dumps({"call-id": "c1", **more}).encode())
    assert record.dialog == DialogState("c1", "", "", "", "", 0, 0, "", (), UAS)
    assert record.ages.answer is None and record.ended in (None, Ended())
    assert not record.sent and not record.received and not record.early and record.ack == NO_ACK
    assert record.attempt == 0


@pytest.mark.parametrize(
    ("origin", "attempt"), [("gw1;b;2", 2), ("gw1;b;", 0), ("", 0), ("gw1;b;x", 0), ("gw1;b;999999", 0)]
)
def test_the_attempt_of_an_origin(origin: str, attempt: int) -> None:
    assert TALKING._replace(origin=origin).attempt == attempt


def test_a_body_is_split_at_its_separators() -> None:
    assert line_dialog.split(b'\x1e{"a":1}\n\x1e{"b":2}\n') == [b'{"a":1}', b'{"b":2}']
    assert line_dialog.split(b"") == line_dialog.split(b"\x1e\n\x1e\n") == []
    assert line_dialog.split(b"{}") == [b"{}"]


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        (ListRequest(2, "2|m2"), b'{"epoch":2,"proof":"2|m2"}'),
        (ListRequest(call_ids=("b", "a")), b'{"call-id":["b","a"]}'),
        (
            ListRequest(2, "p", ("carol",), 3, None, "out-of-service"),
            b'{"epoch":2,"proof":"p","lines":["carol"],"least-priority":3,"state":"out-of-service"}',
        ),
        (ListRequest(), b"{}"),
    ],
)
def test_what_a_subscribe_asks_for(asked: ListRequest, body: bytes) -> None:
    assert asked.encode() == body and ListRequest.decode(body) == asked


def test_a_subscribe_may_ask_for_one_dialog_or_for_nothing_in_particular() -> None:
    assert ListRequest.decode(b'{"call-id":"c","more":1}').call_ids == ("c",)
    assert ListRequest.decode(b"") == ListRequest()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"lines":"a"}',
        b'{"lines":[1]}',
        b'{"call-id":7}',
        b'{"call-id":["c",7]}',
        b'{"least-priority":"x"}',
        b'{"state":"on fire"}',
        b"[" * 90_000,
        b"\xff",
    ],
)
def test_what_a_subscribe_cannot_ask_for(body: bytes) -> None:
    with pytest.raises(BadRecord):
        ListRequest.decode(body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["request", "local", "ago", "message", "by", "tag"]), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = ["cseq", "sent", "received", "ack", "age", "ended", "route-set", "held", "origin", "state", "early", "sdp"]


@given(st.dictionaries(st.sampled_from(MEMBERS), VALUES))
def test_any_members_are_read_and_written_again(more: dict[str, Any]) -> None:
    record = DialogRecord.decode(json.dumps({"call-id": "c1", "direction": UAC, **more}).encode())
    assert record.opened_by_server and record.attempt >= 0 and record.ack.cseq >= 0
    line_dialog.body_of([record.encode()])


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for read in (DialogRecord.decode, Head.decode, ListRequest.decode, line_dialog.request_of):
        try:
            read(data)
        except BadRecord:
            continue
