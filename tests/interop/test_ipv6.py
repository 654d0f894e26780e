"""A whole site on IPv6: servers, agents, phones, relayed media, and a takeover in the middle of calls.

All of it is at ``::1``, since loopback has no other address; ports tell who is who.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.softphone_call import Call, Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, phone_line, until

pytestmark = pytest.mark.interop

HEAD = """
[site]
name = "interop"
key = {{{{ file = "site.secret" }}}}
realm = "interop.test"
[timing]
interval = {{interval}}
slow_interval = 1
{{timing}}
[servers.m1]
role = "main"
listen = "tcp:[::1]:{0}0"
beat = "udp:[::1]:{0}1"
api = "unix:{{dir}}/m1.sock"
state = "{{dir}}/state"
[servers.m2]
role = "standby"
listen = "tcp:[::1]:{0}2"
beat = "udp:[::1]:{0}3"
api = "unix:{{dir}}/m2.sock"
state = "{{dir}}/state"
[agents.gw1]
sip = ["udp:[::1]:{0}4", "tcp:[::1]:{0}4"]
api = "unix:{{dir}}/gw1.sock"
state = "{{dir}}/state"
rtp = {{{{ address = "::1", ports = [{1}00, {1}49] }}}}
[agents.gw2]
sip = ["udp:[::1]:{0}5", "tcp:[::1]:{0}5"]
api = "unix:{{dir}}/gw2.sock"
state = "{{dir}}/state"
rtp = {{{{ address = "::1", ports = [{1}50, {1}99] }}}}
"""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


class Scene:
    def __init__(self, directory: Path) -> None:
        base, media = 1100 + secrets.randbelow(900), 220 + secrets.randbelow(90)
        lines = phone_line("alice", "gw1", media="relay") + phone_line("bob", "gw2", media="relay")
        self.site = Site(directory, "", lines, passwords=PASSWORDS, head=HEAD.format(base, media))
        self.alices, self.bobs = Phone(f"[::1]:{base}6"), Phone(f"[::1]:{base}7")
        self.site.start()
        self.alice = self.alices.line("alice", f"[::1]:{base}4", PASSWORDS["alice"])
        policy = Policy(ring_after=0, answer_after=0.05)
        self.bob = self.bobs.line("bob", f"[::1]:{base}5", PASSWORDS["bob"], policy)

    def call(self) -> Call:
        call = self.alices.call(self.alice, "5002")
        until(lambda: talking(call) or ended(call), 8, "a call is not answered")
        assert talking(call), f"the call failed with {call.status}\n{self.site.words()}"
        return call

    def hears(self, call: Call) -> None:
        packets = self.alices.heard_audio(call)
        until(lambda: self.alices.heard_audio(call) > packets + 5, 5, "no audio comes")

    def close(self) -> None:
        self.alices.close()
        self.bobs.close()
        self.site.stop()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 on loopback")
    scene = Scene(tmp_path)
    try:
        yield scene
    finally:
        scene.close()


def test_calls_and_a_takeover_on_ipv6_alone(scene: Scene) -> None:
    site = scene.site
    standing = scene.call()
    scene.hears(standing)
    for call in (scene.call(), scene.call()):
        scene.alices.ask(scene.alices.core.bye, call)
        until(lambda call=call: ended(call), 5, "a call does not end")  # type: ignore[misc]
    site["m1"].kill()
    until(lambda: site["m2"].view().get("state") == "active", 15, lambda: f"m2 does not serve\n{site.words()}")
    scene.hears(standing)
    after = scene.call()
    scene.hears(after)
    for _ in (standing, after):
        scene.bobs.ask(scene.bobs.core.bye, scene.bobs.core.calls[0])
    until(lambda: ended(standing) and ended(after), 8, lambda: f"the calls do not end\n{site.words()}")
    until(lambda: site.idle("m2", "gw1", "gw2"), 8, lambda: f"a call is left over\n{site.words()}")
    until(lambda: len(site.records()) == 4, 8, lambda: f"not four records: {site.records()}")  # they wait for figures
    assert not site.bugs()
