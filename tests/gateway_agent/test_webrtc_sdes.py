"""A browser and a line with ``media = "relay"``, with and without SDES: the relay stands between the device and the
WebRTC gateway, and what the one is told of the other stays on this machine."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from gateway_agent.line_snapshot import snapshot
from gateway_agent.line_state import decode, encode
from gateway_agent.media.ports import Count, Counts, Pair, RelayPorts, Silent
from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.media_relay import AgentRelay
from gateway_agent.sdes import DeviceKeys
from gateway_agent.session_description import SessionDescription
from gateway_agent.webrtc.anchor import WebrtcAnchor
from gateway_agent.webrtc.legs import WebrtcLegs
from sip.rate_limited_logger import RateLimitedLogger
from sip.wire import sdp
from sip.wire.message import Request, Response, parse
from sip.wire.sdes import SUITES
from tests.gateway_agent.agent_fixture import KEY, response_to
from tests.gateway_agent.test_browsers import TYPE
from tests.gateway_agent.test_sdes import keys_in
from tests.gateway_agent.test_webrtc_calls import (
    HELD,
    OURS,
    PHONE,
    Gateway,
    acknowledged,
    calls_trunk,
    changes,
    hangs_up,
    media,
    page,
    served,
)

ADVERTISED = "198.51.100.1"
SDES = 'media = "relay"\nsrtp = "sdes"\n'
THEIRS, OTHERS = (b64encode(bytes([number]) * 30).decode() for number in (7, 9))
HERE, THERE = [OURS, 20000], [OURS, 20002]
"""The relay's pairs, towards the device and towards the gateway."""


def secured(body: bytes = PHONE, key: str = THEIRS, tag: int = 1) -> bytes:
    """What the device says for it."""
    return body.replace(b"RTP/AVP", b"RTP/SAVP") + f"a=crypto:{tag} {SUITES[tag - 1]} inline:{key}\r\n".encode()


class Site:
    """An agent with relay and gateway, each played by hand, and a trunk with that in its lines."""

    def __init__(self, trunk: str = SDES, ready: str = '{"is":"ready","srtp":true}') -> None:
        self.gateway = Gateway()
        self.ports = RelayPorts()
        self.ports.receive(ready)
        self.ports.offer(Pair(OURS, port) for port in range(20000, 20016, 2))
        relay = AgentRelay(self.ports, OURS, ADVERTISED)
        self.fixture = served(self.gateway, trunk=trunk, relay=relay)
        self.said: list[dict[str, Any]] = []

    def told(self, what: str, pair: list[object]) -> list[Any]:
        """What the relay was told so of a pair since the last time."""
        self.said += [json.loads(line) for line in self.ports.to_send()]
        found = [one for one in self.said if one["do"] == what and one["pair"] == pair]
        self.said = [one for one in self.said if one not in found]
        return [one[{"secure": "keys", "remote": "remote"}[what]] for one in found]

    def rings(self) -> Request:
        """A browser calls the trunk."""
        calls_trunk(self.fixture, page())
        invite: Request = self.fixture.take("INVITE")
        return invite

    def passed(self, body: bytes) -> Request:
        """A server's request with that offer."""
        head = (
            f"INVITE sip:gw1 SIP/2.0\r\nCall-ID: s-1\r\nCSeq: 2 INVITE\r\n{TYPE}\r\nContent-Length: {len(body)}\r\n"
        )
        found = parse(head.encode() + b"\r\n" + body)
        assert isinstance(found, Request)
        return found

    def answered(self, invite: Request, body: bytes, status: int = 200) -> Response:
        lines = ["Contact: <sip:127.0.0.21>", TYPE]
        self.fixture.say(response_to(invite, status, lines, body, "desk"))
        told: Response = self.fixture.m1.take(status)
        return told

    def talks(self, body: bytes) -> tuple[Request, Response]:
        invite = self.rings()
        ok = self.answered(invite, body)
        self.acknowledged(ok)
        return invite, ok

    def acknowledged(self, ok: Response, cseq: int = 1) -> None:
        """So long ago that nothing can overtake it on its way to the device."""
        acknowledged(self.fixture, ok.to_tag, cseq)
        self.fixture.take("ACK")
        self.fixture.run(1.0)

    def asks(self, invite: Request, body: bytes, cseq: int) -> Request:
        """The device asks for a change; what the servers get."""
        self.fixture.request(
            "INVITE", "sip:127.0.0.11", [TYPE], body, call_id=invite.call_id, from_tag="desk", to_tag=invite.from_tag,
            cseq=cseq, sender=str(invite.to_untagged), recipient=str(invite.from_untagged),
        )  # fmt: skip
        self.fixture.take(100)
        passed: Request = self.fixture.m1.take("INVITE")
        return passed


def test_a_browser_calls_a_line_with_sdes() -> None:
    site = Site()
    invite = site.rings()
    assert media(invite.body) == ["m=audio 20000 RTP/SAVP 111 8 0 110 126"]
    assert sdp.endpoints(invite.body)[0].address == ADVERTISED
    offered = keys_in(invite.body.decode())
    assert [(tag, suite) for tag, suite, _ in offered] == [("1", SUITES[0]), ("2", SUITES[1])]
    assert b"fingerprint" not in invite.body and b"ice" not in invite.body
    early = site.answered(invite, secured(tag=2), 183)
    assert media(early.body) == ["m=audio 26000 UDP/TLS/RTP/SAVPF 8 126", "m=video 0 UDP/TLS/RTP/SAVPF 96"]
    assert b"crypto" not in early.body
    assert site.told("secure", HERE) == [[SUITES[1], offered[1][2], THEIRS]]
    assert site.told("remote", HERE)[-1][:2] == ["127.0.0.21", 4000]
    assert site.told("remote", THERE)[-1][:2] == [OURS, 25000], "the gateway's leg"
    session = site.gateway.session
    assert (session.phone.address, session.phone.rtp, session.phone.via) == (OURS, 20002, ""), "the relay, beside it"
    assert session.to_phone[:4] == ("PCMA", 8000, 8, 101)
    ok = site.answered(invite, secured(tag=2))
    assert media(ok.body) == media(early.body) and site.gateway.session == session
    hangs_up(site.fixture, site.gateway, ok.to_tag)
    assert not site.ports.in_use


def test_plain_rtp_is_refused_there_all_the_same() -> None:
    site = Site()
    invite = site.rings()
    site.fixture.say(response_to(invite, 200, ["Contact: <sip:127.0.0.21>", TYPE], PHONE, "desk"))
    refusal = site.fixture.m1.take(488)
    assert refusal.get("reason") == "SIP;cause=488"
    assert not site.told("remote", HERE)


def test_hold_by_the_browser_keeps_tag_key_and_leg() -> None:
    site = Site()
    invite, ok = site.talks(secured())
    session = site.gateway.session
    site.told("secure", HERE)
    changes(site.fixture, ok.to_tag, page(direction="sendonly"), 2)
    offer = site.fixture.take("INVITE")
    assert media(offer.body) == media(invite.body) and b"a=sendonly\r\n" in offer.body
    assert keys_in(offer.body.decode()) == keys_in(invite.body.decode())
    assert sdp.origin_of(offer.body).version == sdp.origin_of(invite.body).version + 1
    held = site.answered(offer, secured(PHONE.replace(b"o=- 1 1", b"o=- 1 2") + b"a=recvonly\r\n"))
    assert b"a=recvonly\r\n" in held.body
    assert site.gateway.session == session and not site.told("secure", HERE)


def test_hold_by_the_device_and_its_next_key() -> None:
    site = Site()
    invite, _ = site.talks(secured())
    session = site.gateway.session
    ((_, ours, _),) = site.told("secure", HERE)
    offer = site.asks(invite, secured(HELD, OTHERS), 1)
    assert media(offer.body)[0] == "m=audio 26000 UDP/TLS/RTP/SAVPF 8 0 111 101" and b"a=sendonly\r\n" in offer.body
    assert b"crypto" not in offer.body
    site.fixture.m1.reply(offer, 200, [TYPE], page(setup="active", direction="recvonly"))
    told = site.fixture.take(200)
    assert media(told.body) == ["m=audio 20000 RTP/SAVP 8 101"] and b"a=recvonly\r\n" in told.body
    assert keys_in(told.body.decode()) == [("1", SUITES[0], ours)]
    assert site.told("secure", HERE) == [[SUITES[0], ours, OTHERS]]
    assert site.gateway.session.phone == session.phone, "it knows of no key, and the relay is where it was"


def test_a_call_that_comes_to_a_browser_goes_by_the_gateway_and_back_where_that_is_refused() -> None:
    """The far end of a line with SDES is transferred from a phone to a browser: to the first one in vain."""
    site = Site()
    fixture = site.fixture
    calls_trunk(fixture, PHONE)
    invite = fixture.take("INVITE")
    ok = site.answered(invite, secured())
    assert media(ok.body) == ["m=audio 20002 RTP/AVP 8 101"] and site.gateway.legs.in_use == 0
    site.acknowledged(ok)
    assert site.told("remote", THERE)[-1][:2] == ["127.0.0.21", 4000]
    changes(fixture, ok.to_tag, page(), 2)
    offer = fixture.take("INVITE")
    assert media(offer.body) == ["m=audio 20000 RTP/SAVP 111 8 0 110 126"]
    assert site.told("remote", THERE)[-1][:2] == [OURS, 25000]
    fixture.reply(offer, 488)
    fixture.take("ACK")
    fixture.m1.take(488)
    acknowledged(fixture, ok.to_tag, 2)
    assert site.told("remote", THERE)[-1][:2] == ["127.0.0.21", 4000] and site.gateway.legs.in_use == 0
    changes(fixture, ok.to_tag, page(), 3)
    told = site.answered(fixture.take("INVITE"), secured(PHONE.replace(b"o=- 1 1", b"o=- 1 2")))
    assert media(told.body)[0] == "m=audio 26001 UDP/TLS/RTP/SAVPF 8 126"
    site.acknowledged(ok, 3)
    assert site.told("remote", THERE)[-1][:2] == [OURS, 25002] and site.gateway.session.phone.rtp == 20002


def test_a_call_that_comes_from_a_browser_to_a_phone_stays_with_it_where_that_is_refused() -> None:
    site = Site()
    _, ok = site.talks(secured())
    site.told("remote", THERE)
    changes(site.fixture, ok.to_tag, PHONE, 2)
    offer = site.fixture.take("INVITE")
    assert media(offer.body) == ["m=audio 20000 RTP/SAVP 8 101"]
    assert site.told("remote", THERE)[-1][:2] == ["127.0.0.21", 4000]
    site.fixture.reply(offer, 488)
    assert site.told("remote", THERE)[-1][:2] == [OURS, 25000]
    assert site.gateway.session.phone.rtp == 20002


def test_a_device_that_moves_is_followed_by_the_relay_alone() -> None:
    site = Site()
    site.talks(secured())
    session = site.gateway.session
    site.told("remote", HERE)
    call = next(iter(site.fixture.core.calls.values()))
    call.description.device_moved("127.0.0.77", site.fixture.now)
    assert site.told("remote", HERE)[-1][3] == "127.0.0.77"
    assert site.gateway.session == session


@pytest.mark.parametrize("secure", [False, True])
def test_media_that_stops_ends_a_browsers_call_on_a_relayed_line(secure: bool) -> None:
    site = Site((SDES if secure else 'media = "relay"\n') + "media_timeout = 30")
    site.talks(secured() if secure else PHONE)
    fixture = site.fixture
    pairs = Pair(OURS, 20000), Pair(OURS, 20002)
    fixture.run(31)
    fixture.core.relay_said(Silent(pairs, 30.0), fixture.now)
    fixture.core.relay_said(Counts(tuple(Count(pair, 5, 860, 0, 0.02) for pair in pairs)), fixture.now)
    fixture.pump()
    assert fixture.silent()
    fixture.run(31)
    fixture.core.relay_said(Silent(pairs, 31.0), fixture.now)
    fixture.core.relay_said(Counts(tuple(Count(pair, 5, 860, 0, 31.0) for pair in pairs)), fixture.now)
    fixture.pump()
    assert "No media for 30 s" in fixture.take("BYE").get("reason")


def test_what_the_servers_keep_has_both_and_the_keys_stay() -> None:
    site = Site()
    invite, ok = site.talks(secured())
    call = next(iter(site.fixture.core.calls.values()))
    state = snapshot(call, site.fixture.now)
    text = encode(state, 1, 1, "bound", KEY)
    assert decode(text, "bound", [KEY]) == state
    assert state.relay is not None and state.gateway is not None and state.gateway.session == site.gateway.session
    ports, legs = RelayPorts(), WebrtcLegs()
    keys = DeviceKeys(site.fixture.core.environment.derivation.secret, "another")
    anchor = MediaAnchor(AgentRelay(ports, OURS, ADVERTISED), 1, False, RateLimitedLogger(), 0.0, keys=keys)
    after = SessionDescription(anchor, WebrtcAnchor(legs, False, False, anchor.to_gateway))
    after.resume(state.device, state.server, state.standing, state.host)
    anchor.resume(state.relay, 0.0)
    after.gateway.resume(state.gateway)
    changes(site.fixture, ok.to_tag, page(direction="sendonly"), 2)
    ports.receive('{"is":"ready","srtp":true}')
    legs.receive(json.dumps({"is": "ready", "pid": 1}))
    assert [json.loads(line)["pair"] for line in ports.to_send()][:2] == [HERE, THERE]
    assert [json.loads(line)["do"] for line in legs.to_send()] == ["session"]
    offer = site.fixture.take("INVITE").body
    again = after.from_server(site.passed(page(direction="sendonly")), 0.0)
    assert again == offer and keys_in(again.decode()) == keys_in(invite.body.decode())
