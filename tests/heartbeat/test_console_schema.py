"""A view as JSON and back, and the figures in it."""

from __future__ import annotations

import json
from dataclasses import is_dataclass, replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

from heartbeat.console import views
from heartbeat.console.schema import COUNTER, as_json, fields_of, figures_of, of_json
from heartbeat.console.views.lines import AgentLine, AgentLines
from heartbeat.console.views.process import ProcessStats
from heartbeat.console.views.status import AgentStatus, CallCounts, LineCounts, Passwords, Peer, Relay

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
LINE = AgentLine(
    name="alice",
    agent="gw1",
    kind="phone",
    state="idle",
    in_service=True,
    channels=1,
    busy=0,
    address="",
    registered=None,
    contacts=0,
    forward={"busy": "7"},
    priority=0,
    recovery="hot",
    why="",
    guesses=0,
    guessed_from="",
)
STATS = ProcessStats(0.5, 20.0, 0.0, 0.1)
STATUS = AgentStatus(
    kind="agent",
    version="1",
    site="s",
    agent="gw1",
    state="draining",
    obeys="m1",
    epoch=3,
    since_at=None,
    promised=3,
    voter=True,
    boot=1,
    config="",
    started_at=1.0,
    servers=(),
    calls=CallCounts(3, 2, 1, 0, 0, 0),
    held_attempts=0,
    lines=LineCounts(2, 1, 1, 0),
    relay=None,
    passwords=Passwords(1, 0, "bob", "192.0.2.1", 2.0),
    warnings=("a", "b"),
    process=STATS,
)


@pytest.mark.parametrize("view", [LINE, STATUS, AgentLines((LINE,)), replace(STATUS, relay=Relay(1, 2, 3, 4, 5))])
def test_a_view_is_the_same_after_json(view: Any) -> None:
    assert of_json(type(view), json.loads(json.dumps(as_json(view)))) == view


def test_another_version_says_less_or_more() -> None:
    value = as_json(STATUS)
    del value["process"], value["trunks"]
    value["news"] = 1
    assert of_json(AgentStatus, value) == replace(STATUS, process=None, trunks=())
    del value["voter"]
    with pytest.raises(KeyError, match="voter"):
        of_json(AgentStatus, value)


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        ("agent", 5),
        ("agent", None),
        ("voter", "no"),
        ("epoch", "seven"),
        ("servers", 5),
        ("servers", [5]),
        ("calls", 7),
    ],
)
def test_what_is_of_another_type_is_no_view(member: str, wrong: Any) -> None:
    with pytest.raises((KeyError, TypeError)):
        of_json(AgentStatus, {**as_json(STATUS), member: wrong})


def test_figures_have_the_labels_of_what_they_are_in() -> None:
    peer = Peer("m1", "server", "main", "", "", 0, True, None, "", False, 0, "", True, 0, 0, "")
    status = replace(STATUS, servers=(peer,), process=replace(STATS, results={"busy": 2}))
    found = {(figure.metric.name, *figure.labels.items()): figure.value for figure in figures_of(status)}
    assert found["calls", ("state", "talking")] == 2
    assert found["peer_reached", ("peer", "m1")] == found["peer_drift", ("peer", "m1")] == 1
    assert ("peer_heard_seconds", ("peer", "m1")) not in found, "it was never heard"
    assert found["calls_ended", ("result", "busy")] == found["warnings",] == 2
    assert (found["serving",], found["draining",]) == (0, 1)


def test_every_metric_is_documented() -> None:
    text = DOCUMENT.read_text()
    modules = [import_module(f"{views.__name__}.{found.name}") for found in iter_modules(views.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if is_dataclass(kind)}
    metrics = [metric for kind in kinds for field in fields_of(kind) for metric in field.metrics]
    names = {metric.name + "_total" * (metric.kind == COUNTER) for metric in metrics}
    assert len(names) > 40 and not [name for name in sorted(names) if f"`{name}" not in text]
    assert not [metric.meaning for metric in metrics if f"| {metric.meaning} |" not in text]
