"""Which server has adopted the agent, by which connection, and what waits meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_agent import poison
from gateway_agent.call_environment import NOWHERE
from gateway_agent.obedience import Obedience
from sip.actions import Flow
from sip.wire.message import Response

M1 = Flow("tcp", "gw1>m1#1", ("127.0.0.1", 5161))
M1_AGAIN = Flow("tcp", "gw1>m1#2", ("127.0.0.1", 5161))
M2 = Flow("tcp", "gw1>m2#3", ("127.0.0.2", 5161))


@dataclass
class Transaction:
    flow: Flow
    on_site_flow: bool = True


@dataclass
class Call:
    """A call whose server's side notes where it was moved to."""

    has_server: bool = True
    sent: list[Any] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)

    @property
    def server_side(self) -> Any:
        return SimpleNamespace(moved=self.targets.append)

    @property
    def server(self) -> Any:
        return SimpleNamespace(dialogs=SimpleNamespace(move=self.flows.append)) if self.has_server else None


class Fixture:
    def __init__(self) -> None:
        self.epoch = 1
        self.goodbye = False
        self.servers: dict[str, Transaction] = {}
        self.calls: dict[int, Any] = {1: Call(), 2: Call(has_server=False)}
        self.said: list[str] = []
        self.environment: Any = Environment(self)
        self.obedience = Obedience(
            self.environment,
            self.calls,
            lambda code, text, now: self.said.append(f"{now:g} {code}: {text}"),
            lambda: self.goodbye,
            0.0,
        )


class Environment:
    """What all calls share of the servers (`CallEnvironment`)."""

    def __init__(self, fixture: Fixture) -> None:
        self.stack = SimpleNamespace(servers=fixture.servers)
        self.counters: Counter[str] = Counter()
        self.epoch = lambda: fixture.epoch
        self.server_flow = NOWHERE
        self.server = "m1"
        self.hold_attempt = 8.0

    @property
    def connected(self) -> bool:
        return self.server_flow is not NOWHERE


def test_the_server_that_adopts_is_where_all_goes() -> None:
    fixture = Fixture()
    fixture.obedience.adopt("m2", M2, 5.0)
    assert (fixture.environment.server_flow, fixture.environment.server) == (M2, "m2")
    assert (fixture.obedience.adopted, fixture.obedience.since) == (("m2", 1), 5.0)
    assert fixture.calls[1].targets == ["sip:m2;transport=tcp"], "the target of every dialog is the obeyed server"


@pytest.mark.parametrize(
    ("server", "flow", "epoch", "since", "moved"),
    [
        ("m1", M1, 1, 5.0, 1),  # the same again: nothing happens
        ("m1", M1_AGAIN, 1, 5.0, 2),  # its new connection
        ("m1", M1, 2, 9.0, 2),  # a new epoch of it
        ("m2", M2, 2, 9.0, 2),
    ],
)
def test_the_same_server_on_another_connection_goes_on(
    server: str, flow: Flow, epoch: int, since: float, moved: int
) -> None:
    fixture = Fixture()
    fixture.obedience.adopt("m1", M1, 5.0)
    fixture.epoch = epoch
    fixture.obedience.adopt(server, flow, 9.0)
    assert fixture.obedience.since == since and fixture.environment.server_flow == flow
    assert len(fixture.calls[1].targets) == moved and fixture.obedience.adopted == (server, epoch)


def test_what_a_former_connection_brought_is_recognised_by_its_key_from_now_on() -> None:
    """Requests of that flow would else be taken for repeats by their branch."""
    fixture = Fixture()
    device = Flow("udp", "127.0.0.11:5060", ("127.0.0.21", 5060))
    fixture.servers.update(old=Transaction(M1), new=Transaction(M2), device=Transaction(device, False))
    fixture.obedience.adopt("m2", M2, 5.0)
    assert set(fixture.servers) == {"new", "device"}


def test_a_server_that_leads_no_more_is_told_nothing() -> None:
    fixture = Fixture()
    fixture.obedience.adopt("m1", M1, 5.0)
    fixture.obedience.detach(6.0)
    assert fixture.environment.server_flow is NOWHERE and fixture.calls[1].flows == [NOWHERE]
    assert fixture.obedience.adopted == ("m1", 1), "until another one adopts"


def test_a_lost_connection_is_said_when_it_was_that_of_the_obeyed_server() -> None:
    fixture = Fixture()
    fixture.obedience.adopt("m1", M1, 5.0)
    fixture.obedience.flow_lost(M2, 6.0)
    assert fixture.environment.server_flow == M1 and not fixture.said
    fixture.obedience.flow_lost(M1, 7.0)
    assert fixture.environment.server_flow is NOWHERE
    assert fixture.said == ["7 unconnected: the connection to m1 is lost; requests are kept"]
    assert not fixture.calls[1].flows, "calls wait where they are"


@pytest.mark.parametrize(
    ("how", "at", "until"),
    [("never adopted", 0.0, 8.0), ("detach", 20.0, 28.0), ("flow lost", 20.0, 28.0), ("both", 20.0, 28.0)],
)
def test_new_calls_are_held_for_so_long(how: str, at: float, until: float) -> None:
    fixture = Fixture()
    if how != "never adopted":
        fixture.obedience.adopt("m1", M1, 5.0)
        assert fixture.obedience.holds(1000.0), "while a server is there it takes calls"
    if how in ("flow lost", "both"):
        fixture.obedience.flow_lost(M1, at)
    if how == "detach":
        fixture.obedience.detach(at)
    if how == "both":
        fixture.obedience.detach(at + 3.0)  # the time counts from the first
    assert fixture.obedience.holds(until - 0.01) and not fixture.obedience.holds(until)


def test_a_reload_names_the_main_server_until_one_has_adopted() -> None:
    fixture = Fixture()
    fixture.obedience.reload("m9", 3.0)
    assert (fixture.environment.server, fixture.environment.hold_attempt) == ("m9", 3.0)
    fixture.obedience.adopt("m2", M2, 5.0)
    fixture.obedience.reload("m1", 4.0)
    assert (fixture.environment.server, fixture.environment.hold_attempt) == ("m2", 4.0)


class Client:
    """A request under way; it notes how it is answered."""

    method = "INVITE"
    branch = "z9hG4bK1"
    request = (
        b"INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/TCP gw1;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\n"
        b"To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )

    def __init__(self) -> None:
        self.flow = M1
        self.statuses: list[int] = []

    def receive(self, response: Response, now: float) -> None:
        self.statuses.append(response.status)


@pytest.mark.parametrize(
    ("goodbye", "lost_after", "heard", "deaths"),
    [
        (False, 1.0, False, poison.SILENT),
        (False, 1.0, True, poison.RESPONDED),
        (True, 1.0, False, 0),
        (False, 60.0, False, 0),  # a death long after the request is none of its doing
    ],
)
def test_a_death_that_came_soon_after_a_request_is_counted(
    goodbye: bool, lost_after: float, heard: bool, deaths: int
) -> None:
    fixture = Fixture()
    sent: Any = SimpleNamespace(reached=True, handed_at=0.0, deaths=0, client=Client())
    fixture.calls[1].sent.append(sent)
    fixture.obedience.adopt("m1", M1, 5.0)
    assert sent.handed_at == 5.0 and not sent.deaths
    sent.heard = heard
    fixture.goodbye = goodbye
    fixture.obedience.flow_lost(M1, 5.0 + lost_after)
    fixture.epoch = 2
    fixture.obedience.adopt("m2", M2, 70.0)
    assert sent.deaths == deaths and not sent.client.statuses


def test_a_request_of_which_two_servers_died_is_answered() -> None:
    fixture = Fixture()
    sent: Any = SimpleNamespace(reached=True, handed_at=0.0, deaths=0, client=Client())
    fixture.calls[1].sent.append(sent)
    for epoch, (server, flow) in enumerate([("m1", M1), ("m2", M2), ("m1", M1_AGAIN)], 1):
        fixture.epoch = epoch
        fixture.obedience.adopt(server, flow, float(epoch))
        fixture.obedience.flow_lost(flow, epoch + 0.5)
    assert sent.client.statuses == [500] and fixture.environment.counters == {"poison": 1}
    assert [line for line in fixture.said if " poison: " in line] == [
        "3 poison: servers died while they had INVITE z9hG4bK1: it is answered 500"
    ]


def test_the_same_server_on_a_new_connection_died_of_nothing() -> None:
    fixture = Fixture()
    sent: Any = SimpleNamespace(reached=True, handed_at=0.0, deaths=0, client=Client())
    fixture.calls[1].sent.append(sent)
    for flow in (M1, M1_AGAIN, M1):
        fixture.obedience.adopt("m1", flow, 1.0)
        fixture.obedience.flow_lost(flow, 1.5)
    assert not sent.deaths and not sent.client.statuses
