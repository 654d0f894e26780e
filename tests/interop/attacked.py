"""A site at work that strangers send things to, with a call that must stand through all of it."""

from __future__ import annotations

import time
from pathlib import Path

from examples.softphone_call import Call, Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, network, phone_line, until
from tests.interop.strangers import Udp, request

NO_BANS = "[bans]\nafter = 0"


def site_lines(net: str, bans: bool) -> str:
    return f"""
{"" if bans else NO_BANS}
{phone_line("alice", "gw1", media="relay")}
{phone_line("bob", "gw2", channels=50)}
[lines.peer]
kind = "trunk"
agent = "gw1"
peer = "sip:{net}31:5060"
channels = 1000
[lines.own]
kind = "trunk"
peer = "sip:{net}32:5060"
channels = 1000
"""


SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


class Scene:
    def __init__(self, directory: Path, bans: bool = False) -> None:
        """Without ``bans`` everybody is answered as long as a site can bear it."""
        net = self.net = network()
        self.site = Site(directory, net, site_lines(net, bans), passwords=PASSWORDS, timing="t1 = 0.1")
        self.agent, self.server = (f"{net}11", 5060), (f"{net}1", 5060)
        self.connections, self.beat = (f"{net}1", 5161), (f"{net}1", 5162)
        self.stranger, self.peer, self.own = f"{net}66", f"{net}31", f"{net}32"
        self.alices, self.bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")

    def start(self) -> None:
        self.site.start()
        net = self.net
        self.alice = self.alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        self.bob = self.bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        self.standing = self.call()
        (self.standing_there,) = self.bobs.core.calls
        self.epoch = self.site["m1"].view()["epoch"]

    def call(self) -> Call:
        call = self.alices.call(self.alice, "5002")
        until(lambda: talking(call) or ended(call), 8, "a call is not answered")
        assert talking(call), f"the call failed with {call.status}\n{self.site.words()}"
        return call

    def rss(self) -> dict[str, int]:
        return {name: program.rss for name, program in self.site.programs.items()}

    def all_is_well(self) -> None:
        """Every door answers, a new call goes through, the old one talks, nothing was decided."""
        for door in (self.agent, (f"{self.net}12", 5060), self.server):
            self.answers(door)
        call = self.call()
        self.alices.ask(self.alices.core.bye, call)
        until(lambda: ended(call), 5, "the call does not end")
        packets = self.alices.heard_audio(self.standing)
        until(lambda: self.alices.heard_audio(self.standing) > packets + 5, 5, "the audio has stopped")
        page = self.site["m1"].view()
        assert (page["state"], page["epoch"]) == ("active", self.epoch)
        assert self.site["m2"].view()["state"] == "standby"
        assert not self.site.bugs()

    def answers(self, door: tuple[str, int], host: str = "") -> None:
        """A plain OPTIONS is answered 200."""
        with Udp(host or self.stranger, door) as udp:
            status = udp.ask(request("OPTIONS", f"sip:{door[0]}:{door[1]}", udp.via))
        assert status == 200, f"OPTIONS to {door}: {status or 'no answer'}\n{self.site.words()}"

    def stop(self) -> None:
        for phone in (self.alices, self.bobs):
            phone.close()
        self.site.stop()

    def end_strange_calls(self) -> None:
        """Bob hangs up whatever reached him but the standing call."""
        time.sleep(0.3)
        for call in list(self.bobs.core.calls):
            if call is not self.standing_there:
                self.bobs.ask(self.bobs.core.hang_up, call)

    def udp_doors(self) -> list[tuple[tuple[str, int], str]]:
        """Doors for datagrams, and who may knock there: a stranger and, where there is one, a known peer."""
        known = [(self.agent, self.peer), (self.server, self.own)]
        return [*known, *((door, self.stranger) for door in (self.agent, self.server, self.beat))]

    def tcp_doors(self) -> list[tuple[str, int]]:
        return [self.agent, self.server, self.connections]
