"""What is refused, by whom it may have come and whatever it is."""

from __future__ import annotations

import pytest

from sip.overload.congestion import GRACE
from sip.wire.message import Request, Response
from tests.b2bua.fake import TYPE, Bench, Peer, Side, site_of
from tests.b2bua.trunk_fixture import OWN, TrunkFixture


def test_required_extensions_that_no_call_can_keep_get_420() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001", lines=("Require: 100rel, foo", "Require: histinfo"))
    assert a.heard[0].get("unsupported") == "foo"
    assert a.statuses == [420] and not fixture.right.sides
    fixture.nothing_left()


def test_max_forwards() -> None:
    fixture = TrunkFixture()
    for max_forwards, status in (("0", 483), ("1", 100)):
        peer = fixture.left
        raw = Side(peer, f"m{max_forwards}", "t", "<sip:c@x>", "<sip:1@127.0.0.1:5060>", "sip:1@127.0.0.1:5060")
        peer.by_call_id[raw.call_id] = raw
        peer.send(_raw("INVITE", raw.call_id, f"Max-Forwards: {max_forwards}\r\n"))
        assert raw.statuses == [status]
    assert fixture.right.called.take("INVITE").get("max-forwards") == "0"


def _raw(method: str, call_id: str, more: str = "", uri: str = "sip:1@127.0.0.1:5060", tag: str = "") -> str:
    return (
        f"{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5090;branch=z9hG4bK-{call_id}{method}\n"
        f"From: <sip:c@127.0.0.1>;tag=t\nTo: <sip:1@127.0.0.1>{tag}\nCall-ID: {call_id}\nCSeq: 1 {method}\n"
        f"Contact: <sip:c@127.0.0.1:5090>\n{more.replace(chr(13), '')}Content-Length: 0\n\n"
    )


def statuses(peer: Peer) -> list[int]:
    found = [each.status for each in peer.others if isinstance(each, Response)]
    peer.others.clear()
    return found


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("MESSAGE", 405),
        ("REGISTER", 405),
        ("SUBSCRIBE", 405),
        ("BYE", 481),
        ("INFO", 481),
        ("FOO", 501),
        ("OPTIONS", 200),
    ],
)
def test_requests_outside_a_dialog(method: str, status: int) -> None:
    fixture = TrunkFixture()
    fixture.left.send(_raw(method, "x1"))
    [answer] = fixture.left.others
    assert isinstance(answer, Response) and answer.status == status and answer.to_tag
    assert status == 481 or answer.get("allow") is not None
    fixture.nothing_left()


def test_an_invite_without_a_number_leads_nowhere() -> None:
    fixture = TrunkFixture()
    assert [one.status for one in fixture.left.call("1001", uri="sip:127.0.0.1").heard][-1] == 404
    fixture.nothing_left()


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "FOO"])
def test_an_unknown_dialog_gets_481(method: str) -> None:
    fixture = TrunkFixture()
    fixture.left.send(_raw(method, "x1", tag=";tag=unknown"))
    assert statuses(fixture.left) == [481]


def test_a_stray_ack_and_a_stray_response_are_dropped() -> None:
    fixture = TrunkFixture()
    fixture.left.send(_raw("ACK", "x1", tag=";tag=unknown"))
    fixture.left.send(_raw("ACK", "x1"))
    fixture.left.send(_raw("X", "x1").replace("X sip:1@127.0.0.1:5060 SIP/2.0", "SIP/2.0 200 OK"))
    assert not fixture.left.others
    fixture.nothing_left()


def test_strangers_get_403() -> None:
    fixture = TrunkFixture()
    stranger = Peer(fixture.bench, "stranger", "127.0.0.9", 5070)
    a = stranger.call("1001")
    assert a.statuses == [403] and not fixture.right.sides
    assert fixture.bench.core.stack.counters["strangers"] == 1
    fixture.nothing_left()


def test_the_same_request_by_two_ways_gets_482() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    assert a.sent is not None
    fixture.left.send(a.sent.to_bytes().replace(b"branch=z9hG4bK-", b"branch=z9hG4bK-other-"))
    assert a.statuses == [100, 482] and len(fixture.right.sides) == 1
    fixture.right.called.ring()
    assert a.statuses == [180]


def test_over_capacity_503_with_retry_after_and_no_trace() -> None:
    fixture = TrunkFixture()
    sides = [fixture.left.call(f"100{n}") for n in range(5)]
    refused = [side for side in sides if side.heard[-1].status == 503]
    assert len(refused) == 2  # one of the four is kept for priority
    for side in refused:
        after = side.heard[-1].get("retry-after")
        assert after is not None and 2 <= int(after) <= 10
    assert len(fixture.bench.core.calls) == 3
    assert [cdr.result for cdr in fixture.bench.cdrs] == ["failed", "failed"]


def test_malformed_requests_are_answered_400_and_garbage_dropped() -> None:
    fixture = TrunkFixture()
    good = _raw("INVITE", "bad")
    for bad in (
        good.replace("CSeq: 1 INVITE", "CSeq: x INVITE"),
        good.replace("<sip:1@127.0.0.1>", "<sip:1@127.0.0.1"),
        good.replace("sip:1@127.0.0.1:5060 SIP", "sip:1@127.0.0.1:5060?a=b SIP"),
        good.replace("Max", "M").replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
    ):
        fixture.left.send(bad)
        fixture.left.send(bad)
        assert [data[:11] for data in fixture.left.unread] + statuses(fixture.left) in (
            [b"SIP/2.0 400"] * 2,
            [400] * 2,
        ), bad
        fixture.left.unread.clear()
    for garbage in (b"", b"\r\n\r\n", b"\x00" * 40, b"GET / HTTP/1.1\r\n\r\n", b"SIP/2.0 999999 x\r\n\r\n"):
        fixture.left.send(garbage)
    assert not fixture.left.others and not fixture.right.sides
    fixture.nothing_left()


def test_a_number_that_cannot_be_read_is_refused() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001", uri="tel:+33")
    assert a.statuses[-1] in (400, 404, 416) or fixture.right.sides
    b = fixture.left.call("x" * 200)
    assert b.statuses[-1] == 404
    fixture.bench.after(200)


def test_call_state_from_a_device_is_ignored() -> None:
    fixture = TrunkFixture()
    lines = ("Call-State: 1.999.x.y.z", "Call-Origin: gw1;b;1", "Line: out", "Heartbeat: site=paris; node=m1")
    a, b = fixture.ring(lines=lines)
    invite = b.take("INVITE")
    assert not {"call-state", "call-origin", "line", "heartbeat"} & {*invite.names}
    b.accept(lines=lines)
    assert not {"call-state", "call-origin", "line", "heartbeat"} & {*a.heard[-1].names}
    assert fixture.bench.core.calls and next(iter(fixture.bench.core.calls.values())).state.caller_line == "in"


def test_the_request_uri_keeps_what_the_number_needs() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("%2B33;x=1", uri="sip:%2B33@127.0.0.1:5060")
    invite = fixture.right.called.take("INVITE")
    assert invite.uri == "sip:+33@127.0.0.1:5080"
    assert isinstance(a.sent, Request) and TYPE in a.sent.lines


def congested(bench: Bench) -> None:
    """Nothing was read at once for a while."""
    congestion = bench.core.stack.congestion
    bench.after(GRACE)
    for n in range(500):
        congestion.waited("loop", 1.0, bench.now + n * 0.02)
    bench.after(10.0)
    assert congestion.share_at(bench.now) > 0.9


def test_when_what_comes_waits_too_long_new_calls_get_503_and_urgent_ones_do_not() -> None:
    fixture = TrunkFixture()
    congested(fixture.bench)
    calls = [fixture.left.call("1001", call_id=f"c{n}") for n in range(3)]
    refused = [call.heard[-1] for call in calls if call.heard[-1].get("retry-after")]
    assert len(refused) >= 2 and all(2 <= int(answer.get("retry-after") or 0) <= 10 for answer in refused)
    assert sum(call.statuses == [503] for call in calls) == len(refused)
    assert fixture.bench.core.stack.congestion.refused >= 2


def test_a_call_refused_for_want_of_time_is_refused_when_its_invite_comes_again() -> None:
    fixture = TrunkFixture()
    congested(fixture.bench)
    peer, core = fixture.left, fixture.bench.core
    for number in range(3):
        peer.send(_raw("INVITE", f"c{number}"))
    answers = [each for each in peer.others if isinstance(each, Response)]
    refused = [each.call_id for each in answers if each.status == 503]
    assert len(refused) >= 2
    core.stack.congestion.share = 0.0
    for call_id in refused:
        peer.others.clear()
        peer.send(_raw("INVITE", call_id))
        assert statuses(peer) == [503]
        peer.send(_raw("ACK", call_id).replace(f"{call_id}ACK", f"{call_id}INVITE"))
    assert len(core.calls) == 3 - len(refused) == len(fixture.right.sides)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (("channels = 100", "channels = 100\npriority = 1"), ()),
        (("ring = 60", "ring = 60\npriority = 9"), ()),
        (("channels = 100", "channels = 100\ntrust_priority = true"), ("Resource-Priority: esnet.0",)),
    ],
)
def test_what_goes_before_others_is_never_refused_for_want_of_time(
    change: tuple[str, str], lines: tuple[str, ...]
) -> None:
    bench = Bench(site_of(OWN.replace(*change, 1))).serve()
    left, right = Peer(bench, "left", port=5090), Peer(bench, "right", port=5080)
    congested(bench)
    for n in range(3):
        assert left.call("1001", lines=lines, call_id=f"c{n}").statuses == [100]
    assert len(right.sides) == 3
