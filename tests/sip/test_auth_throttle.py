"""Guessing passwords: who is held back, for how long, and who is not."""

from __future__ import annotations

from sip.actions import Flow
from sip.overload import auth_throttle as limits
from sip.overload.auth_throttle import AuthThrottle
from sip.overload.token_bucket import TokenBucket
from sip.peers import network_of

LOCAL = "127.0.0.1:5060"


def at(host: str, port: int = 5060) -> Flow:
    return Flow("udp", LOCAL, (host, port))


def guess(throttle: AuthThrottle, flow: Flow, user: str, now: float, times: int = 1) -> int:
    """Wrong passwords; how many of them were looked at."""
    seen = 0
    for _ in range(times):
        if not throttle.wait(flow, user, now):
            throttle.failed(flow, user, now)
            seen += 1
    return seen


def test_a_bucket_gives_what_it_holds_and_then_what_flows_in() -> None:
    bucket = TokenBucket(2.0, 3.0, 10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(10.0) == 0.5 and bucket.wait(10.25) == 0.25
    assert bucket.take(10.5) and not bucket.take(10.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_five_at_once_and_then_six_a_minute() -> None:
    throttle = AuthThrottle()
    assert guess(throttle, at("192.0.2.1"), "alice", 0.0, 100) == 5
    assert throttle.wait(at("192.0.2.1"), "alice", 0.0) == 10.0
    assert sum(guess(throttle, at("192.0.2.1", 6000 + n), "alice", float(n)) for n in range(1, 62)) == 6
    assert (throttle.wrong, throttle.held_back) == (11, 95 + 1 + 55)


def test_nobody_else_pays_for_it() -> None:
    throttle = AuthThrottle()
    guess(throttle, at("192.0.2.1"), "alice", 0.0, 1000)
    assert not throttle.wait(at("192.0.2.1"), "bob", 0.0)  # behind the same NAT
    assert not throttle.wait(at("192.0.2.2"), "alice", 0.0)  # elsewhere


def test_a_device_that_is_known_is_not_held_back_by_a_neighbour() -> None:
    throttle = AuthThrottle()
    throttle.proved(at("192.0.2.1", 40001), "alice")
    guess(throttle, at("192.0.2.1", 40002), "alice", 0.0, 1000)
    for number in range(1000):
        guess(throttle, at("192.0.2.1", 40002), f"user{number}", 0.0)
        guess(throttle, at(f"198.51.100.{number % 250}"), "alice", 0.0)
    assert not throttle.wait(at("192.0.2.1", 40001), "alice", 0.0)
    assert throttle.wait(at("192.0.2.1", 40001), "bob", 0.0) > 0
    assert guess(throttle, at("192.0.2.1", 40001), "alice", 0.0, 100) == 10


def test_one_password_tried_with_many_users() -> None:
    throttle = AuthThrottle()
    assert sum(guess(throttle, at("192.0.2.1"), f"user{n}", 0.0) for n in range(1000)) == 50
    assert throttle.wait(at("192.0.2.1"), "alice", 0.0) == 1.0
    assert not throttle.wait(at("192.0.2.2"), "alice", 0.0)


def test_one_user_tried_from_many_addresses() -> None:
    throttle = AuthThrottle()
    assert sum(guess(throttle, at(f"10.0.{n // 250}.{n % 250}"), "alice", 0.0) for n in range(1000)) == 100
    assert throttle.wait(at("192.0.2.7"), "alice", 0.0) == 1.0
    assert not throttle.wait(at("192.0.2.7"), "bob", 0.0)


def test_an_ipv6_subscriber_is_one_source() -> None:
    throttle = AuthThrottle()
    assert sum(guess(throttle, at(f"2001:db8::{n:x}"), "alice", 0.0) for n in range(1, 100)) == 5
    assert not throttle.wait(at("2001:db8:0:1::1"), "alice", 0.0)
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1" and network_of("nonsense:") == "nonsense:"


def test_memory_is_bounded() -> None:
    throttle = AuthThrottle()
    for number in range(limits.MOST + 500):
        throttle.failed(at(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), f"u{number}" * 1000, 0.0)
    assert {pace.what: len(some) for pace, some in throttle._buckets.items() if len(some) > limits.MOST} == {}
    assert len(throttle.by_user) == limits.MOST_TOLD
    assert max(map(len, throttle.by_user)) == limits.LONGEST_NAME


def test_who_goes_on_hears_nothing() -> None:
    throttle = AuthThrottle()
    assert [throttle.hears(at("192.0.2.1", n), 0.0) for n in range(7)] == [True] * 5 + [False] * 2
    assert throttle.hears(at("192.0.2.2"), 0.0) and throttle.hears(at("192.0.2.1"), 1.0)


def test_people_are_told_who_guessed_last() -> None:
    throttle = AuthThrottle()
    guess(throttle, at("192.0.2.1"), "alice", 5.0, 2)
    guess(throttle, at("192.0.2.2"), "bob", 6.0)
    guess(throttle, at("192.0.2.3"), "alice", 7.0)
    user, tried = next(reversed(throttle.by_user.items()))
    assert (user, tried.count, tried.host, tried.at) == ("alice", 3, "192.0.2.3", 7.0)
