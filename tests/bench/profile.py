"""python -m tests.bench.profile

What an ordinary call makes Python do, by node, and what it keeps while it stands. Real cores in the simulated World
do what SIPp's scenarios ask of processes, so the counts are the same on every machine, whatever else it does.

    python -m tests.bench.profile                   Python calls a call: one server, then agent, server, agent
    python -m tests.bench.profile --top 40          besides the functions that are called most
    python -m tests.bench.profile --cpu             microseconds in the cores, without sockets, in a tight loop
    python -m tests.bench.profile --memory          bytes a standing call in all nodes, by line
    python -m tests.bench.profile --line-state      what it costs that servers keep what agents know of their calls
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from b2bua.core import Core as Server
from examples.demo_processes import ROOT
from gateway_agent.core import Core as Agent
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import VoterList
from heartbeat.site import load as sites
from heartbeat.site.model import Site
from sip.actions import Flow, Send
from tests.bench.chain import SITE
from tests.bench.load import CALLEE, CALLER
from tests.world import Disk, World

HOST: Final = "127.0.0.1"
_RATE: Final = 100.0
_REMEMBERED: Final = 40.0
"""Seconds after which no transaction is left."""
_SDP: Final = (
    "v=0\r\no=- {n} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
_ECHOED: Final = ("via:", "from:", "to:", "call-id:", "cseq:", "record-route:")


class Device:
    """Either side of tests/bench/scenarios. ``talk``: seconds; 0 for calls that are not ended."""

    def __init__(self, port: int, entry: int, talk: float) -> None:
        self.talk = talk
        self.ended = 0
        self._port = port
        self._flow = Flow("udp", f"{HOST}:{port}", (HOST, entry))
        self._out: list[Send] = []
        self._later: list[tuple[float, Callable[[], None]]] = []

    def call(self, number: int, now: float) -> None:
        entry = f"{HOST}:{self._flow.remote[1]}"
        lines = (
            f'From: "A. Caller" <sip:2001@{HOST}:{self._port}>;tag=7c{number}',
            f"To: <sip:1001@{entry}>",
            f"Call-ID: {number}-7@{HOST}",
            "CSeq: 1 INVITE",
            f"Contact: <sip:2001@{HOST}:{self._port}>",
            "Max-Forwards: 70",
            "Content-Type: application/sdp",
        )
        self._ask("INVITE", f"sip:1001@{entry}", number, lines, _SDP.format(n=1000))

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        start, *lines = data.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
        word, code = start.split(" ")[:2]
        if word == "SIP/2.0":
            self._answered(int(code), {line.partition(":")[0].lower(): line for line in lines}, now)
            return
        echoed = [line for line in lines if line.lower().startswith(_ECHOED)]
        if word == "INVITE":
            tagged = [f"{line};tag=7d{len(data)}" if line.startswith("To:") else line for line in echoed]
            tagged.append(f"Contact: <sip:1001@{HOST}:{self._port}>")
            self._say(flow, "SIP/2.0 180 Ringing", tagged)
            answer = [*tagged, "Content-Type: application/sdp"]
            self._later.append((now + 0.05, partial(self._say, flow, "SIP/2.0 200 OK", answer, _SDP.format(n=2000))))
        elif word == "BYE":
            self._say(flow, "SIP/2.0 200 OK", echoed)

    def _answered(self, status: int, fields: dict[str, str], now: float) -> None:
        if status < 200:
            return
        assert status == 200, fields
        if fields["cseq"].endswith("BYE"):
            self.ended += 1
            return
        uri = fields["contact"].partition("<")[2].partition(">")[0]
        number = int(fields["call-id"].partition(" ")[2].partition("-")[0])
        same = (fields["from"], fields["to"], fields["call-id"], "Max-Forwards: 70")
        self._ask("ACK", uri, number, (*same, "CSeq: 1 ACK"), "")
        if self.talk:
            bye = partial(self._ask, "BYE", uri, number, (*same, "CSeq: 2 BYE"), "")
            self._later.append((now + self.talk, bye))

    def _ask(self, method: str, uri: str, number: int, lines: tuple[str, ...], body: str) -> None:
        via = f"Via: SIP/2.0/UDP {HOST}:{self._port};branch=z9hG4bK-7-{number}-{method}"
        self._say(self._flow, f"{method} {uri} SIP/2.0", [via, *lines], body)

    def _say(self, flow: Flow, start: str, lines: list[str], body: str = "") -> None:
        text = "\r\n".join((start, *lines, f"Content-Length: {len(body)}", "", body))
        self._out.append(Send(flow, text.encode("latin-1")))

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        pass

    def done(self, request: Any, result: Any, now: float) -> None:
        pass

    def handle_timer(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self._later.pop(0)[1]()

    def get_timer(self) -> float | None:
        return self._later[0][0] if self._later else None

    def to_do(self) -> list[Send]:
        out, self._out = self._out, []
        return out

    def next_event(self) -> None:
        return None


class Meter:
    """Of one node: how often each function is called, or the CPU time that it takes."""

    def __init__(self) -> None:
        self.on = False
        self.counting = True
        self.cpu_s = 0.0
        self.octets = 0
        """Of what it sent to other nodes of the site."""
        self.calls: Counter[CodeType] = Counter()

    def around(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*args: Any) -> Any:
            if not self.on:
                return verb(*args)
            if self.counting:
                sys.setprofile(self._event)
                try:
                    return verb(*args)
                finally:
                    sys.setprofile(None)
            began = time.process_time()
            try:
                return verb(*args)
            finally:
                self.cpu_s += time.process_time() - began

        return metered

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            self.calls[frame.f_code] += 1


class Metered:
    """A core, with a meter around what a pump asks of it.

    The World asks for more: what is to be done until there is nothing, and the time of waking behind each input.
    """

    def __init__(self, core: Any, meter: Meter) -> None:
        self.core = core
        self._meter = meter
        self.get_timer, self.next_event = core.get_timer, core.next_event
        self._to_do, self._asked = meter.around(core.to_do), True
        self.receive = self._input(meter.around(core.receive))
        self.flow_changed = self._input(meter.around(core.flow_changed))
        self.done = self._input(meter.around(core.done))
        self.handle_timer = self._input(meter.around(core.handle_timer))

    def _input(self, verb: Callable[..., Any]) -> Callable[..., None]:
        def told(*args: Any) -> None:
            self._asked = False
            verb(*args)

        return told

    def to_do(self) -> list[Any]:
        found: list[Any] = self.core.to_do() if self._asked else self._to_do()
        self._asked = True
        if self._meter.on:
            sent = (one for one in found if isinstance(one, Send) and one.flow.transport == "tcp")
            self._meter.octets += sum(len(one.data) for one in sent)
        return found


class Chain(NamedTuple):
    """What calls go through."""

    words: str
    site: Site
    agents: tuple[str, ...]


def chains() -> Iterator[Chain]:
    """One server as in examples/bench.toml; and agent, server, agent as in tests/bench/chain.py."""
    plain = (ROOT / "examples" / "bench.toml").read_text().replace('{ file = "bench.key" }', '{ env = "KEY" }')
    whole = SITE.format(host=HOST, caller=CALLER, callee=CALLEE).replace('{ file = "site.key" }', '{ env = "KEY" }')
    keys = {"KEY": "a key of the profile's own site"}
    yield Chain("one server", sites.parse(plain, Path("bench.toml"), keys), ())
    yield Chain("agent, server, agent", sites.parse(whole, Path("chain.toml"), keys), ("gw1", "gw2"))


class Run:
    """Calls through such a chain."""

    def __init__(self, chain: Chain, talk: float = 0.1) -> None:
        site = chain.site
        self.world = World(1, trace=10)
        self.meters: dict[str, Meter] = {}
        self.placed = 0
        entry = site.agents["gw1"].sip[0].port if chain.agents else site.servers["m1"].sip[0].port
        for name in chain.agents:
            make = partial(Agent, site, name, PersistentState(incarnation=1), name.encode() * 16, Random(2))
            self._add(name, make, [str(each) for each in site.agents[name].sip])
        members = site.membership()
        voters = VoterList(1, members.voters, members.generation)
        kept = PersistentState(incarnation=1, first=True, non_voting=False, voters=voters)
        server = site.servers["m1"]
        make_server = partial(Server, site, "m1", kept, b"m" * 32, Random(1))
        self._add("m1", make_server, [str(each) for each in (*server.listen, *server.sip)])
        self.caller = Device(CALLER, entry, talk)
        for name, device in (("caller", self.caller), ("callee", Device(CALLEE, entry, 0.0))):
            self.world.add(name, partial(_as_it_is, device), HOST, [f"udp:{HOST}:{device._port}"])
        self.world.run(6.0)

    def _add(self, name: str, make: Callable[[float], Any], listeners: list[str]) -> None:
        meter = self.meters[name] = Meter()

        def made(disk: Disk, now: float) -> Any:
            return Metered(make(now), meter)

        self.world.add(name, made, HOST, listeners, on_event=lambda _: None)

    def place(self, calls: int, rest: float) -> None:
        """So many calls, and seconds of rest."""
        for _ in range(calls):
            self.placed += 1
            self.world.ask("caller", partial(self.caller.call, self.placed))
            self.world.run(self.world.now + 1 / _RATE)
        self.world.run(self.world.now + rest)
        assert not self.caller.talk or self.caller.ended == self.placed

    @contextmanager
    def metered(self, counting: bool = True) -> Iterator[None]:
        for meter in self.meters.values():
            meter.on, meter.counting = True, counting
        yield
        for meter in self.meters.values():
            meter.on = False


def _as_it_is(device: Device, disk: Disk, now: float) -> Device:
    return device


def count(chain: Chain, top: int, calls: int = 200) -> None:
    """Print the Python calls a call, less those of as much time without calls."""
    run = Run(chain)
    run.place(calls, _REMEMBERED)
    with run.metered():
        run.place(calls, _REMEMBERED)
    busy = {name: Counter(meter.calls) for name, meter in run.meters.items()}
    for meter in run.meters.values():
        meter.calls.clear()
    with run.metered():
        run.world.run(run.world.now + calls / _RATE + _REMEMBERED)
    for name, meter in run.meters.items():
        of_calls = busy[name] - meter.calls
        print(f"{name} of {chain.words}: {of_calls.total() / calls:.0f} Python calls a call")
        for code, number in of_calls.most_common(top):
            place = f"{_shown(code.co_filename)}:{code.co_firstlineno}"
            print(f"{number / calls:10.2f}  {place} {code.co_qualname}")


def spend(chain: Chain, calls: int = 2000) -> None:
    """Print the CPU time a call: the best of five, as others disturb."""
    run = Run(chain)
    run.place(calls // 4, 1.0)
    best: dict[str, float] = {}
    for _ in range(5):
        with run.metered(counting=False):
            run.place(calls, 1.0)
        for name, meter in run.meters.items():
            best[name] = min(best.get(name, float("inf")), meter.cpu_s / calls)
            meter.cpu_s = 0.0
    for name, seconds in best.items():
        print(f"{name} of {chain.words}: {seconds * 1e6:.0f} us of CPU a call")


def compare(chain: Chain, calls: int = 2000) -> None:
    """Print the CPU time and the bytes a call with line states and without: the best of seven, taken in turns."""
    runs = {"with": Run(chain), "without": Run(chain)}
    for name in chain.agents:
        runs["without"].world.nodes[name].core.core.line_states.kept = False
    best: dict[str, dict[str, float]] = {words: {} for words in runs}
    octets: dict[str, float] = {}
    for run in runs.values():
        run.place(calls // 4, 1.0)
    gc.disable()  # it would always hit the same one
    for _ in range(7):
        for words, run in runs.items():
            gc.collect()
            with run.metered(counting=False):
                run.place(calls, 1.0)
            octets[words] = sum(meter.octets for meter in run.meters.values()) / calls
            for name, meter in run.meters.items():
                best[words][name] = min(best[words].get(name, float("inf")), meter.cpu_s / calls * 1e6)
                meter.cpu_s, meter.octets = 0.0, 0
    for name in (*chain.agents, "m1"):
        print(f"{name}: {best['with'][name]:.0f} us of CPU a call, {best['without'][name]:.0f} without line states")
    whole, bare = (sum(best[words].values()) for words in ("with", "without"))
    print(f"{chain.words}: {whole:.0f} us, {bare:.0f} without: {100 * (whole / bare - 1):.1f} % more")
    print(f"bytes within the site: {octets['with']:.0f} a call, {octets['without']:.0f} without")


def remember(chain: Chain, top: int, calls: int = 1000) -> None:
    """Print the bytes a standing call, soon after it was answered and when no transaction is left."""
    run = Run(chain, talk=0.0)
    run.place(calls, _REMEMBERED)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for words, placed, rest in (("2 s old", calls, 2.0), ("that are old", 0, _REMEMBERED)):
        run.place(placed, rest)
        gc.collect()
        found = tracemalloc.take_snapshot().compare_to(before, "lineno")
        found = [each for each in found if "/tests/" not in each.traceback[0].filename]
        total = sum(each.size_diff for each in found)
        print(f"{chain.words}, calls {words}: {total / calls:.0f} bytes a call")
        for each in found[:top]:
            frame = each.traceback[0]
            place = f"{_shown(frame.filename)}:{frame.lineno}"
            print(f"{each.size_diff / calls:10.1f} {each.count_diff / calls:6.2f}  {place}")
    tracemalloc.stop()


def _shown(path: str) -> str:
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else Path(path).name


def main() -> int:
    parser = argparse.ArgumentParser(prog="profile", description="what an ordinary call makes Python do")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="so many functions or lines besides")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cpu", action="store_true", help="CPU time instead of Python calls")
    what.add_argument("--line-state", action="store_true", help="what line states cost")
    what.add_argument("--memory", action="store_true", help="what a standing call keeps")
    options = parser.parse_args()
    for chain in chains():
        if options.line_state:
            if chain.agents:
                compare(chain)
        elif options.memory:
            remember(chain, options.top)
        elif options.cpu:
            spend(chain)
        else:
            count(chain, options.top)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
