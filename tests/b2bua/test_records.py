"""Records of dialogs: indexed without decoding, decoded on first use, whatever is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2bua.takeover.records import Ended, Index, Record, dialogs, split

INVITE = (
    "INVITE sip:1@x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\n"
    "Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 3\r\n\r\n\xe9\x80\xff"
)


def raw(call_id: str = "c1", tag: str = "t1", token: str = "1.4.abc.payload.mac", **more: Any) -> bytes:
    value = {"call-id": call_id, "local-tag": tag, "call-state": token, "state": "confirmed", **more}
    return json.dumps(value, separators=(",", ":")).encode()


def one(**more: Any) -> Record:
    [found] = dialogs("gw1", [raw(**more)])
    return found


def test_a_body_is_split_at_its_separators() -> None:
    assert split(b'\x1e{"a":1}\n\x1e{"b":2}\n') == [b'{"a":1}', b'{"b":2}']
    assert split(b"") == split(b"\x1e\n\x1e\n") == []
    assert split(b"{}") == [b"{}"]


def test_the_index_needs_no_decoding() -> None:
    broken = raw()[:-1] + b',"rest":cannot be read'
    [found] = dialogs("gw1", [broken])
    assert (found.call_id, found.local_tag, found.call, found.counter) == ("c1", "t1", "abc", 4)
    assert found.value == {} and found.state == "" and not found.sent() and found.ack == ""


@pytest.mark.parametrize("token", ["", "nonsense", "2.4.abc.p.m", "1.x.abc.p.m", "1.4.abc.p"])
def test_without_a_token_that_can_be_read_it_has_no_call(token: str) -> None:
    found = list(dialogs("gw1", [raw(token=token)]))
    assert [(each.call, each.counter) for each in found] == [("", 0)]


@pytest.mark.parametrize(
    "piece",
    [b"", b"{}", b"[]", b'{"line":"alice"}', b'{"local-tag":"t","call-id":"c"}', b'{"call-id": "c"}', b"\xff\xfe"],
)
def test_what_is_no_dialog_is_passed_over(piece: bytes) -> None:
    assert not list(dialogs("gw1", [piece]))


def test_whether_requests_wait_is_seen_without_decoding() -> None:
    assert one(sent=[{"request": INVITE, "cancelled": False}]).has_sent
    assert not one(sent=[]).has_sent and not one().has_sent


def test_whole_messages_come_back_byte_for_byte() -> None:
    record = one(
        sent=[{"request": INVITE, "cancelled": True}, {"request": 7}, "x", {}],
        received=[{"request": INVITE, "origin": "gw2;b;3"}, {"request": "SIP/2.0 200 OK"}, {"request": "junk"}, {}],
        ack={"message": INVITE},
    )
    assert [(one.data, one.cancelled) for one in record.sent()] == [(INVITE.encode("latin-1"), True)]
    [(request, origin)] = record.received()
    assert request.body == b"\xe9\x80\xff" and origin == "gw2;b;3"
    assert record.ack == INVITE.encode("latin-1")


def test_the_dialog_is_the_server_s_side() -> None:
    record = one(
        **{
            "remote-tag": "r",
            "local": "<sip:b@x>",
            "remote": "<sip:a@x>",
            "target": "sip:a@h",
            "route-set": ["<sip:p;lr>", 4],
            "cseq": {"local": 3, "remote": 5},
            "direction": "recipient",
        }
    )
    dialog = record.dialog()
    assert (dialog.call_id, dialog.local_tag, dialog.remote_tag) == ("c1", "t1", "r")
    assert (dialog.local_cseq, dialog.remote_cseq, dialog.target) == (3, 5, "sip:a@h")
    assert dialog.route_set == ("<sip:p;lr>",) and dialog.direction == "recipient" and not record.from_server


@pytest.mark.parametrize(
    "more",
    [
        {"cseq": 7, "route-set": "x", "age": [], "ended": "no", "ack": [], "sent": {}, "received": 1, "held": 0},
        {"cseq": {"local": -1, "remote": "2"}, "age": {"answer": "x"}, "ended": {"ago": -1, "status": 2**40}},
        {"cseq": {"local": 1.5}, "origin": 5, "state": None, "direction": [], "target": {}, "remote-tag": 1},
        {"age": {"answer": 1e300}, "ended": {"ago": 1e300, "by": 1, "reason": []}, "ack": {"message": 1}},
    ],
)
def test_members_of_other_kinds_are_as_if_left_out(more: dict[str, Any]) -> None:
    record = one(**more)
    dialog = record.dialog()
    assert (dialog.local_cseq, dialog.remote_cseq, dialog.route_set) == (0, 0, ())
    assert record.age("answer") is None and record.ended == Ended()
    assert not record.sent() and not record.received() and record.ack == "" and record.attempt == 0


@pytest.mark.parametrize(
    ("origin", "attempt"), [("gw1;b;2", 2), ("gw1;b;", 0), ("", 0), ("gw1;b;x", 0), ("gw1;b;999999", 0)]
)
def test_the_attempt_of_an_origin(origin: str, attempt: int) -> None:
    assert one(origin=origin).attempt == attempt


def test_how_it_ended() -> None:
    record = one(state="terminated", ended={"ago": 2, "by": "device", "reason": "Q.850;cause=16", "status": 486})
    assert record.ended == Ended(2.0, "device", "Q.850;cause=16", 486)


def test_the_index_finds_by_dialog_and_by_call_and_replaces() -> None:
    index = Index()
    first, second = one(tag="t1"), one(tag="t2")
    index.add(first)
    index.add(second)
    again = one(tag="t1")
    index.add(again)
    assert len(index) == 2 and index.of_call("abc") == [second, again] and index.by_key["c1 t1"] is again
    index.remove(first)
    index.remove(again)
    index.remove(again)
    index.remove(second)
    assert not index.by_key and not index.by_call


def test_an_old_record_does_not_remove_the_one_that_replaced_it() -> None:
    index = Index()
    first, again = one(), one()
    index.add(first)
    index.add(again)
    index.remove(first)
    assert index.by_key["c1 t1"] is again and index.of_call("abc") == [again]


def test_huge_records_are_indexed_in_no_time_and_nesting_hurts_nobody() -> None:
    deep = raw()[:-1] + b',"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    [found] = dialogs("gw1", [deep])
    assert found.call == "abc" and found.value == {}
    wide = raw(**{f"m{n}": "x" * 100 for n in range(2000)})
    [found] = dialogs("gw1", [wide])
    assert len(found.value) == 2004


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for record in dialogs("gw1", split(data)):
        record.dialog()
        record.sent()


@given(
    st.dictionaries(
        st.sampled_from(["cseq", "sent", "received", "ack", "age", "ended", "route-set", "held", "origin", "state"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["request", "local", "ago", "message", "by"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_members(more: dict[str, Any]) -> None:
    record = one(**more)
    record.dialog()
    record.sent()
    record.received()
    assert record.ack_cseq >= 0 and record.attempt >= 0 and record.ended.ago >= 0
    assert isinstance(record.ack, str | bytes) and isinstance(record.live, bool)
