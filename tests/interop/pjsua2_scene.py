"""pjsua2 as a carrier that wants every provisional response reliable, has session timers and says UPDATE."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from examples.demo_processes import ROOT
from examples.softphone_call import Call, Policy
from tests.interop.played import PATIENCE, Feature, Scene, Stage
from tests.interop.programs import until

_LAPSED = 70.0
"""Seconds after which a session of 90 s that nobody refreshed has ended (RFC 4028 section 10)."""


class Carrier:
    """The process, and all that it has told."""

    def __init__(self, listen: str, agent: str) -> None:
        words = [sys.executable, "-m", "tests.interop.pjsua2_carrier", listen, agent]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._told: list[tuple[str, str, int]] = []
        self._reader = threading.Thread(target=self._read, name="pjsua2 carrier", daemon=True)
        self._reader.start()
        until(lambda: self.told("", "up"), PATIENCE, "pjsua2 does not start")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("["):
                number, what, status = json.loads(line)
                self._told.append((number, what, status))

    def says(self, verb: str, number: str, *further: str) -> None:
        """A line, and further ones that it does before it hears anything."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in (f"{verb} {number}", *further)))
        self.process.stdin.flush()

    def told(self, number: str, what: str) -> list[int]:
        """The statuses with which that was told of a call."""
        return [status for other, said, status in list(self._told) if (other, said) == (number, what)]

    def standing(self) -> list[str]:
        """Calls that have not ended."""
        numbers = dict.fromkeys(number for number, _, _ in list(self._told) if number)
        last = {number: [said for other, said, _ in list(self._told) if other == number][-1] for number in numbers}
        return [number for number, said in last.items() if not said.startswith("disconn") and "BYE" not in said]

    def stop(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        self.process.stdout.close()


class CarrierStage(Stage):
    scene: Pjsua2Scene

    @property
    def peer(self) -> Carrier:
        return self.scene.carrier

    @property
    def far(self) -> str:
        """A number of the carrier's."""
        return f"20{self.numbers['p'][-2:]}"

    def rings(self) -> Call:
        """A call of p to it that has early media."""
        call = self.calls(self.far)
        until(lambda: call.early_media, PATIENCE, "no early media comes")
        return call

    def is_called(self, policy: Policy = Policy(answer_after=0.2)) -> Call:  # noqa: B008
        comes = self.waits("p", policy)
        self.peer.says("call", self.numbers["p"])
        return comes()

    def counts(self, number: str, what: str) -> int:
        return len(self.peer.told(number, what))

    def audio(self, call: Call) -> int:
        """What is played back has been coded anew: all that comes counts."""
        return self.phone.all_audio(call)


def early_media(stage: CarrierStage) -> Iterator[None]:
    number = stage.far
    before = stage.counts(number, "PRACK by us")
    call = stage.rings()
    stage.hears(call)
    yield
    assert stage.counts(number, "PRACK by us") > before
    stage.peer.says("answer", number)
    stage.answered(call)
    stage.hears(call)
    stage.hangs_up(call)


def rings_reliably(stage: CarrierStage) -> Iterator[None]:
    number = stage.numbers["p"]
    before = stage.counts(number, "PRACK by it")
    call = stage.is_called(Policy())
    until(lambda: stage.counts(number, "PRACK by it") > before, PATIENCE, "it is not told reliably that it rings")
    yield
    stage.does("answer", call)
    stage.hears(call)
    stage.peer.says("hangup", number)
    stage.ended(call)


def says_update(stage: CarrierStage) -> Iterator[None]:
    call = stage.is_called()
    stage.answered(call)
    yield
    number = stage.numbers["p"]
    before, here = stage.counts(number, "UPDATE by it"), stage.told("update", call)
    stage.peer.says("update", number)
    until(lambda: stage.counts(number, "UPDATE by it") > before, PATIENCE, "its UPDATE is not answered")
    assert stage.peer.told(number, "UPDATE by it")[-1] == 200 and stage.told("update", call) > here
    over_at = time.monotonic() + _LAPSED
    until(lambda: time.monotonic() > over_at, 2 * _LAPSED, "")
    assert stage.counts(number, "UPDATE by it") > before + 1, "it has not refreshed"
    assert stage.told("update", call) == here + 1, "a refresh need not be passed on"
    stage.hears(call)
    stage.hangs_up(call)


def holds(stage: CarrierStage) -> Iterator[None]:
    call = stage.rings()
    stage.peer.says("answer", stage.far)
    stage.answered(call)
    stage.peer.says("hold", stage.far)
    until(lambda: call.held_there, PATIENCE, "its hold does not come")
    yield
    stage.peer.says("resume", stage.far)
    until(lambda: not call.held_there, PATIENCE, "the end of its hold does not come")
    stage.hears(call)
    stage.holds(call)
    stage.holds(call, False)
    stage.hangs_up(call)


class Pjsua2Scene(Scene):
    peer = "pjsua2 as carrier, 100rel required, session timers"
    wide = True
    # The library of the package takes four calls at a time.
    features = (
        Feature("reliable early media, then an answer; PRACK by us", early_media),
        Feature("it is told reliably that our phone rings; PRACK by it", rings_reliably),
        Feature("UPDATE by it: with an offer, then as a refresh of the session", says_update),
        Feature("hold and resumption by either side", holds),
    )
    carrier: Carrier

    @classmethod
    def missing(cls) -> str:
        found = importlib.util.find_spec("pjsua2")
        return "" if found is not None else "pjsua2 is not installed: pip install pjsua2-python"

    @property
    def version(self) -> str:
        return importlib.metadata.version("pjsua2-python").partition(".post")[0]

    def stage(self, number: int) -> Stage:
        return CarrierStage(self, number)

    def lines(self) -> str:
        return f"""
[lines.carrier]
kind = "trunk"
agent = "gw2"
peer = "sip:{self.net}22:5060"
channels = 50
media = "relay"
session_timer = {{ expires = 90, min_se = 90 }}
options = {{ interval = 1 }}
[[routes]]
match = "2*"
to = ["carrier"]
"""

    def begin(self) -> None:
        self.carrier = Carrier(f"{self.net}22:5060", f"{self.net}12:5060")

    def end(self) -> None:
        if hasattr(self, "carrier"):
            self.carrier.stop()

    def left_over(self) -> str:
        return " ".join(self.carrier.standing())
