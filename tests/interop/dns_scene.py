"""Carriers that are found by name: NSD of Debian, on loopback, is the name server of the agent."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from examples.softphone_call import Call, Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.played import PATIENCE, Feature, Scene, Stage
from tests.interop.programs import HEAD, until
from tests.interop.test_ipv6 import has_ipv6
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
_LATE_ZONE = """zone:
    name: {name}
    zonefile: {name}
"""
_ZONE = """$ORIGIN {zone}.
$TTL 1
@ IN SOA ns h {serial} 60 60 60 1
@ IN NS ns
ns IN A {net}53
"""
_NAPTR = """{name} IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.{name}
{name} IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.{name}
"""
_SRV = "_sip._udp.{name} IN SRV {priority} {weight} 5060 h{host}\nh{host} IN A {net}{host}\n"
_SRV6 = "_sip._udp.six IN SRV 10 50 {port} h6\nh6 IN AAAA ::1\n"
_TRUNKS = {"first": (31, 32), "weights": (33, 34), "dies": (35, 36), "late1": (37,), "late2": (38,), "late3": (39,)}
"""The last numbers of the addresses of each carrier."""
_ZONES = {"zone1": 43, "zone2": 44, "zone3": 45}
"""Whole zones that are not there at first: the last numbers of the addresses of the carrier of each."""
_DEAD = 35


class NameServer:
    """NSD with one zone, ``test``, and others whose files it does not have yet. ``port``: of the carrier at ::1."""

    def __init__(self, directory: Path, net: str, port: int) -> None:
        directory.mkdir()
        self._net = net
        self._port = port
        self._serial = 1
        self._names = ["first", "weights", "dies"]
        self._zone = directory / "zone"
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {net}53\noptions timeout:1\n")
        late = "".join(_LATE_ZONE.format(name=name) for name in _ZONES)
        (directory / "nsd.conf").write_text(_CONFIG.format(net=net, dir=directory) + late)
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

    def add_zone(self, name: str) -> None:
        """The file of a zone, at last."""
        text = _ZONE.format(zone=name, net=self._net, serial=1)
        text += f"_sip._udp IN SRV 10 50 5060 h\nh IN A {self._net}{_ZONES[name]}\n"
        (self._zone.parent / name).write_text(text)
        self.process.send_signal(signal.SIGHUP)

    def _write(self) -> None:
        text = _ZONE.format(zone="test", net=self._net, serial=self._serial)
        text += _NAPTR.format(name="six") + _SRV6.format(port=self._port)
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


def late_name(stage: DnsStage) -> Iterator[None]:
    """Another name each time: what is once known of a name is used for as long as DNS knows nothing better."""
    stage.times += 1
    yield from is_found_late(stage, f"2{3 + stage.times}", lambda: stage.scene.names.add(f"late{stage.times}"))


def late_zone(stage: DnsStage) -> Iterator[None]:
    """The name server says SERVFAIL until then."""
    stage.times += 1
    yield from is_found_late(stage, f"28{stage.times}", lambda: stage.scene.names.add_zone(f"zone{stage.times}"))


def by_ipv6(stage: DnsStage) -> Iterator[None]:
    call, there = stage.comes_to(6, "27")
    yield
    stage.hangs_up(call)
    stage.ended(there)
    call, there = stage.comes_to(6, "27")
    stage.scene.far[6].ask(stage.scene.far[6].core.bye, there)
    stage.ended(call)


def is_found_late(stage: DnsStage, number: str, add: Callable[[], None]) -> Iterator[None]:
    call = stage.calls(number)
    stage.ended(call)
    assert call.status == 500, call.status  # its agent says 503, which is not passed on (RFC 3261 section 16.7)
    yield
    add()

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
        Feature("a name that comes late", late_name),
        Feature("a zone that comes late", late_zone),
        Feature("NAPTR, SRV and AAAA: a carrier that has IPv6 alone", by_ipv6),
    )

    def __init__(self, directory: Path) -> None:
        self.port = 20000 + secrets.randbelow(10000)
        """Of the agent at ::1, where there is one address for all; the carrier's is the next."""
        super().__init__(directory)
        hosts = [host for trunk in (*_TRUNKS.values(), _ZONES.values()) for host in trunk if host != _DEAD]
        self.far = {host: Phone(f"{self.net}{host}:5060") for host in hosts}
        for phone in self.far.values():
            phone.line("*", f"{self.net}12:5060", policy=Policy(answer_after=0.1))
        if has_ipv6():
            self.far[6] = Phone(f"[::1]:{self.port + 1}", speaks=False)
            self.far[6].line("*", f"[::1]:{self.port}", policy=Policy(answer_after=0.1))
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
            text += _trunk(f"2{place + 1}", name, f"{name}.test", sources)
        for place, (name, host) in enumerate(_ZONES.items()):
            text += _trunk(f"28{place + 1}", name, name, f'"{self.net}{host}"')
        return text + _trunk("27", "six", "six.test", '"::1"')

    def head(self) -> str:
        if not has_ipv6():
            return ""
        own = '"udp:{net}12:5060", "tcp:{net}12:5060"'
        return HEAD.replace(own, f'{own}, "udp:[::1]:{self.port}"')

    def begin(self) -> None:
        self.names = NameServer(self.directory / "nsd", self.net, self.port + 1)
        inside = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        self.site.processes.before_agents = ("unshare", "-m", "sh", "-c", inside, str(self.names.resolv_conf))

    def end(self) -> None:
        for phone in self.far.values():
            phone.close()
        if hasattr(self, "names"):
            self.names.stop()

    def left_over(self) -> str:
        return " ".join(str(phone.core.calls) for phone in self.far.values() if phone.core.calls)


def _trunk(number: str, line: str, peer: str, sources: str) -> str:
    return f"""
[lines.{line}]
kind = "trunk"
agent = "gw2"
peer = "sip:{peer}"
from = [{sources}]
channels = 50
[[routes]]
match = "{number}"
to = ["{line}"]
"""
