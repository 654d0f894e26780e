"""The lines of an agent: made, changed, reset and stopped as the site file and servers say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from gateway_agent.channels import Busy
from gateway_agent.dialog_list import SubscriptionFilter
from gateway_agent.far_side import LineEnvironment
from gateway_agent.line import Line
from gateway_agent.line_table import LineTable
from gateway_agent.lines.phone import Phone
from gateway_agent.lines.trunk import Trunk
from heartbeat.site.lines import LineSettings, RegistrationSettings
from heartbeat.site.values import PeerUri, Secret
from sip.actions import Send
from sip.device.phone import PhoneServices
from sip.packages.line_dialog import ListRequest
from sip.wire.message import Request, parse
from tests.gateway_agent.agent_fixture import AgentFixture, response_to, site


@dataclass
class Call:
    """A call of a line; it notes by which Reason it was reset."""

    line: Line
    resets: list[tuple[str, int, float]] = field(default_factory=list)

    def reset(self, reason: str, status: int, now: float) -> None:
        self.resets.append((reason, status, now))


class Fixture:
    """A table of lines in the environment of an agent that has none of its own there."""

    def __init__(self) -> None:
        core = AgentFixture().core
        self.core = core
        self.said: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.calls: dict[int, Any] = {}
        self.lines: dict[str, Line] = {}
        access, chance = core.access, Random(1)
        phones = PhoneServices(core.stack, chance, access.flows, access.dialogs, core.authentication, {})
        environment = LineEnvironment(core.stack, chance, access, phones, lambda: "paris", lambda: core.now)
        self.table = LineTable(
            environment,
            self.calls,
            lambda code, text, now: self.said.append((code, text)),
            lambda line, now: self.told.append(line.name),
            self.lines,
        )
        core.to_do()

    def take(self) -> tuple[list[tuple[str, str]], list[str]]:
        """What was said and told since."""
        found = self.said[:], self.told[:]
        self.said.clear()
        self.told.clear()
        return found

    def sent(self) -> list[Request]:
        found = [parse(each.data) for each in self.core.to_do() if isinstance(each, Send)]
        return [each for each in found if isinstance(each, Request)]


def settings(*names: str, **more: Any) -> list[LineSettings]:
    known = site().lines
    return [replace(known[name], **more) for name in names]


def test_it_has_the_lines_of_the_site_file_and_no_others() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1", "alice"), 0.0)
    assert {name: type(line.far_side) for name, line in fixture.lines.items()} == {"trunk1": Trunk, "alice": Phone}
    trunk = fixture.lines["trunk1"]
    fixture.table.load(settings("trunk1"), 1.0)
    assert fixture.lines == {"trunk1": trunk}, "what stays as it was is the same line"
    assert fixture.take() == ([], []), "nothing of it changed"


def test_a_line_with_other_settings_is_told_to_servers_and_goes_on() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1"), 0.0)
    line = fixture.lines["trunk1"]
    assert line.take(0.0) == 1
    fixture.table.load(settings("trunk1", channels=9), 1.0)
    assert fixture.lines["trunk1"] is line and line.settings.channels == 9 and line.busy == 1
    assert fixture.take() == ([("line", "trunk1: its settings were changed")], ["trunk1"])


def test_a_line_of_another_kind_is_another_line() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1"), 0.0)
    line = fixture.lines["trunk1"]
    fixture.table.load(settings("trunk1", kind="phone", peer=(), channels=1), 1.0)
    assert fixture.lines["trunk1"] is not line and isinstance(fixture.lines["trunk1"].far_side, Phone)


REGISTERS = {"register": RegistrationSettings(PeerUri.parse("sip:127.0.0.21"), "u", Secret("", b"secret"))}


@pytest.mark.parametrize("how", ["taken away", "of another kind", "stop"])
def test_a_line_is_started_and_stopped_with_its_far_side(how: str) -> None:
    """A trunk that registers says so on the wire; what it bound is taken back when the line goes."""
    fixture = Fixture()
    fixture.table.load(settings("trunk1", **REGISTERS), 0.0)
    [register] = fixture.sent()
    assert register.method == "REGISTER" and register.get("expires") != "0"
    lines = [f"Contact: {register.get('contact')}", "Expires: 600"]
    transaction = fixture.core.stack.clients[register.branch]
    fixture.core.receive(response_to(register, 200, lines, b"", "t"), transaction.flow, 0.1)
    assert fixture.lines["trunk1"].far_side.registered
    if how == "stop":
        fixture.table.stop(1.0, False)
        assert not fixture.sent(), "a restart keeps what is bound"
        fixture.table.stop(1.0, True)
    else:
        others = settings("trunk1", kind="phone", peer=()) if how == "of another kind" else []
        fixture.table.load(others, 1.0)
    assert [(each.method, each.get("expires")) for each in fixture.sent()] == [("REGISTER", "0")]


def test_a_far_side_that_comes_or_goes_is_told_once_its_line_is_open() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1"), 0.0)
    far: Any = fixture.lines["trunk1"].far_side
    far._changed("the peer is silent", 1.0)
    assert fixture.take() == ([("line", "trunk1: the peer is silent")], ["trunk1"])
    fixture.lines["trunk1"].closed = "by m1"
    far._changed("the peer answers", 2.0)
    assert fixture.take() == ([("line", "trunk1: the peer answers")], [])


# -- reset --------------------------------------------------------------------------------------------------------


def wanted(**more: Any) -> SubscriptionFilter:
    return SubscriptionFilter("reset", None, ListRequest(**more))


@pytest.mark.parametrize(
    ("asked", "reset"),
    [
        ({}, {"trunk1"}),  # lines whose recovery is cold
        ({"lines": ("alice",)}, {"alice"}),  # those named, whatever their recovery
        ({"lines": ("alice", "trunk1")}, {"alice", "trunk1"}),
        ({"lines": ()}, set()),
        ({"least_priority": 6}, set()),
        ({"lines": ("alice", "trunk1"), "least_priority": 6}, {"alice"}),
    ],
)
def test_which_lines_a_reset_means(asked: dict[str, Any], reset: set[str]) -> None:
    fixture = Fixture()
    fixture.table.load([*settings("trunk1", recovery="cold", priority=5), *settings("alice", priority=7)], 0.0)
    calls = {name: Call(line) for name, line in fixture.lines.items()}
    fixture.calls.update(enumerate(calls.values()))
    fixture.table.reset(wanted(**asked), "m1", 3.0)
    assert {name for name, call in calls.items() if call.resets} == reset
    for name in reset:
        assert calls[name].resets == [('SIP;cause=503;text="Reset by m1"', 503, 3.0)]
    assert {text.split()[0] for _, text in fixture.said} == reset


def test_a_reset_brings_a_line_to_its_state_and_tells_only_a_change() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1", recovery="cold"), 0.0)
    line = fixture.lines["trunk1"]
    fixture.table.reset(wanted(), "m1", 1.0)
    assert fixture.take() == ([("reset", "trunk1 was reset to idle by m1")], []) and line.in_service
    fixture.table.reset(wanted(state="out-of-service"), "m1", 2.0)
    said, told = fixture.take()
    assert line.why == "reset to out of service by m1" and told == ["trunk1"]
    assert said == [
        ("reset", "trunk1 was reset to out-of-service by m1"),
        ("line", "trunk1: trunk1 is out-of-service"),
    ]
    fixture.table.reset(wanted(), "m2", 3.0)
    assert line.in_service and fixture.take()[1] == ["trunk1"]


def test_a_line_that_is_busied_out_takes_no_calls_and_keeps_those_it_has() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1", "alice"), 0.0)
    line = fixture.lines["trunk1"]
    call = fixture.calls[1] = Call(line)
    fixture.take()

    def order(state: str, server: str = "m1") -> tuple[list[tuple[str, str]], list[str]]:
        wanted = SubscriptionFilter("reset", None, ListRequest(lines=("trunk1",), state=state))
        fixture.table.reset(wanted, server, 1.0)
        return fixture.take()

    said = "trunk1: takes no new calls, by an order given at m1"
    assert order("busied-out") == ([("line", said)], ["trunk1"])
    assert line.why == "busied out by m1" and line.take(1.0) == Busy(503, line.why) and not call.resets
    assert order("busied-out", "m2") == ([], []), "it is so already, and another server says it again"
    fixture.table.load([*settings("alice"), *settings("trunk1", channels=7)], 2.0)
    assert line.why == "busied out by m1", "a reload does not end it"
    order("idle")
    assert line.why == "busied out by m1" and call.resets, "nor does a reset"
    assert order("back") == ([("line", "trunk1: takes new calls again")], ["trunk1"])
    assert not line.closed
    order("out-of-service")
    assert order("back") == ([], []), "what was reset is not brought back so"


def test_a_password_that_is_another_one_in_the_same_place_is_taken() -> None:
    fixture = Fixture()
    old, new = (Secret("secret alice", word) for word in (b"old", b"new"))
    fixture.table.load(settings("alice", password=old), 0.0)
    fixture.table.load(settings("alice", password=new), 1.0)
    kept = fixture.lines["alice"].settings.password
    assert kept is not None and kept.value == b"new"


def test_servers_are_told_of_a_phone_that_comes_by_a_reload_that_nobody_is_registered() -> None:
    fixture = Fixture()
    fixture.table.load(settings("trunk1"), 0.0)
    assert fixture.take() == ([], [])
    fixture.table.load(settings("trunk1", "alice"), 1.0)
    assert fixture.take() == ([("line", "alice: no device is registered")], ["alice"])
