"""Calls between a browser and what is none: what each side is told, and what the gateway is asked for."""

from __future__ import annotations

import json

import pytest

from gateway_agent import views
from gateway_agent.line_snapshot import snapshot
from gateway_agent.line_state import decode, encode
from gateway_agent.media_relay import AgentRelay
from gateway_agent.webrtc.anchor import WebrtcAnchor
from gateway_agent.webrtc.legs import Leg, Session, WebrtcLegs
from sip.wire import sdp
from sip.wire.message import Request, Response
from tests.gateway_agent.agent_fixture import KEY, SITE, AgentFixture, response_to
from tests.gateway_agent.test_browsers import BROWSER, CONTACT, LISTEN, TLS, TYPE, says
from tests.gateway_agent.test_web_lines import WALL_OFFSET, WEB, bearer, connects, shows_token

OURS = "127.0.0.11"
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
PAGE = "\r\n".join(
    (
        "v=0",
        "o=- 5 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "m=audio 51472 UDP/TLS/RTP/SAVPF 111 63 8 0 13 110 126",
        "c=IN IP4 127.0.0.41",
        "a=mid:0",
        "a=ice-ufrag:{ufrag}",
        "a=ice-pwd:browserbrowserbrowserbr",
        "a=fingerprint:sha-256 " + ":".join(["CD"] * 32),
        "a=setup:{setup}",
        "a=candidate:1 1 udp 2113937151 127.0.0.41 51472 typ host generation 0",
        "a=candidate:2 1 tcp 1518280447 127.0.0.41 9 typ host tcptype active",
        "a=candidate:3 1 udp 2113937151 0a1b.local 51473 typ host",
        "a=rtcp-mux",
        "a={direction}",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:63 red/48000/2",
        "a=rtpmap:13 CN/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:126 telephone-event/8000",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=mid:1",
        "a=rtpmap:96 VP8/90000",
        "",
    )
)
PHONE = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.21\r\ns=-\r\nc=IN IP4 127.0.0.21\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
HELD = PHONE.replace(b"o=- 1 1", b"o=- 1 2") + b"a=sendonly\r\n"


def page(ufrag: str = "abcd", setup: str = "actpass", direction: str = "sendrecv") -> bytes:
    return PAGE.format(ufrag=ufrag, setup=setup, direction=direction).encode()


def answer(direction: str = "sendrecv") -> bytes:
    """A browser's answer, in the order of our offer."""
    body = page(setup="active", direction=direction).partition(b"m=video")[0]
    return body.replace(b" 111 63 8 0 13 110 126", b" 8 0 111 101") + b"a=rtpmap:101 telephone-event/8000\r\n"


class Gateway:
    """The other process, played by hand."""

    def __init__(self, legs: int = 4) -> None:
        self.legs = WebrtcLegs()
        self.legs.receive(json.dumps({"is": "ready", "pid": 1}))
        self.said: list[dict[str, object]] = []
        for number in range(legs):
            self.offers(number)

    def offers(self, number: int) -> None:
        candidate = f"f 1 udp 2130706431 {OURS} {26000 + number} typ host"
        fields = f"leg-{number}", OURS, 25000 + 2 * number, f"uf{number}x", "p" * 22, FINGERPRINT, (candidate,)
        self.legs.receive(json.dumps({"is": "legs", "legs": [Leg(*fields)]}))

    def hears(self) -> list[dict[str, object]]:
        """What it was told since it was asked last."""
        said = [json.loads(line) for line in self.legs.to_send()]
        self.said += said
        return said

    def sessions(self) -> list[Session]:
        return [one["session"] for one in self.hears() if one["do"] == "session"]  # type: ignore[misc]

    @property
    def session(self) -> Session:
        """What it was told of the one session there is."""
        found = [session for session in self.legs._uses.values() if session is not None]
        assert len(found) == 1
        return found[0]


def served(gateway: Gateway | None, more: str = "", trunk: str = "", relay: AgentRelay | None = None) -> AgentFixture:
    secret = 'password = { env = "ALICE" }\n'
    text = SITE.replace(LISTEN, f'{LISTEN}"wss:127.0.0.11:7443", ', 1)
    text = text.replace("[agents.gw1]\n", f'[agents.gw1]\n{TLS}\ntoken_key = {{ env = "TOKEN_KEY" }}\n', 1)
    text = text.replace(f'kind = "phone"\nagent = "gw1"\n{secret}', f"{WEB}{more}")
    fixture = AgentFixture(trunk, relay, text, webrtc=None if gateway is None else gateway.legs)
    fixture.core.wall_offset = WALL_OFFSET
    connects(fixture, BROWSER)
    shows_token(fixture)
    return fixture


def calls_browser(fixture: AgentFixture, body: bytes = PHONE) -> None:
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=body, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)


def calls_trunk(fixture: AgentFixture, body: bytes) -> None:
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=body, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)


def media(body: bytes) -> list[str]:
    return [line for line in body.decode().splitlines() if line.startswith("m=")]


def answers(fixture: AgentFixture, invite: Request, body: bytes) -> Response:
    """The browser picks up; what the server gets."""
    fixture.say(response_to(invite, 200, [f"Contact: {CONTACT}", TYPE], body, "web"), BROWSER)
    ok: Response = fixture.m1.take(200)
    return ok


def acknowledged(fixture: AgentFixture, to_tag: str, cseq: int = 1, body: bytes = b"") -> None:
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=to_tag, cseq=cseq, body=body)


def changes(fixture: AgentFixture, to_tag: str, body: bytes, cseq: int) -> None:
    origin = f"gw2;z9hG4bKr{cseq};1"
    fixture.m1.request("INVITE", "sip:gw1", call_id="s-1", to_tag=to_tag, cseq=cseq, body=body, origin=origin)
    fixture.m1.take(100)


def hangs_up(fixture: AgentFixture, gateway: Gateway, to_tag: str) -> None:
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=to_tag, cseq=99, origin="gw2;z9hG4bKbye;1")
    assert gateway.hears()[-1]["do"] == "release"
    assert gateway.legs.in_use == 0


def talking_browser(fixture: AgentFixture) -> tuple[Request, Response]:
    """A phone has called the browser."""
    calls_browser(fixture)
    invite = fixture.take("INVITE", BROWSER)
    ok = answers(fixture, invite, answer())
    acknowledged(fixture, ok.to_tag)
    fixture.take("ACK", BROWSER)
    return invite, ok


def talking_trunk(fixture: AgentFixture) -> Response:
    """A browser has called the trunk."""
    calls_trunk(fixture, page())
    invite = fixture.take("INVITE")
    fixture.say(response_to(invite, 200, ["Contact: <sip:127.0.0.21>", TYPE], PHONE, "desk"))
    ok: Response = fixture.m1.take(200)
    acknowledged(fixture, ok.to_tag)
    fixture.take("ACK")
    return ok


def test_a_phone_calls_a_browser() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    invite, ok = talking_browser(fixture)
    assert media(invite.body) == ["m=audio 26000 UDP/TLS/RTP/SAVPF 8 0 111 101"]
    for line in (
        "a=ice-ufrag:uf0x",
        f"a=fingerprint:{FINGERPRINT}",
        "a=setup:actpass",
        "a=rtcp-mux",
        "a=mid:0",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:101 telephone-event/8000",
        f"a=candidate:f 1 udp 2130706431 {OURS} 26000 typ host",
    ):
        assert f"{line}\r\n" in invite.body.decode()
    assert media(ok.body) == ["m=audio 25000 RTP/AVP 8 101"]
    assert sdp.endpoints(ok.body)[0].address == OURS
    session = gateway.session
    assert session.controlling and not session.client and session.ice == session.leg == "leg-0"
    assert session.browser.ufrag == "abcd"
    assert session.browser.candidates == ("1 1 udp 2113937151 127.0.0.41 51472 typ host generation 0",)
    assert (session.phone.address, session.phone.rtp) == ("127.0.0.21", 4000)
    assert session.to_browser[:4] == ("PCMA", 8000, 8, 101) and session.to_phone[:4] == ("PCMA", 8000, 8, 101)
    assert not session.transcodes
    hangs_up(fixture, gateway, ok.to_tag)


def test_a_browser_calls_a_trunk_and_its_video_is_refused() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    calls_trunk(fixture, page())
    invite = fixture.take("INVITE")
    assert media(invite.body) == ["m=audio 25000 RTP/AVP 111 8 0 110 126"]
    assert b"ice" not in invite.body and b"fingerprint" not in invite.body
    fixture.say(response_to(invite, 183, [TYPE], PHONE, "desk"))
    early = fixture.m1.take(183)
    assert media(early.body) == ["m=audio 26000 UDP/TLS/RTP/SAVPF 8 126", "m=video 0 UDP/TLS/RTP/SAVPF 96"]
    for line in (b"a=mid:0", b"a=mid:1", b"a=group:BUNDLE 0", b"a=setup:active", b"a=ice-ufrag:uf0x"):
        assert line + b"\r\n" in early.body
    session = gateway.session
    assert not session.controlling and session.client, "we answer, and begin DTLS (RFC 8842 section 5.3)"
    fixture.say(response_to(invite, 200, ["Contact: <sip:127.0.0.21>", TYPE], PHONE, "desk"))
    ok = fixture.m1.take(200)
    assert media(ok.body) == media(early.body)
    assert gateway.session == session
    hangs_up(fixture, gateway, ok.to_tag)


def test_a_browser_without_the_phones_codec_is_transcoded() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    body = page().replace(b"SAVPF 111 63 8 0 13 110 126", b"SAVPF 111 110")
    calls_trunk(fixture, body)
    invite = fixture.take("INVITE")
    assert media(invite.body) == ["m=audio 25000 RTP/AVP 111 8 0 110 101"]
    fixture.say(response_to(invite, 200, ["Contact: <sip:127.0.0.21>", TYPE], PHONE, "desk"))
    assert media(fixture.m1.take(200).body)[0] == "m=audio 26000 UDP/TLS/RTP/SAVPF 111 110"
    assert gateway.session.transcodes
    assert gateway.session.to_browser == ("opus", 48000, 111, 110, 48000)


def test_browsers_that_understand_each_other_are_left_alone() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    calls_browser(fixture, page())
    assert fixture.take("INVITE", BROWSER).body == page()
    assert not gateway.hears()


def test_a_peer_that_takes_what_browsers_send_gets_it() -> None:
    gateway = Gateway()
    fixture = served(gateway, trunk="webrtc = true")
    calls_trunk(fixture, page())
    assert fixture.take("INVITE").body == page()
    assert not gateway.hears()


def test_hold_and_back_by_the_phone_need_no_new_ice() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    invite, ok = talking_browser(fixture)
    before = gateway.session
    changes(fixture, ok.to_tag, HELD, 2)
    offer = fixture.take("INVITE", BROWSER)
    assert b"a=sendonly\r\n" in offer.body and b"a=ice-ufrag:uf0x\r\n" in offer.body
    own, told = sdp.origin_of(invite.body), sdp.origin_of(offer.body)
    assert told == own._replace(version=own.version + 1)
    held = answers(fixture, offer, answer("recvonly"))
    assert b"a=recvonly\r\n" in held.body
    acknowledged(fixture, ok.to_tag, 2)
    assert gateway.session == before, "where media goes has not changed"
    hangs_up(fixture, gateway, ok.to_tag)


def test_hold_by_the_page() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    invite, ok = talking_browser(fixture)
    says(fixture, "INVITE", "sip:127.0.0.11", [TYPE, bearer(fixture)], page(direction="sendonly"), cseq=50,
         call_id=invite.call_id, to=f"{invite.get('from')}")  # fmt: skip
    assert fixture.inbox[BROWSER].popleft().status == 100  # type: ignore[attr-defined]
    offer = fixture.m1.take("INVITE")
    assert media(offer.body) == ["m=audio 25000 RTP/AVP 111 8 0 110 126"]
    assert b"a=sendonly\r\n" in offer.body
    assert sdp.origin_of(offer.body).version == sdp.origin_of(ok.body).version + 1
    held = PHONE.replace(b"o=- 1 1", b"o=- 1 2") + b"a=recvonly\r\n"
    fixture.m1.reply(offer, 200, body=held, lines=[TYPE])
    told = fixture.take(200, BROWSER)
    assert b"a=recvonly\r\n" in told.body and b"a=ice-ufrag:uf0x\r\n" in told.body
    assert b"a=setup:passive\r\n" in told.body, "DTLS goes on as it began"


@pytest.mark.parametrize("outlived", [True, False])
def test_a_page_that_restarts_ice_gets_another_agent_for_it(outlived: bool) -> None:
    """And a new DTLS association only where the gateway has died meanwhile."""
    gateway = Gateway()
    fixture = served(gateway)
    invite, ok = talking_browser(fixture)
    if not outlived:
        gateway.legs.receive(json.dumps({"is": "ready", "pid": 2}))
        assert gateway.sessions() == [json.loads(json.dumps(gateway.session))]
        gateway.legs.receive(json.dumps({"is": "unknown", "leg": "leg-0"}))
        gateway.offers(7)
    says(fixture, "INVITE", "sip:127.0.0.11", [TYPE, bearer(fixture)], page("wxyz"), cseq=50,
         call_id=invite.call_id, to=f"{invite.get('from')}")  # fmt: skip
    fixture.inbox[BROWSER].popleft()
    offer = fixture.m1.take("INVITE")
    assert sdp.endpoints(offer.body)[0].port == 25000
    fixture.m1.reply(offer, 200, body=PHONE, lines=[TYPE])
    told = fixture.take(200, BROWSER)
    session = gateway.session
    fresh = "leg-1" if outlived else "leg-7"
    assert session.leg == "leg-0" and session.ice == fresh and session.browser.ufrag == "wxyz"
    assert not session.controlling
    assert f"a=ice-ufrag:{'uf1x' if outlived else 'uf7x'}\r\n".encode() in told.body
    assert session.client is not outlived, "the former association goes on, in which the browser was the client"
    gateway.hears()
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=99, origin="gw2;z9hG4bKbye;1")
    assert {one["leg"] for one in gateway.hears()} == {"leg-0", fresh}
    assert gateway.legs.in_use == 0


def test_an_invite_without_an_offer_gets_a_plain_one_of_the_browser() -> None:
    """At the agent of whoever asked so: only here it shows that the other side is a browser."""
    gateway = Gateway()
    fixture = served(gateway)
    fixture.request("INVITE")
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 200, body=page(), lines=[TYPE])
    offer = fixture.take(200)
    assert media(offer.body) == ["m=audio 25000 RTP/AVP 111 8 0 110 126"]
    fixture.request("ACK", "sip:127.0.0.11", body=PHONE, to_tag=offer.to_tag)
    ack = fixture.m1.take("ACK")
    assert media(ack.body)[0] == "m=audio 26000 UDP/TLS/RTP/SAVPF 8 126"
    assert gateway.session.phone.rtp == 4000


def test_a_side_that_changes_to_what_the_other_understands_needs_no_gateway() -> None:
    """A browser was connected to a phone, and is transferred to a browser."""
    gateway = Gateway()
    fixture = served(gateway)
    _, ok = talking_browser(fixture)
    changes(fixture, ok.to_tag, page(), 2)
    offer = fixture.take("INVITE", BROWSER)
    assert media(offer.body) == media(page())
    answers(fixture, offer, answer())
    acknowledged(fixture, ok.to_tag, 2)
    assert gateway.legs.in_use == 0


def test_a_page_that_picks_up_what_a_phone_calls_gets_the_gateway() -> None:
    """The servers answer it with a session at rest, and offer it then what the caller has offered."""
    gateway = Gateway()
    fixture = served(gateway)
    to = "<sip:1002@paris>"
    lines = [TYPE, bearer(fixture), "Replaces: 7@h;to-tag=1;from-tag=pickup"]
    says(fixture, "INVITE", "sip:1002@paris", lines, page(), call_id="out", to=to)
    fixture.take(100, BROWSER)
    invite = fixture.m1.take("INVITE")
    assert media(invite.body) == media(page())
    fixture.m1.reply(invite, 200, [TYPE], sdp.inactive(invite.body, b"chance"))
    rests = fixture.take(200, BROWSER)
    assert b"a=inactive" in rests.body and not gateway.hears()
    says(fixture, "ACK", "sip:127.0.0.11", [], call_id="out", to=f"{to};tag={rests.to_tag}")
    fixture.m1.take("ACK")
    fixture.m1.request(
        "INVITE", "sip:gw1", body=PHONE, call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag,
        origin="gw1;z9hG4bKo;600",
    )  # fmt: skip
    fixture.m1.take(100)
    offer = fixture.take("INVITE", BROWSER)
    assert b"a=setup:actpass" in offer.body and b"a=ice-ufrag:uf0x\r\n" in offer.body
    assert media(offer.body)[0].split()[2] == "UDP/TLS/RTP/SAVPF"
    ok = answers(fixture, offer, answer())
    assert media(ok.body)[0].split()[2] == "RTP/AVP"
    assert gateway.session.controlling and gateway.session.browser.fingerprints


def test_one_that_refuses_such_a_change_keeps_its_gateway() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    _, ok = talking_browser(fixture)
    session = gateway.session
    changes(fixture, ok.to_tag, page(), 2)
    fixture.say(response_to(fixture.take("INVITE", BROWSER), 488, [], b"", "web"), BROWSER)
    fixture.m1.take(488)
    acknowledged(fixture, ok.to_tag, 2)
    assert gateway.session == session
    fixture.inbox[BROWSER].clear()
    changes(fixture, ok.to_tag, HELD, 3)
    assert b"a=ice-ufrag:uf0x\r\n" in fixture.take("INVITE", BROWSER).body


@pytest.mark.parametrize(
    "why, legs, status, body",
    [
        ("aiortc is not installed", WebrtcLegs("aiortc is not installed: it comes with the extra web"), 488, PHONE),
        ("is not running", WebrtcLegs(), 503, PHONE),
        ("no leg ready", Gateway(0).legs, 503, PHONE),
        ("G729 is offered", Gateway().legs, 488, PHONE.replace(b" 8 101", b" 18") + b"a=rtpmap:18 G729/8000\r\n"),
    ],
)
def test_what_cannot_be_connected_is_refused_with_a_reason_before_any_tab_rings(
    why: str, legs: WebrtcLegs, status: int, body: bytes
) -> None:
    gateway = Gateway()
    gateway.legs = legs
    fixture = served(gateway)
    calls = "INVITE", "sip:1001@gw1;line=alice"
    fixture.m1.request(*calls, body=body, call_id="s-1", origin="gw2;z9hG4bKo;1")
    refusal = fixture.m1.take(status)
    assert f"SIP;cause={status}" in refusal.get("reason") and why in refusal.get("reason")
    assert fixture.silent(BROWSER)
    assert legs.in_use == 0
    assert fixture.core.lines["alice"].busy == 0


def test_that_browsers_cannot_be_connected_is_a_warning_with_its_reason() -> None:
    gateway = Gateway()
    gateway.legs = WebrtcLegs("aiortc is not installed")
    found = views.view(served(gateway).core, "status", {}, 0.0).alerts
    said = "Browsers cannot be connected with other lines here: aiortc is not installed"
    assert [alert.text for alert in found if alert.code == "no-webrtc"] == [said]


def test_what_the_servers_keep_brings_a_session_back() -> None:
    gateway = Gateway()
    fixture = served(gateway)
    talking_browser(fixture)
    call = next(iter(fixture.core.calls.values()))
    known = call.description.gateway.export()
    assert known is not None and known.session == gateway.session
    state = snapshot(call, fixture.now)
    text = encode(state, 1, 1, "bound", KEY)
    assert decode(text, "bound", [KEY]) == state and state.gateway == known
    after = WebrtcAnchor(other := WebrtcLegs(), True, True)
    after.resume(known)
    other.receive(json.dumps({"is": "ready", "pid": 1}))
    assert json.loads(other.to_send()[0]) == {"do": "session", "session": json.loads(json.dumps(gateway.session))}
