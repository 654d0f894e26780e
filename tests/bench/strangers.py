"""python -m tests.bench.strangers

What a stranger's flood costs while calls go on: 100 calls a second through one server, without it, with 5,000 bad
messages a second from another address and nobody banned, and with bans as by default. By kind of message: good calls,
the server's share of a core, and how long a call took to be set up.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from examples.demo_processes import Processes, environment_note, free_net
from heartbeat.console import render
from tests.bench.load import Load, Outcome
from tests.bench.targets import Ours

_BYE: Final = (
    b"BYE sip:1001@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK%d;rport\r\nMax-Forwards: 70\r\n"
    b"From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:1001@127.0.0.1>;tag=2\r\nCall-ID: %d@stranger\r\nCSeq: 1 BYE\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_INVITE: Final = _BYE.replace(b"BYE", b"INVITE").replace(b";tag=2", b"")
KINDS: Final = {
    "garbage": b"\x16\x03\x01 %d %d nothing of SIP \r\n\r\n",
    "BYE in no dialog": _BYE,
    "INVITE of nobody": _INVITE.replace(b"Content", b"Contact: <sip:a@127.0.0.1>\r\nContent"),
}
_TURN_S: Final = 0.005


@contextmanager
def flood(message: bytes, source: str, target: tuple[str, int], rate: float) -> Iterator[list[int]]:
    """Send it so often a second from a thread of its own; the list's one element is how many were sent."""
    sent, ended = [0], threading.Event()

    def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((source, 0))
            udp.setblocking(False)
            began = time.monotonic()
            while not ended.wait(_TURN_S):
                for number in range(sent[0], int((time.monotonic() - began) * rate)):
                    try:
                        udp.sendto(message % (number, number), target)
                    except BlockingIOError:
                        break
                    sent[0] += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


class Banning(Ours):
    """Ours, to which the addresses of the load alone are a trunk's."""

    name = "banning"

    def written(self, site: Path) -> None:
        site.write_text(site.read_text().replace('"127.0.0.0/8"', f'"{self.host}"'))


class Unbanned(Banning):
    """The same, which bans nobody."""

    name = "unbanned"

    def written(self, site: Path) -> None:
        super().written(site)
        site.write_text(f"{site.read_text()}\n[bans]\nafter = 0\n")


def measure(rate: float, calls: int, bad: float) -> list[list[str]]:
    rows: list[list[str]] = []
    net = free_net()
    host, stranger = f"{net}1", f"{net}66"
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-strangers-") as directory,
        Processes(Path(directory)) as processes,
    ):
        load = Load(processes, host)
        for target, bans in ((Unbanned(processes, host), "nobody banned"), (Banning(processes, host), "bans")):
            for kind in (None, *KINDS):
                target.start()
                load.run(target.address, target.pids, rate, int(rate))
                if kind is None:
                    outcome, sent = load.run(target.address, target.pids, rate, calls, timed=True), 0.0
                else:
                    began = time.monotonic()
                    with flood(KINDS[kind], stranger, target.address, bad) as count:
                        outcome = load.run(target.address, target.pids, rate, calls, timed=True)
                    sent = count[0] / (time.monotonic() - began)
                target.stop()
                rows.append(_row(bans, kind or "none", outcome, sent))
                print("; ".join(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _row(bans: str, kind: str, outcome: Outcome, sent: float) -> list[str]:
    setup = outcome.times["setup"]
    p99 = setup[min(len(setup) - 1, int(len(setup) * 0.99))] if setup else float("nan")
    cores = outcome.cpu_s / outcome.seconds
    return [
        kind,
        bans,
        f"{sent:,.0f}",
        f"{outcome.good:,} of {outcome.calls:,}",
        f"{outcome.retransmissions:,}",
        f"{cores:.2f}",
        f"{p99:.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.strangers", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--bad", type=float, default=5000.0, help="messages of the stranger a second")
    options = parser.parse_args()
    print(environment_note(), file=sys.stderr)
    rows = measure(options.rate, options.calls, options.bad)
    columns = ("Flood", "", ">a second", ">good calls", ">sent again", ">cores", ">set-up p99, ms")
    render.console().put(render.grid(columns, rows))
    return 0 if all(row[3].split(" of ")[0] == row[3].split(" of ")[1] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
