"""Subscriptions: what is granted, when a NOTIFY is owed, and how one ends."""

from __future__ import annotations

import pytest

from sip.requests import OutgoingRequest, ResponseSpec
from sip.subscription import ACTIVE, CLOSING, TERMINATED, Granted, Notifier, Package, judge
from sip.wire.headers import Event
from sip.wire.message import Request, Response

PACKAGES = {"presence": Package(min_expires=60, max_expires=600), "dialog": Package()}


def lines_of(*lines: str) -> tuple[list[str], list[str]]:
    return [line.partition(":")[0].lower() for line in lines], list(lines)


def request(ask: OutgoingRequest) -> Request:
    names, lines = lines_of(*ask.lines)
    return Request(ask.method, ask.uri or "sip:peer@192.0.2.1", names, lines, ask.body)


def response(status: int, *lines: str) -> Response:
    return Response(status, "", *lines_of(*lines))


def header(ask: OutgoingRequest, name: str) -> str:
    return next(line.partition(": ")[2] for line in ask.lines if line.startswith(name + ":"))


def subscribe(event: str | None = "presence", expires: str | None = "600") -> Request:
    lines = ([f"Event: {event}"] if event is not None else []) + ([f"Expires: {expires}"] if expires else [])
    return request(OutgoingRequest("SUBSCRIBE", "", tuple(lines)))


@pytest.mark.parametrize(
    ("event", "expires", "status", "line"),
    [
        (None, "600", 489, "Allow-Events: dialog, presence"),
        ("weather", "600", 489, "Allow-Events: dialog, presence"),
        ("pre sence", "600", 400, None),
        ("presence", "10", 423, "Min-Expires: 60"),
        ("presence", "ten", 400, None),
    ],
)
def test_subscribes_that_are_refused(event: str | None, expires: str, status: int, line: str | None) -> None:
    found = judge(subscribe(event, expires), PACKAGES)
    assert isinstance(found, ResponseSpec)
    assert found.status == status and found.lines == ((line,) if line else ())


@pytest.mark.parametrize(
    ("asked", "granted"), [(None, 3600), ("90", 90), ("99999999999999999999999", 3600), ("0", 0)]
)
def test_the_time_granted(asked: str | None, granted: int) -> None:
    assert judge(subscribe("dialog", asked), PACKAGES) == Granted(Event("dialog"), granted)


def granted(expires: int = 600) -> Granted:
    return Granted(Event("presence"), expires)


def test_a_notifier_owes_a_notify_for_each_subscribe() -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    assert n.owed
    n.notify(0.1, ("Content-Type: text/plain",), b"here")
    assert not n.owed
    (ask,) = n.to_do()
    assert ask.body == b"here" and header(ask, "Subscription-State") == "active;expires=600"
    n.notify(10.0)
    assert n.refresh(subscribe(expires="120"), 20.0).lines == ("Expires: 120",)
    assert n.owed and n.get_timer() == 140.0
    assert n.refresh(subscribe("dialog"), 20.0).status == 481
    assert n.refresh(subscribe(expires="1"), 20.0).status == 423


def test_a_notify_never_says_more_than_was_granted() -> None:
    now = 1788.7233511355132  # (now + 600) - now is a little more than 600
    n = Notifier(granted(), PACKAGES, now)
    n.notify(now)
    assert header(n.to_do()[0], "Subscription-State") == "active;expires=600"


def test_an_end_by_the_subscriber_and_a_fetch() -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    assert n.refresh(subscribe(expires="0"), 1.0).status == 200
    n.notify(1.0, (), b"part", more=True)
    assert n.owed and n.state == CLOSING
    n.notify(1.0, (), b"last")
    first, last = n.to_do()
    assert header(first, "Subscription-State").startswith("active;")
    assert header(last, "Subscription-State") == "terminated;reason=timeout" and n.state == TERMINATED
    n.notify(2.0)
    assert n.to_do() == [] and n.refresh(subscribe(), 2.0).status == 481
    fetch = Notifier(granted(0), PACKAGES, 0.0)
    fetch.notify(0.0, (), b"state")
    assert header(fetch.to_do()[0], "Subscription-State") == "terminated;reason=timeout"


def test_a_subscription_not_refreshed_runs_out() -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    n.notify(0.0)
    n.to_do()
    n.handle_timer(599.9)
    assert n.to_do() == []
    n.handle_timer(600.0)
    assert header(n.to_do()[0], "Subscription-State") == "terminated;reason=timeout"
    assert n.state == TERMINATED and n.get_timer() is None


@pytest.mark.parametrize("status", [481, 408])
def test_a_notify_that_fails_ends_it(status: int) -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    n.notify(0.0)
    n.answered(response(200), 1.0)
    assert n.state == ACTIVE
    if status == 481:
        n.answered(response(481), 1.0)
    else:
        n.failed(1.0)
    assert n.state == TERMINATED and n.to_do() == [] and n.get_timer() is None
