"""What one core and one gigabyte carry, measured here, as the tables of docs/sizing.md.

    python -m tests.bench.sizing            says them
    python -m tests.bench.sizing --write    writes them into docs/sizing.md, too

A call goes through agent, server and agent, as in `tests.bench.chain`; CPU time and memory are those of each process
alone. Packets cross the relay as a real process, both ways of each call at 50 a second.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from examples.demo_processes import ROOT, Processes, free_net
from gateway_agent.media.ports import RelayPorts, RelaySettings, Remote
from gateway_agent.media.process import RelayProcess
from tests.bench.chain import Chain
from tests.bench.load import Load
from tests.bench.usage import cpu_s, own_bytes

DOCUMENT: Final = ROOT / "docs" / "sizing.md"
FIGURES: Final = re.compile(r"(<!-- figures -->\n).*?(<!-- end -->)", re.DOTALL)
RATE: Final = 50.0
CALLS: Final = 1000
STANDING: Final = 1000
BUSY: Final = 0.5
"""Share of a core that is planned for; the rest is for bursts, takeovers, and the machine itself."""
LASTS: Final = 180.0
"""Seconds that a call lasts, in the tables."""
PACKETS_A_SECOND: Final = 50
RELAYED: Final = 40
RELAYED_S: Final = 6.0


class Used(NamedTuple):
    """What one process uses."""

    cpu_us: float
    """CPU time a call."""
    bytes: float
    """Memory a standing call."""
    base_mb: float
    """Memory with none, in 10^6 bytes."""
    descriptors: int
    """Open files with 1,000 calls standing."""


class Relayed(NamedTuple):
    """What the relay uses."""

    cpu_us: float
    """CPU time a packet."""
    descriptors: float
    """Open files a call, of two parties."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure_chain(processes: Processes, host: str) -> tuple[dict[str, Used], float]:
    """Server and agents, a call through both agents; and how many cores were busy otherwise."""
    chain, load = Chain(processes, host), Load(processes, host)
    pids = dict(zip(("gw1", "gw2", "m1"), chain.start(), strict=True))
    load.run((host, 5160), list(pids.values()), RATE, int(4 * RATE))
    before = {name: cpu_s([pid]) for name, pid in pids.items()}
    outcome = load.run((host, 5160), list(pids.values()), RATE, CALLS)
    say(f"{outcome}")
    cpu = {name: (cpu_s([pid]) - before[name]) / CALLS * 1e6 for name, pid in pids.items()}
    base = {name: own_bytes([pid]) for name, pid in pids.items()}
    found: dict[str, tuple[int, int]] = {}

    def look(statistics_file: Path) -> None:
        time.sleep(STANDING / RATE + 4.0)
        for name, pid in pids.items():
            found[name] = own_bytes([pid]), len(os.listdir(f"/proc/{pid}/fd"))

    say(f"{load.run((host, 5160), list(pids.values()), RATE, STANDING, hold=STANDING / RATE + 8.0, during=look)}")
    used = {
        name: Used(cpu[name], (found[name][0] - base[name]) / STANDING, base[name] / 1e6, found[name][1])
        for name in pids
    }
    return used, outcome.others


async def measure_relay(host: str, directory: Path) -> Relayed:
    """`RELAYED` calls through the relay."""
    ports, settings = RelayPorts(), RelaySettings((host,), low=24000, high=25999, ahead=2 * RELAYED)
    relay = RelayProcess(settings, ports, lambda notice: None, directory / "relay.sock", 1, 30.0)
    await relay.start()
    while ports.in_stock(host) < 2 * RELAYED:
        await asyncio.sleep(0.05)
    pid = relay.pid
    assert pid is not None
    ends, to = list[socket.socket](), list[tuple[str, int]]()
    for _ in range(RELAYED):
        both = ports.take(host), ports.take(host)
        assert both[0] is not None and both[1] is not None
        for pair in both:
            assert pair is not None
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.bind((host, 0))
            end.setblocking(False)
            port = end.getsockname()[1]
            ports.set_remote(pair, Remote(host, port, port + 1))
            ends.append(end)
            to.append(pair)
        ports.connect(both[0], both[1])
    relay.flush()
    await asyncio.sleep(0.5)
    packet, began, used, sent = bytes([0x80, 0]) + bytes(170), time.monotonic(), cpu_s([pid]), 0
    while (passed := time.monotonic() - began) < RELAYED_S:
        if sent < passed * PACKETS_A_SECOND * len(ends):
            for end, where in zip(ends, to, strict=True):
                end.sendto(packet, where)
                try:
                    end.recv(2000)
                except BlockingIOError:
                    pass
                sent += 1
        await asyncio.sleep(0.002)
    found = Relayed((cpu_s([pid]) - used) / sent * 1e6, (len(os.listdir(f"/proc/{pid}/fd"))) / RELAYED)
    for end in ends:
        end.close()
    await relay.close()
    return found


def tables(chain: dict[str, Used], relay: Relayed, others: float) -> str:
    """As Markdown; ``others`` is how many cores were busy with something else."""
    agent = Used(*(sum(pair) / 2 for pair in zip(chain["gw1"], chain["gw2"], strict=True)))
    rows = []
    for what, used in (("a server", chain["m1"]), ("an agent, one side of each call", agent)):
        rate = BUSY / (used.cpu_us / 1e6)
        standing = rate * LASTS
        memory = (used.base_mb + standing * used.bytes / 1e6 * 2) / 1000
        cells = (
            what,
            f"{used.cpu_us / 1000:.1f} ms",
            f"{rate:.0f}",
            f"{round(standing, -3):,.0f}",
            f"{used.bytes / 1000:.0f} KB",
            f"{used.base_mb:.0f} MB",
            f"{memory:.1f} GB",
            f"{used.descriptors:.0f}",
        )
        rows.append(cells)
    head = (
        "process",
        "CPU a call",
        "calls/s of half a core",
        f"then standing, {LASTS / 60:g} min each",
        "memory a call",
        "with none",
        "memory for these, twice",
        f"descriptors with {STANDING:,} calls",
    )
    streams = BUSY / (relay.cpu_us / 1e6) / PACKETS_A_SECOND
    relays = ('an agent\'s with `media = "relay"`', f"{relay.cpu_us:.0f} µs", f"{streams:.0f}", f"{streams / 2:.0f}")
    relay_head = ("relay", "CPU a packet", "RTP streams of half a core", "calls of two streams", "descriptors a call")
    return "\n".join(
        (
            f"On {os.cpu_count()} cores of a virtual machine, {datetime.date.today():%-d %B %Y}, at {RATE:g} calls/s,"
            f" while others kept {others:.1f} cores busy:",
            "",
            *_table(head, rows),
            "",
            *_table(relay_head, [(*relays, f"{relay.descriptors:.0f}")]),
            "",
        )
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/sizing.md")
    options = parser.parse_args()
    net = free_net()
    with tempfile.TemporaryDirectory() as directory:
        relay = asyncio.run(measure_relay(f"{net}60", Path(directory)))
        say(f"{relay}")
        with Processes(Path(directory)) as processes:
            chain, others = measure_chain(processes, f"{net}1")
    text = tables(chain, relay, others)
    print(text)
    if options.write:
        whole = DOCUMENT.read_text("utf-8")
        DOCUMENT.write_text(FIGURES.sub(lambda found: f"{found[1]}{text}{found[2]}", whole), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
