"""Audio that stops: the relay sees it, the agent ends the call on both sides and says so, and the sums stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.softphone_call import Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, network, until

pytestmark = pytest.mark.interop

LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["5001"]
password = {{ file = "alice.secret" }}
media = "relay"
media_timeout = 5
digest = ["MD5", "SHA-256"]
[lines.bob]
kind = "phone"
agent = "gw2"
numbers = ["5002"]
password = {{ file = "bob.secret" }}
digest = ["SHA-512-256"]
"""


def test_a_call_whose_audio_has_died_is_ended(tmp_path: Path) -> None:
    net = network()
    site = Site(tmp_path / "site", net, LINES.format(net=net), passwords=PASSWORDS)
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 8, "the call is not answered")
        (there,) = bobs.core.calls
        for phone, one in ((alices, call), (bobs, there)):
            until(lambda phone=phone, one=one: phone.heard_audio(one) > 20, 5, "no audio")  # type: ignore[misc]
        for phone, one in ((alices, call), (bobs, there)):
            end = phone.socket.end_of(one)
            assert end is not None
            phone.run(end.pause)
        until(lambda: ended(call) and ended(there), 9, lambda: f"the call goes on\n{site.words()}")
        byes = [each for phone in (alices, bobs) for each in phone.log if each.first.startswith("BYE ")]
        assert ["No media for 5 s" in bye.text for bye in byes] == [True, True], [bye.text for bye in byes]
        until(lambda: site.idle("m1", "gw1", "gw2"), 5, "a call is left over")
        until(lambda: site["gw1"].view()["relay"]["packets"] > 40, 12, "the relay's sums are gone")
        (record,) = site.records()
        assert (record["result"], record["reason"]) == ("answered", 'SIP;cause=408;text="No media for 5 s"')
        # alice's agent relays both ways: what it has measured is in the record that a server wrote
        for side in ("caller", "callee"):
            packets, lost, jitter, mos = (
                record[f"{side}_{name}"] for name in ("packets", "lost", "jitter_ms", "mos")
            )
            assert packets > 20 and lost == 0 and 0 <= jitter < 500 and 1 <= mos < 4.5, (packets, lost, jitter, mos)
        assert not site.bugs()
    finally:
        for phone in (alices, bobs):
            phone.close()
        site.stop()


def test_what_was_measured_outlives_the_agent(tmp_path: Path) -> None:
    net = network()
    lines = LINES.replace("media_timeout = 5\n", "").format(net=net)
    site = Site(tmp_path / "site", net, lines, passwords=PASSWORDS)
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 8, "the call is not answered")
        until(lambda: alices.heard_audio(call) > 50, 10, "no audio")
        site["gw1"].kill()
        site["gw1"].start()
        until(lambda: site.whole() and site["gw1"].view()["calls"], 30, lambda: f"no return\n{site.words()}")
        before = alices.heard_audio(call)
        alices.ask(alices.core.bye, call)
        until(lambda: ended(call), 10, lambda: f"no end\n{site.words()}")
        until(lambda: site.idle("m1", "gw1", "gw2"), 5, "a call is left over")
        (record,) = until(site.records, 5, "no record")
        assert record["callee_packets"] >= before and record["caller_packets"] > 50, record
        assert not site.bugs()
    finally:
        for phone in (alices, bobs):
            phone.close()
        site.stop()
