"""What is tried with telephones of others: one program for each feature, registered with the agent gw2."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Protocol

from examples.softphone_call import Call
from sip.wire.sdp import direction
from tests.interop.played import PATIENCE, Feature, Scene, Stage
from tests.interop.programs import until


class Telephone(Protocol):
    """One, with one account. It plays back what it hears or sounds by itself, and answers at once."""

    @property
    def registered(self) -> bool:
        """Whether it was ever told so."""

    def words(self) -> str:
        """Its log."""

    def dials(self, number: str) -> None: ...

    def hangs_up(self) -> None: ...

    def holds(self) -> None: ...

    def resumes(self) -> None: ...

    def transfers(self, number: str) -> None: ...

    def stop(self) -> None: ...


class TelephoneStage(Stage):
    scene: TelephoneScene

    def __init__(self, scene: TelephoneScene, number: int) -> None:
        super().__init__(scene, number)
        self.far_number = f"20{number:02}"
        self.host = f"{scene.net}{100 + number}"
        self.far: Telephone | None = None

    def lines(self) -> str:
        return super().lines() + (
            f'[lines.{self.far_number}]\nkind = "phone"\nagent = "gw2"\nchannels = 4\n'
            f'numbers = ["{self.far_number}"]\n'
            f'password = {{ file = "phone.secret" }}\ntransfer = "serve"\n{self.scene.settings}'
        )

    def telephone(self) -> Telephone:
        """Registered."""
        if self.far is None:
            self.far = self.scene.telephone(self)
        far = self.far
        until(lambda: far.registered, PATIENCE, lambda: f"it does not register: {far.words()}")
        return far

    def audio(self, call: Call) -> int:
        """It need not keep to our packets: all that come count."""
        return self.phone.all_audio(call)

    def is_called_by_it(self) -> Call:
        far, comes = self.telephone(), self.waits()
        far.dials(self.numbers["p"])
        call = comes()
        self.answered(call)
        return call


def is_registered(stage: TelephoneStage) -> Iterator[None]:
    stage.telephone()
    yield
    stage.hangs_up(stage.talks(stage.far_number))


def calls_it(stage: TelephoneStage) -> Iterator[None]:
    stage.telephone()
    call = stage.talks(stage.far_number)
    stage.hears(call)
    yield
    stage.hears(call)
    stage.hangs_up(call)


def is_called(stage: TelephoneStage) -> Iterator[None]:
    call = stage.is_called_by_it()
    stage.hears(call)
    yield
    stage.hears(call)
    stage.telephone().hangs_up()
    stage.ended(call)


def holds(stage: TelephoneStage) -> Iterator[None]:
    call = stage.is_called_by_it()
    stage.telephone().holds()
    until(lambda: call.held_there, PATIENCE, "its hold does not come")
    yield
    stage.telephone().resumes()
    until(lambda: not call.held_there, PATIENCE, "the end of its hold does not come")
    stage.holds(call)
    stage.holds(call, False)
    # Its source of audio need not begin again after so many changes: what it says of it is looked at.
    assert direction(call.received_sdp) == "sendrecv"
    stage.hangs_up(call)


def transfers(stage: TelephoneStage) -> Iterator[None]:
    call, comes = stage.is_called_by_it(), stage.waits("q")
    yield
    stage.telephone().transfers(stage.numbers["q"])
    other = comes()
    stage.answered(other)
    stage.hears(call, other)
    stage.hangs_up(call)
    stage.ended(other)


class TelephoneScene(Scene):
    settings = ""
    """More of the lines of its telephones, for the site file."""
    features = (
        Feature("registration, with a password", is_registered),
        Feature("a call to it; media both ways", calls_it),
        Feature("a call by it; media both ways", is_called),
        Feature("hold and resumption by either side", holds),
        Feature("blind transfer by it (REFER)", transfers),
    )

    @abstractmethod
    def telephone(self, stage: TelephoneStage) -> Telephone:
        """A new one, for that number at that host."""

    def stage(self, number: int) -> Stage:
        return TelephoneStage(self, number)

    def lines(self) -> str:
        return ""

    def begin(self) -> None:
        """They are started when their agent is there."""

    def end(self) -> None:
        for stage in self.stages.values():
            if isinstance(stage, TelephoneStage) and stage.far is not None:
                stage.far.stop()
