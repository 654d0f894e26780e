"""Forks of a call to a device: each early dialog has its own numbers and target, and requests find theirs."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.wire.message import Request, Response
from tests.gateway_agent.bed import CARRIER, LISTEN, SDP, Bed, dialog_lines, message, response_to

TYPE = "Content-Type: application/sdp"
OUT = "sip:+33166@gw1;line=trunk1"
A, B = ("a", "127.0.0.22:5070"), ("b", "127.0.0.23:5080")


def called(bed: Bed) -> Request:
    bed.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    invite: Request = bed.take("INVITE")
    return invite


def say(bed: Bed, invite: Request, status: int, fork: tuple[str, str], body: bytes = b"") -> Response:
    """A fork answers; what the server gets."""
    tag, place = fork
    lines = [f"Contact: <sip:gw@{place}>", *([TYPE] if body else [])]
    bed.say(response_to(invite, status, lines, body, tag))
    got: Response = bed.m1.take(status)
    return got


def ask(bed: Bed, invite: Request, method: str, cseq: int, tag: str, branch: str) -> None:
    """A fork asks something in its dialog."""
    head = [
        f"{method} sip:x@127.0.0.11 SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bK{branch}",
        *dialog_lines(invite.to_untagged, tag, invite.from_untagged, invite.from_tag),
        f"Call-ID: {invite.call_id}",
        f"CSeq: {cseq} {method}",
    ]
    bed.say(message(head, b""))


def to_server(bed: Bed, kind: str) -> Request:
    bed.m1.inbox = type(bed.m1.inbox)(one for one in bed.m1.inbox if isinstance(one, Request))
    got: Request = bed.m1.take(kind)
    return got


def test_a_number_in_one_early_dialog_spoils_no_other() -> None:
    bed = Bed()
    invite = called(bed)
    say(bed, invite, 183, A, SDP)
    ask(bed, invite, "UPDATE", 5000, "a", "u1")
    bed.take(405)
    ok = say(bed, invite, 200, B, SDP)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    ask(bed, invite, "BYE", 2, "b", "y1")
    bed.take(200)
    assert to_server(bed, "BYE").from_tag == "b"


def test_an_order_within_one_early_dialog_is_kept() -> None:
    bed = Bed()
    invite = called(bed)
    say(bed, invite, 183, A, SDP)
    say(bed, invite, 180, B)
    for cseq, tag, status in ((7, "a", 0), (7, "b", 0), (6, "a", 500), (8, "b", 0), (9, "c", 481)):
        ask(bed, invite, "INFO", cseq, tag, f"i{cseq}{tag}")
        if status:
            assert bed.take(status)
        else:
            info = to_server(bed, "INFO")
            assert info.from_tag == tag
            bed.m1.reply(info, 200)
            assert bed.take(200).from_tag == tag


def test_the_numbers_towards_the_servers_are_one_row_for_all_forks() -> None:
    bed = Bed()
    invite = called(bed)
    say(bed, invite, 183, A, SDP)
    say(bed, invite, 180, B)
    seen = []
    for cseq, tag in ((2, "a"), (2, "b"), (3, "a")):
        ask(bed, invite, "INFO", cseq, tag, f"n{cseq}{tag}")
        info = to_server(bed, "INFO")
        seen.append((info.cseq, info.from_tag))
        bed.m1.reply(info, 200)
    assert seen == [(1, "a"), (2, "b"), (3, "a")]


@pytest.mark.parametrize("fork", [A, B])
def test_a_request_of_a_server_goes_to_the_fork_that_it_is_for(fork: tuple[str, str]) -> None:
    bed = Bed()
    invite = called(bed)
    early = {tag: say(bed, invite, 183, (tag, place), SDP) for tag, place in (A, B)}
    tag, place = fork
    bed.m1.request("INFO", "sip:gw1", call_id="s-1", to_tag=early[tag].to_tag, cseq=2, origin="gw2;z9hG4bKi;1")
    host, port = place.split(":")
    info = bed.take("INFO", Flow("udp", LISTEN, (host, int(port))))
    assert (info.to_tag, info.uri, info.cseq) == (tag, f"sip:gw@{place}", 2)


def test_a_device_s_request_in_an_early_dialog_keeps_its_tag() -> None:
    bed = Bed()
    bed.request("INVITE", body=SDP)
    bed.take(100)
    invite = bed.m1.take("INVITE")
    for tag in ("far1", "far2"):
        bed.m1.reply(invite, 183, [TYPE], SDP, tag=tag)
        bed.take(183)
    for cseq, tag in ((2, "far2"), (3, "far1")):
        bed.request("INFO", to_tag=tag, cseq=cseq)
        info = bed.m1.take("INFO")
        assert info.to_tag == tag
        bed.m1.reply(info, 200)
        bed.take(200)


def test_a_bye_in_an_early_dialog_of_the_called_side_ends_no_call() -> None:
    bed = Bed()
    invite = called(bed)
    say(bed, invite, 183, A, SDP)
    ask(bed, invite, "BYE", 2, "a", "y1")
    bed.take(200)
    say(bed, invite, 200, B, SDP)
    [call] = bed.core.calls.values()
    assert call.end is None


def test_an_answer_after_the_servers_cancel_never_crosses() -> None:
    bed = Bed()
    branch = bed.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    say(bed, invite, 180, A)
    bed.m1.request("CANCEL", OUT, call_id="s-1", branch=branch)
    bed.m1.take(200)
    bed.m1.take(487)  # the attempt is over when its CANCEL is sent
    bed.reply(bed.take("CANCEL"), 200)
    bed.say(response_to(invite, 200, ["Contact: <sip:gw@127.0.0.22:5070>", TYPE], SDP, "a"))
    there = Flow("udp", LISTEN, ("127.0.0.22", 5070))
    bed.take("ACK", there)
    bed.take("BYE", there)
    assert not bed.m1.inbox and not bed.core.calls and bed.silent(CARRIER)
    assert bed.core.lines["trunk1"].busy == 0
