"""The cache of names: refreshed ahead, stale in need, bounded."""

from __future__ import annotations

import pytest

from sip.dns_cache import GRACE, IN_USE, LONGEST_NEGATIVE, STALE, NameCache
from sip.location import Answer, Host, Question

A = Question("a.test", "A")
B = Question("b.test", "A")
OLD, NEW = (Host("192.0.2.1"),), (Host("192.0.2.2"),)


def test_refreshed_at_80_percent_while_in_use() -> None:
    cache = NameCache()
    assert cache.get(A, 0.0) is None
    cache.put(A, OLD, 100.0, 0.0)
    assert cache.due(79.9) == []
    assert cache.due(80.0) == [A]
    assert cache.due(80.1) == []  # under way
    assert cache.get(A, 81.0) == OLD
    cache.put(A, NEW, 100.0, 82.0)
    assert cache.get(A, 83.0) == NEW
    assert cache.due(161.9) == []
    assert cache.due(162.0) == [A]


def test_what_nobody_uses_is_left_to_end() -> None:
    cache = NameCache()
    cache.put(A, OLD, 1000.0, 0.0)
    assert cache.due(IN_USE + 300.0) == []
    assert cache.get(A, 1000.0 + GRACE) is None
    cache.put(B, OLD, 1000.0, 0.0)
    cache.get(B, 700.0)
    assert cache.due(IN_USE + 300.0) == [B]


def test_stale_answers_serve_while_dns_is_down() -> None:
    cache = NameCache()
    cache.put(A, OLD, 100.0, 0.0)
    assert cache.due(80.0) == [A]
    cache.fail(A, 84.0)
    assert cache.due(88.9) == []
    assert cache.due(89.0) == [A]
    cache.fail(A, 93.0)
    assert cache.due(102.9) == []
    assert cache.due(103.0) == [A]  # the pauses double
    assert cache.get(A, 99.0 + STALE) == OLD
    assert cache.get(A, 100.0 + STALE) is None


def test_negative_answers_are_kept_for_less() -> None:
    cache = NameCache()
    cache.put(A, (), 86_400.0, 0.0)
    assert cache.get(A, LONGEST_NEGATIVE - 1) == ()
    assert cache.get(A, LONGEST_NEGATIVE + GRACE) is None


@pytest.mark.parametrize("known", [(), OLD, None])
def test_what_dns_never_tells_again_holds_nobody_up(known: Answer | None) -> None:
    cache = NameCache()
    if known is not None:
        cache.put(A, known, 300.0, 0.0)
    else:
        cache.fail(A, 0.0)
    for now in range(1, int(STALE) + 2000):
        if cache.due(float(now)):
            assert cache.get(A, now + 4.0) is not None
            cache.fail(A, now + 4.0)
        assert cache.get(A, float(now)) is not None


def test_a_failure_on_an_unknown_name_is_remembered_shortly() -> None:
    cache = NameCache()
    cache.fail(A, 0.0)
    assert cache.due(4.9) == [] and cache.due(5.0) == [A]
    assert cache.get(A, 4.9 + GRACE) == ()  # the question is under way
    assert cache.get(A, 5.0 + GRACE) is None
    cache.fail(A, 9.0)
    assert cache.due(18.9) == [] and cache.due(19.0) == [A]
    assert cache.get(A, 18.9 + GRACE) == ()
    cache.put(A, OLD, 100.0, 20.0)
    assert cache.get(A, 21.0) == OLD


def test_times_are_within_limits() -> None:
    cache = NameCache()
    cache.put(A, OLD, 0.0, 0.0)
    assert cache.due(3.9) == []
    assert cache.due(4.0) == [A]


def test_the_least_used_gives_way() -> None:
    cache = NameCache(size=2)
    cache.put(A, OLD, 100.0, 0.0)
    cache.put(B, OLD, 100.0, 0.0)
    cache.get(A, 1.0)
    cache.put(Question("c.test", "A"), OLD, 100.0, 2.0)
    assert len(cache) == 2
    assert cache.get(A, 3.0) == OLD
    assert cache.get(B, 3.0) is None
