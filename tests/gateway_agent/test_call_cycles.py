"""Ended calls are freed by reference counts: a collection finds nothing of them, whatever they came to."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

import pytest

from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture

TYPE = ["Content-Type: application/sdp"]
OUT = "sip:+33166@gw1;line=trunk1"
HOLD = SDP.replace(b"sendrecv", b"sendonly")


def device_hangs_up(fixture: AgentFixture) -> None:
    fixture.answered_in()
    fixture.request("BYE", to_tag="srvtag", cseq=2)
    fixture.take(200)
    fixture.m1.reply(fixture.m1.take("BYE"), 200)


def server_hangs_up(fixture: AgentFixture) -> None:
    _, ok = fixture.answered_out()
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKb;1")
    fixture.reply(fixture.take("BYE"), 200)
    fixture.m1.take(200)


def device_cancels(fixture: AgentFixture) -> None:
    branch = fixture.request("INVITE", body=SDP)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 180)
    fixture.request("CANCEL", branch=branch)
    fixture.m1.reply(fixture.m1.take("CANCEL"), 200)
    fixture.m1.reply(invite, 487)
    fixture.m1.take("ACK")


def server_cancels(fixture: AgentFixture) -> None:
    branch = fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-2", origin="gw2;z9hG4bKc;1")
    invite = fixture.take("INVITE")
    fixture.reply(invite, 180)
    fixture.m1.request("CANCEL", OUT, call_id="s-2", branch=branch)
    fixture.reply(fixture.take("CANCEL"), 200)
    fixture.reply(invite, 487)


def device_answers_all_the_same(fixture: AgentFixture) -> None:
    branch = fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-3", origin="gw2;z9hG4bKd;1")
    invite = fixture.take("INVITE")
    fixture.reply(invite, 180)
    fixture.m1.request("CANCEL", OUT, call_id="s-3", branch=branch)
    fixture.reply(fixture.take("CANCEL"), 200)
    fixture.reply(invite, 200, TYPE, SDP)
    fixture.take("ACK")
    fixture.reply(fixture.take("BYE"), 200)


def refused(fixture: AgentFixture) -> None:
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-4", origin="gw2;z9hG4bKe;1")
    fixture.reply(fixture.take("INVITE"), 486)
    fixture.m1.inbox.clear()
    fixture.request("INVITE", body=SDP)
    fixture.m1.reply(fixture.m1.take("INVITE"), 404)


def nobody_answers(fixture: AgentFixture) -> None:
    fixture.m1.request("INVITE", OUT, body=SDP, call_id="s-5", origin="gw2;z9hG4bKf;1")
    fixture.run(40)


def no_server(fixture: AgentFixture) -> None:
    fixture.kill(fixture.m1)
    fixture.request("INVITE", body=SDP)
    fixture.run(9)
    fixture.m1.up = True
    fixture.run(5)
    assert fixture.m1.subscribe(epoch=fixture.core.epoch + 1) == 200


def changes(fixture: AgentFixture) -> None:
    fixture.answered_in()
    fixture.request("INVITE", to_tag="srvtag", cseq=2, body=HOLD)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, TYPE, SDP)
    fixture.request("ACK", to_tag="srvtag", cseq=2)
    fixture.m1.take("ACK")
    branch = fixture.request("INVITE", to_tag="srvtag", cseq=3, body=SDP)
    again = fixture.m1.take("INVITE")
    fixture.m1.reply(again, 100)
    fixture.request("CANCEL", branch=branch, cseq=3, to_tag="srvtag")
    fixture.m1.reply(fixture.m1.take("CANCEL"), 200)
    fixture.m1.reply(again, 487)
    fixture.m1.take("ACK")
    fixture.request("INFO", to_tag="srvtag", cseq=4)
    fixture.request("BYE", to_tag="srvtag", cseq=5)
    fixture.m1.reply(fixture.m1.take("INFO"), 200)
    fixture.m1.reply(fixture.m1.take("BYE"), 200)


def no_ack(fixture: AgentFixture) -> None:
    fixture.request("INVITE", body=SDP)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, TYPE, SDP)
    fixture.run(40)
    for one in list(fixture.m1.inbox):
        if "BYE" in one.to_bytes().decode("latin-1").split("\r\n")[0]:
            fixture.m1.reply(one, 200)  # type: ignore[arg-type]


KINDS = (
    device_hangs_up,
    server_hangs_up,
    device_cancels,
    server_cancels,
    device_answers_all_the_same,
    refused,
    nobody_answers,
    no_server,
    changes,
    no_ack,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_left_for_a_collection(kind: Callable[[AgentFixture], None]) -> None:
    fixture = AgentFixture(text=SITE)

    def play() -> None:
        kind(fixture)
        fixture.run(140)
        for box in (fixture.m1.inbox, fixture.m2.inbox, fixture.m1.beats, fixture.m2.beats, *fixture.inbox.values()):
            box.clear()

    play()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        play()
        gc.collect()
        found = Counter(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not found and not fixture.core.calls
