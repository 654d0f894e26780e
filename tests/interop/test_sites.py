"""One stand-by process for three sites, two of whose mains die at once. Calls of all three go on, and each site has
epochs, records and a status of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo_processes import ROOT, Processes, Running
from examples.softphone_call import Call, Policy
from heartbeat import deaths
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import HEAD, PASSWORDS, Site, network, phone_line, until

pytestmark = pytest.mark.interop

NAMES = ("paris", "lyon", "nice")


class Town:
    """One site, but for its stand-by server, with a call that stands."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        net = network()
        lines = phone_line("alice", "gw1", media="relay") + phone_line("bob", "gw2", media="relay")
        head = HEAD.replace('name = "interop"', f'name = "{name}"')
        self.site = Site(directory / name, net, lines, passwords=PASSWORDS, head=head)
        self.alices, self.bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")

    def start(self, *names: str) -> None:
        self.site.command("init")
        for name in names:
            self.site[name].start()

    def register(self) -> None:
        net = self.site.net
        self.alice = self.alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        self.bob = self.bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        self.standing = self.call()

    def call(self) -> Call:
        call = self.alices.call(self.alice, "5002")
        until(lambda: talking(call) or ended(call), 8, f"a call in {self.name} is not answered")
        assert talking(call), f"the call in {self.name} failed with {call.status}\n{self.site.words()}"
        return call

    def hears(self) -> None:
        packets = self.alices.heard_audio(self.standing)
        until(lambda: self.alices.heard_audio(self.standing) > packets + 5, 5, f"no audio comes in {self.name}")

    def hang_up(self, call: Call) -> None:
        self.alices.ask(self.alices.core.bye, call)
        until(lambda: ended(call), 5, f"a call in {self.name} does not end")

    def rules(self, server: str) -> bool:
        """``server`` is active, and both agents obey it."""
        active = self.site[server].view().get("state") == "active"
        return active and all(self.site.obeys(agent, server) for agent in ("gw1", "gw2"))

    def close(self) -> None:
        self.alices.close()
        self.bobs.close()
        self.site.stop()


class Country:
    """Three sites and the process that stands by for all of them."""

    def __init__(self, directory: Path) -> None:
        self.towns = [Town(directory, name) for name in NAMES]
        self.processes = Processes(directory)
        self.options = [word for town in self.towns for word in ("--site", str(town.site.path))]

    def start(self) -> None:
        for town in self.towns:
            town.start("m1", "gw1", "gw2")
        self.start_backup()
        for town in self.towns:
            until(town.site.ready_but_for_standby, 20, lambda town=town: town.site.words())  # type: ignore[misc]
            until(lambda town=town: town.site["m2"].view().get("state") == "standby", 20, self.processes.last_words)
            town.register()

    def start_backup(self) -> None:
        command = [sys.executable, "-m", "b2bua.cli", "run", *self.options, "--node", "m2"]
        self.backup = self.processes.start("backup", command)

    def status(self) -> tuple[int, list[dict[str, object]]]:
        command = [sys.executable, "-m", "b2bua.cli", "status", "--format", "json", *self.options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=False)
        return done.returncode, json.loads(done.stdout)["sites"]

    def is_healthy(self) -> bool:
        """Every process has heard of every other, and nothing is warned of."""
        return self.status()[0] == 0

    def said(self) -> str:
        return str(self.status())

    def close(self) -> None:
        for town in self.towns:
            town.close()
        self.processes.end()


class Neighbours:
    """Two sites and two processes, each of which is the main of one site and stands by for the other."""

    def __init__(self, directory: Path) -> None:
        self.towns = [Town(directory, name) for name in NAMES[:2]]
        self.processes = Processes(directory)

    def start(self) -> None:
        for town in self.towns:
            town.start("gw1", "gw2")
        self.running = [self.start_process(number) for number in range(2)]
        for town in self.towns:
            until(lambda town=town: town.rules("m1"), 20, lambda town=town: town.site.words())  # type: ignore[misc]
            until(lambda town=town: town.site["m2"].view().get("state") == "standby", 20, self.processes.last_words)
            town.register()

    def start_process(self, number: int) -> Running:
        mine, other = self.towns[number], self.towns[1 - number]
        words = ["--site", str(mine.site.path), "--node", "m1", "--site", str(other.site.path), "--node", "m2"]
        return self.processes.start(f"process{number}", [sys.executable, "-m", "b2bua.cli", "run", *words])

    def close(self) -> None:
        for town in self.towns:
            town.close()
        self.processes.end()


@pytest.fixture
def neighbours(tmp_path: Path) -> Iterator[Neighbours]:
    neighbours = Neighbours(tmp_path)
    try:
        neighbours.start()
        yield neighbours
    finally:
        neighbours.close()


@pytest.fixture
def country(tmp_path: Path) -> Iterator[Country]:
    country = Country(tmp_path)
    try:
        country.start()
        yield country
    finally:
        country.close()


def test_one_stand_by_takes_two_of_its_three_sites_over_at_once(country: Country) -> None:
    paris, lyon, nice = country.towns
    until(country.is_healthy, 20, country.said)
    assert [(site["site"], site["active"]) for site in country.status()[1]] == [(name, "m1") for name in NAMES]
    for town in (paris, lyon):
        town.site["m1"].die()
    for town in (paris, lyon):
        until(lambda town=town: town.rules("m2"), 10, lambda town=town: town.site.words())  # type: ignore[misc]
    for town in (paris, lyon, nice):
        town.hears()
        town.hang_up(town.standing)
        town.hang_up(town.call())
    assert nice.rules("m1"), "the third site is as it was"
    code, sites = country.status()
    assert code == 1, "two sites are without a stand-by"
    assert [(site["active"], site["epoch"]) for site in sites] == [("m2", 2), ("m2", 2), ("m1", 1)]
    for town in country.towns:
        until(lambda town=town: len(town.site.records()) == 2, 8, f"{town.name} has not two records")  # type: ignore[misc]


def test_the_death_of_the_process_is_told_in_every_site(country: Country) -> None:
    paris, lyon, nice = country.towns
    paris.site["m1"].die()
    until(lambda: paris.rules("m2"), 10, paris.site.words)
    country.backup.kill_worker()
    for town in country.towns:
        state = town.site.path.parent / "state" / "m2"
        until(lambda state=state: deaths.read(state), 5, f"no death is left in {state}")  # type: ignore[misc]
    country.backup.process.wait(10)
    assert len({deaths.read(town.site.path.parent / "state" / "m2")[-1].secret for town in country.towns}) == 1
    country.start_backup()
    until(lambda: paris.rules("m2"), 10, lambda: paris.site.words() + country.processes.last_words())
    for town in country.towns:
        town.hears()
        town.hang_up(town.standing)
    assert lyon.rules("m1") and nice.rules("m1")


def test_two_processes_stand_by_for_each_other(neighbours: Neighbours) -> None:
    paris, lyon = neighbours.towns
    neighbours.running[0].kill_worker()
    until(lambda: paris.rules("m2"), 10, lambda: paris.site.words() + neighbours.processes.last_words())
    assert lyon.rules("m1"), "its main goes on beside"
    for town in (paris, lyon):
        town.hears()
        town.hang_up(town.standing)
        town.hang_up(town.call())
    neighbours.running[0].process.wait(10)
    neighbours.start_process(0)
    until(lambda: paris.site["m1"].view().get("state") == "standby", 20, neighbours.processes.last_words)
    until(lambda: lyon.site["m2"].view().get("state") == "standby", 20, neighbours.processes.last_words)
    assert paris.rules("m2") and lyon.rules("m1")
    for town in (paris, lyon):
        until(lambda town=town: len(town.site.records()) == 2, 8, f"{town.name} has not two records")  # type: ignore[misc]
