"""Where requests in the dialogs of devices go: first route or Contact, and back over streams (RFC 3261 12.2.1.1)."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Message, Response
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, SITE, AgentFixture, message, response_to

TYPE = "Content-Type: application/sdp"
GATEWAY = Flow("udp", LISTEN, ("127.0.0.22", 5070))
PROXY = Flow("udp", LISTEN, ("127.0.0.23", 5080))
STREAM = Flow("tcp", "127.0.0.11:5060#1", ("127.0.0.21", 40000))


def places(fixture: AgentFixture, method: str) -> list[tuple[str, int]]:
    """Where requests of that method went."""

    def is_it(one: Message) -> bool:
        return not isinstance(one, Response) and one.cseq_method == method

    return [flow.remote for flow, box in fixture.inbox.items() for one in box if is_it(one)]


def called(fixture: AgentFixture, contact: str, lines: tuple[str, ...] = ()) -> None:
    """A call to the carrier, answered with that Contact and hung up by the far end."""
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    fixture.say(response_to(invite, 200, [f"Contact: <{contact}>", *lines, TYPE], SDP, "devtag"))
    ok = fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKb;1")


@pytest.mark.parametrize(
    ("line", "contact", "lines", "flow"),
    [
        ("", "sip:gw@127.0.0.22:5070", (), GATEWAY),
        ("", "sip:gw@127.0.0.22:5070", ("Record-Route: <sip:127.0.0.23:5080;lr>",), PROXY),
        ("", "sip:gw@127.0.0.21", ("Record-Route: <sip:127.0.0.23:5080>",), PROXY),  # a strict one
        ("", "sip:gw@127.0.0.22:5070;maddr=127.0.0.21", (), Flow("udp", LISTEN, ("127.0.0.21", 5070))),
        ("nat = true", "sip:gw@127.0.0.22:5070", (), CARRIER),
        ("", "sip:gw@127.0.0.22:5070;transport=sctp", (), CARRIER),  # not spoken here: where it answered
    ],
)
def test_ack_and_bye_of_a_call_out(line: str, contact: str, lines: tuple[str, ...], flow: Flow) -> None:
    fixture = AgentFixture(line)
    called(fixture, contact, lines)
    assert places(fixture, "ACK") == places(fixture, "BYE") == [flow.remote]


@pytest.mark.parametrize(
    "contact",
    [
        "sip:x@127.0.0.1:5161",
        "sip:x@127.0.0.1:5161;transport=tcp",
        "sip:x@[::ffff:127.0.0.1]:5161;transport=tcp",
        "sip:x@127.0.0.21:5162;maddr=127.0.0.2",
        "sip:x@0.0.0.0:5161",
        "sip:x@224.0.1.75",
    ],
)
def test_what_is_no_target(contact: str) -> None:
    fixture = AgentFixture()
    called(fixture, contact)
    assert places(fixture, "ACK") == places(fixture, "BYE") == []
    assert not fixture.silent() or fixture.opened == [fixture.m1.flow, fixture.m2.flow]
    fixture.run(0.1)
    assert [one.status for one in fixture.m1.inbox if isinstance(one, Response) and one.cseq_method == "BYE"] == [503]


def test_a_name_is_waited_for_and_nothing_overtakes() -> None:
    fixture = AgentFixture()
    called(fixture, "sip:gw@gw.carrier.example")
    assert places(fixture, "ACK") == places(fixture, "BYE") == []
    [asked] = [one for one in fixture.resolving if one.uri == "sip:gw@gw.carrier.example"]
    fixture.core.done(asked, [Place("udp", *GATEWAY.remote), Place("udp", *PROXY.remote)], fixture.now)
    fixture.pump()
    assert [one.method for one in fixture.inbox[GATEWAY] if hasattr(one, "method")] == ["ACK", "BYE"]


def test_a_dialog_stays_at_the_place_that_answered() -> None:
    fixture = AgentFixture()
    called(fixture, "sip:gw@gw.carrier.example")
    [asked] = [one for one in fixture.resolving if one.uri == "sip:gw@gw.carrier.example"]
    fixture.core.done(asked, [Place("udp", *GATEWAY.remote), Place("udp", *CARRIER.remote)], fixture.now)
    fixture.pump()
    assert places(fixture, "ACK") == places(fixture, "BYE") == [CARRIER.remote]


@pytest.mark.parametrize("answer", ["not resolved", None])
def test_a_name_that_nobody_knows_in_time_is_spoken_to_where_the_dialog_came_from(answer: str | None) -> None:
    fixture = AgentFixture()
    called(fixture, "sip:gw@k2j4.invalid")
    if answer is None:
        fixture.run(4.1)
    else:
        fixture.core.done(fixture.resolving[-1], answer, fixture.now)
        fixture.pump()
        fixture.run(0.1)
    assert places(fixture, "ACK") == places(fixture, "BYE") == [CARRIER.remote]


def test_ack_and_bye_of_a_call_in() -> None:
    fixture = AgentFixture('longest_call = 100\nfrom = ["127.0.0.21", "127.0.0.22"]')
    fixture.request("INVITE", lines=["Record-Route: <sip:127.0.0.23:5080;lr>"], body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    fixture.take(200)
    fixture.request("ACK", to_tag="srvtag", cseq=1)
    fixture.run(101)
    assert set(places(fixture, "BYE")) == {PROXY.remote}


def test_a_new_contact_moves_the_dialog() -> None:
    fixture = AgentFixture('longest_call = 100\nfrom = ["127.0.0.21", "127.0.0.22"]')
    fixture.answered_in()
    fixture.request("INVITE", body=SDP.replace(b"4000", b"4002"), to_tag="srvtag", cseq=2, flow=GATEWAY)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    fixture.run(101)
    assert set(places(fixture, "BYE")) == {GATEWAY.remote}


def by_stream(contact: str) -> AgentFixture:
    """A call of the carrier by a stream that it opened, hung up by time."""
    fixture = AgentFixture("longest_call = 100")
    fixture.core.flow_changed(STREAM, "open", fixture.now)
    fixture.opened.append(STREAM)
    fixture.request("INVITE", lines=[f"Contact: <{contact}>"], body=SDP, flow=STREAM)
    fixture.take(100, STREAM)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    fixture.take(200, STREAM)
    fixture.request("ACK", to_tag="srvtag", cseq=1, flow=STREAM)
    fixture.m1.take("ACK")
    return fixture


@pytest.mark.parametrize(
    ("contact", "opened"),
    [
        ("sip:gw@127.0.0.21", None),  # the default is UDP, but it speaks by its stream
        ("sip:gw@127.0.0.21:40000", None),
        ("sip:gw@127.0.0.21:40000;transport=tcp", None),
        ("sip:gw@127.0.0.21:5070;transport=tcp", ("127.0.0.21", 5070)),
        ("sip:gw@127.0.0.22:5070;transport=tcp", ("127.0.0.22", 5070)),
    ],
)
def test_a_stream_is_used_by_its_own_dialogs(contact: str, opened: tuple[str, int] | None) -> None:
    fixture = by_stream(contact)
    before = len(fixture.opened)
    fixture.run(101)
    assert [flow.remote for flow in fixture.opened[before:]] == ([opened] if opened else [])
    assert set(places(fixture, "BYE")) == {opened or STREAM.remote}


def test_where_nobody_listens_the_stream_is_used() -> None:
    fixture = by_stream("sip:gw@127.0.0.21:5070;transport=tcp")
    fixture.refusing = {("127.0.0.21", 5070)}
    fixture.run(101)
    assert set(places(fixture, "BYE")) == {STREAM.remote}


def test_a_second_2xx_of_a_fork_is_ended_where_it_is() -> None:
    fixture = AgentFixture()
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    fixture.say(response_to(invite, 200, ["Contact: <sip:b@127.0.0.23:5080>", TYPE], SDP, "b"))
    ok = fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    fixture.say(response_to(invite, 200, ["Contact: <sip:a@127.0.0.22:5070>", TYPE], SDP, "a"))
    assert places(fixture, "ACK") == [PROXY.remote, GATEWAY.remote] and places(fixture, "BYE") == [GATEWAY.remote]


def test_a_trunk_behind_the_address_of_another_family_stays_where_it_answered() -> None:
    fixture = AgentFixture(text=SITE)
    called(fixture, "sip:gw@[::1]:5070")
    assert places(fixture, "ACK") == places(fixture, "BYE") == [CARRIER.remote]


LARGE = SDP + b"a=candidate:x 1 UDP 1 127.0.0.1 1 typ host\r\n" * 80


def dial_large(fixture: AgentFixture, index: int = 1) -> None:
    origin = f"gw2;z9hG4bKo{index};1"
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=LARGE, call_id=f"s-{index}", origin=origin)


def by(fixture: AgentFixture, transport: str) -> list[Message]:
    return [one for flow, box in fixture.inbox.items() for one in box if flow.transport == transport]


def test_a_large_request_goes_by_a_stream_and_its_dialog_stays_there() -> None:
    fixture = AgentFixture()
    dial_large(fixture)
    assert not by(fixture, "udp")
    [flow] = fixture.inbox
    invite = fixture.take("INVITE", flow)
    assert flow.remote == CARRIER.remote and "transport=tcp" in (invite.get("contact") or "")
    assert (invite.get("via") or "").startswith("SIP/2.0/TCP 127.0.0.11:5060;")
    fixture.say(response_to(invite, 200, ["Contact: <sip:gw@127.0.0.21:5060>", TYPE], SDP, "devtag"), flow)
    fixture.m1.take(100)
    ok = fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    fixture.take("ACK", flow)


@pytest.mark.parametrize("peer", ["sip:127.0.0.21:5060;transport=udp", None])
def test_udp_may_be_fixed(peer: str | None) -> None:
    fixture = (
        AgentFixture("nat = true") if peer is None else AgentFixture(text=SITE.replace("sip:127.0.0.21:5060", peer))
    )
    dial_large(fixture)
    assert by(fixture, "udp") and not by(fixture, "tcp")


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_where_no_stream_comes_about_udp_is_used_in_the_same_attempt(how: str) -> None:
    fixture = AgentFixture()
    fixture.refusing = {CARRIER.remote} if how == "refused" else set()
    fixture.dead = {CARRIER.remote} if how == "silent" else set()
    dial_large(fixture)
    if how == "silent":
        assert not by(fixture, "udp")
        fixture.run(1.0)
    invite = fixture.take("INVITE")
    assert (invite.get("via") or "").startswith("SIP/2.0/UDP") and "tcp" not in (invite.get("contact") or "")
    fixture.reply(invite, 486)
    fixture.take("ACK")
    opened = len(fixture.opened)
    dial_large(fixture, 2)
    fixture.take("INVITE")  # remembered
    assert len(fixture.opened) == opened
    fixture.run(3601)
    fixture.refusing = fixture.dead = set()
    dial_large(fixture, 3)
    assert by(fixture, "tcp")


PUBLIC = Flow("udp", LISTEN, ("8.8.8.7", 5060))


@pytest.mark.parametrize(
    ("contact", "where"),
    [
        ("sip:gw@10.0.0.9:5060", PUBLIC.remote),  # behind a NAT of the peer's, whatever it writes
        ("sip:gw@192.168.1.1:5070;transport=tcp", PUBLIC.remote),
        ("sip:gw@[fd00::1]", PUBLIC.remote),
        ("sip:gw@100.64.3.2", PUBLIC.remote),  # RFC 6598
        ("sip:gw@8.8.8.9:5070", ("8.8.8.9", 5070)),
    ],
)
def test_a_private_target_of_a_public_peer_is_reached_by_the_flow_of_the_dialog(
    contact: str, where: tuple[str, int]
) -> None:
    fixture = AgentFixture(text=SITE.replace("127.0.0.21:5060", "8.8.8.7:5060"))
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE", PUBLIC)
    fixture.say(response_to(invite, 200, [f"Contact: <{contact}>", TYPE], SDP, "devtag"), PUBLIC)
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag="devtag", cseq=2, origin="gw2;z9hG4bKb;1")
    assert places(fixture, "BYE") == [where]


@pytest.mark.parametrize(
    "contact",
    [
        "*",
        "<tel:+33166>",
        "<mailto:gw@carrier>",
        "<sip:a@127.0.0.22>, <sip:b@127.0.0.22>",
        "<sips:gw@127.0.0.22>",
    ],
)
@pytest.mark.parametrize("of", ["2xx", "re-INVITE", "2xx to a re-INVITE"])
def test_what_is_no_contact_leaves_the_target_that_is_known(contact: str, of: str) -> None:
    fixture = AgentFixture()
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    first = contact if of == "2xx" else "<sip:gw@127.0.0.22:5070>"
    known = CARRIER if of == "2xx" else GATEWAY
    fixture.say(response_to(invite, 200, [f"Contact: {first}", TYPE], SDP, "devtag"))
    fixture.m1.take(200)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="devtag", cseq=1)
    fixture.run(0.02)
    fixture.inbox.clear()
    if of == "re-INVITE":
        head = ["INVITE sip:x@127.0.0.11 SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKre",
                f"From: {invite.get('to')};tag=devtag", f"To: {invite.get('from')}", f"Call-ID: {invite.call_id}",
                "CSeq: 9 INVITE", "Max-Forwards: 70", f"Contact: {contact}", TYPE]  # fmt: skip
        fixture.say(message(head, SDP))
        fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    elif of != "2xx":
        hold = SDP.replace(b"sendrecv", b"sendonly")
        fixture.m1.request(
            "INVITE", "sip:gw1", body=hold, call_id="s-1", to_tag="devtag", cseq=2, origin="gw2;z9hG4bKr;1"
        )
        fixture.say(
            response_to(fixture.take("INVITE", GATEWAY), 200, [f"Contact: {contact}", TYPE], SDP, "devtag"), GATEWAY
        )
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag="devtag", cseq=3, origin="gw2;z9hG4bKb;1")
    assert places(fixture, "BYE") == [known.remote]
