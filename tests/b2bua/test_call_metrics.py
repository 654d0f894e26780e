"""Ended calls as Prometheus reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from b2bua import api
from b2bua.call_metrics import MOST_WAYS, OTHER, CallMetrics
from b2bua.cdr import Cdr
from heartbeat.console.schema import as_json, of_json
from heartbeat.console.views.process import ProcessStats
from tests.b2bua.fake import site_of
from tests.b2bua.test_api import STATUS
from tests.consoles import SITE

LINES = site_of(SITE).lines


def samples(metrics: CallMetrics) -> dict[tuple[str, ...], float]:
    assert STATUS.process is not None
    status = replace(STATUS, process=replace(STATUS.process, line_calls=metrics.view(), line_media=metrics.media()))
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(api.metrics(status)):
        for each in family.samples:
            labels = {key: each.labels[key] for key in ("line", "result", "le") if key in each.labels}
            found[(each.name.removeprefix("holdfast_"), *labels.values())] = each.value
    return found


def ended(**changes: Any) -> Cdr:
    call = Cdr("c", callee_line="carrier/7", started=100.0, ringing=100.2, answered=104.0, ended=200.0)
    return call._replace(**{"result": "answered", **changes})


def test_times_and_results_are_told_by_line() -> None:
    metrics = CallMetrics()
    metrics.add(ended(), LINES, "+33*")
    metrics.add(ended(ringing=None, answered=130.0), LINES, "+33*")
    metrics.add(ended(result="busy", ringing=None, answered=None), LINES, "+33*")
    metrics.add(ended(callee_line="alice", ringing=1000.0, answered=None, result="no-answer"), LINES, "+33*")
    metrics.add(ended(callee_line="", started=None, ringing=None, answered=None, result="rejected"), LINES, "")
    found = samples(metrics)
    assert found["line_calls_ended_total", "carrier", "answered"] == 2
    assert found["line_calls_ended_total", "carrier", "busy"] == 1
    assert found["line_calls_ended_total", "phone", "no-answer"] == 1
    assert found["line_calls_ended_total", "none", "rejected"] == 1
    post_dial = [found["post_dial_seconds_bucket", "carrier", le] for le in ("0.1", "0.25", "30.0", "+Inf")]
    assert post_dial == [0, 1, 2, 2] and abs(found["post_dial_seconds_sum", "carrier"] - 30.2) < 1e-6
    assert found["set_up_seconds_count", "carrier"] == 2 and found["set_up_seconds_bucket", "carrier", "5.0"] == 1
    assert found["post_dial_seconds_bucket", "phone", "120.0"] == 0
    assert found["post_dial_seconds_count", "phone"] == 1 and ("set_up_seconds_count", "phone") not in found


def test_media_are_told_by_the_line_that_they_come_from() -> None:
    metrics = CallMetrics()
    caller = {"caller_packets": 900, "caller_lost": 100, "caller_jitter_ms": 4.0, "caller_mos": 3.5}
    callee = {"callee_packets": 1000, "callee_lost": 0, "callee_jitter_ms": 0.5, "callee_mos": 4.4}
    metrics.add(ended(caller_line="alice", **caller, **callee), LINES, "+33*")
    metrics.add(ended(caller_line="alice", caller_packets=0, caller_lost=0, caller_jitter_ms=0.0), LINES, "+33*")
    metrics.add(ended(), LINES, "+33*")
    found = samples(metrics)
    assert (found["media_packets_total", "phone"], found["media_lost_total", "phone"]) == (900, 100)
    assert (found["media_packets_total", "carrier"], found["media_lost_total", "carrier"]) == (1000, 0)
    assert (found["media_jitter_seconds_count", "phone"], found["media_mos_count", "phone"]) == (1, 1)
    assert [found["media_mos_bucket", "phone", le] for le in ("3.3", "3.6", "+Inf")] == [0, 1, 1]
    assert found["media_jitter_seconds_bucket", "carrier", "0.001"] == 1


def test_the_time_that_a_bucket_ends_with_is_in_it() -> None:
    metrics = CallMetrics()
    metrics.add(ended(started=0.0, ringing=1.0), LINES, "+33*")
    assert samples(metrics)["post_dial_seconds_bucket", "carrier", "1.0"] == 1


def test_a_clock_that_was_set_back_makes_no_negative_times() -> None:
    metrics = CallMetrics()
    metrics.add(ended(ringing=90.0, answered=90.0), LINES, "+33*")
    assert samples(metrics)["set_up_seconds_sum", "carrier"] == 0.0


def test_the_view_comes_back_from_json() -> None:
    metrics = CallMetrics()
    metrics.add(ended(), LINES, "+33*")
    assert STATUS.process is not None
    stats = replace(STATUS.process, line_calls=metrics.view())
    assert as_json(of_json(ProcessStats, as_json(stats))) == as_json(stats)


def test_each_route_is_told_apart_as_long_as_they_are_few() -> None:
    metrics = CallMetrics()
    for number in range(MOST_WAYS + 10):
        metrics.add(ended(), LINES, f"+{number}*")
    metrics.add(ended(), LINES, "+7*")
    metrics.add(ended(callee_line="", result="rejected"), LINES, "")
    told = {(each.line, each.route): sum(each.results.values()) for each in metrics.view()}
    assert told["carrier", "+7*"] == 2 and told["carrier", OTHER] == 10 and told["none", OTHER] == 1
    assert len(told) == MOST_WAYS + 2
