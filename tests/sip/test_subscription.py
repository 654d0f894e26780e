"""Subscriptions, both halves: alone against a clock, and against each other."""

from __future__ import annotations

from random import Random

import pytest

from sip.notifier import Granted, Notifier, Package, judge
from sip.requests import OutgoingRequest, ResponseSpec
from sip.subscription import Interest, Notified, Subscriber, SubscriptionChanged
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


def notify(state: str, event: str = "presence") -> Request:
    return request(OutgoingRequest("NOTIFY", "", (f"Event: {event}", f"Subscription-State: {state}")))


def subscriber(expires: int = 600, **more: object) -> Subscriber:
    return Subscriber(Interest("sip:bob@example.com", "presence", expires, **more), Random(1))  # type: ignore[arg-type]


def active(now: float = 0.0) -> Subscriber:
    s = subscriber()
    s.subscribe(now)
    s.to_do()
    s.answered(response(200, "Expires: 600"), now)
    assert s.notified(notify("active;expires=600"), now).status == 200
    drain(s)
    return s


def drain(s: Subscriber) -> list[str]:
    found = []
    while (event := s.next_event()) is not None:
        found.append(event.state if isinstance(event, SubscriptionChanged) else "notified")
    return found


def header(ask: OutgoingRequest, name: str) -> str:
    return next(line.partition(": ")[2] for line in ask.lines if line.startswith(name + ":"))


def test_a_subscription_is_refreshed_before_it_ends() -> None:
    s = subscriber()
    s.subscribe(0.0)
    (ask,) = s.to_do()
    assert (ask.method, ask.uri) == ("SUBSCRIBE", "sip:bob@example.com")
    assert header(ask, "Event") == "presence" and header(ask, "Expires") == "600"
    s.answered(response(200, "Expires: 300"), 0.1)
    assert s.notified(notify("pending;expires=300"), 0.2).status == 200
    assert s.notified(notify("active;expires=300"), 0.3).status == 200
    assert drain(s) == ["notified", "pending", "notified", "active"]
    due = s.get_timer()
    assert due is not None and 220 < due < 260
    s.handle_timer(due)
    (again,) = s.to_do()
    assert again.uri == "" and header(again, "Expires") == "600"
    s.answered(response(200, "Expires: 600"), due)
    assert s.get_timer() is not None and s.get_timer() > due + 400  # type: ignore[operator]


def test_frequent_notifies_do_not_push_the_refresh_away() -> None:
    s = active()
    due = s.get_timer()
    for now in range(1, 300):
        s.notified(notify(f"active;expires={600 - now}"), float(now))
    assert s.get_timer() == due


def test_no_notify_within_timer_n_ends_it() -> None:
    s = subscriber(lasting=False)
    s.subscribe(0.0)
    s.answered(response(200, "Expires: 600"), 0.1)
    assert s.get_timer() == 32.0
    s.handle_timer(32.0)
    assert drain(s) == ["idle"] and s.because.endswith("no NOTIFY came")


@pytest.mark.parametrize(
    ("state", "wait"),
    [
        ("terminated;reason=deactivated", 0.0),
        ("terminated;reason=timeout", 0.0),
        ("terminated;reason=probation;retry-after=90", 90.0),
        ("terminated;reason=giveup", 60.0),
        ("terminated", 60.0),
        ("terminated;reason=rejected", None),
        ("terminated;reason=noresource;retry-after=5", None),
        ("terminated;reason=invariant", None),
    ],
)
def test_each_reason_of_an_end(state: str, wait: float | None) -> None:
    s = active()
    assert s.notified(notify(state), 10.0).status == 200
    assert drain(s) == ["notified", "idle" if wait is None else "waiting"]
    assert s.get_timer() == (None if wait is None else 10.0 + wait)
    if wait is not None:
        s.handle_timer(10.0 + wait)
        assert s.to_do()[0].uri == "sip:bob@example.com"


def test_an_end_again_and_again_is_not_followed_at_once() -> None:
    s = active()
    s.notified(notify("terminated;reason=deactivated"), 10.0)
    s.handle_timer(10.0)
    s.notified(notify("active;expires=600"), 10.1)
    s.answered(response(200, "Expires: 600"), 10.1)
    s.notified(notify("terminated;reason=deactivated"), 10.2)
    assert s.get_timer() is not None and s.get_timer() > 12.0  # type: ignore[operator]


def test_a_423_raises_the_time() -> None:
    s = subscriber(expires=10)
    s.subscribe(0.0)
    s.to_do()
    s.answered(response(423, "Min-Expires: 60"), 0.1)
    assert header(s.to_do()[0], "Expires") == "60"
    s.answered(response(423, "Min-Expires: 60"), 0.2)
    assert drain(s) == ["waiting"]


@pytest.mark.parametrize(("status", "state"), [(403, "idle"), (489, "idle"), (404, "waiting"), (503, "waiting")])
def test_a_refused_subscribe(status: int, state: str) -> None:
    s = subscriber()
    s.subscribe(0.0)
    s.answered(response(status, "Retry-After: 100"), 0.1)
    assert drain(s) == [state]
    if state == "waiting":
        assert s.get_timer() == 100.1


def test_a_refresh_that_fails_is_tried_again_within_the_time_left() -> None:
    s = active()
    due = s.get_timer()
    assert due is not None
    s.handle_timer(due)
    s.to_do()
    s.failed("timed out", due + 32.0)
    again = s.get_timer()
    assert again is not None and due + 32.0 < again < 600.0 and drain(s) == []
    s.handle_timer(again)
    s.answered(response(481), again)
    assert drain(s) == ["waiting"]


def test_what_runs_out_is_asked_for_anew() -> None:
    s = active()
    s.handle_timer(600.0)
    assert drain(s) == ["waiting"]
    s.handle_timer(600.0)
    assert s.to_do()[0].uri != ""


def test_unsubscribing() -> None:
    s = active()
    s.unsubscribe(5.0)
    (ask,) = s.to_do()
    assert header(ask, "Expires") == "0" and ask.uri == ""
    s.answered(response(200, "Expires: 0"), 5.1)
    assert s.notified(notify("terminated;reason=timeout"), 5.2).status == 200
    assert drain(s) == ["notified", "idle"] and s.get_timer() is None
    assert s.notified(notify("active"), 6.0).status == 481


def test_unsubscribing_before_the_answer_waits_for_it() -> None:
    s = subscriber()
    s.subscribe(0.0)
    s.to_do()
    s.unsubscribe(0.1)
    assert s.to_do() == []
    s.answered(response(200), 0.2)
    assert header(s.to_do()[0], "Expires") == "0"
    s.handle_timer(32.1)
    assert drain(s) == ["idle"]


def test_a_fetch_of_several_parts() -> None:
    s = subscriber(expires=0)
    s.subscribe(0.0)
    s.answered(response(200, "Expires: 0"), 0.1)
    s.notified(notify("active;expires=1"), 0.2)
    assert s.get_timer() == 32.2
    s.notified(notify("terminated;reason=timeout"), 0.3)
    assert drain(s) == ["notified", "active", "notified", "idle"] and s.get_timer() is None


@pytest.mark.parametrize(
    ("event", "state", "status"),
    [("dialog", "active", 489), ("presence;id=2", "active", 489), ("presence", "", 400), ("", "active", 400)],
)
def test_notifies_that_are_refused(event: str, state: str, status: int) -> None:
    assert active().notified(notify(state, event), 1.0).status == status


def test_a_waiting_one_can_be_given_up() -> None:
    s = active()
    s.notified(notify("terminated;reason=giveup"), 1.0)
    s.unsubscribe(2.0)
    assert s.get_timer() is None and s.state == "idle"


# -- the notifier ---------------------------------------------------------------------------------------------


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


def test_a_notifier_owes_a_notify_for_each_subscribe_and_each_change() -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    assert n.owed
    n.notify(0.1, ("Content-Type: text/plain",), b"here")
    assert not n.owed
    (ask,) = n.to_do()
    assert ask.body == b"here" and header(ask, "Subscription-State") == "active;expires=600"
    n.changed()
    assert n.owed
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


def test_a_pending_one_is_admitted_later() -> None:
    n = Notifier(granted(), PACKAGES, 0.0, pending=True)
    n.notify(0.0)
    n.changed()
    assert not n.owed and header(n.to_do()[0], "Subscription-State") == "pending;expires=600"
    n.admit()
    n.notify(1.0)
    assert header(n.to_do()[0], "Subscription-State") == "active;expires=599"


def test_an_end_by_the_subscriber_and_a_fetch() -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    assert n.refresh(subscribe(expires="0"), 1.0).status == 200
    n.notify(1.0, (), b"part", more=True)
    assert n.owed and not n.ended
    n.notify(1.0, (), b"last")
    first, last = n.to_do()
    assert header(first, "Subscription-State").startswith("active;")
    assert header(last, "Subscription-State") == "terminated;reason=timeout" and n.ended
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
    assert n.ended and n.get_timer() is None


def test_an_end_from_our_side() -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    n.terminate("probation", 1.0, retry_after=30)
    n.terminate("giveup", 1.0)
    (ask,) = n.to_do()
    assert header(ask, "Subscription-State") == "terminated;reason=probation;retry-after=30"


@pytest.mark.parametrize("status", [481, 408])
def test_a_notify_that_fails_ends_it(status: int) -> None:
    n = Notifier(granted(), PACKAGES, 0.0)
    n.notify(0.0)
    n.answered(response(200))
    assert not n.ended
    if status == 481:
        n.answered(response(481))
    else:
        n.failed("timed out")
    assert n.ended and n.to_do() == [] and n.get_timer() is None


def test_both_halves_together() -> None:
    s = subscriber()
    s.subscribe(0.0)
    found = judge(request(s.to_do()[0]), PACKAGES)
    assert isinstance(found, Granted)
    n = Notifier(found, PACKAGES, 0.0)
    s.answered(response(200, *found.reply().lines), 0.0)
    now, brought = 0.0, 0
    while now < 5000.0:
        if n.owed:
            n.notify(now, (), b"state")
        for ask in n.to_do():
            assert s.notified(request(ask), now).status == 200
        for ask in s.to_do():
            reply = n.refresh(request(ask), now)
            s.answered(response(reply.status, *reply.lines), now)
        while (event := s.next_event()) is not None:
            brought += isinstance(event, Notified)
        if not n.owed:
            now = min(at for at in (n.get_timer(), s.get_timer()) if at is not None)
            s.handle_timer(now)
            n.handle_timer(now)
    assert s.state == "active" and not n.ended and 9 <= brought <= 13
