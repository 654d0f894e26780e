"""When media is closed that no call of this start of the agent has adopted."""

from __future__ import annotations

from gateway_agent.media.audit import Audit


def test_what_no_call_has_adopted_is_closed_once_half_a_minute_after_the_return() -> None:
    audit = Audit()
    assert not any(audit.is_due(False, now) for now in (0.0, 100.0, 1000.0)), "without a server nothing has come back"
    assert [now for now in range(1000, 1100) if audit.is_due(True, float(now))] == [1030]


def test_a_late_look_is_enough() -> None:
    audit = Audit()
    assert not audit.is_due(True, 10.0)
    assert audit.is_due(True, 70.0)
    assert not audit.is_due(True, 71.0)
