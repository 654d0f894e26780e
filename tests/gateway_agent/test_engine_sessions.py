"""Sessions at rtpengine: made ahead, told of both sides, adopted after a restart, and left when a daemon is gone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway_agent.media.ports import Count, Counts, Keys, Remote, Silent
from gateway_agent.rtpengine.engine import STOCK_LIFE
from sip.wire.sdp import SdpError
from tests.gateway_agent.engines import V4, A, B, Daemon, Site, described


def test_a_session_is_at_hand_and_is_told_of_both_sides_once_they_are_known() -> None:
    site = Site()
    (daemon,) = site.daemons
    here, there = site.taken()
    assert (here.address, there.address) == ("198.51.100.1", "198.51.100.1") and here.port != there.port
    heard = len(daemon.heard)
    site.sessions.set_remote(here, A, direction="sendonly")
    site.pump()
    assert len(daemon.heard) == heard, "nothing can flow yet"
    site.sessions.set_remote(there, B)
    site.pump()
    assert [words["command"] for words in daemon.heard[heard:]] == ["offer", "answer"]
    (call,) = [call for call in daemon.calls.values() if call["ports"] == {"here": here.port, "there": there.port}]
    assert described(call["sdp"]["here"]) == ["192.0.2.5", "audio 4000", "sendonly"]
    assert described(call["sdp"]["there"]) == ["192.0.2.6", "audio 5000", "sendrecv"]
    assert all(words["flags"] == ["port latching", "trust address"] for words in daemon.heard[heard:])
    assert not site.troubles()


@pytest.mark.parametrize(
    "remote, lines, more",
    [
        (A._replace(kind="udptl"), ["192.0.2.5", "image 4000", "sendrecv"], {}),
        (A._replace(rtcp=4009), ["192.0.2.5", "audio 4000", "sendrecv", "rtcp:4009"], {}),
        (A._replace(address="0.0.0.0"), ["0.0.0.0", "audio 4000", "sendrecv"], {}),
        (
            A._replace(address="10.0.0.5", eager=False),
            ["10.0.0.5", "audio 4000", "sendrecv"],
            {"flags": ["port latching", "SIP source address"], "received-from": ["IP4", "192.0.2.5"]},
        ),
    ],
)
def test_what_a_device_describes_is_what_rtpengine_is_told(
    remote: Remote, lines: list[str], more: dict[str, Any]
) -> None:
    site = Site()
    here, there = site.taken()
    site.sessions.set_remote(there, B)
    site.sessions.set_remote(here, remote)
    site.pump()
    offer = next(words for words in reversed(site.daemons[0].heard) if words["command"] == "offer")
    assert described(offer["sdp"]) == lines
    assert {key: offer[key] for key in more} == more


def test_a_change_of_one_side_is_told_with_what_the_other_stands_by() -> None:
    site = Site()
    here, there = site.taken()
    site.sessions.set_remote(here, A)
    site.sessions.set_remote(there, B)
    site.pump()
    heard = len(site.daemons[0].heard)
    site.sessions.set_remote(there, B)
    site.pump()
    assert len(site.daemons[0].heard) == heard, "nothing new"
    site.sessions.set_remote(there, B._replace(rtp=5010))
    site.pump()
    told = [(words["command"], words["from-tag"], words["to-tag"]) for words in site.daemons[0].heard[heard:]]
    assert told == [("offer", "there", "here"), ("answer", "there", "here")]
    assert "m=audio 5010 " in site.daemons[0].heard[heard]["sdp"]
    assert "m=audio 4000 " in site.daemons[0].heard[heard + 1]["sdp"]


def test_commands_of_a_session_go_one_by_one_and_are_sent_again_until_they_are_answered() -> None:
    site = Site()
    (daemon,) = site.daemons
    here, there = site.taken()
    daemon.up = False
    site.sessions.set_remote(here, A)
    site.sessions.set_remote(there, B)
    site.run(0.3)
    daemon.up = True
    heard = len(daemon.heard)
    site.run(1.0)
    told = [words["command"] for words in daemon.heard[heard:] if "192.0.2." in words.get("sdp", "")]
    assert told == ["offer", "answer"]
    daemon.up = False
    site.sessions.release(here)
    site.sessions.release(there)
    site.run(0.1)
    daemon.up = True
    site.run(1.0)
    assert len(daemon.calls) == 3 and site.sessions.in_use == 0, "only the stock is left, full again"


def test_what_is_taken_is_made_again_and_what_is_old_is_replaced() -> None:
    site = Site()
    (daemon,) = site.daemons
    first = set(daemon.calls)
    assert len(first) == 3
    for _ in range(3):
        site.taken()
    assert site.sessions.take(V4) is None and site.sessions.shortage() == "rtpengine has no session ready now"
    site.run(0.5)
    site.taken()
    site.run(0.5)
    stock = set(daemon.calls) - first
    site.run(STOCK_LIFE)
    assert len(set(daemon.calls)) == 4 + 3 and first < set(daemon.calls), "calls stay"
    assert len(set(daemon.calls) & stock) == 1, "only the one that is in use"


def test_new_calls_go_to_the_daemon_with_the_fewest() -> None:
    site = Site(Daemon("198.51.100.1"), Daemon("198.51.100.2"))
    assert [site.taken()[0].address for _ in range(4)] == ["198.51.100.1", "198.51.100.2"] * 2


def test_a_daemon_that_does_not_answer_gets_no_calls_until_it_does() -> None:
    site = Site(Daemon("198.51.100.1"), Daemon("198.51.100.2"))
    site.daemons[0].up = False
    site.run(8.0)
    assert [engine.up for engine in site.sessions.engines] == [False, True]
    assert site.sessions.engines[0].trouble == "rtpengine at 198.51.100.1:2223 does not answer"
    assert {site.taken()[0].address for _ in range(3)} == {"198.51.100.2"}
    site.daemons[0].up = True
    site.run(5.0)
    assert site.taken()[0].address == "198.51.100.1" and not site.sessions.engines[0].trouble


def test_a_daemon_that_nobody_listens_for_is_left_at_once() -> None:
    site = Site(Daemon("198.51.100.1"), Daemon("198.51.100.2"))
    site.daemons[0].up = False
    site.sessions.refused(0, site.now)
    site.pump()
    assert {site.taken()[0].address for _ in range(3)} == {"198.51.100.2"}
    assert site.troubles() == ["rtpengine at 198.51.100.1:2223 does not answer; new calls get their media elsewhere"]


def test_no_daemon_is_said_by_name() -> None:
    site = Site()
    site.daemons[0].up = False
    site.run(8.0)
    assert site.sessions.take(V4) is None
    assert site.sessions.shortage() == "no rtpengine answers at 198.51.100.1:2223"
    with pytest.raises(SdpError, match="no rtpengine answers"):
        site.sessions.place(True)


def test_the_next_start_goes_on_with_the_sessions_of_its_calls_and_deletes_the_others() -> None:
    site = Site()
    (daemon,) = site.daemons
    here, there = site.taken()
    site.sessions.set_remote(here, A)
    site.sessions.set_remote(there, B)
    site.pump()
    site.taken()
    cookie = site.sessions.cookie(here)
    daemon.calls["somebody else's"] = {"ports": {}, "sdp": {}, "packets": {}}
    site.begin()
    site.sessions.adopt(here, there, cookie)
    site.run(0.5)
    assert len(daemon.calls) > 5
    site.sessions.audit()
    site.run(0.5)
    kept = [id_ for id_ in daemon.calls if daemon.calls[id_]["ports"] == {"here": here.port, "there": there.port}]
    assert len(kept) == 1 and "somebody else's" in daemon.calls and len(daemon.calls) == 1 + 1 + 3
    heard = len(daemon.heard)
    site.sessions.set_remote(here, A._replace(rtp=4010))
    site.pump()
    told = [words for words in daemon.heard[heard:] if words["command"] != "query"]
    assert [words["command"] for words in told] == ["offer"], "of the other side rtpengine knows more than we do"
    assert "m=audio 4010 " in told[0]["sdp"] and not site.troubles()


def test_a_daemon_that_has_forgotten_a_call_is_told_of() -> None:
    site = Site()
    here, there = site.taken()
    site.sessions.set_remote(here, A)
    site.sessions.set_remote(there, B)
    site.pump()
    site.daemons[0].up = False
    site.run(8.0)
    site.daemons[0].calls.clear()
    site.daemons[0].up = True
    site.run(4.0)
    assert any("no longer has the media of a call" in sentence for sentence in site.troubles())


def test_other_ports_than_before_are_told_of() -> None:
    site = Site()
    here, there = site.taken()
    site.sessions.set_remote(here, A)
    site.daemons[0].calls.clear()
    site.sessions.set_remote(there, B)
    site.pump()
    assert any("is its timeout too short?" in sentence for sentence in site.troubles())


def test_silence_is_told_once_and_counters_are() -> None:
    site = Site()
    (daemon,) = site.daemons
    here, there = site.taken()
    site.sessions.watch(here, 8.0)
    call = next(one for one in daemon.calls.values() if one["ports"] == {"here": here.port, "there": there.port})
    call["packets"]["here"] = 50
    site.run(7.0)
    assert not [one for one in site.notices if isinstance(one, Silent)]
    site.run(8.0)
    (silent,) = [one for one in site.notices if isinstance(one, Silent)]
    assert silent.pairs == (here, there) and silent.seconds >= 8.0
    site.run(8.0)
    assert len([one for one in site.notices if isinstance(one, Silent)]) == 1
    site.notices.clear()
    site.sessions.count([here, there])
    site.pump()
    (counts,) = [one for one in site.notices if isinstance(one, Counts)]
    first, second = counts.counts
    assert first[:4] == (here, 50, 50 * 172, 1) and first.silent_s is not None and second.silent_s is None
    assert site.sessions.total.packets == 50
    site.sessions.release(here)
    assert site.sessions.total.packets == 50, "what is over counts on"


def test_media_is_silent_when_its_daemon_is_gone() -> None:
    site = Site()
    here, there = site.taken()
    call = next(iter(site.daemons[0].calls.values()))
    call["packets"] = {"here": 5, "there": 5}
    site.sessions.watch(here, 5.0)
    site.run(2.0)
    site.daemons[0].up = False
    site.run(12.0)
    assert [one.pairs for one in site.notices if isinstance(one, Silent)] == [(here, there)]
    site.notices.clear()
    site.sessions.count([here])
    site.pump()
    (counts,) = [one for one in site.notices if isinstance(one, Counts)]
    assert all(isinstance(one, Count) and (one.silent_s or 0.0) > 5.0 for one in counts.counts)


def test_both_families_meet_in_a_session() -> None:
    site = Site(Daemon("198.51.100.1", "2001:db8::61"), ahead=4)
    here, there = site.taken((True, False))
    assert (here.address, there.address) == ("2001:db8::61", "198.51.100.1")
    site.sessions.set_remote(here, Remote("2001:db8::5", 4000, 4001, eager=True))
    site.sessions.set_remote(there, B)
    site.pump()
    said = [words for words in site.daemons[0].heard if re.search("m=audio [45]000 ", words.get("sdp", ""))]
    offer, answer = said
    assert (offer["address family"], answer["address family"]) == ("IP4", "IP6")
    assert "c=IN IP6 2001:db8::5" in offer["sdp"]


def test_srtp_with_keys_is_refused() -> None:
    site = Site()
    here, _ = site.taken()
    with pytest.raises(SdpError, match="own relay only"):
        site.sessions.set_remote(here, A, keys=Keys("AES_CM_128_HMAC_SHA1_80", "", ""))


def test_garbage_and_answers_of_another_daemon_are_passed_over() -> None:
    site = Site(Daemon("198.51.100.1"), Daemon("198.51.100.2"))
    site.sessions.receive(0, b"garbage", site.now)
    site.sessions.count([site.taken()[0]])
    (sent,) = site.sessions.to_send(site.now)
    number, data = sent
    site.sessions.receive(1 - number, site.daemons[number].obey(data), site.now)
    assert not site.sessions.notices()
    site.sessions.receive(number, site.daemons[number].obey(data), site.now)
    assert site.sessions.notices()
