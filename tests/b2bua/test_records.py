"""What agents tell: indexed without decoding, decoded on first use, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2bua.takeover.records import MOST_OF_ONE_CALL, NO_END, DialogReport, Index, Part, read_part
from sip.packages.line_dialog import BadRecord, Ended

INVITE = (
    "INVITE sip:1@x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\n"
    "Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 3\r\n\r\n\xe9\x80\xff"
)
HEAD = b'\x1e{"site":"paris","agent":"gw1","boot":1,"epoch":2,"version":1,"part":1,"complete":true}\n'


def value(call_id: str = "c1", tag: str = "t1", token: str = "1.4.abc.payload.mac", **more: Any) -> dict[str, Any]:
    return {"call-id": call_id, "local-tag": tag, "call-state": token, "state": "confirmed", **more}


def raw(**more: Any) -> bytes:
    return json.dumps(value(**more), separators=(",", ":")).encode()


def part(*pieces: bytes) -> Part:
    found = read_part("gw1", HEAD + b"".join(b"\x1e" + piece + b"\n" for piece in pieces), 100.0)
    assert found is not None
    return found


def one(**more: Any) -> DialogReport:
    [found] = part(raw(**more)).dialogs
    return found


def index() -> tuple[Index, list[str]]:
    faults: list[str] = []
    return Index(lambda told, fault: faults.append(f"{told.call_id}: {fault}")), faults


def test_a_part_has_a_head_lines_and_dialogs() -> None:
    found = part(b'{"line":"alice","in-service":false}', raw(), b'{"something":"else"}')
    assert found.head.complete and found.head.boot == 1
    assert [(line.line, line.in_service) for line in found.lines] == [("alice", False)]
    assert [told.key for told in found.dialogs] == ["c1 t1"] and not found.faults
    assert read_part("gw1", b"", 0.0) is None


def test_the_index_needs_no_decoding() -> None:
    [found] = part(raw()[:-1] + b',"rest":cannot be read').dialogs
    assert (found.call_id, found.local_tag, found.call, found.counter) == ("c1", "t1", "abc", 4)
    with pytest.raises(BadRecord):
        assert found.record


def test_members_in_another_order_and_white_space_change_nothing() -> None:
    members = value(sent=[{"request": INVITE, "cancelled": False}], ack="awaited", state="terminated")
    for text in (
        json.dumps(members, indent=1),
        json.dumps(dict(sorted(members.items(), reverse=True)), separators=(",", ":")),
    ):
        [found] = part(text.encode()).dialogs
        assert (found.call_id, found.local_tag, found.call, found.counter) == ("c1", "t1", "abc", 4)
        assert found.has_sent and found.ack_awaited and not found.is_over
        assert found.record.sent[0].data == INVITE.encode("latin-1")


@pytest.mark.parametrize("token", ["", "nonsense", "2.4.abc.p.m", "1.x.abc.p.m", "1.4.abc.p"])
def test_without_a_token_that_can_be_read_it_has_no_call(token: str) -> None:
    assert [(each.call, each.counter) for each in part(raw(token=token)).dialogs] == [("", 0)]


@pytest.mark.parametrize("piece", [b"{", b"[]", b"\xff\xfe", b'{"call-id":7}', b'{"call-id":""}', b"[" * 50_000])
def test_what_cannot_be_read_is_counted_and_nothing_else_is_lost(piece: bytes) -> None:
    found = part(raw(), piece, b'{"line":"alice"}')
    assert len(found.dialogs) == len(found.lines) == found.faults == 1


@pytest.mark.parametrize("body", [b"\x1e{broken\n", b"\x1e[1,2]\n", b"\x1e\xff\xfe\n", b"{]"])
def test_without_a_head_there_is_no_part(body: bytes) -> None:
    with pytest.raises(BadRecord):
        read_part("gw1", body, 0.0)


def test_whether_requests_wait_is_seen_without_decoding() -> None:
    assert one(sent=[{"request": INVITE, "cancelled": False}]).has_sent
    assert not one(sent=[]).has_sent and not one(sdp={"sent": "x", "received": "y"}).has_sent
    assert one(state="terminated").is_over and not one().is_over


def test_whole_messages_come_back_byte_for_byte() -> None:
    told = one(
        sent=[{"request": INVITE, "cancelled": True}, {"request": 7}, "x", {}, {"request": "junk"}],
        ack={"message": INVITE},
    )
    assert [(kept.data, kept.cancelled) for kept in told.sent()] == [(INVITE.encode("latin-1"), True)]
    assert told.last_ack == INVITE.encode("latin-1") and told.changing == "gw1;z9hG4bK1;1"
    assert one(ack={"message": "junk"}).last_ack == b""


def test_how_it_ended() -> None:
    told = one(state="terminated", ended={"ago": 2, "by": "device", "reason": "Q.850;cause=16", "status": 486})
    assert told.ended == Ended(2.0, "device", "Q.850;cause=16", 486) and told.ended_at == 98.0 and not told.live
    assert one().ended == NO_END and one().live


def test_a_call_that_its_device_has_ended_talks_until_that_is_passed_on() -> None:
    bye = INVITE.replace("INVITE", "BYE")
    assert one().talks and not one(state="early").talks
    assert one(state="terminated", sent=[{"request": bye, "cancelled": False}]).talks
    assert not one(state="terminated", sent=[{"request": INVITE, "cancelled": True}]).talks


def test_the_index_finds_by_dialog_and_by_call_and_replaces() -> None:
    found, _ = index()
    first, second = one(tag="t1"), one(tag="t2")
    found.add(first)
    found.add(second)
    again = one(tag="t1")
    found.add(again)
    assert len(found) == 2 and found.of_call("abc") == [second, again] and found.get("c1 t1") is again
    found.remove(first)
    found.remove(again)
    found.remove(again)
    found.remove(second)
    assert not found.by_key and not found.by_call


def test_an_old_record_does_not_remove_the_one_that_replaced_it() -> None:
    found, _ = index()
    first, again = one(), one()
    found.add(first)
    found.add(again)
    found.remove(first)
    assert found.get("c1 t1") is again and found.of_call("abc") == [again]


def test_a_record_that_cannot_be_read_is_said_once_and_costs_its_call_nothing_else() -> None:
    found, faults = index()
    [bad] = part(raw(tag="bad")[:-1] + b',"rest":').dialogs
    good = one(tag="good")
    found.add(bad)
    found.add(good)
    assert len(found.told_of_call("abc")) == 2
    assert found.of_call("abc") == [good] == found.of_call("abc")
    assert found.get("c1 bad") is None and found.get("c1 good") is good
    assert faults == ["c1: a record that is no JSON"]


def test_one_call_has_so_many_dialogs_and_no_more() -> None:
    found, faults = index()
    for number in range(MOST_OF_ONE_CALL + 3):
        found.add(one(tag=f"t{number}"))
    assert len(found) == len(found.of_call("abc")) == MOST_OF_ONE_CALL and len(faults) == 3


def test_huge_records_are_indexed_in_no_time_and_nesting_hurts_nobody() -> None:
    deep = raw()[:-1] + b',"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    [told] = part(deep).dialogs
    found, faults = index()
    found.add(told)
    assert told.call == "abc" and not found.of_call("abc") and len(faults) == 1


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    found, _ = index()
    for told in part(*data.split(b"\x1e")).dialogs:
        found.add(told)
        found.get(told.key)
