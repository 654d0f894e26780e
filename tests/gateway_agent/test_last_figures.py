"""What a relay has measured goes to the servers with the end of a call, which waits for it a moment."""

from __future__ import annotations

import pytest

from gateway_agent.e_model import mean_opinion_score, rating
from gateway_agent.last_figures import codec_of
from gateway_agent.media.ports import Figures, Measured, Pair
from sip.packages.line_dialog import DialogRecord
from tests.gateway_agent.agent_fixture import SDP
from tests.gateway_agent.test_media_timeout import HOST, Relayed

A, B = Pair(HOST, 20000), Pair(HOST, 20002)
MEASURED = Measured((Figures(A, 98, 2, 4.0, 0), Figures(B, 100, 0, 0.04, 0)))
TOLD = (
    f"device;packets=98;lost=2;jitter=4.0;mos={mean_opinion_score(rating(108, 0.02)):.2f}, "
    f"far;packets=100;lost=0;jitter=0.0;mos={mean_opinion_score(rating(100.08, 0)):.2f}"
)


def measuring() -> Relayed:
    return Relayed(ready='{"is":"ready","figures":true}')


def _released(call: Relayed) -> None:
    """A server says BYE."""
    invite, server = call.invite, call.fixture.m1
    tags = {"call_id": invite.call_id, "from_tag": "srvtag", "to_tag": invite.from_tag}
    server.request("BYE", "sip:gw1", cseq=2, origin="gw2;z9hG4bKb;1", **tags)


def test_the_bye_of_a_device_waits_for_the_relay() -> None:
    call = measuring()
    call.fixture.request("BYE", to_tag="srvtag", cseq=2)
    assert call.fixture.silent() and call.said("figures") == [[[[*A], [*B]]]]
    call.hear(MEASURED)
    bye = call.fixture.m1.take("BYE")
    assert bye.get("media-quality") == TOLD
    call.fixture.m1.reply(bye, 200)
    assert call.fixture.take(200).get("media-quality") is None
    [gone] = call.fixture.core.gone
    assert gone.record.ended is not None and gone.record.ended.media == TOLD
    assert DialogRecord.decode(gone.record.encode().encode()).ended == gone.record.ended


def test_a_relay_that_says_nothing_is_not_waited_for_long() -> None:
    call = measuring()
    call.fixture.request("BYE", to_tag="srvtag", cseq=2)
    assert call.fixture.silent()
    call.fixture.run(0.06)
    assert call.fixture.m1.take("BYE").get("media-quality") is None
    call.hear(MEASURED)
    assert not call.ports.in_use


def test_a_server_hears_it_with_the_answer_to_its_bye() -> None:
    call = measuring()
    _released(call)
    assert call.fixture.silent()
    call.hear(MEASURED)
    call.fixture.reply(call.fixture.take("BYE"), 200)
    assert call.fixture.m1.take(200).get("media-quality") == TOLD


def test_of_two_ends_at_once_both_are_gone_on_with() -> None:
    call = measuring()
    call.fixture.request("BYE", to_tag="srvtag", cseq=2)
    _released(call)
    call.hear(MEASURED)
    assert call.fixture.m1.take(481).get("media-quality") == TOLD
    assert call.fixture.take(200)
    assert not call.fixture.core.calls and call.fixture.silent()


def test_the_agents_own_end_waits_too() -> None:
    call = measuring()
    call.fixture.run(31)
    call.silent()
    call.counts(31.0, 30.5)
    assert call.fixture.silent()
    call.hear(MEASURED)
    assert call.fixture.m1.take("BYE").get("media-quality") == TOLD
    assert call.fixture.take("BYE").get("media-quality") is None


def test_an_older_relay_is_asked_nothing() -> None:
    call = Relayed()
    call.fixture.request("BYE", to_tag="srvtag", cseq=2)
    assert call.fixture.m1.take("BYE").get("media-quality") is None
    assert call.said("figures") == []


@pytest.mark.parametrize(
    "payload_type, described, impairment",
    [
        (0, SDP, 0),
        (18, SDP, 11),
        (97, b"v=0\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 G729/8000\r\n", 11),
        (96, b"v=0\r\na=rtpmap:96 opus/48000/2\r\n", 0),
        (-1, b"", 0),
    ],
)
def test_the_codec_is_known_by_its_payload_type(payload_type: int, described: bytes, impairment: float) -> None:
    assert codec_of(payload_type, described).impairment == impairment


def test_a_device_cannot_say_it_for_its_agent() -> None:
    call = Relayed()
    call.fixture.request("BYE", to_tag="srvtag", cseq=2, lines=["Media-Quality: device;packets=1;lost=0;jitter=0"])
    assert call.fixture.m1.take("BYE").get("media-quality") is None
