"""Call records as a server writes them."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from b2bua.call_records import CallRecords, End
from b2bua.cdr import EndedBy
from b2bua.state_token import CallState


@pytest.mark.parametrize(
    ("status", "by", "answered", "result", "told"),
    [
        (200, "caller", 5.0, "answered", 200),
        (503, "server", 5.0, "reset", 503),
        (200, "caller", 0.0, "cancelled", 487),
        (200, "callee", 0.0, "no-answer", 480),
        (200, "server", 0.0, "no-answer", 480),
        (487, "caller", 0.0, "cancelled", 487),
        (486, "callee", 0.0, "busy", 486),
        (503, "server", 0.0, "failed", 503),
        (404, "server", 0.0, "rejected", 404),
    ],
)
def test_a_record_tells_no_success_without_an_answer(
    status: int, by: EndedBy, answered: float, result: str, told: int
) -> None:
    events: deque[Any] = deque()
    records = CallRecords("town", "m1", 0.0, events)
    records.write(CallState("c", answered=answered), 0.0, status, by, 9.0, "")
    record = events.pop().record
    assert (record.result, record.status, record.ended_by) == (result, told, by)


def test_what_a_device_did_while_no_server_was_there_counts_first() -> None:
    events: deque[Any] = deque()
    records = CallRecords("town", "m1", 0.0, events)
    records.ends["c"] = End(7.0, "caller", 487, "")
    records.write(CallState("c"), 0.0, 200, "server", 9.0, "")
    record = events.pop().record
    assert (record.result, record.status, record.ended_by, record.ended) == ("cancelled", 487, "caller", 7.0)
