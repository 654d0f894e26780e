"""What ordinary peers cannot be made to do, by SIPp: glare, ACKs late or lost, forks, refusals in the middle."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

from examples.softphone_call import Policy
from tests.interop.phones import ended, talking
from tests.interop.played import PATIENCE, Feature, Scene, Stage
from tests.interop.programs import until
from tests.interop.sipp import Sipp
from tests.interop.sipp_script import Script

_SECONDS = 90.0


class SippStage(Stage):
    """With a trunk of its own, at whose end SIPp is."""

    scene: SippScene

    def __init__(self, scene: SippScene, number: int) -> None:
        super().__init__(scene, number)
        self.far_number = f"20{number:02}"
        self.host = f"{scene.net}{130 + number}"
        self._plays = 0
        self.sipp: Sipp | None = None

    def lines(self) -> str:
        return super().lines() + (
            f'[lines.far{self.far_number}]\nkind = "trunk"\nagent = "gw2"\nchannels = 4\n'
            f'peer = "sip:{self.host}:5060"\n'
            f"session_timer = {{ expires = 90, min_se = 90 }}\n"
            f'[[routes]]\nmatch = "{self.far_number}"\nto = ["far{self.far_number}"]\n'
        )

    def plays(self, script: Script, calls: bool = False) -> Sipp:
        """SIPp begins; it calls p, or waits to be called. It is not strict: else an ACK that is repeated, as by an
        agent that has come back, would be a failure."""
        self._plays += 1
        directory = self.scene.directory / f"{script.name}-{self._plays}"
        directory.mkdir()
        file = directory / f"{script.name}.xml"
        file.write_text(script.xml())
        remote = f"{self.scene.net}12:5060" if calls else ""
        self.sipp = Sipp(
            directory,
            str(file.with_suffix("")),
            f"{self.host}:5060",
            remote=remote,
            number=self.numbers["p"],
            seconds=_SECONDS,
            strict=False,
        )
        until(self._is_up, PATIENCE, lambda: f"SIPp does not start: {self.sipp and self.sipp.complaints()}")
        return self.sipp

    def _is_up(self) -> bool:
        """Whether its port is taken, or it has called already."""
        assert self.sipp is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                one.bind((self.host, 5060))
            except OSError:
                return True
        return False

    def give_up(self) -> None:
        super().give_up()
        if self.sipp is not None:
            self.sipp.stop()


def glare(stage: SippStage) -> Iterator[None]:
    script = Script("glare").hears("INVITE").answers("INVITE", 200, sdp=True).hears("ACK", "INVITE")
    script.answers("INVITE", 100).hears("INFO").answers("INFO", 200)
    script.asks("INVITE", 1, sdp=True).hears(491, optional=(100,)).asks("ACK", 1, early=True)
    script.answers("INVITE", 491).hears("ACK", "INVITE").answers("INVITE", 200, sdp=True).hears("ACK")
    peer = stage.plays(script.hears("BYE").answers("BYE", 200))
    call = stage.talks(stage.far_number)
    stage.does("hold", call)
    yield
    stage.does("info", call, "1")
    until(lambda: call.wanted is None and call.held, PATIENCE, "the change is not made after the glare")
    stage.hangs_up(call)
    peer.wait()


def late_ack(stage: SippStage) -> Iterator[None]:
    comes = stage.waits()
    script = Script("late-ack").calls().hears(200, optional=(100, 180)).waits(6).asks("ACK", 1)
    peer = stage.plays(script.hears("BYE").answers("BYE", 200), calls=True)
    call = comes()
    stage.answered(call)
    yield
    until(lambda: stage.told("acknowledged", call) or ended(call), PATIENCE, "no ACK comes")
    assert talking(call)
    stage.hangs_up(call)
    peer.wait()


def lost_ack(stage: SippStage) -> Iterator[None]:
    comes = stage.waits()
    script = Script("lost-ack").calls().hears(200, optional=(100, 180)).hears("BYE", within=60)
    peer = stage.plays(script.answers("BYE", 200), calls=True)
    call = comes()
    stage.answered(call)
    yield
    until(lambda: ended(call), 3 * PATIENCE, "a call that was never acknowledged goes on")
    peer.wait()


def early_bye(stage: SippStage) -> Iterator[None]:
    comes = stage.waits("p", Policy())
    script = Script("early-bye").calls().hears(180, optional=(100,)).waits(4).asks("BYE", 2, early=True)
    script.hears(487).asks("ACK", 1, early=True).hears(200)
    peer = stage.plays(script, calls=True)
    call = comes()
    yield
    until(lambda: stage.told("cancelled", call), PATIENCE, "it rings on")
    peer.wait()


def answer_meets_cancel(stage: SippStage) -> Iterator[None]:
    script = Script("race").hears("INVITE").answers("INVITE", 180).hears("CANCEL").answers("CANCEL", 200)
    peer = stage.plays(script.answers("INVITE", 200, sdp=True).hears("ACK", "BYE").answers("BYE", 200))
    call = stage.calls(stage.far_number)
    until(lambda: stage.told("ringing", call), PATIENCE, "it does not ring")
    yield
    stage.does("cancel", call)
    stage.ended(call)
    assert call.status == 487, call.status
    peer.wait()


def forks(stage: SippStage) -> Iterator[None]:
    script = Script("forks").hears("INVITE").answers("INVITE", 180, tag="x").answers("INVITE", 183, sdp=True, tag="y")
    script.waits(4).answers("INVITE", 200, sdp=True, tag="y").hears("ACK").answers("INVITE", 200, sdp=True, tag="x")
    peer = stage.plays(script.hears("ACK", "BYE").answers("BYE", 200).hears("BYE").answers("BYE", 200))
    call = stage.calls(stage.far_number)
    until(lambda: stage.told("progress", call), PATIENCE, "no progress comes")
    yield
    stage.answered(call)
    until(lambda: "BYE sip" in peer.messages.read_text("latin-1"), PATIENCE, "the second answer is not ended")
    assert talking(call)
    stage.hangs_up(call)
    peer.wait()


def interval_too_small(stage: SippStage) -> Iterator[None]:
    script = Script("422").hears("INVITE").answers("INVITE", 422, lines=["Min-SE: 400"]).hears("ACK", "INVITE")
    script.answers("INVITE", 180).waits(4)
    script.answers("INVITE", 200, sdp=True, lines=["Session-Expires: 400;refresher=uac", "Require: timer"])
    peer = stage.plays(script.hears("ACK", "BYE").answers("BYE", 200))
    call = stage.calls(stage.far_number)
    until(lambda: stage.told("ringing", call), PATIENCE, "it is not tried again")
    yield
    stage.answered(call)
    assert "Session-Expires: 400" in peer.messages.read_text("latin-1")
    stage.hangs_up(call)
    peer.wait()


def dialog_is_gone(stage: SippStage) -> Iterator[None]:
    script = Script("481").hears("INVITE").answers("INVITE", 200, sdp=True).hears("ACK", "INVITE")
    peer = stage.plays(script.answers("INVITE", 481).hears("ACK", "BYE").answers("BYE", 200))
    call = stage.talks(stage.far_number)
    yield
    stage.does("hold", call)
    stage.ended(call)
    peer.wait()


def not_now(stage: SippStage) -> Iterator[None]:
    script = Script("500").hears("INVITE").answers("INVITE", 200, sdp=True).hears("ACK", "INVITE")
    script.answers("INVITE", 500, lines=["Retry-After: 2"]).hears("ACK", "INVITE")
    peer = stage.plays(script.answers("INVITE", 200, sdp=True).hears("ACK", "BYE").answers("BYE", 200))
    call = stage.talks(stage.far_number)
    stage.does("hold", call)
    until(lambda: stage.told("unchanged", call), PATIENCE, "the refusal does not come")
    yield
    until(lambda: call.wanted is None and call.held, PATIENCE, "it is not tried again")
    stage.hangs_up(call)
    peer.wait()


class SippScene(Scene):
    peer = "SIPp as carrier"
    wide = True
    features = (
        Feature("glare: re-INVITEs of both sides meet (491)", glare),
        Feature("a late ACK", late_ack),
        Feature("an ACK that never comes: BYE to both sides", lost_ack),
        Feature("BYE in an early dialog", early_bye),
        Feature("CANCEL meets the answer: it is acknowledged and ended", answer_meets_cancel),
        Feature("two forks ring, both answer: the second is acknowledged and ended", forks),
        Feature("422: tried again with its Min-SE", interval_too_small),
        Feature("481 to a re-INVITE ends the call", dialog_is_gone),
        Feature("500 with Retry-After to a re-INVITE: tried again", not_now),
    )

    @classmethod
    def missing(cls) -> str:
        return ""

    @property
    def version(self) -> str:
        said = subprocess.run(["sipp", "-v"], capture_output=True, text=True, check=False).stdout
        return said.split("SIPp v")[1].split()[0].rstrip(".").split("-")[0]

    def stage(self, number: int) -> Stage:
        return SippStage(self, number)

    def lines(self) -> str:
        return ""

    def begin(self) -> None:
        """One is started for each feature."""

    def end(self) -> None:
        for stage in self.stages.values():
            if isinstance(stage, SippStage) and stage.sipp is not None:
                stage.sipp.stop()
