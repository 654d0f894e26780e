"""What operators ask of agents by a server: any that an agent is connected to, whoever leads, beside the calls.
Nothing comes the other way."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from heartbeat.console_exchange import LONGEST, PIECE, TIMEOUT, ConsoleAnswered, ConsoleAsked
from tests.agent_keys import own_site
from tests.stories import former
from tests.stories.former import Former, MixedSimulation
from tests.stories.rules import Rules
from tests.stories.site_simulation import SiteSimulation, site_of
from tests.stories.test_stories import part, serve, taken_over

SERVERS, AGENTS = ("m1", "s1"), ("gw1", "gw2")


class Consoles:
    """The shells of a simulation: each node answers with its own name, the question, and what ``more`` has."""

    def __init__(self, sim: SiteSimulation, more: bytes = b"") -> None:
        self.sim = sim
        self.more = more
        self.asked: list[tuple[str, ConsoleAsked]] = []
        self.answered: dict[tuple[str, int], ConsoleAnswered] = {}
        for name in (*SERVERS, *AGENTS):
            others: Any = sim.world.nodes[name].others
            others[ConsoleAsked] = lambda asked, name=name: self._asked(name, asked)
            others[ConsoleAnswered] = lambda told, name=name: self.answered.update({(name, told.number): told})

    def _exchange(self, name: str) -> Any:
        core = self.sim.world.nodes[name].core
        return (core.connections if name in AGENTS else core.leadership).console

    def _asked(self, name: str, asked: ConsoleAsked) -> None:
        self.asked.append((name, asked))
        answer = f"{name}: ".encode() + asked.question + self.more
        self.sim.world.at(
            self.sim.world.now, self.sim.world.ask, name, self._exchange(name).serve, asked.node, asked.number, answer
        )

    def ask(self, server: str, node: str, question: bytes = b"lines") -> tuple[str, int]:
        number: int = self.sim.world.ask(server, self._exchange(server).ask, node, question)
        return server, number

    def told(self, asked: tuple[str, int], seconds: float = LONGEST) -> ConsoleAnswered:
        assert self.sim.world.run_until(lambda: asked in self.answered, seconds)
        return self.answered[asked]


@pytest.fixture(params=[(), AGENTS, ("gw2",)], ids=["site key", "own keys", "one own key"])
def sim(request: pytest.FixtureRequest) -> SiteSimulation:
    site = site_of()
    return SiteSimulation(site=site, own_sites={name: own_site(site, name) for name in request.param})


def test_each_server_asks_each_agent_and_again_after_a_takeover(sim: SiteSimulation) -> None:
    rules = Rules(sim)
    call, other = sim.talk()
    consoles = Consoles(sim, Random(1).randbytes(40 * PIECE))
    asked = {(server, agent): consoles.ask(server, agent) for server in SERVERS for agent in AGENTS}
    for (_, agent), one in asked.items():
        assert consoles.told(one).answer == f"{agent}: lines".encode() + consoles.more
    assert len(consoles.asked) == 4, "each once"

    sim.world.kill("m1")
    here = consoles.ask("s1", "gw1")
    taken_over(sim)
    assert consoles.told(here).answer.startswith(b"gw1: lines"), "while it takes over"
    assert consoles.told(consoles.ask("s1", "gw2")).answer.startswith(b"gw2: lines")
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])
    assert rules is not None


def test_an_agent_that_is_not_connected_is_not_waited_for() -> None:
    sim = SiteSimulation()
    consoles = Consoles(sim)
    sim.world.kill("gw1")
    sim.world.run(sim.world.now + 2.0)
    assert consoles.told(consoles.ask("s1", "gw1"), 0.01).fault == "gw1 is not connected to s1: ask on its machine"
    sim.world.start("gw1")
    sim.world.run(sim.world.now + 2.0)
    assert consoles.told(consoles.ask("s1", "gw1")).answer == b"gw1: lines"


def test_an_agent_that_dies_meanwhile_does_not_carry_an_order_out_in_its_next_start() -> None:
    sim = SiteSimulation()
    consoles = Consoles(sim)
    one = consoles.ask("m1", "gw1", b"test")
    sim.world.kill("gw1")
    sim.world.start("gw1")
    told = consoles.told(one)
    assert not told.answer and "gw1" in told.fault
    assert [name for name, _ in consoles.asked] == []


def test_an_agent_asks_nothing() -> None:
    sim = SiteSimulation()
    consoles = Consoles(sim)
    for server in SERVERS:
        consoles.ask("gw1", server, b"switchover")
    sim.world.run(sim.world.now + TIMEOUT + 1.0)
    assert not consoles.asked
    assert {told.fault.partition(":")[0] for told in consoles.answered.values()} == {
        f"{server} does not answer what gw1 passes on" for server in SERVERS
    }


@pytest.fixture(scope="module")
def old_version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Former]:
    packages = former.archive()
    if not packages:
        pytest.skip(former.MISSING)
    with former.former_in(tmp_path_factory.mktemp("former"), packages) as process:
        yield process


def test_an_agent_of_the_former_version_is_asked_on_its_machine(old_version: Former) -> None:
    sim = MixedSimulation(old_version, {"gw1"})
    Rules(sim)
    consoles = Consoles(sim)
    call, other = sim.talk()
    old, new = consoles.ask("m1", "gw1"), consoles.ask("m1", "gw2")
    assert consoles.told(new, 1.0).answer == b"gw2: lines"
    assert consoles.told(old, TIMEOUT + 0.5).fault == (
        "gw1 does not answer what m1 passes on: it is not there, or of an older version; ask on its machine"
    )
    part(sim, "west", call, other, ["answered"])
