"""What is tried with Asterisk: as a PBX known by its address, and as a carrier with whom the agent registers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from examples.softphone_call import Call, Policy
from tests.interop import asterisk
from tests.interop.asterisk import Asterisk
from tests.interop.played import PATIENCE, WORDS, Feature, Scene, Stage
from tests.interop.programs import until

_RINGS = Policy()
_EVENT = 101
"""The payload type of telephone events in the phones' descriptions."""


class AsteriskStage(Stage):
    """With a number of p that Asterisk knows its call by."""

    scene: AsteriskScene

    @property
    def peer(self) -> Asterisk:
        return self.scene.asterisk

    @property
    def number(self) -> str:
        return self.numbers["p"]

    def rings(self, number: str = "2603") -> Call:
        call = self.calls(number)
        until(lambda: self.told("ringing", call) or self.told("progress", call), PATIENCE, "it does not ring")
        return call

    def rings_through(self) -> tuple[Call, Call]:
        """p's call by way of Asterisk to q, and what rings at q."""
        comes = self.waits("q", _RINGS)
        call = self.rings(f"28{self.numbers['q']}")
        return call, comes()

    def originates(self, policy: Policy | None = None) -> Call:
        """Asterisk calls p, and echoes."""
        comes = self.waits("p", policy or Policy(answer_after=0.2))
        self.peer.cli(f"channel originate PJSIP/{self.number}@agent extension {self.number}@out")
        return comes()

    def app(self) -> str:
        """What Asterisk does with p's call."""
        channel = self.peer.channel(self.number)
        return channel[5] if channel else ""

    def presses(self, call: Call, digit: int) -> None:
        """A telephone event of 100 ms (RFC 4733): five packets, then three that say its end."""
        end = self.phone.socket.end_of(call)
        assert end is not None
        for number in range(8):
            last = 0x80 if number >= 5 else 0
            head = struct.pack(">BBHII", 0x80, _EVENT | (0x80 if not number else 0), 9000 + number, 77_000, 0x5005)
            self.phone.run(lambda: end.send(head + struct.pack(">BBH", digit, last | 10, 160 * (min(number, 5) + 1))))  # noqa: B023


def calls_out(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    stage.hears(call)
    yield
    stage.hears(call)
    end = stage.phone.socket.end_of(call)
    assert end is not None
    report = end.watch.report()
    assert (report.lost, report.foreign, report.corrupted) == (0, 0, 0), report
    stage.hangs_up(call)
    again = stage.talks("2600")
    stage.hears(again)
    stage.hangs_up(again)


def is_called(stage: AsteriskStage) -> Iterator[None]:
    call = stage.originates()
    stage.answered(call)
    stage.hears(call)
    yield
    stage.hears(call)
    stage.hangs_up(call)
    again = stage.originates()
    stage.answered(again)
    stage.hangs_up(again)


def peer_hangs_up(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    yield
    stage.peer.hang_up(stage.number)
    stage.ended(call)


def peer_hangs_up_in_time(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2602")
    yield
    stage.ended(call)


def rings_then_answers(stage: AsteriskStage) -> Iterator[None]:
    call = stage.rings()
    yield
    stage.peer.redirect(stage.number, "2600")
    stage.answered(call)
    stage.hears(call)
    stage.hangs_up(call)


def early_media(stage: AsteriskStage) -> Iterator[None]:
    call = stage.rings("2604")
    assert call.early_media
    stage.hears(call)
    yield
    stage.hears(call)
    stage.peer.redirect(stage.number, "2600")
    stage.answered(call)
    stage.hears(call)
    stage.hangs_up(call)


def is_cancelled(stage: AsteriskStage) -> Iterator[None]:
    call = stage.rings()
    yield
    stage.does("cancel", call)
    stage.ended(call)
    assert call.status == 487


def peer_cancels(stage: AsteriskStage) -> Iterator[None]:
    call, there = stage.rings_through()
    yield
    stage.peer.redirect(stage.number, "2600")
    until(lambda: stage.told("cancelled", there), PATIENCE, "no CANCEL comes to q")
    stage.answered(call)
    stage.hangs_up(call)


def is_busy(stage: AsteriskStage) -> Iterator[None]:
    call = stage.rings()
    yield
    stage.peer.redirect(stage.number, "2605")
    stage.ended(call)
    assert call.status == 486, call.status


def has_no_circuit(stage: AsteriskStage) -> Iterator[None]:
    call = stage.rings()
    yield
    stage.peer.redirect(stage.number, "2606")
    stage.ended(call)
    assert call.status == 500, call.status  # RFC 3261 section 16.7: a 503 is not passed on


def phone_is_busy(stage: AsteriskStage) -> Iterator[None]:
    call, there = stage.rings_through()
    yield
    stage.does("reject", there, 486)
    stage.ended(call)
    assert call.status == 486, call.status


def phone_takes_no_such_media(stage: AsteriskStage) -> Iterator[None]:
    call, there = stage.rings_through()
    yield
    stage.does("reject", there, 488)
    stage.ended(call)
    assert call.status >= 400, call.status


def nobody_answers(stage: AsteriskStage) -> Iterator[None]:
    call = stage.calls(f"27{stage.number}")
    until(lambda: stage.told("ringing", call), PATIENCE, "it does not ring")
    yield
    stage.ended(call)
    assert call.status == 408, call.status
    until(lambda: not stage.peer.channel(stage.number), PATIENCE, "Asterisk is not cancelled")


def phone_holds(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    stage.holds(call)
    yield
    stage.holds(call, False)
    stage.hears(call)
    stage.holds(call)
    stage.holds(call, False)
    stage.hears(call)
    stage.hangs_up(call)


def dials_through(stage: AsteriskStage) -> Iterator[None]:
    comes = stage.waits("q")
    call = stage.talks(f"28{stage.numbers['q']}")
    there = comes()
    stage.hears(call, there)
    yield
    stage.hears(call, there)
    stage.hangs_up(there)
    stage.ended(call)


def peer_holds(stage: AsteriskStage) -> Iterator[None]:
    comes = stage.waits("q")
    call = stage.talks(f"28{stage.numbers['q']}")
    there = comes()
    stage.answered(there)
    stage.holds(there)
    until(lambda: call.held_there, PATIENCE, "the hold is not passed on")
    yield
    stage.holds(there, False)
    until(lambda: not call.held_there, PATIENCE, "the end of the hold is not passed on")
    stage.hears(call, there)
    stage.hangs_up(call)
    stage.ended(there)


def digit_by_info(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2607")
    yield
    stage.does("info", call, "5")
    until(lambda: stage.app() == "Echo", PATIENCE, "the digit does not come")
    stage.hangs_up(call)


def digit_in_the_media(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2607")
    yield
    stage.presses(call, 5)
    until(lambda: stage.app() == "Echo", PATIENCE, "the event does not come")
    stage.hangs_up(call)


def digit_by_peer(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    stage.hears(call)
    end = stage.phone.socket.end_of(call)
    assert end is not None and end.watch.corrupted == 0
    yield
    stage.peer.redirect(stage.number, "2609")
    until(lambda: end.watch.corrupted, PATIENCE, "no event comes")
    stage.hangs_up(call)


def peer_transfers(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    comes = stage.waits("q")
    yield
    stage.peer.redirect(stage.number, f"24{stage.numbers['q']}")
    there = comes()
    stage.answered(there)
    stage.hears(call, there)
    until(lambda: not stage.peer.channel(stage.number), PATIENCE, "Asterisk does not let go")
    stage.hangs_up(call)
    stage.ended(there)


def phone_transfers(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    comes = stage.waits("q")
    yield
    stage.does("transfer", call, stage.numbers["q"], None)
    there = comes()
    stage.answered(there)
    stage.hears(there)
    until(lambda: stage.told("concluded", call), PATIENCE, "p does not learn how it went")
    stage.hangs_up(call)
    stage.hears(there)
    stage.hangs_up(there)


def phone_transfers_after_a_talk(stage: AsteriskStage) -> Iterator[None]:
    call = stage.talks("2600")
    comes = stage.waits("q")
    asks = stage.talks(stage.numbers["q"])
    there = comes()
    stage.holds(call)
    yield
    stage.does("transfer", call, stage.numbers["q"], asks)
    until(lambda: stage.told("concluded", call), PATIENCE, "p does not learn how it went")
    stage.hears(there)
    stage.hangs_up(there)
    for each in (call, asks):
        stage.does("hang_up", each)
    stage.ended(call, asks)


def peer_transfers_by_digits(stage: AsteriskStage) -> Iterator[None]:
    comes, third = stage.waits("q"), stage.waits("r")
    call = stage.talks(f"28{stage.numbers['q']}")
    there = comes()
    stage.answered(there)
    yield
    for digit in f"##{stage.numbers['r']}":
        stage.does("info", there, digit)
    other = third()
    stage.answered(other)
    stage.hears(call, other)
    stage.ended(there)
    stage.hangs_up(call)
    stage.ended(other)


def peer_transfers_after_a_talk(stage: AsteriskStage) -> Iterator[None]:
    comes, third = stage.waits("q"), stage.waits("r")
    call = stage.talks(f"28{stage.numbers['q']}")
    there = comes()
    stage.answered(there)
    for digit in f"*2{stage.numbers['r']}":
        stage.does("info", there, digit)
    other = third()
    stage.answered(other)
    stage.hears(there, other)
    yield
    stage.hears(there, other)
    stage.hangs_up(there)
    stage.hears(call, other)
    stage.hangs_up(call)
    stage.ended(other)


def is_qualified(stage: AsteriskStage) -> Iterator[None]:
    def available() -> bool:
        return "Avail" in stage.peer.cli("pjsip show contacts").replace("Unavail", "")

    until(available, PATIENCE, "Asterisk's OPTIONS are not answered")
    yield
    until(available, PATIENCE, "Asterisk's OPTIONS are not answered again")


def is_registered(stage: AsteriskStage) -> Iterator[None]:
    def contacts() -> int:
        return stage.peer.cli("pjsip show contacts").count(f"{stage.scene.net}12:5060")

    until(lambda: contacts() == 1, PATIENCE, "the agent does not register")
    yield
    until(lambda: contacts() == 1, PATIENCE, "the agent is not registered once")
    call = stage.talks("2600")
    stage.hangs_up(call)


BASIC = (
    Feature("a call to it, answered at once; media both ways", calls_out),
    Feature("a call by it; media both ways", is_called),
    Feature("it hangs up", peer_hangs_up),
    Feature("it rings, then answers", rings_then_answers),
    Feature("early media", early_media),
    Feature("CANCEL by us", is_cancelled),
    Feature("CANCEL by it", peer_cancels),
    Feature("it is busy (486)", is_busy),
    Feature("hold and resumption by us", phone_holds),
    Feature("DTMF by INFO", digit_by_info),
)
MORE = (
    Feature("it hangs up by its own timer", peer_hangs_up_in_time),
    Feature("it has no circuit (503, which the caller gets as 500)", has_no_circuit),
    Feature("our phone is busy (486)", phone_is_busy),
    Feature("our phone takes no such media (488)", phone_takes_no_such_media),
    Feature("nobody answers: our CANCEL", nobody_answers),
    Feature("it dials through: both legs by way of us", dials_through),
    Feature("hold and resumption by it", peer_holds),
    Feature("DTMF as telephone-event, to it", digit_in_the_media),
    Feature("DTMF as telephone-event, by it", digit_by_peer),
    Feature("blind transfer by it (REFER)", peer_transfers),
    Feature("blind transfer by it (re-INVITE)", peer_transfers_by_digits),
    Feature("attended transfer by it", peer_transfers_after_a_talk),
    Feature("blind transfer by our phone (REFER)", phone_transfers),
    Feature("attended transfer by our phone (Replaces)", phone_transfers_after_a_talk),
)


class AsteriskScene(Scene):
    peer = "Asterisk as PBX"
    role = "pbx"
    transport = "udp"
    endpoint = "moh_passthrough=yes"
    secured = ""
    features = (*BASIC, *MORE, Feature("qualify (OPTIONS by it)", is_qualified))

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asterisk: Asterisk

    @classmethod
    def missing(cls) -> str:
        return asterisk.missing()

    @property
    def version(self) -> str:
        return self.asterisk.cli("core show version").split("+")[0].split(" built")[0]

    def stage(self, number: int) -> Stage:
        return AsteriskStage(self, number)

    def lines(self) -> str:
        net, by = self.net, "" if self.transport == "udp" else f";transport={self.transport}"
        register = f"""
[lines.asterisk.register]
registrar = "sip:{net}22:5060{by}"
user = "holdfast"
password = {{ file = "carrier.secret" }}
expires = 60
"""
        return f"""
[lines.asterisk]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}22:5060{by}"
channels = 200
media = "relay"
{self.secured}
transfer = "serve"
options = {{ interval = 1 }}
{register if self.role == "carrier" else ""}
[[routes]]
match = "27*"
to = ["asterisk"]
strip = 7
prefix = "2603"
ring = 15
[[routes]]
match = "2*"
to = ["asterisk"]
"""

    def begin(self) -> None:
        net = self.net
        self.asterisk = Asterisk(
            self.role, self.directory / "asterisk", f"{net}22:5060", f"{net}12:5060", "holdfast", WORDS["carrier"],
            transport=self.transport, endpoint=self.endpoint,
        )  # fmt: skip

    def end(self) -> None:
        if hasattr(self, "asterisk"):
            self.asterisk.stop()

    def left_over(self) -> str:
        return self.asterisk.cli("core show channels concise") if self.asterisk.channels else ""

    def complaints(self) -> list[str]:
        return self.asterisk.complaints()


class CarrierScene(AsteriskScene):
    """Every provisional response, of it and to it, is reliable."""

    peer = "Asterisk as carrier that we register with, 100rel required"
    role = "carrier"
    endpoint = "100rel=required\nmoh_passthrough=yes"
    features = (*BASIC, *MORE, Feature("registration", is_registered))


class AsteriskByTcpScene(AsteriskScene):
    peer = "Asterisk as PBX, by TCP"
    transport = "tcp"
    features = (
        *BASIC[:3],  # a call that rings dies with its connection
        *BASIC[8:],
        *MORE[5:7],
        MORE[9],
        MORE[11],
        Feature("qualify (OPTIONS by it)", is_qualified),
    )
    wide = True

    def complaints(self) -> list[str]:
        """It says so when it asks an agent that has not started yet."""
        return [line for line in super().complaints() if "Broken pipe" not in line]


class SecuredScene(AsteriskScene):
    """All its media is SRTP, which ends at our relay. Asterisk refuses what is not."""

    peer = "Asterisk as PBX, SRTP by SDES"
    endpoint = "media_encryption=sdes\nmoh_passthrough=yes"
    secured = 'srtp = "sdes"'
    features = (*BASIC[:2], *BASIC[3:5], BASIC[8], *MORE[5:9], MORE[11])
