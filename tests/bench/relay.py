"""python -m tests.bench.relay

CPU time a packet of the relay's process: RTP of both sides of some sessions, each packet when it is due, in and out
by loopback. Of several rounds the cheapest counts, since nothing makes a packet cheaper than it is.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from struct import pack

from examples.demo_processes import environment_note, free_net
from gateway_agent.media.ports import Pair, RelayPorts, RelaySettings, Remote

EVERY = 0.02
SAMPLES = b"\xd5" * 160


class Relayed:
    """A relay's process with sessions, and the sockets at both of their ends."""

    def __init__(self, directory: Path, net: str, sessions: int) -> None:
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
        self.ways: list[tuple[socket.socket, tuple[str, int], int]] = []
        """Where each stream comes from and goes to, and its SSRC."""
        for _ in range(sessions):
            pairs, ends = [self._take(host), self._take(host)], [_end(phone), _end(phone)]
            for pair, end in zip(pairs, ends, strict=True):
                port = end.getsockname()[1]
                self._ports.set_remote(pair, Remote(phone, port, port + 1, types=(0,)))
                self.ways.append((end, (pair.address, pair.port), len(self.ways)))
            self._ports.connect(*pairs)
        self.packets()

    def packets(self) -> int:
        """Those that came until now."""
        self._ports.count()
        self._control.sendall("".join(f"{line}\n" for line in self._ports.to_send()).encode())
        while json.loads(line := self._lines.readline())["is"] != "total":
            self._ports.receive(line)
        self._ports.receive(line)
        return self._ports.total.packets

    def close(self) -> None:
        self._control.sendall(b'{"do":"end"}\n')
        self.process.wait(5)
        self._lines.close()
        for sock in (self._control, *(end for end, _, _ in self.ways)):
            sock.close()

    def _take(self, host: str) -> Pair:
        while (pair := self._ports.take(host)) is None:
            self._ports.receive(self._lines.readline())
        return pair


def used_s(pid: int) -> float:
    """CPU time of one process, by the scheduler: /proc/PID/stat counts in hundredths."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _end(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def speak(relayed: Relayed, number: int, seconds: float) -> int:
    """Send a packet of each stream every 20 ms, from that number on; the number that follows."""
    at = time.monotonic()
    for _ in range(round(seconds / EVERY)):
        for end, to, ssrc in relayed.ways:
            end.sendto(pack(">BBHII", 0x80, 0, number % 65536, number * 160, ssrc) + SAMPLES, to)
        number, at = number + 1, at + EVERY
        time.sleep(max(0.0, at - time.monotonic()))
    return number


def main() -> int:
    parser = argparse.ArgumentParser(prog="relay", description="what a packet costs the relay")
    parser.add_argument("--sessions", type=int, default=50, metavar="N", help="calls of two streams each")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of each round")
    parser.add_argument("--rounds", type=int, default=30, metavar="N")
    options = parser.parse_args()
    rounds: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        relayed = Relayed(Path(directory), free_net(), options.sessions)
        number, pid = speak(relayed, 1, 1.0), relayed.process.pid
        for _ in range(options.rounds):
            came, used = relayed.packets(), used_s(pid)
            number = speak(relayed, number, options.seconds)
            rounds.append((used_s(pid) - used, relayed.packets() - came))
        relayed.close()
    each = sorted(1e6 * used / packets for used, packets in rounds)
    print(f"relay: {each[0]:.2f} us of CPU a packet, {each[len(each) // 2]:.2f} in the median round")
    print(environment_note())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
