"""Where requests in the dialogs of devices go: first route or Contact, and back over streams (RFC 3261 12.2.1.1)."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Message, Response
from tests.gateway_agent.bed import CARRIER, LISTEN, SDP, SITE, Bed, response_to

TYPE = "Content-Type: application/sdp"
GATEWAY = Flow("udp", LISTEN, ("127.0.0.22", 5070))
PROXY = Flow("udp", LISTEN, ("127.0.0.23", 5080))
STREAM = Flow("tcp", "127.0.0.11:5060#1", ("127.0.0.21", 40000))


def places(bed: Bed, method: str) -> list[tuple[str, int]]:
    """Where requests of that method went."""

    def is_it(one: Message) -> bool:
        return not isinstance(one, Response) and one.cseq_method == method

    return [flow.remote for flow, box in bed.inbox.items() for one in box if is_it(one)]


def called(bed: Bed, contact: str, lines: tuple[str, ...] = ()) -> None:
    """A call to the carrier, answered with that Contact and hung up by the far end."""
    bed.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    bed.say(response_to(invite, 200, [f"Contact: <{contact}>", *lines, TYPE], SDP, "devtag"))
    ok = bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    bed.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKb;1")


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
    bed = Bed(line)
    called(bed, contact, lines)
    assert places(bed, "ACK") == places(bed, "BYE") == [flow.remote]


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
    bed = Bed()
    called(bed, contact)
    assert places(bed, "ACK") == places(bed, "BYE") == []
    assert not bed.silent() or bed.opened == [bed.m1.flow, bed.m2.flow]
    bed.run(0.1)
    assert [one.status for one in bed.m1.inbox if isinstance(one, Response) and one.cseq_method == "BYE"] == [503]


def test_a_name_is_waited_for_and_nothing_overtakes() -> None:
    bed = Bed()
    called(bed, "sip:gw@gw.carrier.example")
    assert places(bed, "ACK") == places(bed, "BYE") == []
    [asked] = [one for one in bed.resolving if one.uri == "sip:gw@gw.carrier.example"]
    bed.core.done(asked, [Place("udp", *GATEWAY.remote), Place("udp", *PROXY.remote)], bed.now)
    bed.pump()
    assert [one.method for one in bed.inbox[GATEWAY] if hasattr(one, "method")] == ["ACK", "BYE"]


def test_a_dialog_stays_at_the_place_that_answered() -> None:
    bed = Bed()
    called(bed, "sip:gw@gw.carrier.example")
    [asked] = [one for one in bed.resolving if one.uri == "sip:gw@gw.carrier.example"]
    bed.core.done(asked, [Place("udp", *GATEWAY.remote), Place("udp", *CARRIER.remote)], bed.now)
    bed.pump()
    assert places(bed, "ACK") == places(bed, "BYE") == [CARRIER.remote]


@pytest.mark.parametrize("answer", ["not resolved", None])
def test_a_name_that_is_not_known_in_time_is_a_failure(answer: str | None) -> None:
    bed = Bed()
    called(bed, "sip:gw@gw.carrier.example")
    if answer is None:
        bed.run(4.1)
    else:
        bed.core.done(bed.resolving[-1], answer, bed.now)
        bed.pump()
        bed.run(0.1)
    assert places(bed, "BYE") == []
    assert [one.status for one in bed.m1.inbox if isinstance(one, Response) and one.cseq_method == "BYE"] == [503]


def test_ack_and_bye_of_a_call_in() -> None:
    bed = Bed('longest_call = 100\nfrom = ["127.0.0.21", "127.0.0.22"]')
    bed.request("INVITE", lines=["Record-Route: <sip:127.0.0.23:5080;lr>"], body=SDP)
    bed.take(100)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    bed.take(200)
    bed.request("ACK", to_tag="srvtag", cseq=1)
    bed.run(101)
    assert set(places(bed, "BYE")) == {PROXY.remote}


def test_a_new_contact_moves_the_dialog() -> None:
    bed = Bed('longest_call = 100\nfrom = ["127.0.0.21", "127.0.0.22"]')
    bed.answered_in()
    bed.request("INVITE", body=SDP.replace(b"4000", b"4002"), to_tag="srvtag", cseq=2, flow=GATEWAY)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    bed.run(101)
    assert set(places(bed, "BYE")) == {GATEWAY.remote}


def by_stream(contact: str) -> Bed:
    """A call of the carrier by a stream that it opened, hung up by time."""
    bed = Bed("longest_call = 100")
    bed.core.flow_changed(STREAM, "open", bed.now)
    bed.opened.append(STREAM)
    bed.request("INVITE", lines=[f"Contact: <{contact}>"], body=SDP, flow=STREAM)
    bed.take(100, STREAM)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    bed.take(200, STREAM)
    bed.request("ACK", to_tag="srvtag", cseq=1, flow=STREAM)
    bed.m1.take("ACK")
    return bed


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
    bed = by_stream(contact)
    before = len(bed.opened)
    bed.run(101)
    assert [flow.remote for flow in bed.opened[before:]] == ([opened] if opened else [])
    assert set(places(bed, "BYE")) == {opened or STREAM.remote}


def test_where_nobody_listens_the_stream_is_used() -> None:
    bed = by_stream("sip:gw@127.0.0.21:5070;transport=tcp")
    bed.refusing = {("127.0.0.21", 5070)}
    bed.run(101)
    assert set(places(bed, "BYE")) == {STREAM.remote}


def test_a_second_2xx_of_a_fork_is_ended_where_it_is() -> None:
    bed = Bed()
    bed.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    bed.say(response_to(invite, 200, ["Contact: <sip:b@127.0.0.23:5080>", TYPE], SDP, "b"))
    ok = bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    bed.say(response_to(invite, 200, ["Contact: <sip:a@127.0.0.22:5070>", TYPE], SDP, "a"))
    assert places(bed, "ACK") == [PROXY.remote, GATEWAY.remote] and places(bed, "BYE") == [GATEWAY.remote]


def test_a_trunk_behind_the_address_of_another_family_stays_where_it_answered() -> None:
    bed = Bed(text=SITE)
    called(bed, "sip:gw@[::1]:5070")
    assert places(bed, "ACK") == places(bed, "BYE") == [CARRIER.remote]


LARGE = SDP + b"a=candidate:x 1 UDP 1 127.0.0.1 1 typ host\r\n" * 80


def dial_large(bed: Bed, index: int = 1) -> None:
    origin = f"gw2;z9hG4bKo{index};1"
    bed.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=LARGE, call_id=f"s-{index}", origin=origin)


def by(bed: Bed, transport: str) -> list[Message]:
    return [one for flow, box in bed.inbox.items() for one in box if flow.transport == transport]


def test_a_large_request_goes_by_a_stream_and_its_dialog_stays_there() -> None:
    bed = Bed()
    dial_large(bed)
    assert not by(bed, "udp")
    [flow] = bed.inbox
    invite = bed.take("INVITE", flow)
    assert flow.remote == CARRIER.remote and "transport=tcp" in (invite.get("contact") or "")
    assert (invite.get("via") or "").startswith("SIP/2.0/TCP 127.0.0.11:5060;")
    bed.say(response_to(invite, 200, ["Contact: <sip:gw@127.0.0.21:5060>", TYPE], SDP, "devtag"), flow)
    bed.m1.take(100)
    ok = bed.m1.take(200)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    bed.take("ACK", flow)


@pytest.mark.parametrize("peer", ["sip:127.0.0.21:5060;transport=udp", None])
def test_udp_may_be_fixed(peer: str | None) -> None:
    bed = Bed("nat = true") if peer is None else Bed(text=SITE.replace("sip:127.0.0.21:5060", peer))
    dial_large(bed)
    assert by(bed, "udp") and not by(bed, "tcp")


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_where_no_stream_comes_about_udp_is_used_in_the_same_attempt(how: str) -> None:
    bed = Bed()
    bed.refusing = {CARRIER.remote} if how == "refused" else set()
    bed.dead = {CARRIER.remote} if how == "silent" else set()
    dial_large(bed)
    if how == "silent":
        assert not by(bed, "udp")
        bed.run(1.0)
    invite = bed.take("INVITE")
    assert (invite.get("via") or "").startswith("SIP/2.0/UDP") and "tcp" not in (invite.get("contact") or "")
    bed.reply(invite, 486)
    bed.take("ACK")
    opened = len(bed.opened)
    dial_large(bed, 2)
    bed.take("INVITE")  # remembered
    assert len(bed.opened) == opened
    bed.run(3601)
    bed.refusing = bed.dead = set()
    dial_large(bed, 3)
    assert by(bed, "tcp")
