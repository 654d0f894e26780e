"""A call that rings at a telephone of others, picked up by yet another one: Replaces, as a lamp has named it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.softphone_call import Call, Line
from tests.interop import baresip_scenes
from tests.interop.baresip_scenes import Baresip
from tests.interop.phones import Phone, ended, talking
from tests.interop.pjsua2_scene import Carrier, Pjsua2Scene
from tests.interop.programs import PASSWORDS, Site, network, until
from tests.interop.test_own_trunks import takes_over

pytestmark = pytest.mark.interop
WORD = "a-desk-of-oak"
LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["5001"]
password = {{ file = "alice.secret" }}
digest = ["MD5"]
subscriptions = "pass"
channels = 4
[lines.desk]
kind = "phone"
agent = "gw2"
numbers = ["5061"]
password = {{ file = "desk.secret" }}
digest = ["MD5"]
subscriptions = "pass"
[lines.hall]
kind = "trunk"
agent = "gw1"
peer = "sip:{net}23:5060"
channels = 10
subscriptions = "pass"
"""
PEER = "pjsua2 and baresip"
WHAT = "pjsua2 picks up a call that rings at baresip (Replaces, as a lamp names it)"
OWN = "the same, with pjsua2 behind a trunk of the servers; the server dies as it is picked up"


class Scene:
    """A site; alice calls, baresip rings at the desk, pjsua2 is in the hall: behind a trunk of the agent gw1, or,
    with ``own``, of the servers."""

    def __init__(self, directory: Path, own: bool) -> None:
        net = network()
        lines = LINES.format(net=net)
        if own:
            lines = lines.replace('kind = "trunk"\nagent = "gw1"\n', 'kind = "trunk"\n')
        self._own = own
        self.site = Site(directory / "site", net, lines, passwords={**PASSWORDS, "desk": WORD})
        self.phone = Phone(f"{net}51:5060")
        self.site.start()
        self.alice: Line = self.phone.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        account = (
            f'<sip:desk@interop.test;transport=udp>;auth_pass={WORD};outbound="sip:{net}12:5060;transport=udp"\n'
        )
        self.desk = Baresip(directory / "desk", f"{net}61", account)
        self.hall = Carrier(f"{net}23:5060", f"{net}{1 if own else 11}:5060")
        until(lambda: self.desk.registered, 15, lambda: f"baresip does not register\n{self.words()}")
        self.phone.ask(self.phone.core.subscribe, self.alice, "5061", "dialog")

    def words(self) -> str:
        return f"{self.desk.words()}\n{self.site.words()}"

    def rings(self) -> Call:
        """A call of alice that rings at the desk."""
        call = self.phone.call(self.alice, "5061")
        until(
            lambda: "Incoming call" in self.desk.words() and self._rings(call),
            10,
            lambda: f"no ringing\n{self.words()}",
        )
        return call

    def _rings(self, call: Call) -> bool:
        return any(event.kind == "ringing" and event.call is call for event in list(self.phone.events))

    def named(self) -> str:
        """What the lamp says by which the call is picked up."""

        def names() -> list[tuple[str, ...]]:
            said = self.phone.told("notified", self.alice)
            keys = ("call-id", "local-tag", "remote-tag")
            return [
                tuple(re.findall(f'{key}="([^"]*)"', event.detail)[-1] for key in keys)
                for event in said[-1:]
                if "remote-tag" in event.detail
            ]

        ((call_id, ours, theirs),) = until(names, 10, lambda: f"the lamp names nothing\n{self.site.words()}")
        return f"{call_id};to-tag={theirs};from-tag={ours};early-only"

    def hears(self, call: Call) -> None:
        self.phone.hears(call, self.words)

    def has_picked_up(self) -> bool:
        """Whether the hall's INVITE was taken; that it has to answer the caller's offer is another matter."""
        if not self._own:
            return self.site.calls("gw1") == 2
        (call,) = self.site["m1"].view("calls")["calls"]
        (known,) = self.site["m1"].view("call-ids", id=call["id"])["calls"]
        return len(known["legs"]) == 3

    def stop(self) -> None:
        self.hall.stop()
        self.desk.stop()
        self.phone.close()
        self.site.stop()


@contextmanager
def scene(directory: Path, own: bool) -> Iterator[Scene]:
    if why := Pjsua2Scene.missing() or baresip_scenes.package().because:
        pytest.skip(why)
    made = Scene(directory, own)
    try:
        yield made
        until(lambda: made.site.idle("gw1", "gw2"), 10, lambda: f"a call is left over\n{made.words()}")
        assert not made.site.bugs()
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("own", "dies"),
    [
        pytest.param(False, "", marks=pytest.mark.row(PEER, WHAT, "calm")),
        pytest.param(True, "", marks=[pytest.mark.row(PEER, OWN, "calm"), pytest.mark.wide]),
        pytest.param(
            True, "as it is picked up", marks=[pytest.mark.row(PEER, OWN, "server killed"), pytest.mark.wide]
        ),
        *(
            pytest.param(
                False,
                when,
                marks=[
                    pytest.mark.row(PEER, f"the same, and the server dies {when}", "server killed"),
                    *[pytest.mark.wide] * (when != "as it is picked up"),
                ],
            )
            for when in ("as it rings", "as it is picked up", "as they talk")
        ),
    ],
)
def test_pjsua2_picks_up_what_rings_at_baresip(tmp_path: Path, own: bool, dies: str) -> None:
    with scene(tmp_path, own) as at:
        call = at.rings()
        named = at.named()
        if dies == "as it rings":
            takes_over(at.site)
            until(lambda: at.site.calls("m2") == 1, 5, lambda: f"the call is lost\n{at.words()}")
        at.hall.says("pickup", f"5061 {named}", *["sleep 2"] * (dies == "as it is picked up"))
        if dies == "as it is picked up":  # it has its 200, but neither heard that nor been asked
            until(at.has_picked_up, 1.5, lambda: f"its call does not come\n{at.words()}")
            takes_over(at.site)
        until(lambda: talking(call) or ended(call), 10, lambda: f"it is not picked up\n{at.words()}")
        assert talking(call), at.words()
        until(lambda: at.hall.told("5061", "confirmed"), 5, "pjsua2 does not talk")
        at.hears(call)
        if dies == "as they talk":
            takes_over(at.site)
            until(lambda: at.site.calls("m2") == 1, 5, lambda: f"the call is lost\n{at.words()}")
        until(lambda: "cancelled" in at.desk.words().lower() or "closed" in at.desk.words(), 5, at.desk.words)
        at.hall.says("hold", "5061")
        until(lambda: call.held_there, 8, lambda: f"its hold does not come\n{at.words()}")
        at.hall.says("resume", "5061")
        until(lambda: not call.held_there, 8, lambda: f"the end of its hold does not come\n{at.words()}")
        at.hears(call)
        at.hall.says("hangup", "5061")
        until(lambda: ended(call), 8, lambda: f"its BYE does not come\n{at.words()}")
        until(lambda: len(at.site.records()) == 1, 8, "not one record")
        (record,) = at.site.records()
        assert (record["result"], record["callee_line"].partition("/")[0]) == ("answered", "hall"), record
