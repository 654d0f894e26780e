"""Asterisk 22 behind an agent: as PBX, and as carrier with whom the agent registers. Calls to its Echo() outlive the
main, the audio goes on, and Asterisk can end them as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.softphone_call import Call, Policy
from tests.interop import asterisk
from tests.interop.asterisk import Asterisk
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, network, phone_line, until

pytestmark = pytest.mark.interop

WORDS = {**PASSWORDS, "carrier": "a word for the carrier"}
REGISTER = """
[lines.asterisk.register]
registrar = "sip:{net}22:5060"
user = "holdfast"
password = {{ file = "carrier.secret" }}
expires = 60
"""


def site_lines(net: str, role: str) -> str:
    return f"""
{phone_line("alice", "gw1", media="relay")}
{phone_line("bob", "gw1")}
[lines.asterisk]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}22:5060"
channels = 20
options = {{ interval = 1 }}
{REGISTER.format(net=net) if role == "carrier" else ""}
[[routes]]
match = "26*"
to = ["asterisk"]
"""


class Scene:
    """A site, an Asterisk, two phones: alice's audio goes through the agent's relay, bob's directly."""

    def __init__(self, role: str, directory: Path) -> None:
        net = self.net = network()
        self.peer = Asterisk(
            role,
            directory / "asterisk",
            f"{net}22:5060",
            f"{net}12:5060",
            "holdfast",
            WORDS["carrier"],
        )
        self.site = Site(directory / "site", net, site_lines(net, role), passwords=WORDS)
        self.phone = Phone(f"{net}51:5060")

    def start(self) -> None:
        self.site.start()
        phone, agent = self.phone, f"{self.net}11:5060"
        self.alice = phone.line("alice", agent, PASSWORDS["alice"], Policy(answer_after=0.3))
        self.bob = phone.line("bob", agent, PASSWORDS["bob"])

    def stop(self) -> None:
        self.phone.close()
        self.site.stop()
        self.peer.stop()

    def audio_goes_on(self, *calls: Call, packets: int = 25) -> None:
        """So many more packets come back to each."""
        goals = [(call, self.phone.heard_audio(call) + packets) for call in calls]
        until(
            lambda: all(self.phone.heard_audio(call) >= goal for call, goal in goals),
            10,
            f"the echo stops: {[(str(c), self.phone.heard_audio(c), goal) for c, goal in goals]}",
        )

    def kill_main(self) -> None:
        self.site["m1"].kill()
        until(lambda: self.site["m2"].view().get("state") == "active", 10, "m2 does not serve")

    def all_in_good_order(self) -> None:
        until(lambda: not self.phone.core.calls, 5, "a call is left over at the phones")
        until(lambda: self.peer.channels == 0, 5, "a channel is left over in Asterisk")
        until(lambda: self.site.idle("m2", "gw1", "gw2"), 5, lambda: f"a call is left over\n{self.site.words()}")
        for audio in self.phone.reports:
            assert (audio.lost, audio.foreign, audio.corrupted) == (0, 0, 0), audio
        assert not self.peer.complaints()
        assert not self.site.bugs()


@pytest.fixture(scope="module")
def installed() -> None:
    if because := asterisk.missing():
        pytest.skip(because)


@pytest.fixture
def pbx(installed: None, tmp_path: Path) -> Iterator[Scene]:
    yield from started("pbx", tmp_path)


@pytest.fixture
def carrier(installed: None, tmp_path: Path) -> Iterator[Scene]:
    yield from started("carrier", tmp_path)


def started(role: str, directory: Path) -> Iterator[Scene]:
    scene = Scene(role, directory)
    try:
        scene.start()
        yield scene
    finally:
        scene.stop()


def test_calls_into_a_pbx_outlive_the_main(pbx: Scene) -> None:
    phone = pbx.phone
    echoed, early, rings = (phone.call(pbx.alice, "2600"), phone.call(pbx.bob, "2601"), phone.call(pbx.bob, "2603"))
    held = phone.call(pbx.alice, "2600")
    timed, dials = phone.call(pbx.bob, "2602"), phone.call(pbx.bob, "2600")
    until(
        lambda: all(talking(call) for call in (echoed, early, held, timed, dials)),
        10,
        lambda: f"no answer: {phone.events}",
    )
    until(lambda: any(event.call is rings for event in phone.told("ringing", pbx.bob)), 5, "2603 does not ring")
    assert early.early_media
    pbx.audio_goes_on(echoed, early, held, timed)
    phone.ask(phone.core.hold, held)
    until(lambda: held.wanted is None, 5, "the hold is not answered")

    pbx.kill_main()

    pbx.audio_goes_on(echoed, early)
    dial_a_digit(pbx, dials)
    phone.ask(phone.core.resume, held)
    until(lambda: held.wanted is None and held.media_direction == "sendrecv", 5, "the resumption is not answered")
    pbx.audio_goes_on(echoed, early, held)
    phone.ask(phone.core.cancel, rings)
    until(lambda: ended(rings), 5, "a call that rang cannot be cancelled")
    until(lambda: ended(timed), 12, "Asterisk's own hang-up does not come")
    phone.ask(phone.core.bye, early)
    silent = phone.socket.end_of(held)
    assert silent is not None
    pbx.peer.cli("channel request hangup all")
    until(lambda: ended(echoed) and ended(held), 5, "Asterisk hung up, the phones do not know")
    phone.reports.remove(silent.watch.report())  # on hold Asterisk hears what it does not echo: that is no loss
    pbx.all_in_good_order()


def test_a_pbx_calls_before_and_after_the_death_of_the_main(pbx: Scene) -> None:
    phone = pbx.phone
    pbx.peer.cli("channel originate PJSIP/5001@agent application Echo")
    before = incoming(pbx, 1)
    pbx.audio_goes_on(before)

    pbx.kill_main()

    pbx.peer.cli("channel originate PJSIP/5001@agent application Echo")
    after = incoming(pbx, 2)
    pbx.audio_goes_on(before, after)
    phone.ask(phone.core.bye, before)
    pbx.peer.cli("channel request hangup all")
    pbx.all_in_good_order()


def test_a_carrier_is_registered_with_and_calls_both_ways_outlive_the_main(carrier: Scene) -> None:
    phone, peer = carrier.phone, carrier.peer
    until(lambda: f"{carrier.net}12:5060" in peer.cli("pjsip show contacts"), 10, "the agent does not register")
    out = phone.call(carrier.bob, "2600")  # Asterisk asks for credentials
    until(lambda: talking(out), 5, lambda: f"no answer: {phone.events}")
    peer.cli("channel originate PJSIP/5001@agent application Echo")
    inside = incoming(carrier, 1)
    carrier.audio_goes_on(out, inside)

    carrier.kill_main()

    carrier.audio_goes_on(out, inside)
    again = phone.call(carrier.bob, "2601")
    until(lambda: talking(again), 8, lambda: f"no answer: {phone.events}")
    phone.ask(phone.core.bye, again)
    phone.ask(phone.core.bye, inside)
    peer.cli("channel request hangup all")
    carrier.all_in_good_order()
    contacts = peer.cli("pjsip show contacts")
    assert contacts.count(f"{carrier.net}12:5060") == 1, contacts


def dial_a_digit(scene: Scene, call: Call) -> None:
    """Echo() plays it back in place of the audio, so this call is ended and its audio does not count."""
    phone = scene.phone
    end = phone.socket.end_of(call)
    assert end is not None
    phone.ask(phone.core.info, call, "5")
    until(lambda: end.watch.corrupted, 5, "the digit does not come back as an event")
    phone.ask(phone.core.bye, call)
    until(lambda: end.watch.report() in phone.reports, 5, "the call does not end")
    phone.reports.remove(end.watch.report())


def incoming(scene: Scene, count: int) -> Call:
    """The so-manieth call that came to alice, talking."""
    phone = scene.phone
    until(lambda: len(phone.told("incoming", scene.alice)) >= count, 5, lambda: f"no call comes: {phone.events}")
    call = phone.told("incoming", scene.alice)[count - 1].call
    assert call is not None
    until(lambda: talking(call), 5, "it is not answered")
    return call
