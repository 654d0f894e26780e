"""python -m tests.stories.matrix

Every node fails at every message and at every timer of every flow; what became of the calls is written to
docs/matrix.md. ``--every 20`` tries one cell of twenty, ``--jobs 2`` uses two processors. All cells take hours:
``--to FILE`` keeps each in a file as it is done, in an order by chance, and goes on where a run before it stopped;
``--minutes 10`` stops after so long.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from examples.softphone_call import ENDED
from heartbeat.console.contract import Refused
from tests.stories.branches import Branches
from tests.stories.flows import FLOWS, SERVED_FLOWS, Flow
from tests.stories.repeats import TIMERS, Repeats
from tests.stories.site_simulation import LATER, SiteSimulation, site_of
from tests.wires import Delivery
from tests.world import ACT, AFTER, BEFORE, KILL, MOMENTS, PAUSE, RESET, Crash, method_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "matrix.md"
LIMIT_S: Final = 60.0
LATE_S: Final = 4.0
"""So much later than without a crash the last call may have ended: a takeover takes some two seconds."""
LATER_S: Final = 12.0
"""The same of two failures: two takeovers and the start of a server."""
SETTLED_S: Final = 8.0
"""After the last call ended: longer than the longest interval between repeats."""
NOT_HAPPENED: Final = "the crash did not happen"
AT_ONCE: Final = 3_000
"""So many cells are drawn by chance, and then tried run by run."""
MOST_OF_A_JOB: Final = 100
PARTED_S: Final = 40.0
"""After which the users of calls that an agent's death took away have given up: longer than 64*T1."""

CALLS: Final = "messages of calls"
OTHERS: Final = "other messages"
"""OPTIONS, SUBSCRIBE, NOTIFY and REGISTER, both ways."""
TIMED: Final = "timers"
ANY: Final = "all"
CLASSES: Final = (CALLS, OTHERS, TIMED)
AGENTS: Final = ("gw1", "gw2")

LEADS: Final = "s1 leads"
"""It was switched over to before the flow begins."""
TAKES_OVER: Final = "s1 takes over"
"""m1 was killed in the middle of the flow, and starts again 3 s later."""


class Kind(NamedTuple):
    """One way to fail, at one class of instants of one node."""

    name: str
    how: str
    moments: tuple[str, ...]
    lasts: float = 0.0
    standby: bool = True
    means: str = ""
    node: str = "m1"
    what: str = CALLS
    setting: str = ""
    act: str = ""
    """With `ACT`: ``switchover``, ``reload``."""

    @property
    def agent_dies(self) -> bool:
        """Its calls come back with it, unless a server dies besides: what is promised then is :func:`parted`."""
        return self.how is KILL and self.node in AGENTS

    @property
    def late(self) -> float:
        return LATER_S if self.setting is TAKES_OVER else LATE_S


_TWO: Final = (BEFORE, AFTER)

KINDS: Final = (
    Kind("kill", KILL, MOMENTS, means="the active server of a site with a stand-by is killed and stays dead"),
    Kind(
        "restart", KILL, MOMENTS, 1.0, False, "a server without a stand-by is killed and started again a second later"
    ),
    Kind("pause", PAUSE, _TWO, 6.0, means="the active server stands still (SIGSTOP) for 6 s"),
    Kind("reset", RESET, _TWO, means="the connection between agent and server breaks"),
)
"""Of the active server at messages of calls."""


def _elsewhere() -> Iterator[Kind]:
    """At all other instants of all nodes."""
    for what in (OTHERS, TIMED):
        for kind in KINDS[: 4 if what is OTHERS else 3]:
            yield kind._replace(name=f"{kind.name} at {what}", what=what)
    for agent in AGENTS:
        for what in CLASSES:
            yield Kind(
                f"{agent}, restart at {what}",
                KILL,
                MOMENTS,
                0.5,
                means="the agent dies, and is started half a second later",
                node=agent,
                what=what,
            )
            yield Kind(
                f"{agent}, pause at {what}",
                PAUSE,
                _TWO,
                1.5,
                means="the agent stands still for 1.5 s",
                node=agent,
                what=what,
            )
            if what is not TIMED:
                means = "the connection on which the message came breaks"
                yield Kind(f"{agent}, reset at {what}", RESET, _TWO, means=means, node=agent, what=what)
    for how, lasts in ((KILL, 1.0), (PAUSE, 1.5), (RESET, 0.0)):
        for node in ("s1", *AGENTS):
            if not (how is KILL and node in AGENTS):
                yield Kind(
                    f"{node}, {how} in the takeover",
                    how,
                    MOMENTS if how is KILL else _TWO,
                    lasts,
                    means="while s1 takes over from m1, which was killed and starts again 3 s later",
                    node=node,
                    what=ANY if how is not RESET else OTHERS,
                    setting=TAKES_OVER,
                )
    yield Kind("switchover", ACT, _TWO, means="the operator switches over to the stand-by", act="switchover")
    yield Kind("failback", ACT, _TWO, means="and back", node="s1", setting=LEADS, act="switchover")
    for node in ("m1", *AGENTS):
        yield Kind(
            f"reload at {node}", ACT, _TWO, means="all nodes read a changed site file", node=node, act="reload"
        )


ELSEWHERE: Final = tuple(_elsewhere())


class Outcome(NamedTuple):
    """What a run came to."""

    heard: dict[str, Counter[str]]
    """By device."""
    calls: dict[str, list[tuple[str, int, bool]]]
    """By device: state, status, whether it was answered."""
    results: Sequence[tuple[str, int]]
    """Of the call records after the merge."""
    lasted: float
    """Seconds until the last call had ended."""
    odd: Counter[str]
    again: Counter[str]
    """What devices received twice although none of their timers explains it."""


class Cell(NamedTuple):
    """One crash."""

    kind: str
    flow: str
    place: int
    moment: str
    message: str
    """The message or timer at which it happened."""
    faults: tuple[str, ...]


class Where(NamedTuple):
    """A cell that is to be tried."""

    kind: Kind
    flow: Flow
    place: int
    moment: str


def of_calls(delivery: Delivery | None) -> bool:
    """Messages of calls: not beats, not what a takeover is made of."""
    return delivery is not None and method_of(delivery.data) not in ("OPTIONS", "SUBSCRIBE", "NOTIFY", "REGISTER")


def class_of(delivery: Delivery | None) -> str:
    """The class of what happens to a node; None: a timer."""
    return TIMED if delivery is None else CALLS if of_calls(delivery) else OTHERS


def counts_of(kind: Kind) -> Callable[[Delivery | None], bool]:
    """What a kind's crash counts; the connection of a datagram cannot break."""

    def counts(delivery: Delivery | None) -> bool:
        if kind.how is RESET and (delivery is None or delivery.flow.transport != "tcp"):
            return False
        return kind.what is ANY or class_of(delivery) is kind.what

    return counts


def simulation_of(flow: Flow, standby: bool = True, setting: str = "") -> SiteSimulation:
    """The sim in which a flow is about to begin."""
    sim = SiteSimulation(1, flow.who, site_of(standby=standby, more=flow.more), start=flow.starts_at)
    if setting == LEADS:  # it may come from another process
        sim.switchover("m1")
        sim.world.run(sim.world.now + 3.0)
        assert sim.active == ["s1"], sim.said
    if flow.prepare is not None:
        flow.prepare(sim)
    return sim


def play(
    flow: Flow,
    crash: Crash | None = None,
    standby: bool = True,
    spoil: Callable[[SiteSimulation], None] | None = None,
) -> tuple[SiteSimulation, Outcome]:
    """Run a flow to its end; ``spoil`` puts a fault into the site before, to see that it is found."""
    sim = simulation_of(flow, standby)
    if spoil is not None:
        spoil(sim)
    return sim, play_in(sim, flow, *([crash] if crash is not None else []))


def play_in(
    sim: SiteSimulation, flow: Flow, *crashes: Crash, parting: bool = False, at_end: Callable[[], None] | None = None
) -> Outcome:
    """Run a flow in that site. ``parting``: whose call goes on for ever hangs up in the end. ``at_end`` is told that
    the last call is over.
    """
    world = sim.world
    began = world.now
    world.crashes.extend(crashes)
    repeats = Repeats(flow.who)
    world.listeners.append(repeats.note)
    flow.play(sim)

    def over() -> bool:
        calls = [call for name in flow.who for call in sim.line(name).calls.values()]
        return len(calls) >= flow.calls and all(call.state is ENDED for call in calls)

    if not world.run_until(over, LIMIT_S / 3 if parting else LIMIT_S) and parting:
        for name in flow.who:
            for call in sim.phone(name).calls:
                sim.do(name, "hang_up", call)
        world.run(world.now + PARTED_S)
    lasted = world.now - began
    if at_end is not None:
        at_end()
    calls = {name: list(sim.line(name).calls.values()) for name in flow.who}
    for crash in crashes:
        if crash.happened_at is not None and crash.lasts:
            world.run(max(world.now, crash.happened_at + crash.lasts))
    world.run(world.now + SETTLED_S)
    odd: Counter[str] = Counter()
    for name in flow.who:
        odd.update({f"{name}: {what}": number for what, number in sim.odd(name).items()})
        if any(call.leg.server_invite.awaits_ack for call in calls[name]):
            odd[f"{name} waits for an ACK"] = 1
        if any(not client.answered for client in sim.phone(name).stack.clients.values()):
            odd[f"{name} waits for an answer"] = 1
    for name in (*sim.site.servers, *sim.site.agents):
        if left := sim.calls_of(name):
            odd[f"{name} still has a call"] = left
    return Outcome(
        {name: sim.heard(name) for name in flow.who},
        {name: sorted((one.state, one.status, one.answered_at > 0) for one in calls[name]) for name in flow.who},
        sorted((record.result, record.status) for record in sim.cdrs),
        lasted,
        odd,
        repeats.unexplained,
    )


class Recorder:
    """Notes what happens at each node."""

    def __init__(self, sim: SiteSimulation, waits: bool = False) -> None:
        """``waits``: it begins when that is made False."""
        self.waits = waits
        self.places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self.streams: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """The same of what came by a stream."""
        self._sim = sim
        self._stopped = False
        sim.world.listeners.append(self._message)
        sim.world.timer_listeners.append(self._timer)

    def _message(self, delivery: Delivery) -> None:
        if self.waits or self._stopped:
            return
        what, label = class_of(delivery), _start(delivery)
        for found in (self.places, *([self.streams] if delivery.flow.transport == "tcp" else [])):
            found[delivery.target, what].append(label)
            found[delivery.target, ANY].append(label)

    def _timer(self, node: str) -> None:
        if self.waits or self._stopped:
            return
        label = f"a timer at {self._sim.world.now:.3f} s"
        self.places[node, TIMED].append(label)
        self.places[node, ANY].append(label)

    def of(self, kind: Kind) -> tuple[str, ...]:
        return tuple((self.streams if kind.how is RESET else self.places)[kind.node, kind.what])

    def stop(self) -> None:
        """Enough is seen."""
        self._stopped = True


class Calm(NamedTuple):
    """A flow without a crash."""

    outcomes: tuple[Outcome, ...]
    recorder: Recorder


@cache
def calm_of(name: str, standby: bool = True, setting: str = "") -> Calm:
    """The outcomes without a crash, and what happens at each node until the last call is over."""
    flow = flow_of(name)
    sim = simulation_of(flow, standby, setting)
    recorder = Recorder(sim)
    outcomes = [play_in(sim, flow, at_end=recorder.stop)]
    for other in flow.others:
        outcome = play_in(simulation_of(flow, standby, setting), flow._replace(play=other))
        if outcome not in outcomes:
            outcomes.append(outcome)
    return Calm(tuple(outcomes), recorder)


def flow_of(name: str) -> Flow:
    return next(flow for flow in (*FLOWS, *SERVED_FLOWS) if flow.name == name)


def calm(name: str, standby: bool = True) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """The outcomes without a crash, and the messages of calls that the active server receives."""
    found = calm_of(name, standby)
    return found.outcomes, tuple(found.recorder.places["m1", CALLS])


def _start(delivery: Delivery) -> str:
    first = delivery.data[:12].decode("latin-1")
    status = f"{first[8:11]} " if first.startswith("SIP/2.0 ") else ""
    return f"{status}{method_of(delivery.data)} from {delivery.source}"


FIRSTS: Final = (0.25, 0.5, 0.75)
"""Where in a flow m1 dies, where something happens in the takeover: shares of its messages of calls."""
TAKEOVER_S: Final = 4.5
"""In which s1 takes over and m1 is a stand-by again."""


def first_crash(flow: Flow, share: float) -> Crash:
    """The death of m1 that a takeover follows."""
    return Crash("m1", int(len(calm(flow.name)[1]) * share), AFTER, of_calls, KILL, 3.0)


@cache
def _takeover(name: str, share: float) -> Recorder:
    """What happens at each node from the first crash on, until all is as before it."""
    flow = flow_of(name)
    sim, first = simulation_of(flow), first_crash(flow, share)
    recorder = Recorder(sim, waits=True)

    def watch() -> None:
        if first.happened_at is not None and recorder.waits:
            recorder.waits = False
            sim.world.later(TAKEOVER_S, recorder.stop)

    sim.world.watchers.append(watch)
    play_in(sim, flow, first, at_end=recorder.stop)
    return recorder


def takeover_of(name: str, kind: Kind) -> list[tuple[int, int, str]]:
    """What happens in takeovers of a flow at a kind's node: which of `FIRSTS`, the how many-eth, and what it is."""
    return [
        (number, index, label)
        for number, share in enumerate(FIRSTS)
        for index, label in enumerate(_takeover(name, share).of(kind))
    ]


def places_of(kind: Kind, flow: Flow) -> tuple[str, ...]:
    """Where a kind's crash may happen in a flow."""
    if kind.setting is TAKES_OVER:
        return tuple(label for _, _, label in takeover_of(flow.name, kind))
    return calm_of(flow.name, kind.standby, kind.setting).recorder.of(kind)


def crashes_of(kind: Kind, flow: Flow, sim: SiteSimulation, place: int, moment: str) -> tuple[Crash, ...]:
    """What a cell does to its sim; the last one is the kind's."""
    if kind.setting is TAKES_OVER:
        number, index, _ = takeover_of(flow.name, kind)[place]
        first = first_crash(flow, FIRSTS[number])
        return first, _crash(kind, flow, sim, index, moment, first)
    return (_crash(kind, flow, sim, place, moment),)


def _crash(kind: Kind, flow: Flow, sim: SiteSimulation, index: int, moment: str, first: Crash | None = None) -> Crash:
    """A kind's own; ``first`` comes before it."""
    counts = counts_of(kind)

    def later(delivery: Delivery | None) -> bool:
        return first is not None and first.happened_at is not None and counts(delivery)

    return Crash(
        kind.node,
        index,
        moment,
        counts if first is None else later,
        kind.how,
        kind.lasts,
        act_of(kind, sim, flow),
    )


def act_of(kind: Kind, sim: SiteSimulation, flow: Flow) -> Callable[[], None] | None:
    """What is done instead of a failure."""
    if kind.act == "reload":
        other = site_of(more=flow.more + LATER)
        return lambda: sim.reload(other)
    if kind.act == "switchover":

        def switch() -> None:
            with suppress(Refused):
                sim.switchover(kind.node)

        return switch
    return None


def differences(flow: Flow, base: Outcome, got: Outcome, late: float = LATE_S) -> tuple[str, ...]:
    """What a crash changed, one sentence each; none: all is well. The last call may end ``late`` seconds later."""
    faults = []
    for name in flow.who:
        more, less = got.heard[name] - base.heard[name], base.heard[name] - got.heard[name]
        faults += [
            f"{name} received {number} x {word} more" for word, number in more.items() if word not in flow.apart
        ]
        faults += [
            f"{name} received {number} x {word} less" for word, number in less.items() if word not in flow.apart
        ]
        if any(state is not ENDED for state, _, _ in got.calls[name]):
            faults.append(f"a call of {name} did not come to its end")
        if got.calls[name] != base.calls[name]:
            faults.append(f"the calls of {name} came to {got.calls[name]} instead of {base.calls[name]}")
    if len(got.results) != len(base.results):
        faults.append(f"{len(got.results)} call records instead of {len(base.results)}")
    elif got.results != base.results:
        faults.append(f"call records say {got.results} instead of {base.results}")
    if got.lasted > base.lasted + late:
        faults.append(f"it lasted {got.lasted:.1f} s instead of {base.lasted:.1f} s")
    faults += [f"{what} came again ({number} x)" for what, number in got.again.items()]
    faults += [f"{what} ({number})" for what, number in (got.odd - base.odd).items()]
    return tuple(faults)


def two_died(got: Outcome) -> bool:
    """Whether a request of which two servers died was refused (docs/wire.md): nobody is to die of it once more."""
    return any("died while they had this request" in word for heard in got.heard.values() for word in heard)


def without_reasons(outcome: Outcome) -> Outcome:
    """Why a call was ended depends on who ends it, of several nodes that may."""
    heard = {
        name: Counter({word: number for word, number in words.items() if not word.startswith("BYE")})
        + Counter({"BYE": sum(number for word, number in words.items() if word.startswith("BYE"))})
        for name, words in outcome.heard.items()
    }
    return outcome._replace(heard=heard)


def parted(base: Outcome, got: Outcome) -> tuple[str, ...]:
    """What is promised where calls are lost: all end, each is written down once, and nothing is left of them."""
    faults = [
        f"a call of {name} did not come to its end"
        for name, calls in got.calls.items()
        if any(state is not ENDED for state, _, _ in calls)
    ]
    if len(got.results) > len(base.results):
        faults.append(f"{len(got.results)} call records instead of {len(base.results)}")
    # a device whose INVITE has a provisional response waits for as long as it likes (RFC 3261 section 17.1.1.2)
    faults += [
        f"{what} ({number})" for what, number in got.odd.items() if what.endswith(("has a call", "for an ACK"))
    ]
    return tuple(faults)


def cell(
    kind: Kind, flow: Flow, place: int, moment: str, spoil: Callable[[SiteSimulation], None] | None = None
) -> tuple[Cell, SiteSimulation]:
    """Run one crash; ``spoil`` as in :func:`play`."""
    sim = simulation_of(flow, kind.standby, kind.setting)
    if spoil is not None:
        spoil(sim)
    crashes = crashes_of(kind, flow, sim, place, moment)
    loses = flow.cold and changes_server(kind)
    got = play_in(sim, flow, *crashes, parting=loses)
    if not loses and refused(kind, got):
        loses, sim = True, simulation_of(flow, kind.standby, kind.setting)
        got = play_in(sim, flow, *crashes_of(kind, flow, sim, place, moment), parting=True)
    faults = parted(bases_of(kind, flow)[0], got) if loses else faults_of(kind, flow, got)
    if crashes[-1].happened_at is None:
        faults = (*faults, NOT_HAPPENED)
    return Cell(kind.name, flow.name, place, moment, places_of(kind, flow)[place], faults), sim


def bases_of(kind: Kind, flow: Flow) -> tuple[Outcome, ...]:
    """What the flow comes to without that crash."""
    return calm_of(flow.name, kind.standby, kind.setting if kind.setting is LEADS else "").outcomes


def faults_of(kind: Kind, flow: Flow, got: Outcome) -> tuple[str, ...]:
    """What is not as without the crash, and should be."""
    bases = bases_of(kind, flow)
    if kind.setting is TAKES_OVER:
        bases, got = tuple(map(without_reasons, bases)), without_reasons(got)
    return min((without_ways(kind, flow, differences(flow, base, got, kind.late)) for base in bases), key=len)


def refused(kind: Kind, got: Outcome) -> bool:
    """Whether no more is asked of the call, as its request was refused after the second server's death."""
    return kind.setting is TAKES_OVER and kind.how is KILL and two_died(got)


class Run(NamedTuple):
    """A run from which cells branch off."""

    flow: str
    standby: bool
    setting: str
    first: int | None
    """Of `FIRSTS`, in takeovers."""
    parting: bool


def run_of(where: Where) -> Run:
    """The one from which a cell branches off."""
    kind, flow = where.kind, where.flow
    first = takeover_of(flow.name, kind)[where.place][0] if kind.setting is TAKES_OVER else None
    return Run(flow.name, kind.standby, kind.setting, first, flow.cold and changes_server(kind))


def branched(run: Run, wheres: Sequence[Where]) -> list[Cell]:
    """These cells, all of that run: as :func:`cell` finds them, in less time."""
    flow, branches = flow_of(run.flow), Branches()
    sim = simulation_of(flow, run.standby, run.setting)
    first = None if run.first is None else first_crash(flow, FIRSTS[run.first])
    asked = dict(zip(map(str, range(len(wheres))), wheres, strict=True))
    by_kind: defaultdict[Kind, defaultdict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for key, (kind, _, place, moment) in asked.items():
        bases_of(kind, flow)  # known before the branches
        index = place if first is None else takeover_of(flow.name, kind)[place][1]
        by_kind[kind][index][moment] = key
    crashes = [
        branches.crash(_crash(kind, flow, sim, 0, kind.moments[0], first), wanted) for kind, wanted in by_kind.items()
    ]
    if first is not None:
        crashes.insert(0, first)

    def faults(got: Outcome, key: str) -> tuple[str, ...]:
        if not run.parting and refused(asked[key].kind, got):
            return cell(*asked[key])[0].faults
        return (
            parted(bases_of(asked[key].kind, flow)[0], got) if run.parting else faults_of(asked[key].kind, flow, got)
        )

    found = branches.run(lambda: play_in(sim, flow, *crashes, parting=run.parting), faults)
    return [
        Cell(
            kind.name, flow.name, place, moment, places_of(kind, flow)[place], tuple(found.get(key, (NOT_HAPPENED,)))
        )
        for key, (kind, _, place, moment) in asked.items()
    ]


class Way(NamedTuple):
    """A difference for which the standards leave no way."""

    name: str
    because: str
    section: str
    fault: re.Pattern[str]
    where: Callable[[Kind, Flow], bool]


def changes_server(kind: Kind) -> bool:
    """Whether another server, or another life of the same, has the calls afterwards."""
    takes = kind.how in (KILL, PAUSE) and kind.node in ("m1", "s1")
    return takes or kind.act == "switchover" or kind.setting is TAKES_OVER


def _of_agents(kind: Kind) -> bool:
    return kind.how in (RESET, PAUSE) and kind.node in AGENTS


def _of_the_dead(kind: Kind, flow: Flow) -> bool:
    return kind.agent_dies


WAYS: Final = (
    Way(
        "it rings",
        "is reported once: a 180, 181 or 183, and the NOTIFY of one, may be lost with a connection, or with the"
        " second of two nodes that fail; the final answer arrives",
        "RFC 3261 section 17.1.1: a provisional response is not acknowledged",
        re.compile(r"\w+ received 1 x (18[013] INVITE\b.*|NOTIFY body=47f3fc2f) less"),
        lambda kind, _: kind.setting is TAKES_OVER or kind.how is RESET or _of_agents(kind) or kind.agent_dies,
    ),
    Way(
        "a stopped agent's timers",
        "repeat to a device what it has answered, before the waiting answers are read",
        "sections 17.1.1.2, 17.1.2.2, 13.3.1.4",
        re.compile(r"\w+: (.* came again|stray ACK) \(.*"),
        lambda kind, _: kind.how is PAUSE and kind.node in AGENTS,
    ),
    Way(
        "a challenge to a request that was sent again",
        "has another nonce, because nothing is remembered of strangers: the device gets it twice",
        "sections 8.2.7, 22.1",
        re.compile(r"\w+ received \d+ x 407 INVITE more"),
        lambda kind, _: kind.how is PAUSE and kind.node in AGENTS,
    ),
    Way(
        "a request that the end of its call overtakes",
        "has arrived, and is answered 481 when the server or agent that knew its answer has died",
        "section 15.1.2",
        re.compile(r"\w+ received 1 x (481 (INFO|REFER|NOTIFY) more|20[02] (INFO|REFER|NOTIFY) less)"),
        lambda kind, _: changes_server(kind) or kind.agent_dies,
    ),
    Way(
        "an answer that crosses a CANCEL",
        "is ended when it turns out that the caller is gone, and the call is recorded as cancelled",
        "section 9.1; docs/decisions.md 68",
        re.compile(r"call records say \[\('cancelled', 487\)\] instead of \[\('answered', 200\)\]"),
        lambda kind, _: kind.setting is TAKES_OVER,
    ),
    Way(
        "an answer that a reliable response has",
        "is repeated in the 2xx where that had to wait for the PRACK",
        "section 13.2.1; RFC 3262 section 5",
        re.compile(r"west received 1 x 200 INVITE( body=9625adb3 more| less)"),
        lambda _, flow: flow.name == "reliable early media",
    ),
    Way(
        "a message that an agent's death may have kept back",
        "is sent again unchanged by the agent's next start: a retransmission to its recipient",
        "sections 13.2.2.4, 17.1.3, 17.2.3; docs/wire.md, An agent's death",
        re.compile(r"\w+: (.* came again \([1-3] x\)|stray ACK \([1-3]\))"),
        _of_the_dead,
    ),
    Way(
        "the ACK of an answer at which an agent died",
        "is sent when the device repeats that answer: not when the call has ended before, nor for a refusal, which"
        " the device repeats until timer H",
        "sections 13.2.2.4, 17.2.1",
        re.compile(r"\w+ received 1 x ACK( body=\w+)? less"),
        _of_the_dead,
    ),
    Way(
        "100",
        "belongs to each hop: an agent that does not have its calls back yet answers 100, and one that died may not",
        "section 17.2.1",
        re.compile(r"\w+ received 1 x 100 INVITE (more|less)"),
        _of_the_dead,
    ),
    Way(
        "a BYE that comes again when its call is over",
        "is answered 481 by an agent that has died since",
        "section 15.1.2",
        re.compile(r"\w+ received 1 x 481 BYE more"),
        _of_the_dead,
    ),
    Way(
        "a challenge of a start that has died",
        "is made once more when its answer comes to the next one, with stale=true: nobody knows any more how often"
        " that nonce was used",
        "RFC 7616 section 3.3; docs/decisions.md 230",
        re.compile(r"\w+ received 1 x 40[17] (INVITE|REGISTER) more"),
        _of_the_dead,
    ),
    Way(
        "a request that a later one of its device overtakes",
        "is answered 500 when it is sent again to an agent that has died since: the agent does not know that it came"
        " before",
        "section 12.2.2",
        re.compile(r"\w+ received 1 x 500 (REFER|INFO) more"),
        _of_the_dead,
    ),
    Way(
        "a session refresh whose answer an agent's death took away",
        "is made once more; so is one that the servers do not know of yet, since such changes are told once a second",
        "RFC 4028 section 7.4; docs/wire.md, An agent's death",
        re.compile(r"\w+ received 1 x (INVITE( body=\w+)?|UPDATE|ACK) more"),
        lambda kind, flow: kind.agent_dies and flow.timed,
    ),
    Way(
        "a change that meets glare",
        "meets it again at each attempt while the device's own change waits for the agent",
        "section 14.1",
        re.compile(r"\w+ received [1-9] x INVITE body=\w+ more"),
        lambda kind, flow: kind.agent_dies and "491 INVITE" in flow.apart,
    ),
)
"""All that is allowed, by name."""


def without_ways(kind: Kind, flow: Flow, faults: tuple[str, ...]) -> tuple[str, ...]:
    """What is left to be explained."""
    ways = [way.fault for way in WAYS if way.where(kind, flow)]
    return tuple(fault for fault in faults if not any(way.fullmatch(fault) for way in ways))


def all_cells(flows: Iterable[Flow] = FLOWS, kinds: Iterable[Kind] = KINDS) -> Iterator[Where]:
    """Where they are."""
    for kind in kinds:
        for flow in flows:
            for place in range(len(places_of(kind, flow))):
                for moment in kind.moments:
                    yield Where(kind, flow, place, moment)


def cells(flows: Iterable[Flow] = FLOWS, kinds: Iterable[Kind] = KINDS, every: int = 1) -> Iterator[Cell]:
    """All of them, or one of so many."""
    yield from tried(islice(all_cells(flows, kinds), 0, None, every))


def tried(wheres: Iterable[Where]) -> Iterator[Cell]:
    """These cells, run by run."""
    for run, some in by_run(wheres).items():
        yield from branched(run, some)


def by_run(wheres: Iterable[Where]) -> dict[Run, list[Where]]:
    """The runs from which these cells branch off."""
    runs: defaultdict[Run, list[Where]] = defaultdict(list)
    for where in wheres:
        runs[run_of(where)].append(where)
    return runs


RUNS: Final = """\
There are 82,318 cells of 36 flows. The tables below are of 29 November 2026. On 30 November 2026 every cell of the
four flows with reliable responses was tried (`--flow reliable`, 8,278), and of the 5,308 of the two flows with UPDATE
2,221, drawn by chance: none failed. The remaining cells with UPDATE, those of transfers and some half of those
of the other 28 flows have not been tried yet. Of pairs, seeds 0 to 1,999 were tried. One failed because an allowed
difference was missing in the list, the answer in an ACK. Two found faults, which were corrected: a server that became
active again did not believe a BYE that its agent had kept, and a callee rang until `agent_grace` for a caller whose
agent was back without the call."""
"""What was tried, and when."""

INTRO: Final = f"""\
# The crash matrix

Generated by `python -m tests.stories.matrix --write`. A simulated network runs whole sites (servers, agents,
devices). At each message that a node receives, and at each of its timers, the node fails: *before* it handled the
message, after it handled it but with the resulting messages *unsent*, or *partly* sent (only the first of them), or
just *after* they were sent. Each of these cases is a cell. A cell is good when every call ends as it does without a
failure and at most {LATE_S:g} s later ({LATER_S:g} s after two failures), every device has received the same messages
the same number of times, there is one call record with the same result for each call, and nothing is left over
anywhere. Where two sides act at once, each order that can occur without a failure counts as the same.

Repeated messages count. A device may receive a message again only where a timer of its own has asked for it:

{"".join(f"* {timer.name}: {timer.because}." + chr(10) for timer in TIMERS)}
Further differences are allowed only where the standards leave no other way. They have names:

{"".join(f"* *{way.name}* {way.because} ({way.section})." + chr(10) for way in WAYS)}\
* *a request of which two servers died* is answered 500 by its agent (docs/wire.md), so that no third server dies.
* *the calls of a cold line* need not go on when the server changes: they end on both sides, each has at most one
  record, and nothing is left of them.

Pairs of failures of any nodes are drawn by chance: `python -m tests.stories.pairs --seeds 2000`. When an agent and a
server die, the calls of that agent only have to end as those of a cold line do (docs/how-it-works.md).

{RUNS}

"""


def page(found: list[Cell], every: int = 1, of: int = 0) -> str:
    """docs/matrix.md. ``of``: so many cells there are elsewhere, of which only some were tried."""
    lines = []
    by_kind: defaultdict[str, defaultdict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        by_kind[one.kind][one.flow].append(one)
    for kind in KINDS:
        if kind.name in by_kind:
            lines += _table(kind, by_kind[kind.name])
    others = [kind for kind in ELSEWHERE if kind.name in by_kind]
    if others:
        lines += _others(others, by_kind, every, of)
    bad = [one for one in found if one.faults]
    lines += [f"{len(found) - len(bad)} of {len(found)} cells are good.", "", "## Cells that fail", ""]
    lines += [
        f"* {one.kind}, {one.flow}, message {one.place} ({one.message}), {one.moment}: {'; '.join(one.faults)}"
        for one in bad
    ]
    return INTRO + "\n".join(lines if bad else [*lines, "None."]) + "\n"


def _table(kind: Kind, flows: dict[str, list[Cell]]) -> list[str]:
    lines = [
        f"## {kind.name.capitalize()}: {kind.means}",
        "",
        "| flow | messages | " + " | ".join(kind.moments) + " |",
        "| --- | --- | " + " | ".join("---" for _ in kind.moments) + " |",
    ]
    for flow, row in flows.items():
        numbers = [_share([one for one in row if one.moment == moment]) for moment in kind.moments]
        lines.append(f"| {flow} | {len(row) // len(kind.moments)} | " + " | ".join(numbers) + " |")
    return [*lines, ""]


def _others(
    kinds: Sequence[Kind], by_kind: dict[str, defaultdict[str, list[Cell]]], every: int, of: int
) -> list[str]:
    """One row a kind: the cells of all flows."""
    number = sum(len(row) for kind in kinds for row in by_kind[kind.name].values())
    tried = f"{number:,} cells of {of:,}, drawn by chance," if of > number else "every cell"
    tried = tried if every == 1 else f"one cell of {every}"
    every_flow = (*FLOWS, *SERVED_FLOWS)
    absent = [flow.name for flow in every_flow if not any(flow.name in by_kind[kind.name] for kind in kinds)]
    lines = [
        f"## Elsewhere, {tried} of {len(every_flow) - len(absent)} flows",
        "",
        *([f"Not of {len(absent)}: {', '.join(absent)}.", ""] if absent else []),
        "| what happens | to | at | good |",
        "| --- | --- | --- | --- |",
    ]
    for kind in kinds:
        row = [one for flow in by_kind[kind.name].values() for one in flow]
        where = f"{kind.what}, {kind.setting}" if kind.setting else kind.what
        lines.append(f"| {kind.name}: {kind.means} | {kind.node} | {where} | {_share(row)} |")
    return [*lines, ""]


def _share(cells: Sequence[Cell]) -> str:
    return f"{sum(not one.faults for one in cells)}/{len(cells)}"


class Job(NamedTuple):
    """What a process of its own is asked for."""

    run: Run
    cells: tuple[tuple[str, int, str], ...]
    """Kind, place and moment."""


def _jobs_of(wheres: Iterable[Where]) -> list[Job]:
    return [
        Job(run, tuple((kind.name, place, moment) for kind, _, place, moment in some[at : at + MOST_OF_A_JOB]))
        for run, some in by_run(wheres).items()
        for at in range(0, len(some), MOST_OF_A_JOB)
    ]


def _cells_of(job: Job) -> list[Cell]:
    """In a process of its own."""
    logging.disable(logging.CRITICAL)
    kinds = {kind.name: kind for kind in (*KINDS, *ELSEWHERE)}
    flow = flow_of(job.run.flow)
    return branched(job.run, [Where(kinds[kind], flow, place, moment) for kind, place, moment in job.cells])


def kept_in(kept: Path | None) -> list[Cell]:
    """The cells that former runs put down there, the last result of each."""
    if kept is None or not kept.exists():
        return []
    rows = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
    found = {
        (kind, flow, place, moment): Cell(kind, flow, place, moment, message, tuple(faults))
        for kind, flow, place, moment, message, faults in rows
    }
    return list(found.values())


def run_all(
    wheres: Sequence[Where], processes: int, kept: Path | None = None, minutes: float = math.inf
) -> list[Cell]:
    """All of them, with progress on standard error and each that fails on standard output; ``kept`` has some already
    and is given the others, by chance so that a part of them stands for all. Those that ``minutes`` are enough for.
    """
    asked = {(where.kind.name, where.flow.name, where.place, where.moment): where for where in wheres}
    known = {one[:4]: one for one in kept_in(kept)}
    found = {key: known[key] for key in asked if key in known}
    left = [key for key in asked if key not in found]
    random.Random(len(asked)).shuffle(left)
    jobs = [
        job for at in range(0, len(left), AT_ONCE) for job in _jobs_of(asked[key] for key in left[at : at + AT_ONCE])
    ]
    began, number = time.monotonic(), 0
    with multiprocessing.Pool(processes) as pool:
        for done in pool.imap_unordered(_cells_of, jobs):
            for one in done:
                found[one[:4]] = one
                if one.faults:
                    print(one, flush=True)
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(one) + "\n" for one in done)
            number += len(done)
            if number // 500 > (number - len(done)) // 500 or number == len(left):
                more = (time.monotonic() - began) / number * (len(left) - number)
                print(f"{len(found)} of {len(asked)}, {more / 60:.0f} min left", file=sys.stderr, flush=True)
            if time.monotonic() - began > 60 * minutes:
                break
    return [found[key] for key in asked if key in found]


def main() -> int:
    """Write the page, or show one cell."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories.matrix", description=__doc__)
    parser.add_argument("--kind", default="", help="only kinds whose name contains this")
    parser.add_argument("--flow", default="", help="only flows whose name contains this")
    parser.add_argument("--place", type=int, help="show the run with the crash at this place")
    parser.add_argument("--moment", choices=MOMENTS, default=MOMENTS[0])
    parser.add_argument("--every", type=int, default=1, help="of the kinds elsewhere, one cell of so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--to", type=Path, metavar="FILE", help="keep the cells there, and go on from what it has")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long")
    parser.add_argument("--tried", action="store_true", help="try nothing: the page of what FILE has")
    parser.add_argument("--write", action="store_true", help="write docs/matrix.md")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    flows = [flow for flow in (*FLOWS, *SERVED_FLOWS) if options.flow in flow.name]
    kinds = [kind for kind in KINDS if options.kind in kind.name]
    others = [kind for kind in ELSEWHERE if options.kind in kind.name]
    if options.place is not None:
        one, sim = cell((*kinds, *others)[0], flows[0], options.place, options.moment)
        print(sim.world.ladder(3000, calls_only=True))
        print("\n".join((*sim.said, *map(str, sim.records), str(one))))
        return 0
    wheres = [*all_cells(flows, kinds), *islice(all_cells(flows, others), 0, None, options.every)]
    if options.tried:
        asked = {(where.kind.name, where.flow.name, where.place, where.moment) for where in wheres}
        found = [one for one in kept_in(options.to) if one[:4] in asked]
    else:
        found = run_all(wheres, options.jobs, options.to, options.minutes)
    text = page(found, options.every, sum(where.kind in others for where in wheres))
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.faults for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
