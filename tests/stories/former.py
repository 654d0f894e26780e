"""python -m tests.stories.former

The version before: servers and agents of an earlier commit in the World, beside those of today.

Their packages come out of the repository's own history and run in a process of their own (``former_host.py``), which
is told the World's time and hands over what they want sent: on the wires are the very bytes of that version. As a
program this kills m1 at every message of every flow, in each mix of versions, and tells what is not as without it.
"""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import subprocess
import sys
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2s
from io import BytesIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from b2bua.cdr import Cdr
from b2bua.core import CallEnded
from heartbeat.site import load as sites
from sip.actions import Action, Close, Flow, Open, Resolve, Send, Store
from tests.stories import matrix
from tests.stories.flows import FLOWS
from tests.stories.flows import Flow as Play
from tests.stories.site_simulation import KEYS, SiteSimulation, site_of, text_of
from tests.wires import Delivery
from tests.world import MOMENTS, Crash, Disk

ROOT: Final = Path(__file__).parents[2]
COMMIT: Final = "8e25244"
"""The last one before the call's one table: what a site that is to be upgraded runs."""
PACKAGES: Final = ("sip", "heartbeat", "b2bua", "gateway_agent")
MISSING: Final = (
    f"commit {COMMIT} is not in this copy of the repository, and with it the version beside which the present one"
    " has to work: `git fetch --unshallow` brings the history of a shallow clone"
)

_ACTIONS: Final[dict[str, Any]] = {each.__name__: each for each in (Close, Open, Resolve, Send, Store)}


def archive() -> bytes:
    """The packages of that version as a tar file; empty when the history does not have them."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", COMMIT, *PACKAGES]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


class Former:
    """The process with that version's packages."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ids = count()

    def ask(self, verb: str, *args: Any) -> Any:
        """Have something done there."""
        there, back = self._process.stdin, self._process.stdout
        assert there is not None and back is not None
        pickle.dump((verb, *args), there)
        there.flush()
        fine, answer = pickle.load(back)
        if not fine:
            raise AssertionError(f"the former version failed\n{answer}")
        return answer

    def number(self) -> int:
        """For a new core."""
        return next(self._ids)


@contextmanager
def former_in(directory: Path, packages: bytes) -> Iterator[Former]:
    """Unpack that version, start its process, end it."""
    with tarfile.open(fileobj=BytesIO(packages)) as tar:
        if hasattr(tarfile, "data_filter"):  # since Python 3.11.4
            tar.extractall(directory, filter="data")
        else:
            tar.extractall(directory)
    environment = os.environ | {"PYTHONPATH": str(directory)}
    command = [sys.executable, "-P", str(Path(__file__).with_name("former_host.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory, env=environment
    ) as process:
        yield Former(process)
        assert process.stdin is not None
        process.stdin.close()


class Mix(NamedTuple):
    """Which nodes run the former version, in a takeover from m1 to s1."""

    name: str
    old: frozenset[str]


MIXES: Final = tuple(
    Mix(f"from {way}, {agents}", frozenset((server, *old)))
    for way, server in (("an old server to a new one", "m1"), ("a new server to an old one", "s1"))
    for agents, old in (
        ("new agents", ()),
        ("old agents", ("gw1", "gw2")),
        ("the caller's agent old", ("gw1",)),
        ("the called one's agent old", ("gw2",)),
    )
)


class FormerCore:
    """One server or agent of that version, with the verbs of ``sip.actions``."""

    def __init__(
        self, former: Former, name: str, text: str, disk: Disk, seed: str, now: float, wall_offset: float
    ) -> None:
        self._former = former
        self._number = former.number()
        self._actions: list[Action] = []
        self._events: deque[CallEnded | str] = deque()
        self._timer: float | None = None
        self.calls = 0
        secret = blake2s(seed.encode()).digest()
        written, drained = former.ask("start", self._number, name, text, KEYS, disk, seed, secret, now, wall_offset)
        disk.update(written)
        self._take(drained)

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        self._tell("receive", (data, tuple(flow)), now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        self._tell("flow_changed", (tuple(flow), state), now)

    def done(self, request: Resolve | Store, result: Any, now: float) -> None:
        if isinstance(request, Resolve):
            result = [(place.transport, place.host, place.port) for place in result]
        self._tell("done", ((type(request).__name__, *request), result), now)

    def handle_timer(self, now: float) -> None:
        self._tell("handle_timer", (), now)

    def get_timer(self) -> float | None:
        return self._timer

    def to_do(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def next_event(self) -> CallEnded | str | None:
        return self._events.popleft() if self._events else None

    def switchover(self, now: float) -> None:
        """The operator's verb."""
        self._tell("switchover", (), now)

    def look(self, what: str, now: float) -> Any:
        """``may act``, ``is told`` or ``epoch``."""
        return self._former.ask("look", self._number, what, now)

    def _tell(self, verb: str, args: tuple[Any, ...], now: float) -> None:
        self._take(self._former.ask("tell", self._number, verb, args, now))

    def _take(self, drained: tuple[list[Any], list[Any], float | None, int]) -> None:
        actions, events, self._timer, self.calls = drained
        for name, *fields in actions:
            kind = _ACTIONS[name]
            first = Flow(*fields[0]) if kind in (Send, Open, Close) else fields[0]
            self._actions.append(kind(first, *fields[1:]))
        for event in events:
            self._events.append(event if isinstance(event, str) else CallEnded(Cdr.from_json(event)))


class MixedSimulation(SiteSimulation):
    """A site in which the nodes of ``old`` run the former version, each from its next start on."""

    def __init__(
        self,
        former: Former,
        old: Iterable[str],
        who: tuple[str, ...] = ("west", "east"),
        start: float = 4.0,
        text: str = "",
    ) -> None:
        """``text`` is another site file than that of the town."""
        former.ask("clear")  # one simulation at a time
        self.former = former
        self.old = set(old)
        self.text = text or text_of()
        super().__init__(1, who, sites.parse(text, Path("town.toml"), KEYS) if text else site_of(), start)

    def make(self, name: str, disk: Disk, now: float) -> Any:
        if name not in self.old:
            return super().make(name, disk, now)
        # what the former version does not know
        text = self.text.replace('transfer = "pass"\n', "").replace('messages = "pass"\n', "")
        return FormerCore(self.former, name, text, disk, self.seed_of(name), now, self.wall_offset(now))

    def _look(self, name: str, what: str) -> Any:
        node = self.world.nodes[name]
        return node.core.look(what, node.clock(self.world.now)) if isinstance(node.core, FormerCore) else None

    def may_act(self, name: str) -> bool:
        told = self._look(name, "may act")
        return super().may_act(name) if told is None else bool(told)

    def is_told(self, name: str) -> bool:
        told = self._look(name, "is told")
        return super().is_told(name) if told is None else bool(told)

    def epoch_of(self, name: str) -> int:
        told = self._look(name, "epoch")
        return super().epoch_of(name) if told is None else int(told)

    def calls_of(self, name: str) -> int:
        core = self.world.nodes[name].core
        return core.calls if isinstance(core, FormerCore) else super().calls_of(name)

    def switchover(self, name: str) -> None:
        core = self.world.nodes[name].core
        if isinstance(core, FormerCore):
            self.world.ask(name, core.switchover)
        else:
            super().switchover(name)


@cache
def calm(former: Former, mix: Mix, flow: Play) -> tuple[matrix.Outcome, int]:
    """What a flow comes to in that mix without a crash, and how many messages of calls m1 receives."""
    received: list[Delivery] = []

    def noted(delivery: Delivery) -> bool:
        received.extend([delivery] * matrix.of_calls(delivery))
        return False

    sim = MixedSimulation(former, mix.old, flow.who, flow.starts_at)
    return matrix.play_in(sim, flow, Crash("m1", -1, "", noted)), len(received)


def crashed(former: Former, mix: Mix, flow: Play, place: int, moment: str) -> tuple[str, ...]:
    """What is not as without a crash when m1 is killed at that message, one sentence each."""
    bases = [calm(former, mix, flow)[0], *(matrix.calm(flow.name)[0] if flow.others else ())]
    sim = MixedSimulation(former, mix.old, flow.who, flow.starts_at)
    crash = Crash("m1", place, moment, matrix.of_calls)
    got = matrix.play_in(sim, flow, crash)
    faults = min((matrix.differences(flow, base, got) for base in bases), key=len)
    if flow.name in FORWARDED:
        faults = tuple(fault for fault in faults if "1 x 181 INVITE" not in fault)
    return faults if crash.happened_at is not None else (*faults, "the crash did not happen")


FORWARDED: Final = {"redirected by 302", "forwarded when busy"}
"""The former version says no 181: whether the caller hears one hangs on which server it is that goes on."""
OTHERWISE: Final = {
    "redirection of a trunk passed on",  # answers 480
    "INFO early and late",  # has none in an early dialog
    "session refreshed by the agent",  # keeps no such calls
    "session refreshed by the device",
    "reliable early media",  # passes them on plainly
    "reliable responses required by the caller",  # answers 420
    "offer in a reliable response",  # passes no PRACK
    "UPDATE before the answer",  # answers 405
    "UPDATE from either side",
    "blind transfer",
    "attended transfer",
    "a trunk renews its registration",  # the mixed site has no such line
    "cold line",  # its calls are reset, and crashes here compare with calls that stay
}
KNOWN: Final = tuple(flow for flow in FLOWS if flow.name not in OTHERWISE)
"""What the former version does as this one does, in the site that is mixed here."""


def main() -> int:
    """Try all crashes, or each ``--step``-th."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories.former", description=__doc__)
    parser.add_argument("--mix", default="", help="only mixes whose name contains this")
    parser.add_argument("--flow", default="", help="only flows whose name contains this")
    parser.add_argument("--step", type=int, default=1, help="only each so-many-th crash")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    packages = archive()
    if not packages:
        print(MISSING)
        return 2
    tried, bad = 0, 0
    with TemporaryDirectory() as directory, former_in(Path(directory), packages) as former:
        for mix in (mix for mix in MIXES if options.mix in mix.name):
            for flow in (flow for flow in KNOWN if options.flow in flow.name):
                crashes = [(place, moment) for place in range(calm(former, mix, flow)[1]) for moment in MOMENTS]
                for place, moment in crashes[tried % options.step :: options.step]:
                    faults = crashed(former, mix, flow, place, moment)
                    tried += 1
                    if faults:
                        bad += 1
                        print(f"{mix.name}; {flow.name}, message {place}, {moment}: {'; '.join(faults)}", flush=True)
    print(f"{tried - bad} of {tried} crashes are good")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
