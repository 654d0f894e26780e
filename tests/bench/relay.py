"""python -m tests.bench.relay

CPU time a packet of the relay's process, and of rtpengine's (Debian's, in user space) in the same run: RTP of both
sides of some calls, each packet when it is due, in and out by loopback; a round of one, then of the other. Of several
rounds the cheapest counts, since nothing makes a packet cheaper than it is. ``sdes`` is the relay with SRTP at one
side of each call, whose packets are opened one way and sealed the other.

    python -m tests.bench.relay                              a table
    python -m tests.bench.relay --only relay --sessions 200
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from struct import pack
from typing import Final, NamedTuple

from examples.demo_processes import environment_note, free_net
from gateway_agent.media.ports import Keys, Pair, RelayPorts, RelaySettings, Remote
from heartbeat.console import render
from tests.interop.unpacked import unpacked

EVERY = 0.02
SAMPLES = b"\xd5" * 160
KEY: Final = bytes(range(30))
PACKETS: Final = 100
"""A second, of a call: both ways."""


class Way(NamedTuple):
    """A stream."""

    end: socket.socket
    to: tuple[str, int]
    ssrc: int
    sealed: Callable[[bytes], bytes] | None = None
    """What makes SRTP of its packets."""


class Relayed:
    """A process that relays, and the sockets at both ends of its calls."""

    process: subprocess.Popen[bytes]
    ways: Sequence[Way]

    def heard(self) -> int:
        """Packets that have come out at the ends since it was asked last."""
        count = 0
        for way in self.ways:
            while True:
                try:
                    way.end.recv(2048)
                except BlockingIOError:
                    break
                count += 1
        return count

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for way in self.ways:
            way.end.close()


class Ours(Relayed):
    """The relay's process; ``secured``: with SRTP at one side."""

    def __init__(self, directory: Path, net: str, sessions: int, secured: bool) -> None:
        directory.mkdir()
        path, host, phone = directory / "relay.sock", f"{net}1", f"{net}2"
        self.process = subprocess.Popen([sys.executable, "-m", "gateway_agent.media.relay", str(path)])
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while self._control.connect_ex(str(path)):
            time.sleep(0.02)
        self._lines = self._control.makefile("rb")
        self._ports = RelayPorts()
        settings = RelaySettings((host,), 20000, 29999)
        hello = {"do": "hello", "start": 1, "grace_s": 30.0, "settings": asdict(settings)}
        self._control.sendall(json.dumps(hello).encode() + b"\n")
        self.ways = [way for number in range(sessions) for way in self._session(host, phone, 2 * number, secured)]
        self._ports.count()
        self._tell()
        while json.loads(self._lines.readline())["is"] != "total":
            pass

    def _session(self, host: str, phone: str, ssrc: int, secured: bool) -> list[Way]:
        pairs, ends = [self._take(host), self._take(host)], [_end(phone), _end(phone)]
        ways = []
        for side, (pair, end) in enumerate(zip(pairs, ends, strict=True)):
            port, with_keys = end.getsockname()[1], secured and not side
            keys = Keys("AES_CM_128_HMAC_SHA1_80", *[b64encode(KEY).decode()] * 2) if with_keys else None
            self._ports.set_remote(pair, Remote(phone, port, port + 1, types=(0,)), keys=keys)
            ways.append(Way(end, (pair.address, pair.port), ssrc + side, _sealing() if with_keys else None))
        self._ports.connect(*pairs)
        return ways

    def close(self) -> None:
        super().close()
        self._lines.close()
        self._control.close()

    def _tell(self) -> None:
        self._control.sendall("".join(f"{line}\n" for line in self._ports.to_send()).encode())

    def _take(self, host: str) -> Pair:
        while (pair := self._ports.take(host)) is None:
            self._tell()  # what is taken makes room for more
            self._ports.receive(self._lines.readline())
        return pair


class Rtpengine(Relayed):
    """rtpengine without its kernel module, told of calls by its NG protocol."""

    def __init__(self, directory: Path, net: str, sessions: int) -> None:
        directory.mkdir()
        host, phone, tree = f"{net}1", f"{net}2", unpacked("rtpengine", ("rtpengine-daemon",))
        self._ng = host, 2223
        self.process = subprocess.Popen(
            [
                *(tree.program("rtpengine"), "--foreground", "--log-stderr", "--log-level=3", "--table=-1"),
                *(f"--interface={host}", f"--listen-ng={host}:2223", "--port-min=30000", "--port-max=39999"),
                *(f"--pidfile={directory}/pid", "--config-file=none"),
            ],
            env=tree.environment,
            stderr=subprocess.DEVNULL,
        )
        self._asks = _end(phone)
        self._asks.settimeout(2.0)
        end = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < end and self.process.poll() is None, "rtpengine does not start"
        self.ways = [way for number in range(sessions) for way in self._session(phone, number)]

    def _answers(self) -> bool:
        try:
            return b"pong" in self._ask({"command": "ping"})
        except (TimeoutError, ConnectionError):
            time.sleep(0.05)
            return False

    def _session(self, phone: str, number: int) -> list[Way]:
        ends = [_end(phone), _end(phone)]
        common = {"call-id": f"c{number}", "from-tag": "a", "ICE": "remove"}
        there = self._described({"command": "offer", **common}, ends[0])
        here = self._described({"command": "answer", "to-tag": "b", **common}, ends[1])
        return [Way(ends[0], here, 2 * number), Way(ends[1], there, 2 * number + 1)]

    def _described(self, words: dict[str, str], end: socket.socket) -> tuple[str, int]:
        """Where rtpengine listens for what answers this description."""
        host, port = end.getsockname()
        sdp = (
            f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        said = self._ask({**words, "sdp": sdp}).decode("latin-1")
        place, media = re.search(r"c=IN IP4 (\S+)", said), re.search(r"m=audio (\d+)", said)
        assert place is not None and media is not None, said
        return place[1], int(media[1])

    def _ask(self, words: dict[str, str]) -> bytes:
        packed = "".join(f"{len(text)}:{text}" for pair in words.items() for text in pair)
        self._asks.sendto(f"{len(packed)}{time.monotonic_ns()} d{packed}e".encode(), self._ng)
        return self._asks.recv(65_536)

    def close(self) -> None:
        super().close()
        self._asks.close()


def used_s(pid: int) -> float:
    """CPU time of all threads of a process, by the scheduler: /proc/PID/stat counts in hundredths."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _end(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def _sealing() -> Callable[[bytes], bytes]:
    from pylibsrtp import Policy, Session

    return Session(Policy(KEY, Policy.SSRC_ANY_OUTBOUND)).protect


def speak(relayed: Relayed, number: int, seconds: float) -> int:
    """Send a packet of each stream every 20 ms, from that number on; the number that follows."""
    at = time.monotonic()
    for _ in range(round(seconds / EVERY)):
        for end, to, ssrc, sealed in relayed.ways:
            packet = pack(">BBHII", 0x80, 0, number % 65536, number * 160, ssrc) + SAMPLES
            end.sendto(packet if sealed is None else sealed(packet), to)
        number, at = number + 1, at + EVERY
        time.sleep(max(0.0, at - time.monotonic()))
    return number


class Figure(NamedTuple):
    """Of all rounds of one target."""

    best_us: float
    """CPU a packet."""
    median_us: float
    lost: int
    sent: int


def measured(targets: dict[str, Relayed], rounds: int, seconds: float) -> dict[str, Figure]:
    numbers = {name: speak(each, 1, 1.0) for name, each in targets.items()}
    costs: dict[str, list[float]] = {name: [] for name in targets}
    lost, sent = dict.fromkeys(targets, 0), dict.fromkeys(targets, 0)
    for _ in range(rounds):
        for name, each in targets.items():
            each.heard()
            used, first = used_s(each.process.pid), numbers[name]
            numbers[name] = speak(each, first, seconds)
            time.sleep(0.05)
            used, came = used_s(each.process.pid) - used, each.heard()
            due = (numbers[name] - first) * len(each.ways)
            costs[name].append(1e6 * used / max(1, came))
            lost[name] += due - came
            sent[name] += due
    return {
        name: Figure(min(found), sorted(found)[len(found) // 2], lost[name], sent[name])
        for name, found in costs.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="relay", description="what a packet costs the relay, and rtpengine")
    parser.add_argument("--only", choices=("relay", "sdes", "rtpengine"), action="append", help="one of them")
    parser.add_argument("--sessions", type=int, default=50, metavar="N", help="calls of two streams each")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of each round")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    options = parser.parse_args()
    wanted = options.only or ["relay", "sdes", "rtpengine"]
    if "rtpengine" in wanted and (because := unpacked("rtpengine", ("rtpengine-daemon",)).because):
        print(f"without rtpengine: {because}", file=sys.stderr)
        wanted.remove("rtpengine")
    targets: dict[str, Relayed] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        try:
            for name in wanted:
                place, net = Path(directory) / name, free_net()
                targets[name] = (
                    Rtpengine(place, net, options.sessions)
                    if name == "rtpengine"
                    else Ours(place, net, options.sessions, name == "sdes")
                )
            found = measured(targets, options.rounds, options.seconds)
        finally:
            for each in targets.values():
                each.close()
    rows = [
        [
            name,
            f"{one.best_us:.2f} us",
            f"{one.median_us:.2f} us",
            f"{1e6 / one.best_us / PACKETS:,.0f}",
            f"{one.lost} of {one.sent}",
        ]
        for name, one in found.items()
    ]
    columns = ("Relays", ">CPU a packet", ">Median round", ">Calls a core", ">Lost")
    render.console().put(render.grid(columns, rows))
    print(environment_note())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
