"""The calls that run while something happens to the main: SIPp in four flows, and softphones with audio."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

from examples.rtp import RtpReport
from examples.softphone_call import Call
from tests.interop import heard
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, phone_line, until
from tests.interop.sipp import Sipp


class Flow(NamedTuple):
    """One flow: scenarios ``caller-NAME`` and ``callee-NAME``."""

    name: str
    calls: int
    rate: float
    """New calls a second."""
    last: int
    """Of the address of its caller; the callee's is ten more."""


FLOWS = (
    Flow("early", 110, 12, 31),
    Flow("hold", 110, 12, 32),
    Flow("held", 110, 12, 33),
    Flow("cancel", 27, 3, 34),
)


def site_lines(net: str, media: str = "relay") -> str:
    """The lines and routes: callers behind gw1, callees behind gw2, alice here and bob there."""
    callers = ", ".join(f'"{net}{flow.last}"' for flow in FLOWS)
    text = f"""
[lines.callers]
kind = "trunk"
agent = "gw1"
peer = "sip:{net}31:5060"
from = [{callers}]
channels = 2000
{phone_line("alice", "gw1", media=media)}
{phone_line("bob", "gw2")}
"""
    for flow in FLOWS:
        text += f"""
[lines.{flow.name}]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}{flow.last + 10}:5060"
channels = 2000
[[routes]]
match = "{flow.last}*"
to = ["{flow.name}"]
"""
    return text


class Devices:
    """What all devices have received, and the softphones' audio."""

    def __init__(self, by_name: dict[str, Counter[str]], audio: list[RtpReport]) -> None:
        self.by_name = by_name
        self.audio = audio


class Traffic:
    """All calls of one run. They are the same in each run, so that what devices receive can be compared."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site = site
        self.directory = directory
        self.callers: list[Sipp] = []
        self.callees: list[Sipp] = []
        self.phones: list[Phone] = []

    def start(self) -> None:
        """First the softphones, until they talk, hold and ring; then SIPp."""
        net = self.site.net
        self.alices, self.bobs = self._phone(f"{net}51:5060"), self._phone(f"{net}52:5060")
        self.alice = self.alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        self.bob = self.bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"])
        self.talked, talks = self._call(answer=True)
        self.held, holds = self._call(answer=True)
        self.rung, rings = self._call(answer=False)
        self.there = {self.talked: talks, self.held: holds, self.rung: rings}
        self._audio_flows(self.talked, self.held)
        self.alices.ask(self.alices.core.hold, self.held)
        until(lambda: self.alices.told("changed", self.alice), 5, "the hold is not answered")
        for flow in FLOWS:
            name, listen = f"callee-{flow.name}", f"{net}{flow.last + 10}:5060"
            self.callees.append(Sipp(self.directory / name, name, listen, calls=flow.calls, seconds=70))
        for flow in FLOWS:
            name, listen, remote = f"caller-{flow.name}", f"{net}{flow.last}:5060", f"{net}11:5060"
            number = f"{flow.last}00"
            self.callers.append(
                Sipp(
                    self.directory / name, name, listen,
                    remote=remote, calls=flow.calls, rate=flow.rate, number=number, seconds=65,
                )
            )  # fmt: skip

    def _phone(self, listen: str) -> Phone:
        phone = Phone(listen)
        self.phones.append(phone)
        return phone

    def _call(self, answer: bool) -> tuple[Call, Call]:
        before = len(self.bobs.told("incoming", self.bob))
        call = self.alices.call(self.alice, "5002")
        come = until(
            lambda: self.bobs.told("incoming", self.bob)[before:],
            5,
            lambda: f"alice's call does not come: {self.alices.events}",
        )
        there = come[0].call
        assert there is not None
        if answer:
            self.bobs.ask(self.bobs.core.answer, there)
            until(lambda: talking(call) and talking(there), 5, "alice's call is not answered")
        else:
            until(lambda: self.alices.told("ringing", self.alice)[before:], 5, "alice does not hear it ring")
        return call, there

    def _audio_flows(self, *calls: Call, packets: int = 25) -> None:
        """Both ways, so many packets from now on."""
        goals = [(self.alices, call, self.alices.heard_audio(call) + packets) for call in calls]
        goals += [
            (self.bobs, there, self.bobs.heard_audio(there) + packets)
            for there in (self.there[call] for call in calls)
        ]
        for phone, call, goal in goals:
            until(partial(_has_heard, phone, call, goal), 10, f"no audio in {call}")

    def wait_until_busy(self, calls: int = 200) -> None:
        """Until so many calls stand at the main."""

        def busy() -> bool:
            for sipp in (*self.callers, *self.callees):
                assert sipp.running, sipp.complaints()
            return self.site.calls("m1") >= calls

        until(busy, 30, f"{calls} calls do not stand", every=0.1)

    def go_on(self) -> None:
        """The held call is resumed, the ringing one answered, and all hang up, from both sides."""
        a, b = self.alices, self.bobs
        a.ask(a.core.resume, self.held)
        b.ask(b.core.answer, self.there[self.rung])
        until(
            lambda: talking(self.rung) and self.held.media_direction == "sendrecv", 10, "resumption or answer is lost"
        )
        until(lambda: self.held.wanted is None, 10, "the resumption is not answered")
        self._audio_flows(self.talked, self.held, self.rung)
        a.ask(a.core.bye, self.talked)
        b.ask(b.core.bye, self.there[self.held])
        b.ask(b.core.bye, self.there[self.rung])
        calls = [*self.there, *self.there.values()]
        until(lambda: all(ended(call) for call in calls), 10, "the softphones' calls do not end")

    def finish(self) -> Devices:
        """All calls must have ended in good order."""
        for sipp in (*self.callers, *self.callees):
            sipp.wait()
        heard_of = {s.scenario: s.heard() for s in (*self.callers, *self.callees)}
        heard_of.update(alice=self.alices.heard(), bob=self.bobs.heard())
        return Devices(heard_of, [*self.alices.reports, *self.bobs.reports])

    def stop(self) -> None:
        """Whatever has happened."""
        for sipp in (*self.callers, *self.callees):
            sipp.stop()
        for phone in self.phones:
            phone.close()


def _has_heard(phone: Phone, call: Call, packets: int) -> bool:
    return phone.heard_audio(call) >= packets


def first_invites(traffic: Traffic, since: float, until_: float) -> int:
    """How many calls began at the devices within this time of the day, by SIPp's clock."""
    return sum(
        1
        for sipp in traffic.callers
        for message in heard.logged(sipp.messages)
        if not message.received
        and since <= message.at <= until_
        and message.first.startswith("INVITE ")
        and message.header("CSeq").startswith("1 ")
    )


def time_of_day() -> float:
    """As SIPp's log has it."""
    now = time.time()
    local = time.localtime(now)
    return local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + now % 1
