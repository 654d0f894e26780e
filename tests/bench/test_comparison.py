"""One run of the bench beside an earlier one."""

from __future__ import annotations

from typing import Any

from tests.bench.comparison import changes

THEN: dict[str, Any] = {
    "cpu_us_per_call": 800.0,
    "bytes_per_call": 4000.0,
    "rate": 1000.0,
    "peers": {
        "kamailio": {"cpu_us_per_call": 500.0, "bytes_per_call": None, "rate": 2000.0},
        "gone": {"cpu_us_per_call": 1.0},
    },
    "latency_ms": {
        "100": {"ours": {"setup_p99": 2.0}, "kamailio": {"setup_p99": 1.0}},
        "10": {"ours": {"setup_p99": 3.0}},
    },
    "chain": 2000.0,
    "served": {"1000": 0.2, "longest_stall_s": 0.01},
    "latency_by": "packets",
}
NOW: dict[str, Any] = {
    "cpu_us_per_call": 400.0,
    "bytes_per_call": 4400.0,
    "rate": None,
    "peers": {
        "kamailio": {"cpu_us_per_call": 450.0, "bytes_per_call": 500.0, "rate": 1900.0},
        "sippy": {"cpu_us_per_call": 3500.0},
    },
    "latency_ms": {"100": {"ours": {"setup_p99": 3.0}, "kamailio": {"setup_p99": None}}},
    "overload": {"ours": {"good": 900.0}, "kamailio": {"good": 10.0}},
    "chain": 0.0,
    "served": {"1000": 0.1, "longest_stall_s": 0.02},
}


def test_each_figure_has_then_now_and_the_ratios_of_all():
    found = {
        change.what: (change.then, change.now, change.ratio, change.peers["kamailio"])
        for change in changes(THEN, NOW)
    }
    assert found == {
        "CPU a call, us": (800.0, 400.0, 0.5, 0.9),
        "memory a call, bytes": (4000.0, 4400.0, 1.1, None),
        "highest rate, calls/s": (1000.0, None, None, 0.95),
        "added to set-up at 100/s, 99th percentile, ms": (2.0, 3.0, 1.5, None),
        "added to set-up at 10/s, 99th percentile, ms": (3.0, None, None, None),
        "overload: served at twice that, calls/s": (None, 900.0, None, None),
        "agent, server, agent: CPU a call, us": (2000.0, 0.0, 0.0, None),
        "1000 calls served after, s": (0.2, 0.1, 0.5, None),
        "longest stall of the new server, s": (0.01, 0.02, 2.0, None),
    }
    assert all(set(change.peers) == {"kamailio", "sippy"} for change in changes(THEN, NOW))


def test_a_run_of_another_shape_is_no_error():
    odd: dict[str, Any] = {
        "peers": [],
        "latency_ms": {"x": 1},
        "served": None,
        "cpu_us_per_call": "much",
        "chain": True,
    }
    assert changes(odd, odd) == []
    assert {change.then for change in changes(odd, NOW)} == {None}
