"""What is tried through proxies of others: the far end is a softphone of ours, so that both ends can be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from examples.softphone_call import Call, Line, Policy
from tests.interop import kamailio
from tests.interop.kamailio import Kamailio
from tests.interop.phones import Phone
from tests.interop.played import PATIENCE, Feature, Scene, Stage
from tests.interop.programs import until

_RINGS = Policy()


class FarStage(Stage):
    """With a line of the far phone, whose number nobody else calls."""

    scene: FarScene

    def __init__(self, scene: FarScene, number: int) -> None:
        super().__init__(scene, number)
        self.far_number = f"20{number:02}"
        self._far: Line | None = None

    def far(self, policy: Policy = Policy(answer_after=0.2)) -> Line:  # noqa: B008
        """The far line."""
        if self._far is None:
            host, _, port = self.scene.proxy.rpartition(":")
            self._far = self.scene.far.run(
                lambda: self.scene.far.core.add_line(self.far_number, (host, int(port)), transport=self.scene.far_by)
            )
        self._far.policy = policy
        return self._far

    def reaches(self, policy: Policy = Policy(answer_after=0.2)) -> tuple[Call, Call]:  # noqa: B008
        """A call of p to the far line, at both ends."""
        line = self.far(policy)
        before = len(self.scene.far.told("incoming", line))
        call = self.calls(self.far_number)
        events = until(lambda: self.scene.far.told("incoming", line)[before:], PATIENCE, "no call comes there")
        there: Call = events[0].call
        if policy.answer_after is not None:
            self.answered(call)
        return call, there

    def is_reached(self, policy: Policy = Policy(answer_after=0.2)) -> tuple[Call, Call]:  # noqa: B008
        """A call of the far line to p, at both ends: here, there."""
        comes = self.waits("p", policy)
        there = self.scene.far.call(self.far(), self.numbers["p"])
        return comes(), there

    def there(self, verb: str, *arguments: object) -> None:
        """A verb of the far phone."""
        self.scene.far.ask(getattr(self.scene.far.core, verb), *arguments)

    def hear_each_other(self, here: Call, there: Call) -> None:
        end = self.scene.far.socket.end_of(there)
        assert end is not None
        goal = end.watch.received + 25
        self.hears(here)
        until(lambda: end.watch.received >= goal, PATIENCE, "no audio comes there")

    def give_up(self) -> None:
        super().give_up()
        for call in list(self.scene.far.core.calls):
            if call.line is self._far:
                self.there("hang_up", call)


def out(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches()
    stage.hear_each_other(here, there)
    yield
    stage.hear_each_other(here, there)
    stage.hangs_up(here)
    stage.ended(there)


def comes_in(stage: FarStage) -> Iterator[None]:
    here, there = stage.is_reached()
    stage.answered(there)
    stage.hear_each_other(here, there)
    yield
    stage.hear_each_other(here, there)
    stage.there("hang_up", there)
    stage.ended(here)


def rings_and_is_answered(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches(_RINGS)
    until(lambda: stage.told("ringing", here), PATIENCE, "it does not ring")
    yield
    stage.there("answer", there)
    stage.answered(here)
    stage.hear_each_other(here, there)
    stage.there("hang_up", there)
    stage.ended(here)


def early_and_reliable(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches(Policy(early=True, reliable=True))
    until(lambda: here.early_media, PATIENCE, "no early media comes")
    yield
    stage.there("answer", there)
    stage.answered(here)
    stage.hear_each_other(here, there)
    stage.hangs_up(here)
    stage.ended(there)


def cancels(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches(_RINGS)
    until(lambda: stage.told("ringing", here), PATIENCE, "it does not ring")
    yield
    stage.does("cancel", here)
    stage.ended(here, there)
    assert (here.status, there.status) == (487, 487)


def is_cancelled(stage: FarStage) -> Iterator[None]:
    here, there = stage.is_reached(_RINGS)
    yield
    stage.there("cancel", there)
    stage.ended(here, there)
    assert (here.status, there.status) == (487, 487)


def is_refused(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches(_RINGS)
    yield
    stage.there("reject", there, 486)
    stage.ended(here)
    assert here.status == 486


def hold_both_ways(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches()
    stage.holds(here)
    until(lambda: there.held_there, PATIENCE, "the hold does not come there")
    yield
    stage.holds(here, False)
    stage.there("hold", there)
    until(lambda: here.held_there, PATIENCE, "the hold of the other side does not come")
    stage.there("resume", there)
    until(lambda: not here.held_there, PATIENCE, "the end of the hold does not come")
    stage.hear_each_other(here, there)
    stage.hangs_up(here)
    stage.ended(there)


def requests_in_the_call(stage: FarStage) -> Iterator[None]:
    here, there = stage.is_reached()
    stage.answered(there)
    yield
    stage.does("info", here, "5")
    until(
        lambda: [e for e in list(stage.scene.far.events) if e.kind == "info" and e.call is there], PATIENCE, "no INFO"
    )
    stage.there("info", there, "6")
    until(lambda: stage.told("info", here), PATIENCE, "no INFO comes")
    stage.there("update", there, False)
    until(lambda: stage.told("update", here), PATIENCE, "no UPDATE comes")
    stage.hangs_up(here)
    stage.ended(there)


def is_transferred(stage: FarStage) -> Iterator[None]:
    here, there = stage.reaches()
    comes = stage.waits("q")
    yield
    stage.there("transfer", there, stage.numbers["q"], None)
    other = comes()
    stage.answered(other)
    stage.hears(here, other)
    stage.there("hang_up", there)
    stage.hangs_up(other)
    stage.ended(here, there)


FAR = (
    Feature("a call to it; media both ways, our BYE", out),
    Feature("a call by it; media both ways, its BYE", comes_in),
    Feature("it rings, then answers", rings_and_is_answered),
    Feature("reliable early media, then an answer", early_and_reliable),
    Feature("CANCEL by us", cancels),
    Feature("CANCEL by it", is_cancelled),
    Feature("it is busy (486)", is_refused),
    Feature("hold and resumption by either side", hold_both_ways),
    Feature("INFO by either side, UPDATE by it", requests_in_the_call),
    Feature("blind transfer by it (REFER)", is_transferred),
)


class FarScene(Scene):
    """``proxy`` is where the far phone sends its requests."""

    features = FAR
    far_by = "udp"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.far = Phone(f"{self.net}61:5060")
        self.proxy = f"{self.net}41:5060"

    def stage(self, number: int) -> Stage:
        return FarStage(self, number)

    def stop(self) -> None:
        self.far.close()
        super().stop()

    def left_over(self) -> str:
        return str(self.far.core.calls) if self.far.core.calls else ""


class ProxiesScene(FarScene):
    """The site's outbound proxy, which sends from another address than it names, and another one behind it."""

    peer = "Kamailio, two proxies, the Record-Route of ours is not where it sends from"
    by = "udp"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.proxies: list[Kamailio] = []

    @classmethod
    def missing(cls) -> str:
        return kamailio.package().because

    @property
    def version(self) -> str:
        return kamailio.version()

    def lines(self) -> str:
        net, by = self.net, "" if self.by == "udp" else f";transport={self.by}"
        return f"""
[lines.carrier]
kind = "trunk"
agent = "gw2"
peer = "sip:carrier.invalid"
domain = "carrier.invalid"
outbound_proxy = "sip:{net}31:5060{by}"
from = ["{net}31", "{net}33"]
channels = 200
transfer = "serve"
options = {{ interval = 1 }}
[[routes]]
match = "2*"
to = ["carrier"]
"""

    def begin(self) -> None:
        net = self.net
        near = {"inside": f"{net}31:5060", "outside": f"{net}33:5060", "next": f"{net}41:5060"}
        far = {"inside": f"{net}41:5060", "outside": f"{net}41:5060", "next": f"{net}61:5060"}
        for name, each in (("near", near | {"site": f"{net}12:5060"}), ("far", far | {"site": f"{net}31:5060"})):
            self.proxies.append(Kamailio(self.directory / name, "proxy.cfg", protocol=self.by, **each))

    def end(self) -> None:
        for proxy in self.proxies:
            proxy.stop()

    def complaints(self) -> list[str]:
        return [line for proxy in self.proxies for line in proxy.complaints()]


class ProxiesByTcpScene(ProxiesScene):
    peer = "Kamailio, two proxies, by TCP"
    by = far_by = "tcp"
    wide = True
    features = (FAR[0], FAR[1], FAR[5], FAR[7], FAR[8])
