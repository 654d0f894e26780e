"""A whole site in the World: servers m1 and s1, agents gw1 and gw2, and softphones behind them.

::

    west 127.0.0.21 (carrier) -- gw1 -- m1, s1 -- gw2 -- east 127.0.0.22 (PBX)
    anna 127.0.0.31 (phone)   -/                     \\- bert .32, carl .33, dora .34, emil .36 (phones),
    member .26 (a registrar), -/                         bob .35 (bert's other phone),
                                                         cold .23, timed .24, relayed .25 (trunks)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from hashlib import blake2s
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, Final

from b2bua.call_records import CallEnded
from b2bua.cdr import Cdr, merge_by_call
from b2bua.cdr_store import INTERVAL
from b2bua.cookie_cipher import CookieCipher
from b2bua.core import Core as Server
from examples.softphone_call import Call, Event, Line, Policy
from examples.softphone_core import Softphone
from gateway_agent.core import Core as Agent
from gateway_agent.media.ports import Pair, RelayPorts
from gateway_agent.media_relay import AgentRelay
from heartbeat.carrier import VOTES
from heartbeat.death import Death, commitment_of, notice
from heartbeat.persistent_state import PersistentState, decode, encode
from heartbeat.proof import VoterList
from heartbeat.site import load as sites
from heartbeat.site.model import Site
from sip.actions import Flow
from tests.stories.registrar import Registrar
from tests.world import Disk, World

WALL: Final = 1_700_000_000.0
"""The wall clock at the world's zero."""

_SITE: Final = """
[site]
name = "town"
key = {{ env = "TOWN_KEY" }}

[timing]
interval = {interval}
{timing}

[failover]
{failover}

[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
beat = "udp:127.0.0.1:5162"
{standby}

[agents.gw1]
sip = ["udp:127.0.0.11:5060", "tcp:127.0.0.11:5060"]
rtp = {{ address = "127.0.0.11" }}

[agents.gw2]
sip = ["udp:127.0.0.12:5060", "tcp:127.0.0.12:5060"]
rtp = {{ address = "127.0.0.12" }}

{agents}

[lines.west]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.21:5060"
channels = 1000
transfer = "pass"
messages = "pass"

[lines.east]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.22:5060"
channels = 1000
transfer = "pass"
messages = "pass"

[lines.cold]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.23:5060"
channels = 1000
recovery = "cold"
reset_state = "idle"

[lines.timed]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.24:5060"
channels = 1000
session_timer = {{ expires = 90, min_se = 90 }}

[lines.relayed]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.25:5060"
channels = 1000
media = "relay"

[lines.anna]
kind = "phone"
agent = "gw1"
numbers = ["1001"]
password = {{ env = "PASSWORD" }}

[lines.bert]
kind = "phone"
agent = "gw2"
numbers = ["1002"]
password = {{ env = "PASSWORD" }}

[lines.carl]
kind = "phone"
agent = "gw2"
numbers = ["1003"]
password = {{ env = "PASSWORD" }}
transfer = "pass"
messages = "pass"

[lines.dora]
kind = "phone"
agent = "gw2"
numbers = ["1004"]
password = {{ env = "PASSWORD" }}
forward = {{ busy = "1003" }}

[lines.emil]
kind = "phone"
agent = "gw2"
numbers = ["1005"]
password = {{ env = "PASSWORD" }}

[[routes]]
match = "2*"
to = ["east"]

[[routes]]
match = "3*"
to = ["west"]

[[routes]]
match = "4*"
to = ["cold"]

[[routes]]
match = "5*"
to = ["timed"]

[[routes]]
match = "7*"
to = ["relayed"]

[[routes]]
match = "600"
to = ["bert", "carl"]

[[routes]]
match = "601"
to = ["bert", "carl"]
ring = 2

[[routes]]
match = "602"
to = ["bert", "carl", "east"]
ring = 5

[[routes]]
match = "603"
to = ["bert", "carl"]
ring = 5
"""

_STANDBY: Final = """
[servers.s1]
role = "standby"
listen = "tcp:127.0.0.2:5161"
beat = "udp:127.0.0.2:5162"
"""

MEMBER: Final = """
[lines.member]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.26:5060"
channels = 1000
register = { registrar = "sip:127.0.0.26:5060", user = "member", password = { env = "PASSWORD" }, expires = 60 }

[[routes]]
match = "8*"
to = ["member"]
"""
"""A trunk that is there when it is asked for: its agent registers with it."""

SERVED: Final = """
[lines.vera]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.27:5060"
channels = 1000
transfer = "serve"

[[routes]]
match = "65*"
to = ["vera"]
"""
"""A device whose transfers the server makes."""

WATCHERS: Final = """
[lines.voice]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.28:5060"
channels = 1000
subscriptions = "pass"

[lines.wanda]
kind = "phone"
agent = "gw1"
numbers = ["1006"]
password = { env = "PASSWORD" }
subscriptions = "pass"
mailbox = "voice"

[lines.xaver]
kind = "phone"
agent = "gw2"
numbers = ["1007"]
password = { env = "PASSWORD" }
subscriptions = "pass"

[lines.yvo]
kind = "phone"
agent = "gw2"
numbers = ["1008"]
password = { env = "PASSWORD" }
subscriptions = "pass"

[[routes]]
match = "66*"
to = ["voice"]
"""
"""Telephones that watch each other and a voice mail system."""

DIRECT: Final = """
[lines.yves]
kind = "direct"
numbers = ["1008"]
password = { env = "PASSWORD" }
channels = 2

[lines.zoe]
kind = "direct"
numbers = ["1009"]
password = { env = "PASSWORD" }
channels = 2
"""
"""Telephones without an agent; the servers need listeners for them."""

LATER: Final = """
[[routes]]
match = "9*"
to = ["east"]
"""
"""What a reload adds."""

_FURTHER: Final = """
[agents.gw{n}]
sip = ["udp:127.0.0.{host}:5060"]
"""

PHONES: Final = {
    "west": ("127.0.0.21", "gw1", "*"),
    "east": ("127.0.0.22", "gw2", "*"),
    "cold": ("127.0.0.23", "gw2", "*"),
    "anna": ("127.0.0.31", "gw1", "anna"),
    "bert": ("127.0.0.32", "gw2", "bert"),
    "carl": ("127.0.0.33", "gw2", "carl"),
    "dora": ("127.0.0.34", "gw2", "dora"),
    "emil": ("127.0.0.36", "gw2", "emil"),
    "bob": ("127.0.0.35", "gw2", "bert"),
    "timed": ("127.0.0.24", "gw2", "*"),
    "relayed": ("127.0.0.25", "gw2", "*"),
    "member": ("127.0.0.26", "gw1", "*"),
    "vera": ("127.0.0.27", "gw1", "*"),
    "voice": ("127.0.0.28", "gw2", "*"),
    "wanda": ("127.0.0.37", "gw1", "wanda"),
    "xaver": ("127.0.0.38", "gw2", "xaver"),
    "yvo": ("127.0.0.39", "gw2", "yvo"),
    "yves": ("127.0.0.41", "", "yves"),
    "zoe": ("127.0.0.42", "", "zoe"),
}
"""Address, agent and user of each device."""


LATE: Final = {"emil"}
"""Phones that do not register by themselves at the beginning."""

KEYS: Final = {"TOWN_KEY": "a key of the town, long enough", "PASSWORD": "secret"}


def text_of(
    standby: bool = True, interval: float = 0.5, timing: str = "", failover: str = "", agents: int = 2, more: str = ""
) -> str:
    """The site file of the simulation; ``more`` are further lines and routes."""
    text = _SITE.format(
        interval=interval,
        timing=timing,
        failover=failover,
        standby=_STANDBY if standby else "",
        agents="".join(_FURTHER.format(n=n, host=38 + n) for n in range(3, agents + 1)),
    )
    return text + more


@cache
def site_of(
    standby: bool = True, interval: float = 0.5, timing: str = "", failover: str = "", agents: int = 2, more: str = ""
) -> Site:
    """The same, read."""
    return sites.parse(text_of(standby, interval, timing, failover, agents, more), Path("town.toml"), KEYS)


Reaction = Callable[[Call], None]


class SiteSimulation:
    """See the module. ``who`` are the devices that are there; clocks run fast or slow by up to ``drift``."""

    def __init__(
        self,
        seed: int = 1,
        who: tuple[str, ...] = ("west", "east"),
        site: Site | None = None,
        start: float = 4.0,
        drift: float = 0.0,
        supervised: bool = False,
        own_sites: Mapping[str, Site] = MappingProxyType({}),
    ) -> None:
        self.site = site or site_of()
        self.own_sites = dict(own_sites)
        """What single nodes read instead: the same file, with other keys."""
        self.supervised = supervised
        """Servers run under supervisors, which tell of their deaths (``die``)."""
        self.deaths: dict[str, tuple[str, ...]] = {}
        """What these left in the state directories."""
        self.world = World(seed)
        self.records: list[Cdr] = []
        """What the servers have on disk, whoever wrote it: a record gets there an interval after the call's end."""
        self.said: list[str] = []
        """What servers and agents decided, with the instant and the node."""
        self.who = who
        self._drift = drift
        self._registrations: list[tuple[str, Callable[[], Any], float]] = []
        self._reactions: list[tuple[str, str, Reaction, float]] = []
        for name, server in self.site.servers.items():
            listeners = [str(endpoint) for endpoint in (*server.listen, *server.sip)]
            if server.beat is not None:
                listeners.append(str(server.beat))
            host = (server.listen or server.sip)[0].host
            self._add(name, host, listeners)
        for name, agent in self.site.agents.items():
            listeners = [str(endpoint) for endpoint in agent.sip]
            self._add(name, agent.sip[0].host, listeners)
        for name in who:
            self._device(name)
        self.world.run(start)

    # -- nodes ------------------------------------------------------------------------------

    def _add(self, name: str, host: str, listeners: list[str]) -> None:
        def made(disk: Disk, now: float) -> Any:
            return self.make(name, disk, now)

        rate = 1.0 + self.world.random.uniform(-self._drift, self._drift)
        self.world.add(name, made, host, listeners, rate=rate, on_event=lambda event: self._happened(name, event))

    def make(self, name: str, disk: Disk, now: float) -> Any:
        """The core of a server or agent, from what is on its disk."""
        secret, chance = self._chance(name)
        if name in self.site.agents:
            begun = PersistentState(incarnation=0)
            relay = _relay(self.site.agents[name].sip[0].host)
            return Agent(self.site_at(name), name, _raised(disk, begun), secret, chance, now, {"relay": relay})
        members = self.site.membership()
        voters = VoterList(1, members.voters, members.generation)
        begun = PersistentState(incarnation=0, first=True, non_voting=False, voters=voters)
        offset = self.wall_offset(now)
        commitment = commitment_of(self._death_secret(name)) if self.supervised else ""
        deaths = self.deaths.get(name, ())
        raised = _raised(disk, begun)
        return Server(self.site_at(name), name, raised, secret, chance, now, offset, commitment, deaths, CookieCipher)

    def site_at(self, name: str) -> Site:
        """What a node reads."""
        return self.own_sites.get(name, self.site)

    def _death_secret(self, name: str) -> str:
        """What the supervisor drew for the present life of a server."""
        return blake2s(f"death {self.seed_of(name)}".encode(), digest_size=16).hexdigest()

    def die(self, name: str, after: float = 0.0) -> None:
        """The process of a server is killed; its supervisor says so from ``after`` seconds later on."""
        died = self.world.nodes[name]
        secret = self._death_secret(name)
        self.world.kill(name)
        assert self.supervised and not died.alive
        self.world.later(after, self.reveal, name, secret)

    def reveal(self, name: str, secret: str) -> None:
        """The supervisor of ``name`` says that the start with this secret has died."""
        self.deaths[name] = (secret, *self.deaths.get(name, ()))[:4]
        own = self.site.servers[name].beat_reach
        assert own is not None
        for other, server in self.site.servers.items():
            node, at = self.world.nodes[other], server.beat_reach
            if other != name and at is not None and node.alive and not node.paused:
                data = notice(Death(self.site.name, name, secret, "signal-9"), str(own), str(at))
                flow = Flow("udp", node.core.beats.local, own.address)
                self.world.ask(other, node.core.receive, data, flow)

    def wall_offset(self, now: float) -> float:
        """What a node whose clock says ``now`` adds to it for the wall clock."""
        return WALL + self.world.now - now

    def seed_of(self, name: str) -> str:
        """A node's chance, another one in each of its lives."""
        life = self.world.nodes[name].lives if name in self.world.nodes else 1
        return f"{self.world.seed} {name} {life}"

    def _chance(self, name: str) -> tuple[bytes, Random]:
        text = self.seed_of(name)
        return blake2s(text.encode()).digest(), Random(text)

    def _device(self, name: str) -> None:
        host, agent, user = PHONES[name]
        secret, chance = self._chance(name)
        made = Registrar if name == "member" else Softphone
        phone = made(f"{host}:5060", secret, chance, place=lambda line: (host, 4000), logs=True)
        settings = self.site.lines.get(name)
        owned = settings is not None and settings.at_servers
        at = (self.site.main if owned else self.site.agents[agent]).sip[0]
        password = "secret" if user != "*" else None
        line = phone.add_line(user, (at.host, at.port), domain=self.site.realm, password=password)
        listeners = [f"udp:{host}:5060", f"tcp:{host}:5060"]
        self.world.add(name, lambda disk, now: phone, host, listeners, on_event=lambda e: self._happened(name, e))
        if password is not None and name not in LATE:
            self.world.later(1.0, lambda: self.world.ask(name, phone.register, line))

    def _happened(self, name: str, event: Any) -> None:
        if isinstance(event, Event):
            self.said.append(f"{self.world.now:.3f} {name}: {event.kind} {event.detail}")
            if event.call is not None:
                self._react(name, event.kind, event.call)
            elif event.kind == "registered":
                self._registered(name)
        elif isinstance(event, CallEnded):
            self.world.later(INTERVAL, self._written, name, self.world.nodes[name].life, event.record)
        else:
            self.said.append(f"{self.world.now:.3f} {name}: {event}")

    def _written(self, name: str, life: int, record: Cdr) -> None:
        """The writer's thread got there, or was killed before."""
        node = self.world.nodes[name]
        if node.life == life and node.paused:
            self.world.later(INTERVAL, self._written, name, life, record)
        elif node.life == life:
            self.records.append(record)

    # -- what a story does ------------------------------------------------------------------------------

    def phone(self, name: str) -> Softphone:
        core: Softphone = self.world.nodes[name].core
        return core

    def line(self, name: str) -> Line:
        return self.phone(name).lines[PHONES[name][2]]

    def server(self, name: str) -> Server:
        core: Server = self.world.nodes[name].core
        return core

    def agent(self, name: str) -> Agent:
        core: Agent = self.world.nodes[name].core
        return core

    def policy(self, name: str, policy: Policy) -> None:
        """What a device does by itself."""
        self.line(name).policy = policy

    def call(self, name: str, number: str, **more: Any) -> Call:
        """A device dials."""
        phone = self.phone(name)
        call: Call = self.world.ask(name, phone.call, self.line(name), number, **more)
        return call

    def do(self, name: str, verb: str, call: Call, *args: Any) -> None:
        """A verb of a device's core: ``hold``, ``bye``, …"""
        method = getattr(self.phone(name), verb)
        self.world.ask(name, lambda now: method(call, *args, now))

    def switchover(self, name: str) -> None:
        """The operator's ``b2bua switchover`` at the active server."""
        self.world.ask(name, lambda now: self.server(name).admin_commands.command("switchover", {}, now))

    def reload(self, site: Site) -> None:
        """All nodes read another site file."""
        for name in (*self.site.servers, *self.site.agents):
            node = self.world.nodes[name]
            if node.alive and not node.paused:
                self.world.ask(name, node.core.reload, self.own_sites.get(name, site))

    def when(self, name: str, kind: str, verb: str, *args: Any, after: float = 0.0) -> None:
        """The next time that a device tells of ``kind``, it does ``verb`` to that call, ``after`` seconds later."""
        self._reactions.append((name, kind, lambda call: self.do(name, verb, call, *args), after))

    def then(self, name: str, kind: str, act: Reaction, after: float = 0.0) -> None:
        """The same with anything."""
        self._reactions.append((name, kind, act, after))

    def then_registered(self, name: str, act: Callable[[], Any], after: float = 0.0) -> None:
        """The next time that a device is registered, something is done ``after`` seconds later."""
        self._registrations.append((name, act, after))

    def _registered(self, name: str) -> None:
        for one in [one for one in self._registrations if one[0] == name]:
            self._registrations.remove(one)
            self.world.later(one[2], one[1])

    def _react(self, name: str, kind: str, call: Call) -> None:
        for reaction in self._reactions:
            if reaction[:2] == (name, kind):
                self._reactions.remove(reaction)
                self.world.later(reaction[3], reaction[2], call)
                return

    # -- what came of it ------------------------------------------------------------------------------

    @property
    def active(self) -> list[str]:
        """The servers that rule, as they see it."""
        return [name for name in self.site.servers if not self.world.nodes[name].paused and self.may_act(name)]

    def may_act(self, name: str) -> bool:
        """Whether a server has its lease, as it sees it."""
        node = self.world.nodes[name]
        return node.alive and bool(node.core.member.may_act(node.clock(self.world.now)))

    def is_told(self, name: str) -> bool:
        """Whether every agent that a server reaches has told it all, and it reaches one."""
        agents = self.server(name).agents
        return agents.all_complete and bool(agents.reached)

    def calls_of(self, name: str) -> int:
        """How many calls a server or agent has; none when it is dead."""
        node = self.world.nodes[name]
        return len(node.core.calls) if node.alive else 0

    def epoch_of(self, name: str) -> int:
        """The epoch that a living agent obeys."""
        return self.agent(name).connections.voter.leadership.epoch

    @property
    def cdrs(self) -> list[Cdr]:
        """One a call, of what both servers wrote."""
        return merge_by_call(self.records)

    def heard(self, name: str) -> Counter[str]:
        """What a device received, repeats apart; registrations and probes are not of calls."""
        return Counter({w: n for w, n in self.line(name).heard.items() if "REGISTER" not in w and "OPTIONS" not in w})

    def odd(self, name: str) -> Counter[str]:
        """What should never happen at a device."""
        return Counter(self.phone(name).counters)

    def talk(
        self, caller: str = "west", number: str = "200", callee: str = "east", video: bool = False
    ) -> tuple[Call, Call]:
        """A call that is answered at once, by a video telephone or a plain one; both ends of it."""
        self.policy(callee, Policy(answer_after=0.0, video=video))
        call = self.call(caller, number)
        assert self.world.run_until(lambda: call.answered_at > 0 or call.status > 0, 10.0), self.world.ladder(80)
        self.world.run(self.world.now + 0.1)
        return call, list(self.line(callee).calls.values())[-1]


def _relay(host: str) -> AgentRelay:
    """A relay with ports enough; no media flow in the World."""
    ports = RelayPorts()
    ports.receive('{"is":"ready"}')
    ports.offer(Pair(host, port) for port in range(20000, 20200, 2))
    return AgentRelay(ports, host)


def _raised(disk: Disk, begun: PersistentState) -> PersistentState:
    """What a process finds at its start, as `heartbeat.persistence` does it: the boot counter raised and on disk."""
    found = decode(disk[VOTES]) if VOTES in disk else begun
    found = replace(found, incarnation=found.incarnation + 1, serial=found.serial + 1)
    disk[VOTES] = encode(found)
    return found
