"""Carriers that are found by name: NSD of Debian, on loopback, is the name server of the agent."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from examples.softphone_call import Call, Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.played import PATIENCE, Feature, Scene, Stage
from tests.interop.programs import until
from tests.interop.unpacked import Unpacked, unpacked

_CONFIG = """
server:
    ip-address: {net}53@53
    username: ""
    zonesdir: "{dir}"
    database: ""
    pidfile: ""
    logfile: "{dir}/log"
    xfrdfile: "{dir}/xfrd"
    zonelistfile: "{dir}/zones"
    xfrdir: "{dir}"
    cookie-secret-file: "{dir}/cookies"
    server-count: 1
    do-ip6: no
remote-control:
    control-enable: no
zone:
    name: test
    zonefile: zone
"""
_ZONE = """$ORIGIN test.
$TTL 1
@ IN SOA ns h {serial} 60 60 60 1
@ IN NS ns
ns IN A {net}53
"""
_NAPTR = """{name} IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.{name}
{name} IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.{name}
"""
_SRV = "_sip._udp.{name} IN SRV {priority} {weight} 5060 h{host}\nh{host} IN A {net}{host}\n"
_TRUNKS = {"first": (31, 32), "weights": (33, 34), "dies": (35, 36), "late1": (37,), "late2": (38,), "late3": (39,)}
"""The last numbers of the addresses of each carrier."""
_DEAD = 35


class NameServer:
    """NSD with one zone, ``test``."""

    def __init__(self, directory: Path, net: str) -> None:
        directory.mkdir()
        self._net = net
        self._serial = 1
        self._names = ["first", "weights", "dies"]
        self._zone = directory / "zone"
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {net}53\noptions timeout:1\n")
        (directory / "nsd.conf").write_text(_CONFIG.format(net=net, dir=directory))
        self._write()
        found = package()
        self.process = subprocess.Popen(
            [found.program("nsd"), "-d", "-c", str(directory / "nsd.conf")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=found.environment,
        )  # fmt: skip

    def add(self, name: str) -> None:
        """Records of one more carrier."""
        self._names.append(name)
        self._write()
        self.process.send_signal(signal.SIGHUP)

    def _write(self) -> None:
        text = _ZONE.format(net=self._net, serial=self._serial)
        self._serial += 1
        for name in self._names:
            text += _NAPTR.format(name=name)
            for place, host in enumerate(_TRUNKS[name]):
                priority = 10 if name == "weights" else 10 + place
                text += _SRV.format(name=name, priority=priority, weight=50, host=host, net=self._net)
        self._zone.write_text(text)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def package() -> Unpacked:
    return unpacked("nsd")


class DnsStage(Stage):
    scene: DnsScene

    def __init__(self, scene: DnsScene, number: int) -> None:
        super().__init__(scene, number)
        self.times = 0

    def comes_to(self, host: int, number: str) -> tuple[Call, Call]:
        """A call of p that comes to the phone at that address, at both ends."""
        line = self.scene.far[host].core.lines["*"]
        before = len(self.scene.far[host].told("incoming", line))
        call = self.talks(number)
        events = until(
            lambda: self.scene.far[host].told("incoming", line)[before:], PATIENCE, f"none comes to .{host}"
        )
        there: Call = events[0].call
        return call, there


def first_priority(stage: DnsStage) -> Iterator[None]:
    call, there = stage.comes_to(31, "21")
    stage.hears(call)
    yield
    stage.hears(call)
    stage.hangs_up(call)
    stage.ended(there)
    call, there = stage.comes_to(31, "21")
    stage.hangs_up(call)
    stage.ended(there)


def by_weight(stage: DnsStage) -> Iterator[None]:
    """Of so many calls, half and half, one in a million runs would have all at one place."""

    def some() -> None:
        for _ in range(10):
            stage.hangs_up(stage.talks("22"))

    before = [len(stage.scene.far[host].events) for host in _TRUNKS["weights"]]
    some()
    yield
    some()
    after = [len(stage.scene.far[host].events) for host in _TRUNKS["weights"]]
    assert all(new > old for new, old in zip(after, before, strict=True)), (before, after)


def dead_place(stage: DnsStage) -> Iterator[None]:
    call, there = stage.comes_to(36, "23")
    yield
    stage.hears(call)
    stage.hangs_up(call)
    stage.ended(there)
    again, there = stage.comes_to(36, "23")
    stage.hangs_up(again)
    stage.ended(there)


def late_zone(stage: DnsStage) -> Iterator[None]:
    """Another name each time: what is once known of a name is used for as long as DNS knows nothing better."""
    stage.times += 1
    number = f"2{3 + stage.times}"
    call = stage.calls(number)
    stage.ended(call)
    assert call.status == 500, call.status  # its agent says 503, which is not passed on (RFC 3261 section 16.7)
    yield
    stage.scene.names.add(f"late{stage.times}")

    def gets_through() -> bool:
        tried = stage.calls(number)
        until(lambda: talking(tried) or ended(tried), PATIENCE, "no answer")
        if ended(tried):
            return False
        stage.hangs_up(tried)
        return True

    until(gets_through, 60, "the name is never found", every=1.0)


class DnsScene(Scene):
    peer = "NSD as name server"
    features = (
        Feature("NAPTR and SRV: the first transport and priority", first_priority),
        Feature("SRV: calls go by weight", by_weight),
        Feature("SRV: the place of the first priority is dead, calls go to the next", dead_place),
        Feature("a name that comes late", late_zone),
    )

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        hosts = [host for trunk in _TRUNKS.values() for host in trunk if host != _DEAD]
        self.far = {host: Phone(f"{self.net}{host}:5060") for host in hosts}
        for phone in self.far.values():
            phone.line("*", f"{self.net}12:5060", policy=Policy(answer_after=0.1))
        self.names: NameServer

    @classmethod
    def missing(cls) -> str:
        if shutil.which("unshare") is None:
            return "another resolv.conf needs unshare: apt-get install util-linux"
        return package().because

    @property
    def version(self) -> str:
        found = package()
        said = subprocess.run([found.program("nsd"), "-v"], env=found.environment, capture_output=True, text=True)
        return (said.stdout or said.stderr).splitlines()[0].removeprefix("NSD version ")

    def stage(self, number: int) -> Stage:
        return DnsStage(self, number)

    def lines(self) -> str:
        text = ""
        for place, (name, hosts) in enumerate(_TRUNKS.items()):
            sources = ", ".join(f'"{self.net}{host}"' for host in hosts)
            text += f"""
[lines.{name}]
kind = "trunk"
agent = "gw2"
peer = "sip:{name}.test"
from = [{sources}]
channels = 50
[[routes]]
match = "2{place + 1}"
to = ["{name}"]
"""
        return text

    def begin(self) -> None:
        self.names = NameServer(self.directory / "nsd", self.net)
        inside = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        self.site.processes.before_agents = ("unshare", "-m", "sh", "-c", inside, str(self.names.resolv_conf))

    def end(self) -> None:
        for phone in self.far.values():
            phone.close()
        if hasattr(self, "names"):
            self.names.stop()

    def left_over(self) -> str:
        return " ".join(str(phone.core.calls) for phone in self.far.values() if phone.core.calls)
