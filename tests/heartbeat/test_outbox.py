"""Nothing is said before what it rests on is on disk."""

from __future__ import annotations

from dataclasses import replace

from heartbeat.decision import Persist, Tell, What
from heartbeat.header import AGENT
from heartbeat.outbox import Outbox
from heartbeat.persistent_state import Leadership, PersistentState
from tests.heartbeat.ballot_world import membership

DISK = PersistentState(incarnation=3, serial=10, leadership=Leadership(7, "m1", 2))


def outbox() -> Outbox:
    return Outbox("gw1", membership(1), DISK, lambda: AGENT, {"m1": 41}.get)  # type: ignore[arg-type]


def later(serial: int) -> PersistentState:
    return replace(DISK, serial=serial, leadership=Leadership(8, "m2", 1))


def test_what_the_disk_has_is_done_at_once() -> None:
    it, done = outbox(), list[float]()
    it.when_durable(DISK, done.append, 1.0)
    assert done == [1.0] and it.to_do() == []


def test_what_rests_on_a_later_state_waits_for_it_in_order() -> None:
    it, done = outbox(), list[str]()
    it.when_durable(later(11), lambda now: done.append("first"), 1.0)
    it.when_durable(later(12), lambda now: done.append("second"), 1.0)
    it.when_durable(later(12), lambda now: done.append("third"), 1.0)
    assert it.to_do() == [Persist(later(11)), Persist(later(12))]
    it.persisted(later(11), 2.0)
    assert it.on_disk == later(11) and it.leadership == later(11).leadership
    it.release(2.0)
    assert done == ["first"]
    it.persisted(later(12), 3.0)
    it.release(3.0)
    assert done == ["first", "second", "third"]
    assert it.persisted(later(11), 4.0) is None, "the disk may report late"


def test_what_cannot_be_written_is_never_said_and_is_asked_for_again() -> None:
    it, done = outbox(), list[float]()
    it.when_durable(later(11), done.append, 1.0)
    it.not_persisted(later(11), "no space left", 1.5)
    it.not_persisted(later(11), "no space left", 1.6)
    assert it.trouble == "gw1 cannot keep its epochs: no space left"
    assert [str(it.next_event()), it.next_event()] == [it.trouble, None], "once"
    it.to_do()
    it.persist(later(11))
    assert it.to_do() == [Persist(later(11))]
    it.persisted(later(11), 2.0)
    it.release(2.0)
    decision = it.next_event()
    assert done == [] and it.trouble == "" and decision is not None and decision.what is What.DISK


def test_a_statement_is_stamped_with_what_is_on_disk() -> None:
    it = outbox()
    it.figures(12, 0.5)
    it.persist(later(11))
    beat = it.stamp("m1")
    assert (beat.incarnation, beat.epoch, beat.state, beat.seq) == (3, 7, AGENT, 1)
    assert (beat.calls, beat.load, beat.to) == (12, 0.5, "m1")
    assert beat.for_incarnation == 41, "the last known start of whom it is for"
    it.persisted(later(11), 1.0)
    assert it.ask("m1", "query").epoch == 8
    assert [action for action in it.to_do() if isinstance(action, Tell)][-1].beat.seq == 2


def test_what_waits_for_a_disk_that_never_answers_is_bounded() -> None:
    it, done = outbox(), list[float]()
    for _ in range(5000):
        it.when_durable(later(11), done.append, 1.0)
    it.persisted(later(11), 2.0)
    it.release(2.0)
    assert 0 < len(done) <= 256
