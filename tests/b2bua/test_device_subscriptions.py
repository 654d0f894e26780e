"""Subscriptions of an agent's device with the peer of a trunk of the server's own, message by message."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2bua.device_subscriptions import PeerRoute, decode, encode
from sip.dialog import contact_uri
from sip.wire.message import Request, Response
from tests.b2bua.fake import Peer
from tests.b2bua.fake_agent import AGENTS, ServerFixture

OWN = 'peer = "sip:127.0.0.1:5080"\n'
SITE = AGENTS.replace("channels = 2000\n", 'channels = 2000\nsubscriptions = "pass"\n').replace(
    OWN, f'{OWN}user = "gw"\npassword = {{ env = "KEY" }}\n'
)
ROUTE = "Record-Route: <sip:127.0.0.1:5080;lr>\n"


class Fixture(ServerFixture):
    """Alice subscribes to what is behind the trunk."""

    def __init__(self, text: str = SITE) -> None:
        super().__init__(text)
        self.own = Peer(self.bench, "own", port=5080)

    def subscribe(self, number: int, uri: str = "sip:900@m1", tag: str = "") -> None:
        self.gw1.send(
            f"SUBSCRIBE {uri} SIP/2.0\nVia: SIP/2.0/TCP {self.gw1.host}:{self.gw1.port};branch=z9hG4bKs{number}\n"
            f"From: <sip:1001@paris>;tag=a\nTo: <sip:900@paris>{tag}\nCall-ID: s1\nCSeq: {number} SUBSCRIBE\n"
            "Contact: <sip:alice@gw1;transport=tcp>\nMax-Forwards: 70\nEvent: message-summary\nExpires: 600\n"
            "Line: alice\nContent-Length: 0\n\n"
        )

    def asked(self) -> Request:
        found = self.own.others.pop(0)
        assert isinstance(found, Request) and found.method == "SUBSCRIBE"
        return found

    def answer(self, asked: Request, status: int, more: str = "") -> None:
        self.own.send(
            f"SIP/2.0 {status} Said\nVia: {asked.get('via')}\nFrom: {asked.get('from')}\n"
            f"To: {asked.to_untagged};tag=b\nCall-ID: {asked.call_id}\nCSeq: {asked.cseq} SUBSCRIBE\n{more}"
            "Content-Length: 0\n\n"
        )

    def heard(self) -> Response:
        found = self.gw1.others.pop()
        assert isinstance(found, Response)
        return found


def test_a_challenge_is_answered_and_the_way_back_is_in_the_contact() -> None:
    fixture = Fixture()
    fixture.subscribe(1)
    first = fixture.asked()
    assert (first.cseq, first.call_id, first.from_tag) == (2, "s1", "a") and "line" not in first
    fixture.answer(first, 401, 'WWW-Authenticate: Digest realm="pbx", nonce="n1"\n')
    second = fixture.asked()
    assert second.cseq == 3 and "authorization" in second
    fixture.answer(second, 200, f"{ROUTE}Contact: <sip:mwi@127.0.0.1:5081>\nExpires: 600\n")
    heard = fixture.heard()
    assert (heard.status, heard.to_tag, heard.cseq) == (200, "b", 1)
    target = contact_uri(heard)
    assert target.startswith("sip:own@servers;transport=tcp;far=")
    assert decode(target) == PeerRoute("sip:mwi@127.0.0.1:5081", ("<sip:127.0.0.1:5080;lr>",))
    fixture.subscribe(2, target, ";tag=b")
    third = fixture.asked()
    assert (third.uri, third.cseq, third.to_tag) == ("sip:mwi@127.0.0.1:5081", 4, "b")
    assert third.all("route") == ["<sip:127.0.0.1:5080;lr>"]
    fixture.answer(third, 200, "Contact: <sip:mwi@127.0.0.1:5082>\nExpires: 600\n")
    far = decode(contact_uri(fixture.heard()))
    assert far == PeerRoute("sip:mwi@127.0.0.1:5082", ("<sip:127.0.0.1:5080;lr>",))
    assert not fixture.bench.core.messages.under_way


@pytest.mark.parametrize(
    "uri", ["sip:own@servers;transport=tcp", "sip:own@servers;far=x", "sip:own@gw1", "sip:no@m1"]
)
def test_a_way_back_that_is_not_there_ends_the_subscription(uri: str) -> None:
    fixture = Fixture()
    fixture.subscribe(1, uri, ";tag=b")
    assert fixture.heard().status == 481 and not fixture.own.others


def test_nobody_who_is_no_peer_is_answered_otherwise() -> None:
    fixture = Fixture()
    fixture.own.flow = fixture.own.flow._replace(remote=("192.0.2.9", 5060))
    for method, tag in (("SUBSCRIBE", ""), ("NOTIFY", ""), ("NOTIFY", ";tag=b")):
        fixture.own.send(
            f"{method} sip:alice@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx{method}{len(tag)}\n"
            f"From: <sip:a@b>;tag=x\nTo: <sip:c@d>{tag}\nCall-ID: x\nCSeq: 1 {method}\nContact: <sip:x@192.0.2.9>\n"
            "Event: message-summary\nMax-Forwards: 70\nContent-Length: 0\n\n"
        )
    assert not fixture.gw1.others and not fixture.bench.core.messages.under_way


def test_an_agent_may_have_the_name_that_stands_for_the_servers() -> None:
    erin = '[lines.erin]\nkind = "phone"\nagent = "servers"\nnumbers = ["1009"]\npassword = { env = "KEY" }\n'
    fixture = Fixture(f'{SITE}[agents.servers]\nsip = "udp:127.0.0.13:5060"\n{erin}subscriptions = "pass"\n')
    fixture.subscribe(1, "sip:erin@servers;transport=tcp", ";tag=b")
    assert [each.plan.target.line for each in fixture.bench.core.messages.under_way] == ["erin"]
    fixture.bench.after(10.0)
    assert fixture.heard().status == 503, "it is not there"


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@given(PRINTABLE, st.lists(PRINTABLE, max_size=3))
def test_what_is_written_is_read(target: str, routes: list[str]) -> None:
    far = PeerRoute(target, tuple(routes))
    assert decode(f"sip:own@servers{encode(far)}") == far


@given(st.text(max_size=300))
def test_anything_else_is_nothing(value: str) -> None:
    found = decode(f"sip:own@servers;far={value}")
    assert found is None or isinstance(found, PeerRoute)


@pytest.mark.parametrize(
    "far", [PeerRoute("sip:a@b\r\nX: y"), PeerRoute("sip:a@b", ("<sip:p>\r\nX: y",)), PeerRoute("sip:\xe9@b")]
)
def test_no_line_is_made_of_another(far: PeerRoute) -> None:
    assert decode(f"sip:own@servers{encode(far)}") is None


def test_a_value_as_deep_as_it_is_long_is_nothing() -> None:
    value = urlsafe_b64encode(b"[" * 1480).decode().rstrip("=")
    assert decode(f"sip:own@servers;far={value}") is None
