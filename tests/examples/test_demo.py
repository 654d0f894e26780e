"""The demo: its plan and its site file; and once all of it, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from examples import demo
from examples.demo_plan import MOST_AUDIO, PASSWORD, Layout, Plan
from examples.demo_steps import Pair, heard
from examples.softphone_call import Call
from heartbeat.site.load import load

ROOT = Path(__file__).parents[2]

MEMBERS = {
    "calls", "kept", "attempts", "attempts_failed", "rtp_lost", "rtp_longest_gap_ms", "device_messages", "cdrs",
    "decision_s", "served_s", "messages", "report",
}  # fmt: skip


@pytest.mark.parametrize("calls", [10, 100, 1000, 10_000])
def test_eight_in_ten_calls_talk_one_is_held_and_one_rings(calls: int) -> None:
    scripts = list(Plan(calls, 10).standing())
    kinds = Counter(script.kind for script in scripts)
    assert kinds == {"talking": calls * 8 // 10, "held": calls // 10, "ringing": calls // 10}
    assert len({script.id for script in scripts}) == calls
    assert sum(script.audio for script in scripts) == min(MOST_AUDIO, calls - calls // 10)
    assert Counter(script.ends for script in scripts)["caller"] * 2 == calls


@pytest.mark.parametrize(("calls", "agents"), [(100, 4), (1000, 10), (10_000, 10)])
def test_the_sample_has_calls_of_each_kind_at_each_agent(calls: int, agents: int) -> None:
    sample = [script for script in Plan(calls, agents).standing() if script.sampled]
    assert min(calls, 100) <= len(sample) <= 200
    kinds = Counter(script.kind for script in sample)
    assert kinds["talking"] * 10 == len(sample) * 8 and kinds["held"] == kinds["ringing"]
    assert {int(script.caller[1:]) for script in sample} == set(range(agents))
    assert {int(script.number[1:4]) for script in sample} == set(range(agents))


def test_no_call_comes_back_to_its_own_agent() -> None:
    for script in Plan(1000, 7).standing():
        assert int(script.caller[1:]) != int(script.number[1:4])


@pytest.mark.parametrize(("calls", "agents"), [(0, 2), (1000, 3), (10_000, 10)])
def test_the_site_file_is_right(tmp_path: Path, calls: int, agents: int) -> None:
    plan = Plan(calls, agents)
    layout = Layout("127.50.1.", tmp_path, agents)
    (tmp_path / "site.key").touch(0o600)
    (tmp_path / "site.key").write_text("k" * 32)
    (tmp_path / "phones.key").write_text(PASSWORD)
    layout.site.write_text(layout.site_text(plan))
    for node in ("m1", "m2", "gw1"):
        site = load(layout.site, node)
    assert list(site.agents) == layout.names
    numbers = {number for line in site.lines.values() for number in line.numbers}
    assert {script.number for script in plan.standing()} <= numbers or not plan.small


def test_every_sort_of_call_has_a_reference() -> None:
    for plan in (Plan(0, 2), Plan(1000, 10)):
        for audio in (False, True):
            known = {script.sort for script in plan.references(audio)}
            assert {script.sort for script in plan.standing() if script.audio == audio} <= known


def test_what_was_heard_leaves_out_what_differs_from_call_to_call() -> None:
    call = Call.__new__(Call)
    call.heard = ["INVITE body=5f3a12c0", "ACK", "BYE Reason: Q.850;cause=31", "200 INVITE body=11aa22bb"]
    assert heard(call) == {
        "INVITE with a body": 1,
        "ACK": 1,
        "BYE Reason: Q.850;cause=31": 1,
        "200 INVITE with a body": 1,
    }


def test_a_pair_without_its_other_end_does_not_stand() -> None:
    assert not Pair(next(Plan(10, 2).standing())).stands


@pytest.fixture
def without_extras(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Python finds what only extras bring.

    `make demo` installs the product alone, so that it runs on versions of Python for which some extra has no wheel.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(texts: list[str]) -> set[str]:
        return {canonicalize_name(Requirement(text).name) for text in texts}

    extra = set().union(*map(names, project["optional-dependencies"].values())) - names(project["dependencies"])
    hidden = [name for name, found in packages_distributions().items() if {*map(canonicalize_name, found)} <= extra]
    assert {"cryptography", "aiortc", "pytest"} <= {*hidden}
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({hidden!r}))\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.interop
@pytest.mark.parametrize("arguments", [[], ["--calls", "40", "--agents", "3", "--how", "pause"]])
def test_nothing_is_lost(arguments: list[str], without_extras: dict[str, str]) -> None:
    command = [sys.executable, "-m", "examples.demo", "--format", "json", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False, env=without_extras
    )
    assert done.stdout.startswith("{"), done.stderr
    measured = json.loads(done.stdout)
    assert set(measured) == MEMBERS
    assert measured["kept"] == measured["calls"] == (40 if arguments else 3), done.stderr
    assert (measured["attempts_failed"], measured["device_messages"], measured["rtp_lost"]) == (0, 0, 0), done.stderr
    assert measured["cdrs"] == measured["calls"] + measured["attempts"]
    assert measured["report"]["new"] == "m2" and done.returncode == 0


@pytest.mark.interop
def test_two_mains_of_three_sites_die_at_once_and_one_process_takes_over() -> None:
    command = [sys.executable, "-m", "examples.demo", "--format", "json", "--sites", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout.startswith("{"), done.stderr
    sites = json.loads(done.stdout)["sites"]
    assert [(one["site"], one["led_by"]) for one in sites] == [("site1", "m2"), ("site2", "m2"), ("site3", "m1")]
    for one in sites:
        assert one["kept"] == one["calls"] == 3, done.stderr
        assert (one["attempts_failed"], one["device_messages"], one["rtp_lost"]) == (0, 0, 0), done.stderr
        assert one["cdrs"] == one["calls"] + one["attempts"]
    assert done.returncode == 0


@pytest.mark.parametrize("words", [["--sites", "0"], ["--sites", "11"], ["--sites", "2", "--how", "pause"]])
def test_sites_that_the_demo_does_not_play(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(words)
    assert ended.value.code == 2 and "sites" in capsys.readouterr().err
