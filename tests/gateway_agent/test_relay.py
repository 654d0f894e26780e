"""The relay on real loopback sockets, in a thread, with a clock of ours."""

import contextlib
import json
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from gateway_agent.media.control_listener import listen
from gateway_agent.media.ports import Pair, RelayPorts, RelaySettings, Remote, Total
from gateway_agent.media.relay import Relay

HOST = "127.0.55.1"
PHONE, OTHER, STRANGER = "127.0.55.2", "127.0.55.3", "127.0.55.4"


class Bench:
    """A relay, the core's side of it, and the ends of the media."""

    def __init__(self, settings: RelaySettings) -> None:
        self.now = 1000.0
        self.ports = RelayPorts()
        self.said: list[dict[str, Any]] = []
        self.socks: list[socket.socket] = []
        self.settings = settings
        self._directory = tempfile.TemporaryDirectory()
        self.path = f"{self._directory.name}/relay.sock"
        listener = listen(self.path)
        assert listener is not None
        self.thread = threading.Thread(target=self._run, args=(Relay(listener, lambda: self.now),))
        self.thread.start()
        self.connect(1)

    def connect(self, start: int) -> None:
        """An agent starts."""
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.settimeout(5.0)
        self.control.connect(self.path)
        self._file = self.control.makefile("rb")
        hello = {"do": "hello", "start": start, "grace_s": 30.0, "settings": asdict(self.settings)}
        self.control.sendall(json.dumps(hello).encode() + b"\n")

    def disconnect(self) -> None:
        """It dies."""
        self._file.close()
        self.control.close()

    @staticmethod
    def _run(relay: Relay) -> None:
        try:
            relay.run()
        finally:
            relay.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.control.sendall(b'{"do":"end"}\n')
            while self._file.readline():
                pass
        self.disconnect()
        self.thread.join(5.0)
        self._directory.cleanup()
        for sock in self.socks:
            sock.close()
        assert not self.thread.is_alive()

    def hear(self, kind: str) -> dict[str, Any]:
        """The next line of this kind; those before it are heard too."""
        while True:
            line = self._file.readline()
            self.ports.receive(line)
            self.said.append(json.loads(line))
            if self.said[-1]["is"] == kind:
                return self.said[-1]

    def flush(self) -> None:
        self.control.sendall("".join(line + "\n" for line in self.ports.to_send()).encode())

    def obeyed(self) -> dict[str, Any]:
        """Send what the core wants, and wait until the relay has done it."""
        self.ports.count()
        self.flush()
        return self.hear("counts")

    def take(self, address: str = HOST) -> Pair:
        while (pair := self.ports.take(address)) is None:
            self.hear("pairs")
        return pair

    def end(self, address: str = PHONE, port: int = 0) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5.0)
        sock.bind((address, port))
        self.socks.append(sock)
        return sock

    def session(self, here: Remote | None, there: Remote | None) -> tuple[Pair, Pair]:
        a, b = self.take(), self.take()
        self.ports.set_remote(a, here)
        self.ports.set_remote(b, there)
        self.ports.connect(a, b)
        self.obeyed()
        return a, b

    def count(self, pair: Pair) -> tuple[int, int, int, float | None]:
        counts = {tuple(pair): tuple(rest) for pair, *rest in self.obeyed()["counts"]}
        return counts[tuple(pair)]


def settings(address: str = HOST, **changed: Any) -> RelaySettings:
    return RelaySettings(**{"addresses": (address,), "low": 21000, "high": 21999, "ahead": 4, **changed})


@pytest.fixture
def start() -> Iterator[Callable[[RelaySettings], Bench]]:
    benches: list[Bench] = []

    def started(wanted: RelaySettings) -> Bench:
        benches.append(Bench(wanted))
        return benches[-1]

    yield started
    for bench in benches:
        bench.close()


Start = Callable[[RelaySettings], Bench]


def remote(sock: socket.socket) -> Remote:
    address, port = sock.getsockname()[:2]
    return Remote(address, port, port + 1)


def nothing(sock: socket.socket) -> bool:
    """Whether nothing waits. Ask after `Bench.obeyed`: the relay has then seen all that was sent before."""
    sock.setblocking(False)
    with suppress(BlockingIOError):
        return not sock.recv(2000)
    sock.settimeout(5.0)
    return True


def test_media_crosses_both_ways_from_the_port_it_was_announced_at(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    phone.sendto(b"hello", a)
    assert other.recvfrom(2000) == (b"hello", tuple(b))
    other.sendto(b"hi" * 700, b)
    assert phone.recvfrom(2000) == (b"hi" * 700, tuple(a))
    assert bench.count(a) == (1, 5, 0, 0.0)
    assert bench.count(b) == (1, 1400, 0, 0.0)


def test_rtcp_crosses_on_the_port_above(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    at_phone, at_other = (remote(s)._replace(rtp=9, rtcp=s.getsockname()[1]) for s in (phone, other))
    a, b = bench.session(at_phone, at_other)
    phone.sendto(b"report", (a.address, a.port + 1))
    assert other.recvfrom(2000) == (b"report", (b.address, b.port + 1))
    assert bench.count(a)[0] == 0


def test_nothing_flows_before_both_remotes_are_known(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), None)
    phone.sendto(b"early", a)
    other.sendto(b"unknown", b)
    bench.obeyed()
    assert bench.count(a)[:3] == (1, 5, 1)
    assert bench.count(b)[:3] == (0, 0, 1)
    bench.ports.set_remote(b, remote(other))
    bench.obeyed()
    phone.sendto(b"now", a)
    assert other.recv(2000) == b"now"


def test_only_the_announced_address_is_heard_and_its_first_port_latched(start: Start) -> None:
    bench = start(settings())
    phone, other, stranger = bench.end(PHONE), bench.end(OTHER), bench.end(STRANGER)
    behind_nat, second = bench.end(PHONE), bench.end(PHONE)
    a, b = bench.session(remote(phone), remote(other))
    stranger.sendto(b"bleed", a)
    behind_nat.sendto(b"first", a)
    assert other.recv(2000) == b"first"
    second.sendto(b"late", a)
    phone.sendto(b"late too", a)
    bench.obeyed()
    assert nothing(other)
    assert bench.count(a)[:3] == (1, 5, 3)
    other.sendto(b"back", b)
    assert behind_nat.recv(2000) == b"back"
    assert nothing(phone)


def test_another_place_in_the_description_opens_the_latch_and_the_same_does_not(start: Start) -> None:
    bench = start(settings())
    phone, other, moved = bench.end(PHONE), bench.end(OTHER), bench.end(PHONE)
    a, b = bench.session(remote(phone), remote(other))
    phone.sendto(b"1", a)
    assert other.recv(2000) == b"1"
    bench.ports.set_remote(a, None)
    bench.ports.set_remote(a, remote(moved))
    bench.obeyed()
    other.sendto(b"2", b)
    assert moved.recv(2000) == b"2"
    moved.sendto(b"3", a)
    assert other.recv(2000) == b"3"
    bench.control.sendall(json.dumps({"do": "remote", "pair": a, "remote": remote(moved)}).encode() + b"\n")
    bench.obeyed()
    phone.sendto(b"4", a)
    bench.obeyed()
    assert nothing(other)


def test_a_device_behind_a_nat_is_heard_from_where_its_signalling_comes(start: Start) -> None:
    bench = start(settings())
    phone, other, stranger = bench.end(PHONE), bench.end(OTHER), bench.end(STRANGER)
    a, b = bench.session(Remote("192.0.2.1", 4000, 4001, via=PHONE), remote(other))
    stranger.sendto(b"0", a)  # who sprays packets over the range of ports does not come in first
    bench.obeyed()
    phone.sendto(b"1", a)
    assert other.recv(2000) == b"1"
    stranger.sendto(b"2", a)
    other.sendto(b"3", b)
    assert phone.recv(2000) == b"3"
    assert bench.count(a)[:3] == (1, 1, 2)


def test_nobody_is_flooded_because_a_device_announced_his_address(start: Start) -> None:
    bench = start(settings())
    phone, other, victim = bench.end(PHONE), bench.end(OTHER), bench.end(STRANGER)
    port = victim.getsockname()[1]
    a, b = bench.session(Remote(STRANGER, port, port + 1, via=PHONE), remote(other))
    other.sendto(b"1", b)
    bench.obeyed()
    assert nothing(victim)
    phone.sendto(b"2", a)
    assert other.recv(2000) == b"2"
    other.sendto(b"3", b)
    assert phone.recv(2000) == b"3"
    bench.ports.set_remote(a, Remote("0.0.0.0", port, port + 1, via=PHONE))
    bench.obeyed()
    other.sendto(b"4", b)
    bench.obeyed()
    assert nothing(phone) and nothing(victim)


def test_signalling_of_the_other_family_says_nothing_of_media(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    _, port = phone.getsockname()
    a, b = bench.session(Remote(PHONE, port, port + 1, via="2001:db8::1"), remote(other))
    other.sendto(b"1", b)
    assert phone.recv(2000) == b"1"
    assert bench.count(a)[0] == 0


def rtp(kind: int = 8, text: bytes = b"voice") -> bytes:
    return bytes((0x80, kind)) + b"\0" * 10 + text


def test_a_source_that_is_silent_may_move_to_another_port_of_its_host(start: Start) -> None:
    bench = start(settings())
    phone, other, moved, stranger = bench.end(PHONE), bench.end(OTHER), bench.end(PHONE), bench.end(STRANGER)
    a, b = bench.session(remote(phone)._replace(types=(8, 101)), remote(other))

    def passes(sock: socket.socket, packet: bytes, after: float) -> bool:
        bench.now += after
        sock.sendto(packet, a)
        bench.obeyed()
        return not nothing(other)

    assert passes(phone, rtp(), 0)
    assert not passes(moved, rtp(), 1.9)  # it may still send
    assert not passes(stranger, rtp(), 0.2)  # not from there, whatever it sends
    assert not passes(moved, b"hello", 0) and not passes(moved, rtp(3), 0) and not passes(moved, rtp(text=b"")[:8], 0)
    assert passes(moved, rtp(101), 0)
    other.sendto(b"back", b)
    assert moved.recv(2000) == b"back" and nothing(phone)
    assert not passes(phone, rtp(), 2.1)  # one move in ten seconds
    assert not passes(phone, rtp(), 2.1) and passes(phone, rtp(), 6.0)
    for _ in range(60):  # who still sends stays, however often another one tries
        assert passes(phone, rtp(), 0.5) and not passes(moved, rtp(), 0.5)


def test_a_source_that_was_described_again_may_move_at_once(start: Start) -> None:
    bench = start(settings())
    phone, other, moved = bench.end(PHONE), bench.end(OTHER), bench.end(PHONE)
    there = Remote("10.0.0.1", 4000, 4001, via=PHONE, types=(8,))
    a, _ = bench.session(there, remote(other))
    phone.sendto(rtp(), a)
    assert other.recv(2000) == rtp()
    bench.ports.set_remote(a, there, again=True)
    bench.obeyed()
    moved.sendto(rtp(), a)
    bench.obeyed()
    assert nothing(other)  # the old one was heard just now
    bench.now += 0.3
    moved.sendto(rtp(), a)
    assert other.recv(2000) == rtp()
    bench.now += 0.3
    phone.sendto(rtp(), a)
    bench.obeyed()
    assert nothing(other)  # once


def test_a_description_of_long_ago_moves_nothing_at_once(start: Start) -> None:
    bench = start(settings())
    phone, other, moved = bench.end(PHONE), bench.end(OTHER), bench.end(PHONE)
    a, _ = bench.session(remote(phone)._replace(types=(8,)), remote(other))
    bench.ports.set_remote(a, remote(phone)._replace(types=(8,)), again=True)
    for _ in range(12):
        bench.now += 1.0
        phone.sendto(rtp(), a)
        bench.obeyed()
    assert not nothing(other)
    bench.now += 1.0
    moved.sendto(rtp(text=b"other"), a)
    bench.obeyed()
    got = []
    while not nothing(other):
        got.append(1)
    assert len(got) <= 11
    assert bench.count(a)[2] == 1


def test_fax_moves_by_its_own_form_and_what_nobody_knows_does_not(start: Start) -> None:
    bench = start(settings())
    for kind, packet, moves in (
        ("udptl", b"\0\1\x04page\0", True),
        ("udptl", b"\0\1\x05page\0", False),
        ("udptl", b"\0\1\x80\x04page\0", True),
        ("udptl", rtp(), True),
        ("udptl", b"\0\1", False),
        ("", rtp(), False),
    ):
        phone, other, moved = bench.end(PHONE), bench.end(OTHER), bench.end(PHONE)
        a, _ = bench.session(remote(phone)._replace(kind=kind), remote(other))
        phone.sendto(b"first", a)
        assert other.recv(2000) == b"first"
        bench.now += 3.0
        moved.sendto(packet, a)
        bench.obeyed()
        assert nothing(other) != moves, (kind, packet)


def test_rtcp_moves_apart_from_rtp_and_only_as_rtcp(start: Start) -> None:
    bench = start(settings())
    phone, other, moved = bench.end(PHONE), bench.end(OTHER), bench.end(PHONE)
    at_phone, at_other = (remote(s)._replace(rtp=9, rtcp=s.getsockname()[1]) for s in (phone, other))
    a, _ = bench.session(at_phone, at_other)
    port, report = (a.address, a.port + 1), b"\x81\xc9\0\7" + b"x" * 28
    phone.sendto(report, port)
    assert other.recv(2000) == report
    for after, packet, passes in ((9.0, report, False), (2.0, rtp(), False), (0.0, report, True)):
        bench.now += after
        moved.sendto(packet, port)
        bench.obeyed()
        assert nothing(other) != passes


def test_media_goes_where_a_trunk_announces_it_and_comes_from_its_signalling_too(start: Start) -> None:
    bench = start(settings())
    announced, signalling, other = bench.end(PHONE), bench.end(STRANGER), bench.end(OTHER)
    a, b = bench.session(remote(announced)._replace(via=STRANGER, eager=True), remote(other))
    other.sendto(b"1", b)
    assert announced.recv(2000) == b"1"
    signalling.sendto(b"2", a)
    assert other.recv(2000) == b"2"
    other.sendto(b"3", b)
    assert signalling.recv(2000) == b"3"


def test_a_hold_by_zeros_stops_what_is_sent_there_and_not_what_comes(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    phone.sendto(b"1", a)
    assert other.recv(2000) == b"1"
    bench.ports.set_remote(a, Remote("0.0.0.0", 4000, 4001))
    bench.obeyed()
    other.sendto(b"2", b)
    phone.sendto(b"music", a)
    assert other.recv(2000) == b"music"
    bench.obeyed()
    assert nothing(phone)
    bench.ports.set_remote(a, remote(phone))
    bench.obeyed()
    other.sendto(b"3", b)
    assert phone.recv(2000) == b"3"


def test_media_crosses_between_the_families(start: Start) -> None:
    bench = start(settings(addresses=(HOST, "::1"), low=22000, high=23999))
    phone, other = bench.end(PHONE), bench.end("::1")
    a, b = bench.take(HOST), bench.take("::1")
    bench.ports.set_remote(a, remote(phone))
    bench.ports.set_remote(b, remote(other)._replace(address="0:0:0:0:0:0:0:1"))
    bench.ports.connect(a, b)
    bench.obeyed()
    other.sendto(b"six", tuple(b))
    assert phone.recv(2000) == b"six"
    phone.sendto(b"four", a)
    assert other.recvfrom(2000)[0] == b"four"


def test_a_flood_is_cut_to_the_rate(start: Start) -> None:
    bench = start(settings(packets_per_s=3))
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, _ = bench.session(remote(phone), remote(other))
    for n in range(5):
        phone.sendto(b"%d" % n, a)
    assert [other.recv(2000) for _ in range(3)] == [b"0", b"1", b"2"]
    bench.obeyed()
    assert nothing(other)
    assert bench.count(a)[2] == 2
    bench.now += 2.0
    bench.obeyed()
    bench.obeyed()
    phone.sendto(b"5", a)
    assert other.recv(2000) == b"5"


def test_dead_media_is_reported_once_and_again_after_it_lived(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    bench.ports.watch(a, 30.0)
    bench.obeyed()
    bench.now += 29.0
    bench.obeyed()
    bench.now += 2.0
    bench.flush()
    assert bench.obeyed()["is"] == "counts"
    assert bench.hear("silent") == {"is": "silent", "pairs": [[*a], [*b]], "seconds": 31.0}
    bench.now += 100.0
    bench.obeyed()
    other.sendto(b"alive", b)
    assert phone.recv(2000) == b"alive"
    bench.now += 2.0
    bench.obeyed()
    bench.now += 40.0
    bench.obeyed()
    assert bench.hear("silent")["seconds"] == 42.0
    bench.ports.watch(a, None)
    bench.obeyed()
    bench.now += 100.0
    bench.obeyed()
    bench.obeyed()
    assert [line["is"] for line in bench.said].count("silent") == 2


def test_a_released_session_is_gone_and_its_ports_closed(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    bench.ports.release(a)
    bench.obeyed()
    other.sendto(b"to nobody", b)
    assert bench.count(b)[:3] == (1, 9, 1)
    bench.ports.release(b)
    assert bench.obeyed()["counts"] == []
    assert bench.end(HOST, a.port).getsockname() == tuple(a)


def test_sums_go_on_when_sessions_end(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    phone.sendto(b"hello", a)
    assert other.recv(2000) == b"hello"
    bench.ports.release(a)
    bench.ports.release(b)
    a, b = bench.session(remote(phone), remote(other))
    phone.sendto(b"again", a)
    assert other.recv(2000) == b"again"
    bench.obeyed()
    assert bench.ports.total == Total(2, 10, 0)


def test_a_pair_gets_nothing_of_the_call_before(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    bench.hear("pairs")
    a = bench.take()
    phone.sendto(b"stale", a)  # the relay has not yet heard that the pair is taken
    b = bench.take()
    bench.ports.set_remote(a, remote(phone))
    bench.ports.set_remote(b, remote(other))
    bench.ports.connect(a, b)
    assert bench.count(a) == (0, 0, 0, None)


def test_an_exhausted_range_is_told_once_and_refilled_after_a_release(start: Start) -> None:
    bench = start(settings("127.0.55.9", low=21001, high=21005))
    a, b = bench.take("127.0.55.9"), bench.take("127.0.55.9")
    assert {a.port, b.port} == {21002, 21004}
    if not bench.ports.shortage("127.0.55.9").startswith("all ports"):
        bench.hear("short")
    assert bench.ports.shortage("127.0.55.9") == (
        "all ports from 21001 to 21005 on 127.0.55.9 are in use; give the relay a larger range"
    )
    bench.flush()
    bench.ports.release(a)
    bench.flush()
    assert bench.take("127.0.55.9") == a
    assert [line["is"] for line in bench.said].count("short") == 1


def test_sessions_are_limited(start: Start) -> None:
    bench = start(settings(sessions=1, ahead=2))
    bench.take(), bench.take()
    bench.flush()
    while not bench.ports.shortage(HOST).startswith("the relay has its limit of 1 sessions"):
        bench.hear("short")


def test_an_address_of_another_machine_is_told(start: Start) -> None:
    bench = start(settings("192.0.2.77"))
    assert "cannot bind 192.0.2.77, port" in bench.hear("short")["why"]


def test_pairs_in_use_are_bound_again_for_a_new_process(start: Start) -> None:
    first = start(settings(ahead=2))
    phone, other = first.end(PHONE), first.end(OTHER)
    a, b = first.session(remote(phone), remote(other))
    first.control.sendall(b'{"do":"end"}\n')  # as if it had died
    first.thread.join(5.0)
    second = start(settings(ahead=2))
    second.ports = first.ports
    second.ports.lost()
    second.hear("ready")
    second.obeyed()
    phone.sendto(b"on", a)
    assert other.recvfrom(2000) == (b"on", tuple(b))


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"do":"dance"}',
        b"[]",
        b'{"do":"take","pair":["127.0.55.1",1]}',
        b'{"do":"release","pair":["127.0.55.1",1]}',
        b'{"do":"take"}',
    ],
)
def test_what_makes_no_sense_is_refused_and_survived(start: Start, line: bytes) -> None:
    bench = start(settings())
    bench.control.sendall(line + b"\n")
    assert "the relay could not obey" in bench.hear("refused")["why"]
    bench.obeyed()


def test_remotes_and_sessions_that_cannot_be_are_refused(start: Start) -> None:
    bench = start(settings())
    a = bench.take()
    bench.ports.set_remote(a, Remote("2001:db8::1", 4000, 4001))
    bench.ports.set_remote(a, Remote("192.0.2.1", 4000, 65_536))
    bench.flush()
    assert "2001:db8::1" in bench.hear("refused")["why"]
    assert "a port is out of range" in bench.hear("refused")["why"]
    bench.control.sendall(json.dumps({"do": "connect", "pair": a, "to": a}).encode() + b"\n")
    assert "connected to itself" in bench.hear("refused")["why"]


def test_media_goes_on_without_an_agent_for_the_time_that_it_gave(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    bench.disconnect()
    phone.sendto(b"on", a)
    assert other.recvfrom(2000) == (b"on", tuple(b))
    for _ in range(50):  # its end may be noticed a moment later
        bench.now += 31.0
        bench.thread.join(0.1)
    assert not bench.thread.is_alive()


def test_the_next_start_of_the_agent_asks_for_its_sessions_and_the_rest_is_closed(start: Start) -> None:
    bench = start(settings())
    phone, other = bench.end(PHONE), bench.end(OTHER)
    a, b = bench.session(remote(phone), remote(other))
    c, _ = bench.session(remote(bench.end(PHONE)), remote(bench.end(OTHER)))
    bench.disconnect()
    bench.ports = RelayPorts()
    bench.connect(2)
    bench.hear("pairs")
    for pair in (a, b):
        bench.ports.adopt(pair)
    bench.ports.audit()
    bench.obeyed()
    phone.sendto(b"on", a)
    assert other.recvfrom(2000) == (b"on", tuple(b))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(tuple(c))


def test_the_highest_start_of_the_agent_is_obeyed(start: Start) -> None:
    bench = start(settings())
    bench.hear("pairs")
    bench.disconnect()
    bench.connect(3)
    bench.hear("pairs")
    live, file = bench.control, bench._file
    bench.connect(2)
    assert json.loads(bench._file.readline()) == {"is": "superseded"} and not bench._file.readline()
    bench.disconnect()
    bench.control, bench._file = live, file
    bench.obeyed()


def test_an_agent_that_does_not_read_loses_reports_and_not_ports(start: Start) -> None:
    bench = start(settings())
    bench.hear("pairs")
    flood = b'{"do":"count","pairs":[]}\n{"do":"dance"}\n' * 40_000
    bench.control.sendall(flood)
    a = bench.take()
    bench.flush()
    bench.take()
    assert bench.ports.in_use == 2
    assert a.port % 2 == 0


def test_it_measures_what_comes_by_its_numbers_and_times(start: Start) -> None:
    relay = start(settings())
    a, b = relay.take(), relay.take()
    phone, other = relay.end(), relay.end(OTHER)
    relay.ports.set_remote(a, Remote(*phone.getsockname(), 9, types=(0, 111)))
    relay.ports.set_remote(b, Remote(*other.getsockname(), 9, types=(0, 111)))
    relay.ports.connect(a, b)
    relay.ports.add_clocks(a, ((111, 48_000),))
    relay.obeyed()
    for number in (1, 2, 4, 5):
        relay.now += 0.02
        phone.sendto(struct.pack(">BBHII", 0x80, 111, number, 960 * number, 7) + b"x", tuple(a))
        other.recv(100)
    assert relay.ports.measure([a, b, Pair(HOST, 2)])
    relay.flush()
    measured = relay.hear("figures")["figures"]
    assert measured == [[list(a), 4, 1, pytest.approx(20 / 3, abs=0.01), 111], [list(b), 0, 0, 0.0, -1]]
    relay.obeyed()
    assert relay.ports.total.lost == 1
    relay.ports.release(a)
    relay.ports.count()
    relay.flush()
    relay.hear("total")
    assert relay.ports.total.lost == 1


def test_what_is_no_rtp_is_not_measured(start: Start) -> None:
    relay = start(settings())
    a, _ = relay.session(Remote(PHONE, 4000, 4001, kind="udptl"), None)
    phone = relay.end(port=4000)
    phone.sendto(struct.pack(">BBHII", 0x80, 0, 5, 800, 7), tuple(a))
    while relay.count(a)[0] == 0:
        pass
    assert relay.ports.measure([a])
    relay.flush()
    assert relay.hear("figures")["figures"] == [[list(a), 0, 0, 0.0, -1]]
