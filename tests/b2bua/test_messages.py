"""MESSAGE outside calls from and to trunks that the server itself owns (RFC 3428)."""

from __future__ import annotations

from typing import Any

import pytest

from sip.wire.message import Request, Response
from tests.b2bua.fake import Bench, Peer, site_of
from tests.b2bua.trunk_fixture import OWN

PASS = 'channels = 100\nmessages = "pass"'
OUT = 'peer = "sip:127.0.0.1:5080"\nfrom = ["127.0.0.1:5080"]'
TWO = 'peer = ["sip:127.0.0.1:5080", "sip:127.0.0.1:5081"]\nfrom = ["127.0.0.1:5080", "127.0.0.1:5081"]'


class Fixture:
    """A server, who sends messages and who gets them."""

    def __init__(self, text: str = OWN.replace("channels = 100", PASS)) -> None:
        self.bench = Bench(site_of(text)).serve()
        self.left = Peer(self.bench, "left", port=5090)
        self.right = Peer(self.bench, "right", port=5080)
        self.third = Peer(self.bench, "third", port=5081)

    def send(self, body: str = "Hello", method: str = "MESSAGE", more: str = "") -> None:
        self.left.send(
            f"{method} sip:1001@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5090;branch=z9hG4bK{len(body)}\n"
            f"From: <sip:2002@127.0.0.1>;tag=a\nTo: <sip:1001@127.0.0.1>\nCall-ID: m{len(body)}\n"
            f"CSeq: 1 {method}\nMax-Forwards: 70\n{more}Content-Type: text/plain\n"
            f"Content-Length: {len(body)}\n\n{body}"
        )

    def answer(self, peer: Peer, request: Request, status: int, more: str = "") -> None:
        peer.send(
            f"SIP/2.0 {status} Said\nVia: {request.get('via')}\nFrom: {request.get('from')}\n"
            f"To: {request.get('to')};tag=b\nCall-ID: {request.call_id}\nCSeq: {request.cseq} MESSAGE\n{more}"
            "Content-Length: 0\n\n"
        )

    def take(self, peer: Peer, kind: str | int) -> Any:
        found = peer.others.pop(0)
        got = found.method if isinstance(found, Request) else found.status  # type: ignore[attr-defined]
        assert got == kind
        return found


def test_a_message_goes_from_trunk_to_trunk_and_its_answer_back() -> None:
    fixture = Fixture()
    fixture.send("Is anybody there?", more="Line: trunk9\nCall-Origin: forged;x;1\n")
    asked: Request = fixture.take(fixture.right, "MESSAGE")
    assert (asked.uri, asked.body) == ("sip:1001@127.0.0.1:5080", b"Is anybody there?")
    assert "line" not in asked and "call-origin" not in asked and asked.call_id != "m17"
    assert asked.from_untagged == "<sip:2002@127.0.0.1>"
    fixture.answer(fixture.right, asked, 202)
    answer: Response = fixture.take(fixture.left, 202)
    assert answer.call_id == "m17"
    assert not fixture.bench.core.messages.under_way


def test_a_trunk_that_passes_none_says_so() -> None:
    fixture = Fixture(OWN)
    fixture.send()
    fixture.take(fixture.left, 405)
    fixture = Fixture(OWN.replace("channels = 100", PASS, 1))
    fixture.send()
    fixture.take(fixture.left, 405)


@pytest.mark.parametrize(("method", "status"), [("SUBSCRIBE", 405), ("NOTIFY", 481)])
def test_a_trunk_that_passes_no_subscriptions_has_none(method: str, status: int) -> None:
    fixture = Fixture()
    fixture.send(method=method, more="Event: message-summary\n")
    fixture.take(fixture.left, status)


@pytest.mark.parametrize("knows", [True, False])
def test_a_carrier_s_challenge_is_answered_here_once(knows: bool) -> None:
    keyed = f'{OUT}\nuser = "gw"\npassword = {{ env = "KEY" }}' if knows else OUT
    fixture = Fixture(OWN.replace("channels = 100", PASS).replace(OUT, keyed))
    fixture.send()
    challenge = 'WWW-Authenticate: Digest realm="carrier", nonce="n1"\n'
    first: Request = fixture.take(fixture.right, "MESSAGE")
    fixture.answer(fixture.right, first, 401, challenge)
    if knows:
        second: Request = fixture.take(fixture.right, "MESSAGE")
        assert 'username="gw"' in (second.get("authorization") or "") and second.body == b"Hello"
        assert (second.call_id, second.from_tag, second.cseq) == (first.call_id, first.from_tag, 2)
        fixture.answer(fixture.right, second, 401, challenge)
    fixture.take(fixture.left, 403)
    assert not fixture.right.others


@pytest.mark.parametrize(("status", "told"), [(503, 200), (0, 200), (404, 404)])
def test_the_next_place_of_a_trunk_is_tried(status: int, told: int) -> None:
    fixture = Fixture(OWN.replace("channels = 100", PASS).replace(OUT, TWO))
    fixture.send()
    asked = fixture.take(fixture.right, "MESSAGE")
    if status:
        fixture.answer(fixture.right, asked, status)
    else:
        fixture.bench.after(33.0)
    if told == 200:
        fixture.answer(fixture.third, fixture.take(fixture.third, "MESSAGE"), 200)
    found = [one for one in fixture.left.others if isinstance(one, Response)]
    assert found[-1].status == told


def test_one_trunk_cannot_fill_a_server() -> None:
    fixture = Fixture()
    for n in range(25):
        fixture.send("x" * (n + 1))
    assert [one.status for one in fixture.left.others if isinstance(one, Response)] == [503] * 5
