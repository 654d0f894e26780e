"""What is tried with a peer: calm, with the active server killed in the middle, and with the agent killed there.

A `Feature` is a script with one ``yield``: there the blow falls, and what comes after it must be as if there had been
none. `play` has all features of a peer played at once on one site, so that one blow is in the middle of them all.
"""

from __future__ import annotations

import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from examples.softphone_call import Call, Line, Policy
from tests.interop import captured
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import Site, network, until

PATIENCE = 20.0
"""Seconds for anything of a call: many are under way at once, on a machine that others may use, too."""
WORDS = {"phone": "a-word-for-every-phone", "carrier": "a word for the carrier"}
_ANSWERS = Policy(answer_after=0.2)


class Blow(Enum):
    CALM = "calm"
    SERVER = "server killed"
    AGENT = "agent killed"

    def strike(self, site: Site) -> None:
        """Returns when calls can be made again. The agent is that of the peer, and is started again."""
        if self is Blow.SERVER:
            dead, heir = ("m1", "m2") if site.active == "m1" else ("m2", "m1")
            site[dead].kill()
            until(lambda: site.active == heir, PATIENCE, lambda: f"{heir} does not serve\n{site.words()}")
        elif self is Blow.AGENT:
            serves = site.active
            before = _in_service(site, serves)
            site["gw2"].kill()
            site["gw2"].start()
            until(
                lambda: site.obeys("gw2", serves) and before <= _in_service(site, serves),
                PATIENCE,
                lambda: f"gw2 does not come back\n{site['gw2'].words()}",
            )


def _in_service(site: Site, server: str) -> set[str]:
    return {
        line["name"] for line in site[server].view("lines")["lines"] if line["in_service"] and line["kind"] == "trunk"
    }


@dataclass(frozen=True)
class Feature:
    """One thing that is tried."""

    what: str
    """In the words of the table."""
    script: Callable[[Any], Iterator[None]]
    """Given a `Stage`."""


class Scene(ABC):
    """A peer, a site that it is a device of, and phones at the agent gw1. ``features`` are what is tried with it."""

    peer = ""
    features: tuple[Feature, ...] = ()
    blows = tuple(Blow)
    """What may befall it."""
    wide = False
    """Only where all is tried: it is much like another one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.net = network()
        self.phone = Phone(f"{self.net}51:5060")
        self.site = Site(directory / "site", self.net, "", passwords=WORDS, head=self.head())
        self.stages = {feature.what: self.stage(number) for number, feature in enumerate(self.features)}
        with self.site.path.open("a") as file:
            file.write("".join(stage.lines() for stage in self.stages.values()) + self.lines())

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Why the peer is not here; ``""`` when it is."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Its name and version, as it says them."""

    def head(self) -> str:
        """The site file up to the lines, where it is not the usual one."""
        return ""

    @abstractmethod
    def lines(self) -> str:
        """Lines and routes of the peer, for the site file."""

    @abstractmethod
    def begin(self) -> None:
        """Start the peer."""

    @abstractmethod
    def end(self) -> None:
        """Stop it."""

    def stage(self, number: int) -> Stage:
        return Stage(self, number)

    def start(self) -> None:
        self.begin()
        self.site.start()

    def stop(self) -> None:
        self.phone.close()
        self.site.stop()
        self.end()

    def left_over(self) -> str:
        """What of the peer's calls has not ended; ``""``: nothing."""
        return ""

    def complaints(self) -> list[str]:
        """What the peer has said against us."""
        return []

    def all_in_good_order(self) -> None:
        """Nothing is left of any call, and both servers are up for what comes next."""
        until(lambda: not self.phone.core.calls, PATIENCE, lambda: f"left over at phones: {self.phone.core.calls}")
        until(lambda: not self.left_over(), PATIENCE, lambda: f"left over at the peer: {self.left_over()}")
        idle = (self.site.active, "gw1", "gw2")
        until(lambda: self.site.idle(*idle), PATIENCE, lambda: f"left over at the site: {self.site.left_over(*idle)}")
        for name in ("m1", "m2"):
            if not self.site[name].alive:
                self.site[name].start()
        until(self.site.whole, PATIENCE, lambda: f"the site is not whole again\n{self.site.words()}")
        assert not self.site.bugs()
        assert not self.complaints(), self.complaints()


class Stage:
    """What one feature has for itself: phones with numbers that no other feature calls."""

    def __init__(self, scene: Any, number: int) -> None:
        self.scene = scene
        self.numbers = {letter: f"50{place}{number:02}" for place, letter in enumerate("pqr")}
        """Of its phones p, q and r."""
        self._lines: dict[str, Line] = {}

    @property
    def phone(self) -> Phone:
        phone: Phone = self.scene.phone
        return phone

    def lines(self) -> str:
        """Its phones, for the site file."""
        return "".join(
            f'[lines.{number}]\nkind = "phone"\nagent = "gw1"\nchannels = 4\nnumbers = ["{number}"]\n'
            f'password = {{ file = "phone.secret" }}\ntransfer = "serve"\n'
            for number in self.numbers.values()
        )

    def line(self, letter: str = "p", policy: Policy = _ANSWERS) -> Line:
        """One of its phones, registered."""
        user = self.numbers[letter]
        if letter not in self._lines:
            self._lines[letter] = self.phone.line(user, f"{self.scene.net}11:5060", WORDS["phone"])
        self._lines[letter].policy = policy
        return self._lines[letter]

    def calls(self, number: str, letter: str = "p") -> Call:
        """A call of that phone, begun."""
        return self.phone.call(self.line(letter), number)

    def talks(self, number: str, letter: str = "p") -> Call:
        """A call of that phone, answered."""
        call = self.calls(number, letter)
        self.answered(call)
        return call

    def answered(self, call: Call) -> None:
        until(lambda: talking(call) or ended(call), PATIENCE, "no answer")
        assert talking(call), f"the call failed with {call.status}"

    def waits(self, letter: str = "p", policy: Policy = _ANSWERS) -> Callable[[], Call]:
        """Be ready for a call to that phone; what is returned waits for it."""
        line = self.line(letter, policy)
        before = len(self.phone.told("incoming", line))

        def comes() -> Call:
            events = until(lambda: self.phone.told("incoming", line)[before:], PATIENCE, "no call comes")
            call: Call = events[0].call
            return call

        return comes

    def told(self, kind: str, call: Call) -> int:
        """How often the phone was told that of a call."""
        return sum(event.kind == kind and event.call is call for event in list(self.phone.events))

    def hears(self, *calls: Call, packets: int = 25) -> None:
        """So many more packets of audio come to each."""
        goals = [(call, self.audio(call) + packets) for call in calls]
        until(lambda: all(self.audio(call) >= goal for call, goal in goals), PATIENCE, "no audio comes")

    def audio(self, call: Call) -> int:
        """Packets of whole audio so far, of whomever the call was joined with."""
        end = self.phone.socket.end_of(call)
        return end.watch.received + end.watch.foreign if end is not None else 0

    def does(self, verb: str, *arguments: Any) -> None:
        """A verb of the softphone."""
        self.phone.ask(getattr(self.phone.core, verb), *arguments)

    def hangs_up(self, *calls: Call) -> None:
        for call in calls:
            self.does("hang_up", call)
        self.ended(*calls)

    def give_up(self) -> None:
        """Hang up whatever there is: something has failed."""
        for line in self._lines.values():
            for call in list(line.calls.values()):
                if not ended(call):
                    self.does("hang_up", call)

    def ended(self, *calls: Call) -> None:
        until(lambda: all(ended(call) for call in calls), PATIENCE, lambda: f"not ended: {calls}")

    def holds(self, call: Call, held: bool = True) -> None:
        """Hold, or go on, and have it agreed."""
        self.does("hold" if held else "resume", call)
        until(lambda: call.wanted is None and call.held is held, PATIENCE, "the change is not agreed")


AFTERWARDS = Feature("afterwards no call is left anywhere, and it has complained of nothing", lambda _: iter(()))
CAPTURED = Feature("tshark: nothing malformed, no warning in what we sent", lambda _: iter(()))
"""Of all features together."""


def play(scene: Scene, features: Sequence[Feature], blow: Blow) -> dict[str, str]:
    """Why each feature failed, ``""`` where it did not."""
    found = {feature.what: "" for feature in features}
    half_way = {feature.what: threading.Event() for feature in features}
    go_on = threading.Event()

    def perform(feature: Feature) -> None:
        script = feature.script(scene.stages[feature.what])
        try:
            next(script)
            half_way[feature.what].set()
            go_on.wait()
            for _ in script:
                raise AssertionError("a script has one middle")
        except Exception as error:  # told by the test of this feature
            place = traceback.extract_tb(error.__traceback__)
            steps = " > ".join(f"{frame.name}:{frame.lineno}" for frame in place)
            found[feature.what] = f"{type(error).__name__}: {error}\n({steps})"
            scene.stages[feature.what].give_up()
        finally:
            half_way[feature.what].set()

    def run() -> None:
        threads = [threading.Thread(target=perform, args=(feature,), name=feature.what) for feature in features]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        for reached in half_way.values():
            reached.wait()
        try:
            blow.strike(scene.site)
        finally:
            go_on.set()
            for thread in threads:
                thread.join()
        try:
            scene.all_in_good_order()
        except AssertionError as error:
            found[AFTERWARDS.what] = str(error)

    if captured.missing():
        run()
        return found
    capture = captured.Capture(scene.directory / f"{blow.name}.pcapng", scene.net)
    with capture.running():
        run()
    if wrong := capture.wrong():
        found[CAPTURED.what] = "\n".join(wrong)
    elif not capture.messages():
        found[CAPTURED.what] = "nothing was captured"
    return found
