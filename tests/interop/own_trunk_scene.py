"""What is tried with Asterisk at a trunk of the servers: what crosses it besides calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from examples.softphone_call import Policy
from sip.wire import sdp
from tests.interop.asterisk import Asterisk
from tests.interop.asterisk_scenes import AsteriskScene, AsteriskStage, phone_transfers_after_a_talk
from tests.interop.played import PATIENCE, Blow, Feature, Stage
from tests.interop.programs import until

_LAMP = "2670"
_MESSAGE = "[message]\norigtime=1\nduration=1\n"


class OwnTrunkStage(AsteriskStage):
    scene: OwnTrunkScene

    def lines(self) -> str:
        """Its phones refer by themselves, and watch what the trunk has."""
        return super().lines().replace('"serve"', '"pass"\nsubscriptions = "pass"\nmailbox = "asterisk"')

    def offers(self) -> list[str]:
        """The INVITEs by which the server of now has called Asterisk, or changed a session, in calls that stand."""
        server, found = self.scene.site[self.scene.site.active], []
        for call in server.view("calls").get("calls", ()):
            (known,) = server.view("call-ids", id=call["id"])["calls"]
            names = ",".join(leg["call_id"] for leg in known["legs"])
            found += [one["text"] for one in server.view("trace", id=names).get("messages", ())]
        return [text for text in found if re.match(rf"INVITE sip:(\d+@)?{re.escape(self.scene.net)}22:", text)]

    def watches(self, number: str, event: str) -> None:
        """p subscribes, and is told how it is."""
        core = self.phone.core
        self._watching = self.phone.ask(core.subscribe, self.line(), number, event)
        until(self.shown, PATIENCE, f"p is told nothing of {event}")

    def watches_on(self) -> None:
        """p refreshes its subscription, and is told how it is."""
        before = len(self.shown())
        self.phone.ask(self._watching.subscribe, 3600)
        self.sees(lambda: len(self.shown()) > before, "p is told nothing after a refresh")

    def ends_watching(self) -> None:
        self.phone.ask(self._watching.subscribe, 0)
        until(lambda: self._watching.over, PATIENCE, "the subscription does not end")

    def shown(self) -> list[str]:
        """What p was told, NOTIFY by NOTIFY."""
        return [event.detail for event in self.phone.told("notified", self.line())]

    def sees(self, holds: Callable[[], bool], what: str) -> None:
        until(holds, PATIENCE, lambda: f"{what}: {self.shown()[-2:]}")


def lamp_is_lit(stage: OwnTrunkStage) -> Iterator[None]:
    def lit() -> str:
        return " ".join(re.findall(r"<state>(\w+)</state>", stage.shown()[-1]))

    def turns(state: str, to: str) -> None:
        stage.peer.cli(f"devstate change Custom:lamp {state}")
        stage.sees(lambda: lit() == to, f"the lamp does not show {state}")

    stage.peer.cli("devstate change Custom:lamp NOT_INUSE")
    stage.watches(_LAMP, "dialog")
    turns("RINGING", "early")
    turns("INUSE", "confirmed")
    yield
    stage.watches_on()
    assert lit() == "confirmed"
    turns("NOT_INUSE", "terminated")
    turns("RINGING", "early")
    turns("NOT_INUSE", "terminated")
    stage.ends_watching()


def messages_wait(stage: OwnTrunkStage) -> Iterator[None]:
    def waiting() -> bool:
        return "Messages-Waiting: yes" in stage.shown()[-1]

    box = stage.peer.mailbox
    stage.watches(stage.numbers["p"], "message-summary")
    assert not waiting()
    box.mkdir(parents=True, exist_ok=True)
    (box / "msg0000.txt").write_text(_MESSAGE)
    stage.sees(waiting, "p is not told of the message")
    yield
    stage.watches_on()
    assert waiting()
    (box / "msg0000.txt").unlink()
    stage.sees(lambda: not waiting(), "p is not told that the message is gone")
    stage.ends_watching()


def peer_refers(stage: OwnTrunkStage) -> Iterator[None]:
    call = stage.talks("2600")
    comes = stage.waits("q")
    yield
    for held in (True, False):  # by which it knows the server of now: what it sends to a dead one is lost
        stage.holds(call, held)
    stage.peer.redirect(stage.number, f"24{stage.numbers['q']}")
    until(lambda: stage.told("refer", call), PATIENCE, "its REFER does not come")
    made = stage.phone.ask(stage.phone.core.follow, call)
    stage.answered(made)
    there = comes()
    stage.hears(made, there)
    stage.hangs_up(made)
    stage.ended(call, there)


def goes_on_without_a_camera(stage: OwnTrunkStage) -> Iterator[None]:
    """What Asterisk knows of stays in each offer to it (RFC 3264 section 8)."""
    call = stage.phone.call(stage.line("p", Policy(video=True)), "2600")
    stage.answered(call)
    assert [place.rejected for place in sdp.endpoints(call.received_sdp)] == [False, False]
    dialog = call.leg.dialog
    named = f"Replaces: {dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}"
    second = stage.phone.ask(partial(stage.phone.core.call, lines=[named]), stage.line("q"), "2600")
    stage.answered(second)
    stage.ended(call)
    assert sdp.count(second.received_sdp) == 1
    stage.hears(second)
    yield
    for held in (True, False):
        stage.holds(second, held)
    assert sdp.count(second.received_sdp) == 1
    assert any("m=audio " in offer and "m=video 0 " in offer for offer in stage.offers()), stage.offers()
    stage.hears(second)
    stage.hangs_up(second)


class OwnTrunkScene(AsteriskScene):
    """Asterisk calls the server that serves by the Contact that it was given last."""

    peer = "Asterisk at a trunk of the servers"
    blows = (Blow.CALM, Blow.SERVER)
    features = (
        Feature("attended transfer: our REFER with Replaces, its INVITE with Replaces", phone_transfers_after_a_talk),
        Feature("blind transfer by it: its REFER, which our phone follows", peer_refers),
        Feature("a lamp at our phone shows its extension (dialog)", lamp_is_lit),
        Feature("a video call goes on with a phone without a camera (Replaces)", goes_on_without_a_camera),
        Feature("our phone is told of messages in its mailbox (message-summary)", messages_wait),
    )

    def stage(self, number: int) -> Stage:
        return OwnTrunkStage(self, number)

    def lines(self) -> str:
        return f"""
[lines.asterisk]
kind = "trunk"
peer = "sip:{self.net}22:5060"
channels = 200
transfer = "pass"
subscriptions = "pass"
options = {{ interval = 1 }}
[[routes]]
match = "2*"
to = ["asterisk"]
"""

    def begin(self) -> None:
        net, mailbox = self.net, self.stages[self.features[-1].what].numbers["p"]
        at, server = self.directory / "asterisk", f"{net}1:5060"
        self.asterisk = Asterisk(
            "pbx", at, f"{net}22:5060", server, also=f"{net}2", mailbox=mailbox, endpoint="allow=h264"
        )
