"""A re-INVITE keeps behind the ACK of the INVITE before it, wherever that is (RFC 3261 section 14.1)."""

from __future__ import annotations

import pytest

from tests.gateway_agent.bed import SDP, Bed

TYPE = ["Content-Type: application/sdp"]
HOLD = SDP.replace(b"sendrecv", b"sendonly")


def called_out(bed: Bed) -> str:
    """A server's call that the device has answered and nobody acknowledged: the To-tag."""
    bed.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 200, TYPE, SDP)
    tag: str = bed.m1.take(200).to_tag
    return tag


def change(bed: Bed, tag: str) -> str:
    branch = bed.m1.request("INVITE", "sip:gw1", body=HOLD, call_id="s-1", to_tag=tag, cseq=2, origin="gw2;r;1")
    bed.m1.take(100)
    return branch


def test_an_invite_of_a_server_whose_ack_was_lost_with_its_connection_waits_for_it() -> None:
    bed = Bed()
    tag = called_out(bed)
    change(bed, tag)
    bed.run(0.2)
    assert bed.silent()
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=tag, cseq=1)
    bed.take("ACK")
    assert bed.silent()
    bed.run(0.1)
    bed.reply(bed.take("INVITE"), 200, TYPE, SDP)
    bed.m1.take(200)


def test_it_goes_on_behind_the_ack_that_the_agent_gives_alone() -> None:
    bed = Bed()
    tag = called_out(bed)
    change(bed, tag)
    bed.run(17)
    bed.take("ACK")
    bed.take("INVITE")


@pytest.mark.parametrize("ends", ["CANCEL", "BYE"])
def test_what_a_server_gives_up_as_it_waits_never_reaches_the_device(ends: str) -> None:
    bed = Bed()
    tag = called_out(bed)
    branch = change(bed, tag)
    if ends == "CANCEL":
        bed.m1.request("CANCEL", "sip:gw1", branch=branch, call_id="s-1", to_tag=tag, cseq=2)
        bed.m1.take(200)
        bed.m1.take(487)
        bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=tag, cseq=1)
    else:
        bed.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=tag, cseq=3)
        bed.m1.take(487)
    bed.take("ACK")
    bed.run(0.1)
    if ends == "BYE":
        bed.reply(bed.take("BYE"), 200)
        bed.m1.take(200)
    bed.run(1)
    assert bed.silent() and len(bed.core.calls) == (ends == "CANCEL")


def test_an_invite_of_the_device_whose_ack_was_lost_waits_for_it() -> None:
    bed = Bed()
    bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=TYPE)
    bed.take(200)
    bed.request("INVITE", body=HOLD, to_tag="srvtag", cseq=2)
    bed.take(100)
    bed.run(0.6)
    bed.take(200)  # the answer again, as it was not acknowledged
    assert not bed.m1.inbox
    bed.request("ACK", to_tag="srvtag", cseq=1)
    bed.m1.take("ACK")
    bed.run(0.1)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=TYPE)
    bed.take(200)


def test_a_device_may_give_up_what_waits_for_its_ack() -> None:
    bed = Bed()
    bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=TYPE)
    bed.take(200)
    branch = bed.request("INVITE", body=HOLD, to_tag="srvtag", cseq=2)
    bed.take(100)
    bed.request("CANCEL", branch=branch, to_tag="srvtag", cseq=2)
    bed.take(200)
    bed.take(487)
    bed.request("ACK", to_tag="srvtag", cseq=1)
    bed.m1.take("ACK")
    bed.run(0.3)
    assert not bed.m1.inbox and len(bed.core.calls) == 1
