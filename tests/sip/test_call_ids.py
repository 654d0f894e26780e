"""Which dialogs are of one call."""

from __future__ import annotations

from sip.call_ids import LONGEST, MOST, MOST_FAILED, MOST_LEGS, CallIds, Leg


def test_the_dialogs_of_a_call_are_found_by_its_name() -> None:
    ids = CallIds()
    ids.join("x", "s1", "gw1", "left/1")
    ids.join("y", "s3", "gw1", "left/1")
    ids.join("x", "s2", "gw2", "left/1")
    ids.join("x", "s1", "gw1", "left/1")
    assert ids.of("x") == (Leg("s1", "gw1", "left/1"), Leg("s2", "gw2", "left/1")) and ids.of("z") == ()
    assert list(ids) == ["y", "x"], "the last one first"


def test_memory_is_bounded() -> None:
    ids = CallIds()
    for number in range(MOST + 10):
        ids.join(f"call {number}", "s", "gw1", "left/1")
    for number in range(MOST_LEGS + 10):
        ids.join("call 5000", f"s{number}", "gw1", "left/1")
    for number in range(MOST_FAILED + 10):
        ids.failed(f"call {number}", 1.0)
    assert len(list(ids)) == MOST and ids.of("call 9") == ()
    assert len(ids.of("call 5000")) == MOST_LEGS
    ids.join("long", "x" * LONGEST, "gw1", "left/1")
    ids.join("long", "x" * (LONGEST + 1), "gw1", "left/1")
    assert len(ids.of("long")) == 1, "a device may write a Call-ID as long as a message"
    assert len(ids.last_failed) == MOST_FAILED and ids.last_failed[-1] == f"call {MOST_FAILED + 9}"


def test_who_keeps_messages_hears_of_what_failed() -> None:
    ids, kept = CallIds(), list[tuple[tuple[str, ...], float]]()
    ids.join("x", "s1", "gw1", "left/1")
    ids.failed("x", 1.0)
    ids.keep = lambda call_ids, now: kept.append((call_ids, now))
    ids.failed("x", 2.0)
    ids.failed("unknown", 3.0)
    assert kept == [(("x", "s1"), 2.0), (("unknown",), 3.0)]
    assert list(ids.last_failed) == ["x", "x", "unknown"]


def test_who_wants_to_hears_of_each_dialog() -> None:
    ids, joined = CallIds(), list[tuple[str, str]]()
    ids.joined = lambda call, call_id: joined.append((call, call_id))
    ids.join("x", "s1", "gw1", "left/1")
    ids.join("x", "s1", "gw1", "left/1")
    assert joined == [("x", "s1")] * 2
