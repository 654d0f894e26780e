"""Media through rtpengine daemons: it flows, goes on without a lost packet when server or agent dies, and new calls
leave a dead daemon alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.softphone_call import Call, Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import HEAD, PASSWORDS, Site, network, until
from tests.interop.rtpengine import NG_PORT, REDIS, Redis, Rtpengine, tree
from tests.interop.unpacked import unpacked

pytestmark = pytest.mark.interop

LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["5001"]
password = {{ file = "alice.secret" }}
media = "rtpengine"
media_timeout = 6
[lines.bob]
kind = "phone"
agent = "gw2"
numbers = ["5002"]
password = {{ file = "bob.secret" }}
"""
AGENT = "[agents.gw1]\n"


class Relayed:
    """A site whose gw1 has two daemons, two phones, and a call between them."""

    def __init__(self, directory: Path, keeps: bool = False) -> None:
        """``keeps``: the daemons keep their calls in Redis."""
        self.net = net = network()
        self.redis = Redis(f"{net}63") if keeps else None
        place = self.redis.place if self.redis is not None else ""
        self.engines = [Rtpengine(directory, f"{net}{host}", place) for host in ((61,) if keeps else (61, 62))]
        for engine in self.engines:
            engine.start()
        daemons = ", ".join(f'"udp:{engine.host}:{NG_PORT}"' for engine in self.engines)
        head = HEAD.replace(AGENT, f"{AGENT}rtpengine = [{daemons}]\n")
        self.site = Site(directory / "site", net, LINES.format(net=net), passwords=PASSWORDS, head=head)
        self.alices, self.bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
        self.site.start()
        self.until_ready()
        self.alice = self.alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        self.bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0.1, answer_after=0.3))

    def until_ready(self) -> None:
        def full() -> bool:
            found = self.site["gw1"].view()["rtpengines"]
            return len(found) == len(self.engines) and all(one["ready"] >= 64 for one in found if one["up"])

        until(full, 15, lambda: f"{self.site['gw1'].view()['rtpengines']}\n{self.site.words()}")

    def call(self) -> Call:
        call = self.alices.call(self.alice, "5002")
        until(lambda: talking(call), 8, lambda: f"the call is not answered\n{self.site.words()}")
        return call

    def hear(self, call: Call, more: int = 25) -> None:
        """Both phones hear that many packets more."""
        there = self.bobs.core.calls[-1]
        for phone, one in ((self.alices, call), (self.bobs, there)):
            before = phone.heard_audio(one)
            until(lambda p=phone, o=one, b=before: p.heard_audio(o) >= b + more, 6, self.site.words)  # type: ignore[misc]

    def kept(self) -> list[int]:
        """How many calls each daemon knows."""
        return [len(engine.calls()) for engine in self.engines]

    def alerts(self) -> list[str]:
        """The codes of what gw1 warns of."""
        return [alert["code"] for alert in self.site["gw1"].view().get("alerts", ())]

    def end(self) -> None:
        for phone in (self.alices, self.bobs):
            phone.close()
        self.site.stop()
        for engine in self.engines:
            engine.kill()
        if self.redis is not None:
            self.redis.end()


@contextmanager
def relayed(directory: Path, keeps: bool = False) -> Iterator[Relayed]:
    for found in (tree(), *([unpacked("redis", REDIS)] if keeps else ())):
        if found.because:
            pytest.skip(found.because)
    one = Relayed(directory, keeps)
    try:
        yield one
        assert not one.site.bugs()
    finally:
        one.end()


def test_media_passes_and_outlives_server_and_agent(tmp_path: Path) -> None:
    with relayed(tmp_path) as one:
        call = one.call()
        one.hear(call)
        status = one.site["gw1"].view()
        assert sorted(each["calls"] for each in status["rtpengines"]) == [0, 1]
        one.site["m1"].die()
        until(lambda: one.site.active == "m2", 10, one.site.words)
        one.hear(call)
        one.site["gw1"].kill()
        one.hear(call)
        one.site["gw1"].start()
        until(lambda: one.site["gw1"].view().get("obeys") == "m2" and one.site.calls("gw1") == 1, 15, one.site.words)
        one.hear(call)
        one.until_ready()
        one.alices.ask(one.alices.core.hold, call)
        one.alices.ask(one.alices.core.resume, call)
        one.hear(call)
        one.alices.ask(one.alices.core.bye, call)
        until(lambda: ended(call) and one.site.idle("m2", "gw1", "gw2"), 8, one.site.words)
        until(lambda: all(each["calls"] == 0 for each in one.site["gw1"].view()["rtpengines"]), 5, one.site.words)
        # each daemon has its stock and nothing else, of the agent's former start neither
        until(lambda: one.kept() == [64, 64], 45, lambda: f"they have {one.kept()} calls")
        for report in (*one.alices.reports, *one.bobs.reports):
            assert report.lost == 0, report


def test_new_calls_leave_a_dead_daemon_alone(tmp_path: Path) -> None:
    with relayed(tmp_path) as one:
        call = one.call()
        one.hear(call)
        used = [each["calls"] for each in one.site["gw1"].view()["rtpengines"]].index(1)
        one.engines[used].kill()
        until(lambda: "no-rtpengine" in one.alerts(), 15, one.site.words)
        # the media of the call has died with its daemon
        until(lambda: ended(call), 25, lambda: f"it goes on without media\n{one.site.words()}")
        other = one.call()
        one.hear(other)
        assert [each["calls"] for each in one.site["gw1"].view()["rtpengines"]][1 - used] == 1
        one.engines[used].start()
        one.until_ready()
        until(lambda: "no-rtpengine" not in one.alerts(), 10, one.site.words)


def test_a_daemon_with_redis_comes_back_with_its_calls(tmp_path: Path) -> None:
    with relayed(tmp_path, keeps=True) as one:
        call = one.call()
        one.hear(call)
        one.engines[0].kill()
        until(lambda: "no-rtpengine" in one.alerts(), 10, one.site.words)
        one.engines[0].start()
        until(lambda: "no-rtpengine" not in one.alerts(), 10, one.site.words)
        one.hear(call)
        one.alices.ask(one.alices.core.hold, call)
        one.alices.ask(one.alices.core.resume, call)
        one.hear(call)
        assert "no longer has" not in one.site["gw1"].words()
        one.alices.ask(one.alices.core.bye, call)
        until(lambda: ended(call) and one.site.idle("m1", "gw1", "gw2"), 8, one.site.words)
