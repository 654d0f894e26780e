"""What a process says of itself: stalls, processor, messages, from samples at any distance."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from heartbeat.console.process_stats import StatsSampler, overload_alerts, with_congestion
from heartbeat.console.screens import process_stats
from sip.overload.congestion import Congestion


def test_shares_and_rates_are_averages_over_ten_seconds() -> None:
    sampler = StatsSampler(1.0, 0, 100.0)
    for second in range(1, 31):
        busy = 0.5 if second <= 20 else 0.1
        page = sampler.sample(
            0.0, 1.0 + min(second, 20) * 0.5 + max(second - 20, 0) * 0.1, second * 7, 100.0 + second
        )
        if second in (10, 20, 30):
            assert (page.cpu, page.messages_per_s) == (busy, 7.0)


def test_many_questions_do_not_shorten_the_average() -> None:
    sampler = StatsSampler(0.0, 0, 0.0)
    for tenth in range(1, 301):
        page = sampler.sample(0.0, tenth * 0.02, tenth, tenth / 10)
    assert (page.cpu, page.messages_per_s) == (0.2, 10.0)


def test_the_form_in_which_it_runs_is_told() -> None:
    stats = StatsSampler(0.0, 0, 0.0).sample(0.0, 0.05, 1, 0.001)
    console = Console(width=200)
    with console.capture() as shown:
        for form in (stats.form, "compiled"):
            console.print(process_stats(replace(stats, form=form)))
    plain, compiled = shown.get().splitlines()
    assert stats.form == "python" and "compiled" not in plain and compiled.startswith("CPU 10% compiled")


def test_a_question_right_after_the_start_finds_no_absurd_figures() -> None:
    assert StatsSampler(0.0, 0, 0.0).sample(0.0, 0.05, 1, 0.001).cpu <= 0.1


def test_a_stall_is_told_for_a_minute_and_the_longest_for_ever() -> None:
    sampler = StatsSampler(0.0, 0, 0.0)
    sampler.sample(0.3, 0.0, 0, 1.0)
    sampler.sample(0.0, 0.0, 0, 1.1)
    for second in range(2, 100):
        page = sampler.sample(0.01, 0.0, 0, float(second))
        assert page.stall_last_minute == (0.3 if second <= 61 else 0.01)
        assert page.stall_since_start == 0.3
    assert sampler.sample(2.0, 0.0, 0, 99.1).stall_last_minute == 2.0


def test_what_is_refused_for_want_of_time_is_shown_and_warned_of() -> None:
    congestion = Congestion()
    stats = StatsSampler(0.0, 0, 0.0).sample(0.0, 0.0, 0, 1.0)
    calm = with_congestion(stats, congestion, 1.0)
    assert (calm.refused_share, calm.refused) == (0.0, 0) and overload_alerts("m1", calm) == []
    for n in range(100):
        congestion.waited("loop", 0.3, 2.0 + n * 0.02)
    assert sum(congestion.refuses(4.0) for _ in range(10)) > 0
    busy = with_congestion(stats, congestion, 4.0)
    assert busy.wait == 0.3 and busy.refused_share > 0 and busy.refused == congestion.refused
    [alert] = overload_alerts("m1", busy)
    assert alert.code == "overload" and f"refuses {busy.refused_share:.0%} of new calls" in alert.text
