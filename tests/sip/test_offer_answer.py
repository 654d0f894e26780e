"""Offer and answer of one dialog: what is agreed, what a refused offer leaves, which version is told."""

from __future__ import annotations

import pytest

from sip.offer_answer import (
    AGREED,
    LOCAL_CHANGE,
    LOCAL_OFFER,
    NOTHING,
    REMOTE_CHANGE,
    REMOTE_OFFER,
    OfferAnswer,
    OfferAnswerState,
    description_in,
)
from sip.wire.message import parse
from sip.wire.sdp import endpoints, origin_of


def description(port: int, version: int = 1, session: int = 7) -> bytes:
    return (
        f"v=0\r\no=- {session} {version} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\n"
    ).encode()


OURS, THEIRS = description(4000), description(5000, session=9)


def agreed() -> OfferAnswer:
    machine = OfferAnswer()
    machine.send(OURS)
    machine.receive(THEIRS)
    machine.accept()
    return machine


STEPS = [
    # what happens, one letter each: we describe, they describe, accepted, refused
    ("s", LOCAL_OFFER),
    ("r", REMOTE_OFFER),
    ("sr", LOCAL_OFFER),  # an answer in a provisional response is a preview
    ("sra", AGREED),
    ("rsa", AGREED),
    ("sf", NOTHING),
    ("rf", NOTHING),
    ("srf", NOTHING),
    ("sras", LOCAL_CHANGE),
    ("srar", REMOTE_CHANGE),
    ("srasf", AGREED),
    ("srarf", AGREED),
    ("srasra", AGREED),
    ("srarsa", AGREED),
    ("a", NOTHING),
    ("f", NOTHING),
    ("sraf", AGREED),
    ("sraa", AGREED),
]


@pytest.mark.parametrize(("steps", "state"), STEPS)
def test_states(steps: str, state: str) -> None:
    machine = OfferAnswer()
    for step in steps:
        match step:
            case "s":
                machine.send(OURS)
            case "r":
                machine.receive(THEIRS)
            case "a":
                machine.accept()
            case _:
                machine.refuse()
    assert machine.state == state
    assert bool(machine.local and machine.remote) == (state in (AGREED, LOCAL_CHANGE, REMOTE_CHANGE))


@pytest.mark.parametrize("ours", [True, False])
def test_a_refused_change_leaves_what_was_agreed(ours: bool) -> None:
    machine = agreed()
    if ours:
        machine.send(description(4002, 2))
    else:
        machine.receive(description(5002, 2, 9))
    machine.refuse()
    assert (machine.local, machine.remote) == (OURS, THEIRS) == (machine.last_local, machine.last_remote)
    assert machine.refreshes(THEIRS) and not machine.refreshes(description(5002, 2, 9))


def test_nothing_is_agreed_before_it_is_accepted() -> None:
    machine = agreed()
    machine.send(description(4002, 2))
    machine.receive(description(5002, 2, 9))
    assert (machine.local, machine.remote) == (OURS, THEIRS)
    assert (machine.last_local, machine.last_remote) == (description(4002, 2), description(5002, 2, 9))
    assert not machine.refreshes(THEIRS)  # a change is under way
    machine.accept()
    assert (machine.local, machine.remote) == (description(4002, 2), description(5002, 2, 9))


def test_an_answer_that_was_only_previewed_counts() -> None:
    machine = OfferAnswer()
    machine.send(OURS)
    machine.receive(THEIRS)
    machine.accept()  # a 200 without a description after a 183 with one
    assert machine.remote == THEIRS


def test_a_change_without_an_answer_leaves_the_former_one() -> None:
    machine = agreed()
    machine.send(description(4002, 2))
    machine.accept()
    assert (machine.local, machine.remote) == (description(4002, 2), THEIRS)


def test_the_origin_line_goes_on_whoever_speaks() -> None:
    machine = OfferAnswer()
    machine.send(machine.continued(description(4000, 17, 7)))
    machine.accept()
    other = machine.continued(description(4444, 3, 99))
    machine.send(other)
    machine.accept()
    origin = origin_of(other)
    assert (origin.session_id, origin.version) == (b"7", 18)
    assert machine.continued(description(4444, 4, 99)) == other  # the same again has the same version


def test_no_version_is_used_for_two_descriptions() -> None:
    machine = OfferAnswer()
    machine.send(machine.continued(OURS))
    machine.receive(THEIRS)
    machine.accept()
    refused = machine.continued(description(4002))
    machine.send(refused)
    machine.refuse()
    assert machine.continued(description(4000)) == OURS  # what stands is what they know, with its version
    third = machine.continued(description(4004))
    assert [origin_of(one).version for one in (OURS, refused, third)] == [1, 2, 3]


def test_what_cannot_be_read_passes_unchanged() -> None:
    machine = agreed()
    assert machine.continued(b"v=0\r\n") == b"v=0\r\n"


MESSAGE = (
    "%s\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=a\r\nTo: <sip:b@h>;tag=b\r\nCall-ID: c\r\n"
    "CSeq: 1 %s\r\nContent-Type: %s\r\nContent-Length: 5\r\n\r\nv=0\r\n"
)


@pytest.mark.parametrize(
    ("start", "method", "kind", "carries"),
    [
        ("INVITE sip:b@h SIP/2.0", "INVITE", "application/sdp", True),
        ("ACK sip:b@h SIP/2.0", "ACK", "application/sdp", True),
        ("PRACK sip:b@h SIP/2.0", "PRACK", "application/sdp", True),
        ("UPDATE sip:b@h SIP/2.0", "UPDATE", "application/sdp", True),
        *((f"{method} sip:b@h SIP/2.0", method, "application/sdp", False) for method in ("INFO", "MESSAGE", "BYE")),
        ("SIP/2.0 200 OK", "INVITE", "application/sdp", True),
        ("SIP/2.0 200 OK", "INFO", "application/sdp", False),
        ("INVITE sip:b@h SIP/2.0", "INVITE", "text/plain", False),
    ],
)
def test_which_bodies_are_offers_and_answers(start: str, method: str, kind: str, carries: bool) -> None:
    message = parse((MESSAGE % (start, method, kind)).encode())
    assert (description_in(message) is not None) == carries


def test_a_body_that_nothing_is_said_of_is_a_description_when_it_looks_like_one() -> None:
    untold = parse((MESSAGE % ("INVITE sip:a@b SIP/2.0", "INVITE", "?")).replace("Content-Type: ?\r\n", "").encode())
    assert "content-type" not in untold and description_in(untold) == slice(0, len(untold.body))
    untold.body = b"hello"
    assert description_in(untold) is None


def test_an_offer_that_was_refused_before_anything_was_agreed_used_its_version() -> None:
    machine = OfferAnswer()
    machine.send(machine.continued(OURS))
    machine.refuse()
    assert origin_of(machine.continued(description(4002))).version == 2


def test_what_was_restored_from_text_knows_a_refresh() -> None:
    """Its state is an equal text, and another object."""
    state = agreed().export()
    found = OfferAnswer(state._replace(state="".join(list(state.state))))
    assert found.refreshes(THEIRS) and not found.refreshes(OURS)


def sections(*ports: int, version: int = 1, session: int = 7) -> bytes:
    """An audio section, and of video as many as there are further ports."""
    more = "".join(f"m=video {port} RTP/AVP 96\r\n" for port in ports[1:])
    return description(ports[0], version, session) + more.encode()


@pytest.mark.parametrize(
    ("local", "remote", "offered", "told"),
    [
        # what they know of us, what of themselves, what is to be offered, and with which ports it is
        ((4000, 4002), (5000, 5002), (4444,), (4444, 0)),
        ((4000, 4002), (5000, 0), (4444,), (4444, 0)),
        ((4000, 0), (5000, 0), (4444,), (4444, 0)),
        ((4000, 4002, 4004), (5000, 5002, 0), (4444,), (4444, 0, 0)),
        ((4000, 4002), (5000, 5002), (4444, 4446), (4444, 4446)),
        ((4000, 4002), (5000, 5002), (4444, 4446, 4448), (4444, 4446, 4448)),
        ((4000,), (5000,), (4444,), (4444,)),
        ((4000,), (5000,), (4444, 4446), (4444, 4446)),
        # one that was answered less than it had offered knows what it had
        ((4000,), (5000, 5002), (4444,), (4444, 0)),
    ],
)
def test_an_offer_has_all_sections_of_the_session(
    local: tuple[int, ...], remote: tuple[int, ...], offered: tuple[int, ...], told: tuple[int, ...]
) -> None:
    machine = OfferAnswer()
    machine.send(machine.continued(sections(*local)))
    machine.receive(sections(*remote, session=9))
    machine.accept()
    offer = machine.continued(sections(*offered, version=5, session=99))
    assert [one.port for one in endpoints(offer)] == list(told)
    assert origin_of(offer) == origin_of(OURS)._replace(version=2)
    machine.send(offer)
    assert machine.continued(sections(*offered, version=6, session=99)) == offer, "the same again is the same"
    machine.receive(sections(*[5000] * len(told), session=9))
    machine.accept()
    again = machine.continued(sections(4500, session=99))
    assert len(endpoints(again)) == len(told) and origin_of(again).version == 3


@pytest.mark.parametrize(
    ("offered", "answered", "told"),
    [
        ((5000, 5002), (4444,), (4444, 0)),
        ((5000,), (4444, 4446), (4444,)),
        ((5000, 5002), (4444, 4446), (4444, 4446)),
        ((5000, 0, 5004), (4444,), (4444, 0, 0)),
    ],
)
def test_an_answer_has_the_sections_of_its_offer(
    offered: tuple[int, ...], answered: tuple[int, ...], told: tuple[int, ...]
) -> None:
    machine = agreed()
    machine.receive(sections(*offered, session=9))
    answer = machine.continued(sections(*answered, session=99))
    assert [one.port for one in endpoints(answer)] == list(told)
    machine.send(answer)
    machine.accept()
    assert machine.local == answer


def test_an_offer_that_was_refused_adds_no_section() -> None:
    machine = agreed()
    machine.send(machine.continued(sections(4000, 4002)))
    machine.refuse()
    assert machine.continued(description(4000)) == OURS
    first = OfferAnswer()
    first.send(first.continued(sections(4000, 4002)))
    first.refuse()
    assert len(endpoints(first.continued(description(4002)))) == 1


def test_nothing_is_added_to_what_opens_a_session_or_cannot_be_read() -> None:
    machine = OfferAnswer()
    machine.receive(sections(5000, 5002))
    for body in (description(4000), description(4002)):  # 183 and 200
        told = machine.continued(body)
        assert len(endpoints(told)) == 1
        machine.send(told)
    broken = b"v=0\r\n"
    assert agreed().fitted(broken) == broken


def test_a_session_of_which_only_the_outline_is_known_has_its_sections() -> None:
    newest = b"v=0\r\no=- 7 1001 IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 96\n"
    machine = OfferAnswer(OfferAnswerState(AGREED, newest=newest))
    offer = machine.continued(description(4444, session=99))
    assert [(one.media, one.port) for one in endpoints(offer)] == [("audio", 4444), ("video", 0)]
    assert (origin_of(offer).session_id, origin_of(offer).version) == (b"7", 1002)
