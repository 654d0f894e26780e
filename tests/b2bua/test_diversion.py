"""Who was called first: what the target of a forwarded call is told."""

from __future__ import annotations

import pytest

from b2bua.diversion import diverted
from b2bua.plan import Plan, RouteTarget
from sip.wire.message import Request, parse
from tests.b2bua.fake import site_of
from tests.b2bua.fake_agent import AGENTS, ServerFixture

SITE = site_of(AGENTS)

TWICE = RouteTarget("carol", "1003", 20.0, "", "bob", True, "", "no-answer")


def request(*lines: str) -> Request:
    head = [
        "INVITE sip:1002@paris SIP/2.0",
        "From: <sip:a@b>;tag=f",
        "To: <sip:1002@paris>",
        "Call-ID: c",
        "CSeq: 1 INVITE",
    ]
    found = parse("\r\n".join([*head, *lines, "", ""]).encode())
    assert isinstance(found, Request)
    return found


def told(target: RouteTarget, forwards: int, *lines: str) -> list[str]:
    made = diverted(SITE, Plan((target,), "bob", "1002", "", 0, forwards), target, request(*lines))
    return [line for name, line in zip(made.names, made.lines, strict=True) if name in ("diversion", "history-info")]


@pytest.mark.parametrize(
    "reason, cause",
    [
        ("user-busy", 486),
        ("no-answer", 408),
        ("unconditional", 302),
        ("deflection", 480),
        ("out-of-service", 503),
        ("unknown", 404),
    ],
)
def test_a_forwarded_call_says_from_whom_and_why(reason: str, cause: int) -> None:
    assert told(TWICE._replace(reason=reason), 1) == [
        f"Diversion: <sip:1002@{SITE.realm}>;reason={reason};counter=1",
        f"History-Info: <sip:1002@{SITE.realm}?Reason=SIP%3Bcause%3D{cause}>;index=1",
        f"History-Info: <sip:1003@{SITE.realm};cause={cause}>;index=1.1;mp=1",
    ]


def test_a_call_that_is_not_forwarded_is_as_it_was() -> None:
    plain = RouteTarget("bob", "1002", 20.0, "")
    asked = request("Diversion: <sip:7@x>")
    assert diverted(SITE, Plan((plain,), "alice", "1002", ""), plain, asked) is asked


def test_what_was_diverted_before_stands_behind() -> None:
    lines = told(
        TWICE, 1, "Diversion: <sip:7@x>;reason=follow-me", "History-Info: <sip:7@x>;index=1, <sip:1002@x>;index=1.1"
    )
    assert [line.partition(">")[0] for line in lines if line.startswith("Div")] == [
        f"Diversion: <sip:1002@{SITE.realm}",
        "Diversion: <sip:7@x",
    ]
    assert lines[-1].endswith(";index=1.1.1;mp=1.1") and sum(line.startswith("History") for line in lines) == 2


def test_of_two_diversions_the_last_is_first_and_the_number_that_was_dialled_behind() -> None:
    number = SITE.lines["bob"].numbers[0]
    dialled = "1777"
    made = diverted(
        SITE, Plan((TWICE,), "bob", dialled, "", 0, 2), TWICE, Request("INVITE", f"sip:{dialled}@x", [], [])
    )
    found = made.all("diversion")
    assert found[0] == f"<sip:{number}@{SITE.realm}>;reason=no-answer;counter=2"
    assert found[1] == f"<sip:{dialled}@{SITE.realm}>;reason=unknown"


def test_a_phone_that_is_busy_forwards_with_its_name_on_it() -> None:
    fixture = ServerFixture()
    fixture.gw1.call("1002")
    fixture.gw2.called.accept(486, b"")
    invite = fixture.gw2.called.take("INVITE")
    assert invite.get("diversion") == f"<sip:1002@{SITE.realm}>;reason=user-busy;counter=1"
    assert "history-info" in invite
    state = next(iter(fixture.bench.core.calls.values())).state
    assert (state.dialled, state.callee) == ("1002", invite.uri.partition(":")[2].partition("@")[0])
    fixture.gw2.called.accept(404, b"")
    [cdr] = fixture.bench.cdrs
    assert (cdr.dialled, cdr.callee, cdr.far_status, cdr.status) == ("1002", state.callee, 404, 404)
    assert cdr.forwarded_by == state.forwarded_by == next(x.name for x in SITE.lines.values() if "1002" in x.numbers)
    assert "answered 404" in cdr.reason and cdr.cause == 0
