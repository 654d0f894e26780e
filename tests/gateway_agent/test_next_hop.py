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


def test_the_site_itself_is_no_target() -> None:
    bed = Bed()
    called(bed, "sip:x@127.0.0.1:5161")
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
