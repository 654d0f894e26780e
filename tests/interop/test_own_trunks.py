"""Calls over trunks that the servers own, with a peer of others, through the death of the active server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.softphone_call import Call, Line, Policy
from tests.interop import asterisk
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, network, until

pytestmark = pytest.mark.interop

LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["5001"]
password = {{ file = "alice.secret" }}
digest = ["MD5"]
channels = 5
[lines.pbx]
kind = "trunk"
peer = "sip:{net}61:5060"
channels = 10
[[routes]]
match = "26*"
to = ["pbx"]
"""


ANSWERS = Policy(ring_after=0, answer_after=0.05)


@contextmanager
def calling(directory: Path, net: str, policy: Policy = ANSWERS) -> Iterator[tuple[Site, Phone, Line]]:
    """A site with alice at an agent, and a trunk of the servers whose peer is at ``.61``."""
    site = Site(directory / "site", net, LINES.format(net=net), passwords=PASSWORDS)
    phone = Phone(f"{net}51:5060")
    try:
        site.start()
        yield site, phone, phone.line("alice", f"{net}11:5060", PASSWORDS["alice"], policy)
        until(lambda: site.idle("m2", "gw1"), 8, lambda: f"a call is left over\n{site.words()}")
        assert not site.bugs()
    finally:
        phone.close()
        site.stop()


def takes_over(site: Site) -> None:
    """The active server is killed, machine and all, and the other one leads."""
    site["m1"].kill()
    until(
        lambda: site["m2"].view().get("state") == "active",
        15,
        lambda: f"m2 does not serve\n{site.words()}",
    )


def reaches_m1(pbx: asterisk.Asterisk) -> None:
    """Its OPTIONS were answered, as long as it calls nobody there without."""
    until(
        lambda: "Avail" in pbx.cli("pjsip show contacts").replace("Unavail", ""),
        10,
        "the Asterisk does not reach m1",
    )


def moved(site: Site, by: str = "UPDATE") -> int:
    """How many calls m2 has told their peers of, by that method."""
    found = 0
    for call in site["m2"].view("calls").get("calls", ()):
        (known,) = site["m2"].view("call-ids", id=call["id"])["calls"]
        names = ",".join(leg["call_id"] for leg in known["legs"])
        said = site["m2"].view("trace", id=names).get("messages", ())
        found += any(one["text"].startswith("SIP/2.0 200") and f" {by}\r\n" in one["text"] for one in said)
    return found


@pytest.mark.row("Asterisk at a trunk of the servers", "calls both ways; our BYE, its BYE, hold", "server killed")
def test_asterisk_goes_on_with_the_new_server(tmp_path: Path) -> None:
    if why := asterisk.missing():
        pytest.skip(why)
    net = network()
    pbx = asterisk.Asterisk("pbx", tmp_path / "asterisk", f"{net}61:5060", f"{net}1:5060", also=f"{net}2")
    try:
        with calling(tmp_path, net) as (site, phone, line):
            reaches_m1(pbx)
            ours, theirs = phone.call(line, "2600"), phone.call(line, "2607")
            pbx.cli("channel originate PJSIP/5001@agent application Echo")
            calls: list[Call] = until(
                lambda: (found := list(phone.core.calls)) and len(found) == 3 and all(map(talking, found)) and found,
                10,
                lambda: f"not all are answered\n{site.words()}",
            )
            for call in calls:
                if call is theirs:  # waits for a digit without a word
                    continue
                until(lambda call=call: phone.heard_audio(call) > 20, 5, "no audio")  # type: ignore[misc]
            before = {call: len(phone.log) for call in calls}
            takes_over(site)
            until(lambda: site.calls("m2") == 3, 5, lambda: f"calls are lost\n{site.words()}")
            until(lambda: moved(site) == 3, 8, lambda: f"it was not told where its calls are\n{site.words()}")
            assert set(before.values()) == {len(phone.log)}, "the phone has noticed"
            phone.ask(phone.core.hold, ours)
            until(lambda: ours.media_direction == "sendonly", 5, "no hold")
            phone.ask(phone.core.resume, ours)
            until(lambda: ours.media_direction == "sendrecv", 5, "no end of the hold")
            phone.ask(phone.core.bye, ours)
            phone.ask(phone.core.info, theirs, "1")  # it hangs up at any digit but 5
            until(lambda: ended(ours) and ended(theirs), 8, lambda: f"a call goes on\n{site.words()}")
            (last,) = [call for call in calls if call not in (ours, theirs)]
            phone.ask(phone.core.bye, last)
            until(lambda: pbx.channels == 0, 8, lambda: f"it has a call left\n{pbx.cli('core show channels')}")
            until(lambda: len(site.records()) == 3, 8, "not three records")
            assert {each["result"] for each in site.records()} == {"answered"}
            assert not pbx.complaints()
    finally:
        pbx.stop()


@pytest.mark.row("Asterisk at a trunk of the servers", "a call by it rings, and is answered after", "server killed")
def test_a_call_of_asterisk_rings_on(tmp_path: Path) -> None:
    if why := asterisk.missing():
        pytest.skip(why)
    net = network()
    pbx = asterisk.Asterisk("pbx", tmp_path / "asterisk", f"{net}61:5060", f"{net}1:5060", also=f"{net}2")
    try:
        with calling(tmp_path, net, Policy(ring_after=0)) as (site, phone, _):
            reaches_m1(pbx)
            pbx.cli("channel originate PJSIP/5001@agent application Echo")
            call: Call = until(lambda: next(iter(phone.core.calls), None), 10, "the phone does not ring")
            before = len(phone.log)
            takes_over(site)
            until(lambda: site.calls("m2") == 1, 5, lambda: f"the call is lost\n{site.words()}")
            assert len(phone.log) == before, "the phone has noticed"
            phone.ask(phone.core.answer, call)
            until(lambda: phone.heard_audio(call) > 20, 8, lambda: f"no audio\n{site.words()}")
            pbx.cli("channel request hangup all")
            until(lambda: ended(call), 8, lambda: f"its BYE came to nothing\n{site.words()}")
            assert [each["result"] for each in site.records()] == ["answered"]
            assert not pbx.complaints()
    finally:
        pbx.stop()
