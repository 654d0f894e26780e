"""Ended calls are freed by reference counts: a collection finds nothing of them, whatever they came to."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

import pytest

from tests.gateway_agent.bed import SDP, SITE, Bed

TYPE = ["Content-Type: application/sdp"]
OUT = "sip:+33166@gw1;line=trunk1"
HOLD = SDP.replace(b"sendrecv", b"sendonly")


def device_hangs_up(bed: Bed) -> None:
    bed.answered_in()
    bed.request("BYE", to_tag="srvtag", cseq=2)
    bed.take(200)
    bed.m1.reply(bed.m1.take("BYE"), 200)


def server_hangs_up(bed: Bed) -> None:
    _, ok = bed.answered_out()
    bed.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKb;1")
    bed.reply(bed.take("BYE"), 200)
    bed.m1.take(200)


def device_cancels(bed: Bed) -> None:
    branch = bed.request("INVITE", body=SDP)
    invite = bed.m1.take("INVITE")
    bed.m1.reply(invite, 180)
    bed.request("CANCEL", branch=branch)
    bed.m1.reply(bed.m1.take("CANCEL"), 200)
    bed.m1.reply(invite, 487)
    bed.m1.take("ACK")


def server_cancels(bed: Bed) -> None:
    branch = bed.m1.request("INVITE", OUT, body=SDP, call_id="s-2", origin="gw2;z9hG4bKc;1")
    invite = bed.take("INVITE")
    bed.reply(invite, 180)
    bed.m1.request("CANCEL", OUT, call_id="s-2", branch=branch)
    bed.reply(bed.take("CANCEL"), 200)
    bed.reply(invite, 487)


def device_answers_all_the_same(bed: Bed) -> None:
    branch = bed.m1.request("INVITE", OUT, body=SDP, call_id="s-3", origin="gw2;z9hG4bKd;1")
    invite = bed.take("INVITE")
    bed.reply(invite, 180)
    bed.m1.request("CANCEL", OUT, call_id="s-3", branch=branch)
    bed.reply(bed.take("CANCEL"), 200)
    bed.reply(invite, 200, TYPE, SDP)
    bed.take("ACK")
    bed.reply(bed.take("BYE"), 200)


def refused(bed: Bed) -> None:
    bed.m1.request("INVITE", OUT, body=SDP, call_id="s-4", origin="gw2;z9hG4bKe;1")
    bed.reply(bed.take("INVITE"), 486)
    bed.m1.inbox.clear()
    bed.request("INVITE", body=SDP)
    bed.m1.reply(bed.m1.take("INVITE"), 404)


def nobody_answers(bed: Bed) -> None:
    bed.m1.request("INVITE", OUT, body=SDP, call_id="s-5", origin="gw2;z9hG4bKf;1")
    bed.run(40)


def no_server(bed: Bed) -> None:
    bed.kill(bed.m1)
    bed.request("INVITE", body=SDP)
    bed.run(9)
    bed.m1.up = True
    bed.run(5)
    assert bed.m1.subscribe(epoch=bed.core.epoch + 1) == 200


def changes(bed: Bed) -> None:
    bed.answered_in()
    bed.request("INVITE", to_tag="srvtag", cseq=2, body=HOLD)
    bed.m1.reply(bed.m1.take("INVITE"), 200, TYPE, SDP)
    bed.request("ACK", to_tag="srvtag", cseq=2)
    bed.m1.take("ACK")
    branch = bed.request("INVITE", to_tag="srvtag", cseq=3, body=SDP)
    again = bed.m1.take("INVITE")
    bed.m1.reply(again, 100)
    bed.request("CANCEL", branch=branch, cseq=3, to_tag="srvtag")
    bed.m1.reply(bed.m1.take("CANCEL"), 200)
    bed.m1.reply(again, 487)
    bed.m1.take("ACK")
    bed.request("INFO", to_tag="srvtag", cseq=4)
    bed.request("BYE", to_tag="srvtag", cseq=5)
    bed.m1.reply(bed.m1.take("INFO"), 200)
    bed.m1.reply(bed.m1.take("BYE"), 200)


def no_ack(bed: Bed) -> None:
    bed.request("INVITE", body=SDP)
    bed.m1.reply(bed.m1.take("INVITE"), 200, TYPE, SDP)
    bed.run(40)
    for one in list(bed.m1.inbox):
        if "BYE" in one.to_bytes().decode("latin-1").split("\r\n")[0]:
            bed.m1.reply(one, 200)  # type: ignore[arg-type]


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
def test_nothing_is_left_for_a_collection(kind: Callable[[Bed], None]) -> None:
    bed = Bed(text=SITE)

    def play() -> None:
        kind(bed)
        bed.run(140)
        for box in (bed.m1.inbox, bed.m2.inbox, bed.m1.beats, bed.m2.beats, *bed.inbox.values()):
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
    assert not found and not bed.core.calls
