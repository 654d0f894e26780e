"""Forks of a call to a device: each early dialog has its own numbers and target, and requests find theirs."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.wire.message import Request, Response
from tests.gateway_agent.agent_fixture import CARRIER, LISTEN, SDP, AgentFixture, dialog_lines, message, response_to

TYPE = "Content-Type: application/sdp"
OUT = "sip:+33166@gw1;line=trunk1"
A, B = ("a", "127.0.0.22:5070"), ("b", "127.0.0.23:5080")


def called(fixture: AgentFixture) -> Request:
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite: Request = fixture.take("INVITE")
    return invite


def say(fixture: AgentFixture, invite: Request, status: int, fork: tuple[str, str], body: bytes = b"") -> Response:
    """A fork answers; what the server gets."""
    tag, place = fork
    lines = [f"Contact: <sip:gw@{place}>", *([TYPE] if body else [])]
    fixture.say(response_to(invite, status, lines, body, tag))
    got: Response = fixture.m1.take(status)
    return got


def ask(fixture: AgentFixture, invite: Request, method: str, cseq: int, tag: str, branch: str) -> None:
    """A fork asks something in its dialog."""
    head = [
        f"{method} sip:x@127.0.0.11 SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bK{branch}",
        *dialog_lines(invite.to_untagged, tag, invite.from_untagged, invite.from_tag),
        f"Call-ID: {invite.call_id}",
        f"CSeq: {cseq} {method}",
    ]
    fixture.say(message(head, b""))


def to_server(fixture: AgentFixture, kind: str) -> Request:
    fixture.m1.inbox = type(fixture.m1.inbox)(one for one in fixture.m1.inbox if isinstance(one, Request))
    got: Request = fixture.m1.take(kind)
    return got


def test_a_number_in_one_early_dialog_spoils_no_other() -> None:
    fixture = AgentFixture()
    invite = called(fixture)
    say(fixture, invite, 183, A, SDP)
    ask(fixture, invite, "UPDATE", 5000, "a", "u1")
    fixture.take(200)
    ok = say(fixture, invite, 200, B, SDP)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
    ask(fixture, invite, "BYE", 2, "b", "y1")
    fixture.take(200)
    assert to_server(fixture, "BYE").from_tag == "b"


def test_an_order_within_one_early_dialog_is_kept() -> None:
    fixture = AgentFixture()
    invite = called(fixture)
    say(fixture, invite, 183, A, SDP)
    say(fixture, invite, 180, B)
    for cseq, tag, status in ((7, "a", 0), (7, "b", 0), (6, "a", 500), (8, "b", 0), (9, "c", 481)):
        ask(fixture, invite, "INFO", cseq, tag, f"i{cseq}{tag}")
        if status:
            assert fixture.take(status)
        else:
            info = to_server(fixture, "INFO")
            assert info.from_tag == tag
            fixture.m1.reply(info, 200)
            assert fixture.take(200).from_tag == tag


def test_the_numbers_towards_the_servers_are_one_row_for_all_forks() -> None:
    fixture = AgentFixture()
    invite = called(fixture)
    say(fixture, invite, 183, A, SDP)
    say(fixture, invite, 180, B)
    seen = []
    for cseq, tag in ((2, "a"), (2, "b"), (3, "a")):
        ask(fixture, invite, "INFO", cseq, tag, f"n{cseq}{tag}")
        info = to_server(fixture, "INFO")
        seen.append((info.cseq, info.from_tag))
        fixture.m1.reply(info, 200)
    assert seen == [(1, "a"), (2, "b"), (3, "a")]


@pytest.mark.parametrize("fork", [A, B])
def test_a_request_of_a_server_goes_to_the_fork_that_it_is_for(fork: tuple[str, str]) -> None:
    fixture = AgentFixture()
    invite = called(fixture)
    early = {tag: say(fixture, invite, 183, (tag, place), SDP) for tag, place in (A, B)}
    tag, place = fork
    fixture.m1.request("INFO", "sip:gw1", call_id="s-1", to_tag=early[tag].to_tag, cseq=2, origin="gw2;z9hG4bKi;1")
    host, port = place.split(":")
    info = fixture.take("INFO", Flow("udp", LISTEN, (host, int(port))))
    assert (info.to_tag, info.uri, info.cseq) == (tag, f"sip:gw@{place}", 2)


def test_a_device_s_request_in_an_early_dialog_keeps_its_tag() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    for tag in ("far1", "far2"):
        fixture.m1.reply(invite, 183, [TYPE], SDP, tag=tag)
        fixture.take(183)
    for cseq, tag in ((2, "far2"), (3, "far1")):
        fixture.request("INFO", to_tag=tag, cseq=cseq)
        info = fixture.m1.take("INFO")
        assert info.to_tag == tag
        fixture.m1.reply(info, 200)
        fixture.take(200)


def test_a_bye_in_an_early_dialog_of_the_called_side_ends_no_call() -> None:
    fixture = AgentFixture()
    invite = called(fixture)
    say(fixture, invite, 183, A, SDP)
    ask(fixture, invite, "BYE", 2, "a", "y1")
    fixture.take(200)
    say(fixture, invite, 200, B, SDP)
    [call] = fixture.core.calls.values()
    assert call.end is None


def test_an_answer_after_the_servers_cancel_never_crosses() -> None:
    fixture = AgentFixture()
    branch = fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    say(fixture, invite, 180, A)
    fixture.m1.request("CANCEL", OUT, call_id="s-1", branch=branch)
    fixture.m1.take(200)
    fixture.m1.take(487)  # the attempt is over when its CANCEL is sent
    fixture.reply(fixture.take("CANCEL"), 200)
    fixture.say(response_to(invite, 200, ["Contact: <sip:gw@127.0.0.22:5070>", TYPE], SDP, "a"))
    there = Flow("udp", LISTEN, ("127.0.0.22", 5070))
    fixture.take("ACK", there)
    fixture.take("BYE", there)
    assert not fixture.m1.inbox and not fixture.core.calls and fixture.silent(CARRIER)
    assert fixture.core.lines["trunk1"].busy == 0
