"""Telephones without an agent, by a program of others: baresip registers with both servers, and one of them dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.softphone_call import Call, Policy
from sip.actions import Flow
from tests.interop import baresip_scenes
from tests.interop.baresip_scenes import Baresip
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Program, Site, network, until
from tests.interop.test_own_trunks import moved, takes_over

pytestmark = pytest.mark.interop
WORD = "a-desk-of-oak"
LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["5001"]
password = { file = "alice.secret" }
digest = ["MD5"]
[lines.desk]
kind = "direct"
numbers = ["5061"]
password = { file = "desk.secret" }
digest = ["MD5"]
[lines.hall]
kind = "direct"
numbers = ["5062"]
password = { file = "bob.secret" }
digest = ["MD5"]
"""
ROW = (
    "baresip as telephone without an agent",
    "a call to it goes on, is held and taken up again; the next one",
    "server killed",
)


class Scene:
    """A site, a phone at its agent, and baresip, which has registered with both servers (RFC 5626)."""

    def __init__(self, directory: Path) -> None:
        net = network()
        self.site = Site(directory / "site", net, LINES, passwords={**PASSWORDS, "desk": WORD})
        self.phone = Phone(f"{net}51:5060")
        self.site.start()
        self.line = self.phone.line("alice", f"{net}11:5060", PASSWORDS["alice"], Policy(answer_after=0.05))
        account = (
            f"<sip:desk@interop.test;transport=udp>;auth_pass={WORD};answermode=auto;regint=60;sipnat=outbound"
            f';outbound="sip:{net}1:5060;transport=udp";outbound2="sip:{net}2:5060;transport=udp"\n'
        )
        self.desk = Baresip(directory / "desk", f"{net}61", account, "module uuid.so\n")
        both = self.site["m1"], self.site["m2"]
        until(lambda: all(map(self.knows, both)), 15, lambda: f"it is not registered with both\n{self.words()}")

    def knows(self, server: Program) -> bool:
        """Whether the telephone has registered there."""
        return any(one["name"] == "desk" and one["contacts"] for one in server.view("lines")["lines"])

    def words(self) -> str:
        return f"{self.desk.words()}\n{self.site.words()}"

    def hears(self, call: Call) -> None:
        self.phone.hears(call, self.words)

    def stop(self) -> None:
        self.desk.stop()
        self.phone.close()
        self.site.stop()


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    made = Scene(directory)
    try:
        yield made
        until(lambda: made.site.idle("m2", "gw1"), 10, lambda: f"a call is left over\n{made.words()}")
        assert not made.site.bugs()
    finally:
        made.stop()


@pytest.mark.row(*ROW)
def test_calls_of_a_telephone_go_on_at_the_next_server(tmp_path: Path) -> None:
    if why := baresip_scenes.package().because:
        pytest.skip(why)
    with scene(tmp_path) as at:
        phone, site = at.phone, at.site
        ours = phone.call(at.line, "5061")
        until(lambda: talking(ours), 10, lambda: f"it does not answer\n{at.words()}")
        at.hears(ours)
        takes_over(site)
        until(lambda: site.calls("m2") == 1, 5, lambda: f"the call is lost\n{at.words()}")
        at.hears(ours)
        until(lambda: moved(site, "INVITE") == 1, 8, lambda: f"it was not told where its call is\n{at.words()}")
        at.desk.holds()
        until(lambda: ours.held_there, 10, lambda: f"its hold does not come\n{at.words()}")
        at.desk.resumes()
        until(lambda: not ours.held_there, 10, lambda: f"the end of its hold does not come\n{at.words()}")
        at.desk.hangs_up()
        until(lambda: ended(ours), 10, lambda: f"its BYE does not come\n{at.words()}")
        again = phone.call(at.line, "5061")
        until(lambda: talking(again), 10, lambda: f"it is not called by the new server\n{at.words()}")
        at.hears(again)
        phone.ask(phone.core.bye, again)
        until(lambda: ended(again), 10, "its call does not end")
        until(lambda: len(site.records()) == 2, 8, "not two records")
        assert {each["result"] for each in site.records()} == {"answered"}


def test_a_call_of_two_telephones_goes_on_where_one_takes_no_update(tmp_path: Path) -> None:
    """That is baresip. The other one brings the call back by a digit; then each tells anew what media it wants."""
    if why := baresip_scenes.package().because:
        pytest.skip(why)
    with scene(tmp_path) as at:
        phone, site = at.phone, at.site
        hall = phone.line("hall", f"{site.net}1:5060", PASSWORDS["bob"])
        ours = phone.call(hall, "5061")
        until(lambda: talking(ours), 10, lambda: f"it does not answer\n{at.words()}")
        at.hears(ours)
        takes_over(site)

        def goes_to_the_next() -> None:
            hall.flow = Flow("udp", phone.core.listen, (f"{site.net}2", 5060))
            hall.registration = None
            ours.leg.moved(hall.flow)

        phone.run(goes_to_the_next)
        known = len(phone.told("registered", hall))
        phone.ask(phone.core.register, hall)
        until(lambda: len(phone.told("registered", hall)) > known, 10, at.words)
        phone.ask(phone.core.info, ours, "5")
        until(lambda: site.calls("m2") == 1, 10, lambda: f"the call is lost\n{at.words()}")
        until(
            lambda: any(word.startswith("INVITE body=") for word in hall.heard),
            15,
            lambda: f"it is not asked to answer what the other one offers: {hall.heard}\n{at.words()}",
        )
        at.hears(ours)
        at.desk.hangs_up()
        until(lambda: ended(ours), 10, lambda: f"its BYE does not come\n{at.words()}")
