"""python -m tests.interop.faults [FAULT ...] [--rate 20] [--seconds 8]

Faults of machines under calls: real processes, each node on a machine of its own (``machines``). West dials east at a
steady rate, calls are answered, talk, and are hung up by west. Whatever the fault, no call may be lost: each is
answered, none ends but by west, each has one record with its true duration; and no epoch has two servers, nor does an
agent go back to an older one, nor do two servers have a lease at once.

Without a fault named all are run. The exit code is 1 when one of them shows a loss. Needs root.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from examples.softphone_call import ENDED, Call, Policy
from tests.interop import machines
from tests.interop.machines import NODES, Machines, fill, small_disk, take_away
from tests.interop.phones import Phone
from tests.interop.programs import HEAD, Program, Site, until

TALKS: Final = 3.0
"""Seconds from the answer to west's BYE."""
PATIENCE: Final = 30.0
LINES: Final = """
[lines.west]
kind = "trunk"
agent = "gw1"
peer = "sip:{west}:5060"
channels = 1000
[lines.east]
kind = "trunk"
agent = "gw2"
peer = "sip:{east}:5060"
channels = 1000
[[routes]]
match = "2*"
to = ["east"]
"""


class Fault(NamedTuple):
    does: Callable[[Scene], None]
    """What happens; it may take its time."""
    undone: Callable[[Scene], None]
    """What is done afterwards, when it has lasted long enough."""
    six: bool = False
    before: Callable[[Scene], None] | None = None
    """What is prepared before the site starts."""
    skewed: bool = False
    disks: tuple[str, ...] = ()
    """Nodes that have a small disk."""


class Scene:
    """A site on its machines, with devices and a fault."""

    def __init__(self, directory: Path, fault: Fault, rate: float, seconds: float) -> None:
        self.fault, self.rate, self.seconds = fault, rate, seconds
        self.directory = directory
        self.machines = Machines(directory, fault.six)
        self.clock = directory / "clock"
        self.clock.write_text("0")
        net = "[fd00:77::{}]" if fault.six else "10.77.0.{}"
        places = {name: net.format(host) for name, host in machines.HOSTS.items()}
        self.site = Site(
            directory, self.machines.net, LINES.format(**places), timing="hold_attempt = 20", head=head_of(places)
        )
        self.site.processes = self.machines
        self.site.programs = {name: Program(self.machines, name, self.site.path) for name in NODES}
        self.places = places
        self.dialled: list[Call] = []
        self.hung_up: set[int] = set()
        self.two_leases = ""
        self.untried: list[str] = []
        """What could not be done or watched, so that nothing is shown by the run."""
        self._over = threading.Event()
        self._undone = threading.Event()
        self._stopped = threading.Event()

    def __getitem__(self, name: str) -> Program:
        return self.site[name]

    def state(self, name: str) -> Path:
        return self.directory / "state" / name

    def run(self) -> list[str]:
        """What was wrong, a sentence each."""
        if self.fault.before is not None:
            self.fault.before(self)
        for name in self.fault.disks:
            small_disk(self.state(name))
        phones = []
        try:
            self.site.start(60.0)
            west = Phone(f"{self.places['west']}:5060", speaks=False)
            phones.append(west)
            east = Phone(f"{self.places['east']}:5060", speaks=False)
            phones.append(east)
            self._line = west.line("*", f"{self.places['gw1']}:5060")
            east.line("*", f"{self.places['gw2']}:5060", policy=Policy(answer_after=0.2))
            watching = threading.Thread(target=self._watch, daemon=True)
            watching.start()
            self._dial(west, 2.0)
            threading.Thread(target=self._harm, daemon=True).start()
            self._dial(west, self.seconds)
            while not self._undone.is_set():
                self._dial(west, 0.5)
            self._dial(west, 3.0)
            faults = self._settle(west)
            self._over.set()
            watching.join(10)
            return [*self.untried, *faults, *self._records(), *self._epochs(), *self._bugs()]
        finally:
            self._over.set()
            for phone in phones:
                phone.close()
            self.site.stop()
            self._stopped.set()
            for name in self.fault.disks:
                take_away(self.state(name))

    def _harm(self) -> None:
        try:
            self.fault.does(self)
            time.sleep(self.seconds * 0.6)
            self.fault.undone(self)
        except Exception as error:
            self.untried.append(f"the fault could not be made or undone: {error!r}")
        finally:
            self._undone.set()
        self._stopped.wait()  # the kernel ends what this thread started with the thread, not with the process

    def _bugs(self) -> list[str]:
        """Lines of logs that are no part of the fault."""
        full = ("No space left on device", "disk is full") if self.fault.disks else ()
        return [line for line in self.site.bugs() if not any(word in line for word in full)]

    def _dial(self, west: Phone, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            self.dialled.append(west.call(self._line, f"2{len(self.dialled):05d}"))
            self._hang_up(west)
            time.sleep(max(0.0, 1.0 / self.rate - (time.monotonic() - began)))

    def _hang_up(self, west: Phone) -> None:
        now = west.socket.pump.clock()
        for index, call in enumerate(self.dialled):
            if (
                index not in self.hung_up
                and call.answered_at
                and call.state is not ENDED
                and now - call.answered_at >= TALKS
            ):
                self.hung_up.add(index)
                west.ask(west.core.bye, call)

    def _settle(self, west: Phone) -> list[str]:
        """Let all calls come to their ends; what was wrong with them."""

        def all_over() -> bool:
            self._hang_up(west)
            return all(call.state is ENDED for call in self.dialled)

        end = time.monotonic() + PATIENCE
        while not all_over() and time.monotonic() < end:
            time.sleep(0.1)
        found = []
        for index, call in enumerate(self.dialled):
            if not call.answered_at:
                found.append(f"call {index} was not answered: {call.state} {call.status}")
            elif call.state is not ENDED:
                found.append(f"call {index} did not end")
            elif index not in self.hung_up:
                found.append(f"call {index} ended, and nobody had hung up")
        return found

    def _records(self) -> list[str]:
        # a record is on disk a moment after the end, or when the next server has it from the agents
        end = time.monotonic() + PATIENCE
        while len(records := self.site.records()) < len(self.dialled) and time.monotonic() < end:
            time.sleep(0.5)
        found = []
        if len(records) != len(self.dialled):
            found.append(f"{len(records)} records of {len(self.dialled)} calls")
        for record in records:
            answered, ended = record["answered"], record["ended"]
            if answered is None or not record["started"] <= answered <= ended:
                found.append(f"the times of {record['callee']} are not in order: {record}")
            elif self.fault.skewed and not TALKS - 0.5 < ended - answered < TALKS + 4.0:
                found.append(f"{record['callee']} talked {ended - answered:.1f} s by its record")
        return found

    def _epochs(self) -> list[str]:
        """Whom the agents obeyed, by their own words."""
        found, rulers = [], dict[int, str]()
        for agent in ("gw1", "gw2"):
            last = 0
            for server, text in re.findall(rf"adopted: {agent} obeys (m\d) under epoch (\d+)", self[agent].words()):
                epoch = int(text)
                if rulers.setdefault(epoch, server) != server:
                    found.append(f"epoch {epoch} had two servers")
                if epoch <= last:
                    found.append(f"{agent} obeyed epoch {epoch} after {last}")
                last = epoch
        if max(rulers, default=0) < 2:  # each fault takes the active server from an agent at least
            found.append("nobody took over: the fault was none")
        return [*found, *([self.two_leases] if self.two_leases else [])]

    def _watch(self) -> None:
        """Never two leases: what is left of each, seen within the shorter one."""
        seen = False
        try:
            while not self._over.wait(0.1):
                began = time.monotonic()
                left = {name: self[name].view().get("lease_left") or 0.0 for name in ("m1", "m2")}
                seen = seen or any(left.values())
                if min(left.values()) > time.monotonic() - began:
                    self.two_leases = f"both servers have a lease: {left}"
        except Exception as error:
            self.untried.append(f"leases could not be watched: {error!r}")
        if not seen:
            self.untried.append("no server was ever seen with a lease")


def head_of(places: dict[str, str]) -> str:
    """The site file of the other tests, with the places of these machines and a state directory for each node."""
    text = HEAD
    for name, host in machines.HOSTS.items():
        bare = places[name].strip("[]")
        text = text.replace(f"{{net}}{host}:", f"{places[name]}:").replace(f'"{{net}}{host}"', f'"{bare}"')
    for name in NODES:
        api = f'api = "unix:{{dir}}/{name}.sock"\n'
        text = text.replace(f'{api}state = "{{dir}}/state"', f'{api}state = "{{dir}}/state/{name}"')
    return text


def _heal(scene: Scene) -> None:
    scene.machines.heal()


def _heal_after_the_switchover(scene: Scene) -> None:
    """A server that does not reach an agent hands over after ``subset_after``, if it is cut off until then."""
    try:
        until(lambda: scene["m2"].view().get("state") == "active", 15.0, "m2 did not take over")
    finally:
        scene.machines.heal()


def _kill(scene: Scene) -> None:
    scene["m1"].kill()


def _start_again(*names: str) -> Callable[[Scene], None]:
    def start(scene: Scene) -> None:
        for name in names:
            scene[name].start()

    return start


def _kill_both_and_start_them(scene: Scene) -> None:
    for name in ("m1", "m2"):
        scene[name].kill()
    for name in ("m1", "m2"):
        scene[name].start()


def _nothing(scene: Scene) -> None:
    pass


def _fill_and_kill(*names: str) -> Callable[[Scene], None]:
    def harm(scene: Scene) -> None:
        for name in names:
            fill(scene.state(name))
        time.sleep(1.0)
        scene["m1"].kill()

    return harm


def _make_room(*names: str) -> Callable[[Scene], None]:
    def undo(scene: Scene) -> None:
        for name in names:
            (scene.state(name) / "fill").unlink()

    return undo


def _wrong_clock(scene: Scene) -> None:
    scene.machines.before["m1"] = ["-m", "tests.interop.stepped", str(scene.clock)]


def _step_and_kill(scene: Scene) -> None:
    scene.clock.write_text("3600")
    time.sleep(2.0)
    scene.clock.write_text("-600")
    time.sleep(1.5)
    scene["m1"].kill()


FAULTS: Final = {
    "mute": Fault(lambda scene: scene.machines.mute("m1"), _heal),
    "deaf": Fault(lambda scene: scene.machines.deaf("m1"), _heal),
    "agent-cut": Fault(lambda scene: scene.machines.cut("gw1", "m1"), _heal_after_the_switchover),
    "restart": Fault(_kill_both_and_start_them, _nothing),
    "disk-of-an-agent": Fault(_fill_and_kill("gw1"), _make_room("gw1"), disks=("gw1",)),
    # what the dead server could not write down, the next one has from the agents
    "disk-of-the-active": Fault(_fill_and_kill("m1"), _make_room("m1"), disks=("m1",)),
    "disk-of-the-stand-by": Fault(_fill_and_kill("m2"), _make_room("m2"), disks=("m2",)),
    "clock": Fault(_step_and_kill, _nothing, before=_wrong_clock, skewed=True),
    "stopped": Fault(lambda scene: scene["m1"].pause(), lambda scene: scene["m1"].go_on()),
    "ipv6": Fault(_kill, _start_again("m1"), six=True),
}
"""By name."""


def run(name: str, rate: float, seconds: float) -> int:
    """Run one fault in namespaces made for it; the exit code."""
    words = [name, "--rate", str(rate), "--seconds", str(seconds)]
    return subprocess.run(machines.enter("tests.interop.faults", *words), check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults of machines under calls.")
    parser.add_argument("fault", nargs="*", choices=[*FAULTS, []], help="; ".join(FAULTS))
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long calls are dialled after the fault")
    options = parser.parse_args()
    if not machines.is_inside():
        if why := machines.impossible():
            print(why, file=sys.stderr)
            return 2
        return max(run(name, options.rate, options.seconds) for name in options.fault or FAULTS)
    [name] = options.fault
    with tempfile.TemporaryDirectory(prefix="holdfast-faults-") as directory:
        scene = Scene(Path(directory), FAULTS[name], options.rate, options.seconds)
        faults = scene.run()
        words = "" if not faults else f"\n{scene.site.words()}"
    print(
        f"{name}: {len(scene.dialled)} calls, " + ("none lost" if not faults else "; ".join(faults[:10]) + words),
        flush=True,
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
