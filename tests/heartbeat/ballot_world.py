"""A site of real cores on one turned clock and one bad network, with the rules that must hold at every step."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from heartbeat.agent_voter import AgentVoter
from heartbeat.death import Death, commitment_of
from heartbeat.decision import Decision, Persist, Tell, What
from heartbeat.header import Beat, Start, parse, serialize
from heartbeat.member import Member
from heartbeat.membership import Membership
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import VoterList
from heartbeat.timing import Timing

KEY = b"the key of the site, thirty-two."


def membership(agents: int = 2, **changes: object) -> Membership:
    """Two servers and ``agents`` agents."""
    base = Membership(
        site="paris",
        servers=("m1", "m2"),
        standby="m2",
        agents=tuple(f"gw{n}" for n in range(1, agents + 1)),
        keys=(KEY,),
        timing=Timing(interval=0.5),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


REVEALED_AFTER = (0.0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)
"""Seconds after a death at which a supervisor says so."""


class Host:
    """One machine: a clock that drifts, a disk, and at most one process on it, with or without a supervisor."""

    def __init__(self, name: str, base: float, rate: float) -> None:
        self.name, self.base, self.rate = name, base, rate
        self.supervised = False
        self.secret = ""
        """That of the process; empty without a supervisor."""
        self.deaths: tuple[str, ...] = ()
        """What supervisors left in the state directory."""
        self.core: Member | AgentVoter | None = None
        self.file: PersistentState | None = None
        self.boots = 0
        self.paused_until = 0.0
        self.armed_at = float("inf")
        self.highest_obeyed = 0
        self.log: list[Decision] = []

    def clock(self, now: float) -> float:
        return self.base + now * self.rate

    def world_time(self, local: float) -> float:
        return (local - self.base) / self.rate


class World:
    """Deliveries in a heap; ``run(until)`` jumps from one to the next."""

    def __init__(
        self,
        site: Membership,
        seed: int = 0,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.001, 0.003),
        twice: float = 0.0,
        drift: float = 0.0,
        disk: tuple[float, float] = (0.0, 0.0),
        init: tuple[str, ...] = ("m1",),
        text: bool = False,
        timings: tuple[Timing, ...] = (),
        supervised: tuple[str, ...] | None = None,
    ) -> None:
        self.site, self.seed, self.loss, self.delay, self.twice, self.disk = site, seed, loss, delay, twice, disk
        self.text = text
        self.timings = timings
        """Each start of a node picks one of these: site files that differ."""
        self.rng = random.Random(seed)
        self._secrets = random.Random(seed)
        self.now = 0.0
        self.cuts: set[tuple[str, str]] = set()
        self.fifo = False
        """Messages of one direction keep their order, as in a stream."""
        self._stalls: dict[tuple[str, str], float] = {}
        self._last_at: dict[tuple[str, str], float] = {}
        self.copied = False
        """A state directory was copied: nodes may count behind what others have heard, and not be heard."""
        self.full: set[str] = set()
        """Hosts whose disk takes nothing."""
        self.proved: dict[int, tuple[str, int, str]] = {}
        self.sent = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self.hosts: dict[str, Host] = {}
        for name in (*site.servers, *site.agents):
            rate = 1 + self.rng.uniform(-drift, drift)
            self.hosts[name] = Host(name, self.rng.uniform(0, 1e5), rate)
            self.hosts[name].supervised = name in (site.servers if supervised is None else supervised)
        for name in init:
            voters = VoterList(1, site.voters, site.generation)
            self.hosts[name].file = PersistentState(incarnation=0, first=True, non_voting=False, voters=voters)

    # what can happen to a machine

    def start(self, *names: str) -> None:
        for name in names:
            host = self.hosts[name]
            host.boots += 1
            host.file = replace(host.file or PersistentState(incarnation=0), incarnation=1_000_000 + host.boots)
            now = host.clock(self.now)
            site = replace(self.site, timing=self.rng.choice(self.timings)) if self.timings else self.site
            if name in self.site.servers:
                host.secret = f"{self._secrets.getrandbits(128):032x}" if host.supervised else ""
                commitment = commitment_of(host.secret) if host.secret else ""
                rng = random.Random(self.rng.random())
                host.core = Member(name, site, host.file, rng, now, commitment, host.deaths)
            else:
                host.core = AgentVoter(name, site, host.file, now)
            host.paused_until = 0.0
            self._drain(host)

    def start_all(self) -> None:
        self.start(*self.hosts)

    def crash(self, name: str) -> None:
        """The machine is gone, or process and supervisor together: nobody says anything."""
        host = self.hosts[name]
        if isinstance(host.core, AgentVoter) and name in self.full:
            # whom it followed in memory only, it forgets
            host.highest_obeyed = host.core.participant.on_disk.leadership.epoch
        host.core = None

    def die(self, name: str, after: float = 0.0) -> None:
        """The process dies. Its supervisor, where it has one, says so, from ``after`` seconds later on."""
        host = self.hosts[name]
        secret = host.secret if host.core is not None else ""
        self.crash(name)
        if secret:
            self.later(after, lambda: self._reveal(host, secret))

    def orphan(self, name: str) -> None:
        """The supervisor dies alone and the process lives on, while another start of the node can begin; or: the
        state directory was copied, and the copy is what ``start`` starts from now on."""
        host = self.hosts[name]
        left = self.hosts[f"{name}'"] = Host(name, host.base, host.rate)
        left.core, left.file, left.secret, left.log = host.core, host.file, host.secret, host.log
        left.paused_until = host.paused_until
        host.core, host.log, host.secret, host.armed_at = None, [], "", float("inf")
        self._fire(left)

    def _reveal(self, host: Host, secret: str) -> None:
        host.deaths = (secret, *host.deaths)[:4]
        death = Death(self.site.site, host.name, secret, "signal-9")
        for other in self.site.servers:
            for after in REVEALED_AFTER:
                if other != host.name:
                    self.later(after, lambda other=other: self._carry(host.name, other, death))  # type: ignore[misc]

    def lose_file(self, name: str) -> None:
        """The machine dies and comes back without its file."""
        self.crash(name)
        self.hosts[name].file = None
        self.hosts[name].highest_obeyed = 0

    def pause(self, name: str, seconds: float) -> None:
        host = self.hosts[name]
        host.paused_until = self.now + seconds
        self._at(host.paused_until, lambda: self._wake(host))

    def cut(self, one: str, other: str, both: bool = True) -> None:
        self.cuts.add((one, other))
        if both:
            self.cuts.add((other, one))

    def isolate(self, name: str) -> None:
        for other in self.hosts:
            self.cut(name, other)

    def stall(self, one: str, other: str, seconds: float) -> None:
        """Keep back what goes from one to the other, and deliver it all afterwards."""
        self._stalls[one, other] = self.now + seconds

    def heal(self) -> None:
        self.cuts.clear()

    def act(self, name: str, verb: Callable[[Member, float], object]) -> object:
        """An operator's verb at a server."""
        host = self.hosts[name]
        result = verb(self.member(name), host.clock(self.now))
        self._drain(host)
        return result

    # looking at it

    def member(self, name: str) -> Member:
        core = self.hosts[name].core
        assert isinstance(core, Member)
        return core

    def voter(self, name: str) -> AgentVoter:
        core = self.hosts[name].core
        assert isinstance(core, AgentVoter)
        return core

    def clock(self, name: str) -> float:
        return self.hosts[name].clock(self.now)

    def holders(self) -> list[str]:
        """The servers with a lease now."""
        found = []
        for name, host in self.hosts.items():
            if isinstance(host.core, Member) and host.core.may_act(host.clock(self.now)):
                found.append(name)
        return found

    def mute_voters(self) -> list[str]:
        """The voters without a vote."""
        return [name for name in self.site.voters if (file := self.hosts[name].file) is None or file.non_voting]

    def said(self, name: str, *whats: What) -> list[str]:
        return [str(d) for d in self.hosts[name].log if not whats or d.what in whats]

    def story(self) -> str:
        lines = [
            (host.world_time(d.at), name, d.what.name, str(d)) for name, host in self.hosts.items() for d in host.log
        ]
        return "\n".join(f"{at:9.3f} {name:4} {what:13} {text}" for at, name, what, text in sorted(lines))

    def settled(self) -> str:
        """The server that has the lease and that all agents obey; empty when there is none."""
        holders = self.holders()
        if len(holders) != 1 or self.member(holders[0]).state != "active":
            return ""
        epoch = self.member(holders[0]).participant.epoch
        for agent in self.site.agents:
            core = self.hosts[agent].core
            if isinstance(core, AgentVoter) and not core.obeys(holders[0], epoch):
                return ""
        return holders[0]

    # time

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._heap and self._heap[0][0] <= until:
            at, _, act = heapq.heappop(self._heap)
            self.now = max(self.now, at)
            act()
        self.now = until

    def run_until(self, wanted: Callable[[], object], limit: float) -> float:
        """Run until ``wanted``; returns how long it took. Fails after ``limit``."""
        began = self.now
        while not wanted():
            assert self._heap and self._heap[0][0] <= began + limit, f"seed {self.seed}: not in time\n{self.story()}"
            at, _, act = heapq.heappop(self._heap)
            self.now = max(self.now, at)
            act()
        return self.now - began

    def later(self, after: float, act: Callable[[], None]) -> None:
        """Let something happen so many seconds from now."""
        self._at(self.now + after, act)

    def _at(self, at: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._number), act))

    # the network and the disks

    def _drain(self, host: Host) -> None:
        core = host.core
        assert core is not None
        for action in core.to_do():
            if isinstance(action, Tell):
                self._send(host, action)
            else:
                self._write(host, core, action)
        while (decision := core.next_event()) is not None:
            host.log.append(decision)
            if decision.what is What.BECAME_ACTIVE and decision.proof is not None and not decision.proof.forced:
                leadership = (host.name, decision.proof.incarnation, host.secret)
                assert self.proved.setdefault(decision.epoch, leadership) == leadership, self._broken(
                    "an epoch proved twice"
                )
        at = core.get_timer()
        if at is not None:
            due = max(host.world_time(at), self.now)
            if due < host.armed_at or host.armed_at <= self.now:
                host.armed_at = due
                self._at(due, lambda: self._fire(host))
        self._check(host)

    def _check(self, host: Host) -> None:
        core = host.core
        if isinstance(core, AgentVoter):
            leadership = core.leadership.epoch
            assert leadership >= host.highest_obeyed, self._broken(f"{host.name} fell from {host.highest_obeyed}")
            host.highest_obeyed = leadership
        holders = [name for name in self.holders() if not self.member(name).leader.forced]
        assert len(holders) < 2, self._broken(f"two leases: {holders}")

    def _broken(self, what: str) -> str:
        return f"seed {self.seed} at {self.now:.3f}: {what}\n{self.story()}"

    def _wake(self, host: Host) -> None:
        if host.core is not None and self.now >= host.paused_until:
            self._fire(host)

    def _fire(self, host: Host) -> None:
        if self.now >= host.armed_at:
            host.armed_at = float("inf")
        if host.core is None or self.now < host.paused_until:
            return
        due = host.core.get_timer()
        now = host.clock(self.now)
        if due is not None and due <= now + 1e-9:
            host.core.handle_timer(max(now, due))
        self._drain(host)

    def _send(self, host: Host, tell: Tell) -> None:
        self._carry(host.name, tell.to, tell.beat, tell.answer_to[0] if tell.answer_to else None)

    def _carry(self, sender: str, to: str, what: Beat | Death, asker: Start | None = None) -> None:
        """``asker``: an answer goes back the way its question came, to that very start of ``to``."""
        self.sent += 1
        link = (sender, to)
        if link in self.cuts or self.rng.random() < self.loss:
            return
        for _ in range(2 if self.twice and self.rng.random() < self.twice else 1):
            at = max(self.now, self._stalls.get(link, 0.0)) + self.rng.uniform(*self.delay)
            if self.fifo:
                at = self._last_at[link] = max(at, self._last_at.get(link, 0.0) + 1e-6)
            self._at(at, lambda: self._deliver(sender, to, what, asker))

    def _deliver(self, sender: str, to: str, what: Beat | Death, asker: Start | None = None) -> None:
        for host in [host for host in self.hosts.values() if host.name == to]:
            if asker is None or (host.core is not None and host.core.participant.start == asker):
                self._hand_over(host, sender, what)

    def _hand_over(self, host: Host, sender: str, what: Beat | Death) -> None:
        if host.core is None:
            return
        if self.now < host.paused_until:
            self._at(host.paused_until + 1e-6, lambda: self._hand_over(host, sender, what))
            return
        if isinstance(what, Death):
            assert isinstance(host.core, Member)
            host.core.revealed(what, host.clock(self.now))
        else:
            if self.text:
                what = parse(serialize(what, KEY, "OPTIONS", "c", 1), (KEY,), "OPTIONS", "c", 1)
            host.core.receive(what, sender, host.clock(self.now))
        self._drain(host)

    def _write(self, host: Host, core: Member | AgentVoter, persist: Persist) -> None:
        def written() -> None:
            for at in self.hosts.values():  # an orphan's is another one than it was
                if at.core is core and at.name in self.full:
                    core.not_persisted(persist.state, "no space left", at.clock(self.now))
                    self._drain(at)
                    return
                if at.core is core:
                    if at.file is None or persist.state.serial > at.file.serial:
                        at.file = persist.state
                    core.persisted(persist.state, at.clock(self.now))
                    self._drain(at)
                    return

        self._at(self.now + self.rng.uniform(*self.disk), written)


def running(site: Membership | None = None, **world: object) -> World:
    """A site in its fifth second of peace, ruled by m1."""
    w = World(site or membership(2), **world)  # type: ignore[arg-type]
    w.start_all()
    w.run_until(lambda: w.settled() == "m1", limit=6.0)
    w.run(5.0)
    assert w.settled() == "m1"
    return w
