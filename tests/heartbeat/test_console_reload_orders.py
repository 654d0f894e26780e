"""Reloads that an operator ordered."""

from __future__ import annotations

import pytest

from heartbeat.console.contract import Refused
from heartbeat.console.reload_orders import MOST, ReloadOrders


def test_orders_are_settled_together_with_all_that_was_said() -> None:
    orders = ReloadOrders()
    first, second = orders.begin(), orders.begin()
    assert (first.id, second.id, first.state) == ("reload-1", "reload-2", "running")
    orders.settle(False, ["routes[1].to: there is no line x", "lines.y: has no peer"])
    for order in (first, second):
        found = orders.progress(order.id)
        assert found is not None and found.state == "failed"
        assert found.sentence == "routes[1].to: there is no line x\nlines.y: has no peer"
    third = orders.begin()
    orders.settle(True, ["m1 lives by the site file 1234"])
    states = [
        found.state for name in ("reload-2", third.id) for found in [orders.progress(name)] if found is not None
    ]
    assert states == ["failed", "done"]
    assert orders.progress("reload-9") is None


def test_only_some_are_remembered_and_only_some_may_wait() -> None:
    orders = ReloadOrders()
    for _ in range(MOST + 1):
        orders.begin()
        orders.settle(True, [])
    assert orders.progress("reload-1") is None and orders.progress("reload-2") is not None
    orders = ReloadOrders()
    for _ in range(MOST):
        orders.begin()
    with pytest.raises(Refused, match="wait for them"):
        orders.begin()
