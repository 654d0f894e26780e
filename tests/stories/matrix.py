"""python -m tests.stories.matrix

The active server dies at every message of every flow; what became of the calls is written to docs/matrix.md.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from examples.softphone_call import ENDED
from tests.stories.flows import FLOWS, Flow
from tests.stories.repeats import TIMERS, Repeats
from tests.stories.site_simulation import SiteSimulation, site_of
from tests.wires import Delivery
from tests.world import AFTER, BEFORE, KILL, MOMENTS, PAUSE, RESET, Crash, method_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "matrix.md"
LIMIT_S: Final = 60.0
LATE_S: Final = 4.0
"""So much later than without a crash the last call may have ended: a takeover takes some two seconds."""
SETTLED_S: Final = 8.0
"""After the last call ended: longer than the longest interval between repeats."""


class Kind(NamedTuple):
    """One way to fail."""

    name: str
    how: str
    moments: tuple[str, ...]
    lasts: float = 0.0
    standby: bool = True
    means: str = ""


KINDS: Final = (
    Kind("kill", KILL, MOMENTS, means="the active server of a site with a stand-by is killed and stays dead"),
    Kind(
        "restart", KILL, MOMENTS, 1.0, False, "a server without a stand-by is killed and started again a second later"
    ),
    Kind("pause", PAUSE, (BEFORE, AFTER), 6.0, means="the active server stands still (SIGSTOP) for 6 s"),
    Kind("reset", RESET, (BEFORE, AFTER), means="the connection between agent and server breaks"),
)


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
    """The message at which it happened."""
    faults: tuple[str, ...]


def of_calls(delivery: Delivery) -> bool:
    """Messages of calls: not beats, not what a takeover is made of."""
    return method_of(delivery.data) not in ("OPTIONS", "SUBSCRIBE", "NOTIFY", "REGISTER")


def play(
    flow: Flow,
    crash: Crash | None = None,
    standby: bool = True,
    spoil: Callable[[SiteSimulation], None] | None = None,
) -> tuple[SiteSimulation, Outcome]:
    """Run a flow to its end; ``spoil`` puts a fault into the site before, to see that it is found."""
    sim = SiteSimulation(1, flow.who, site_of(standby=standby), start=flow.starts_at)
    if spoil is not None:
        spoil(sim)
    return sim, play_in(sim, flow, *([crash] if crash is not None else []))


def play_in(sim: SiteSimulation, flow: Flow, *crashes: Crash) -> Outcome:
    """Run a flow in that site."""
    world = sim.world
    world.crashes.extend(crashes)
    repeats = Repeats(flow.who)
    world.listeners.append(repeats.note)
    flow.play(sim)

    def over() -> bool:
        calls = [call for name in flow.who for call in sim.line(name).calls.values()]
        return bool(calls) and all(call.state is ENDED for call in calls)

    world.run_until(over, LIMIT_S)
    lasted = world.now - flow.starts_at
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


@cache
def calm(name: str, standby: bool = True) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """The outcomes without a crash, and the messages that the active server received in the first run."""
    flow = next(flow for flow in FLOWS if flow.name == name)
    messages: list[str] = []

    def noted(delivery: Delivery) -> bool:
        if of_calls(delivery):
            messages.append(_start(delivery))
        return False

    crash = Crash("m1", -1, "", noted)
    outcomes = [play(flow, crash, standby)[1]]
    for other in flow.others:
        _, outcome = play(flow._replace(play=other), None, standby)
        if outcome not in outcomes:
            outcomes.append(outcome)
    return tuple(outcomes), tuple(messages)


def _start(delivery: Delivery) -> str:
    first = delivery.data[:12].decode("latin-1")
    status = f"{first[8:11]} " if first.startswith("SIP/2.0 ") else ""
    return f"{status}{method_of(delivery.data)} from {delivery.source}"


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


def cell(
    kind: Kind, flow: Flow, place: int, moment: str, spoil: Callable[[SiteSimulation], None] | None = None
) -> tuple[Cell, SiteSimulation]:
    """Run one crash; ``spoil`` as in :func:`play`."""
    bases, messages = calm(flow.name, kind.standby)
    crash = Crash("m1", place, moment, of_calls, kind.how, kind.lasts)
    sim, got = play(flow, crash, kind.standby, spoil)
    faults = min((differences(flow, base, got) for base in bases), key=len)
    if crash.happened_at is None:
        faults = (*faults, "the crash did not happen")
    return Cell(kind.name, flow.name, place, moment, messages[place], faults), sim


def cells(flows: Iterable[Flow] = FLOWS, kinds: Iterable[Kind] = KINDS) -> Iterator[Cell]:
    """All of them."""
    for kind in kinds:
        for flow in flows:
            for place in range(len(calm(flow.name, kind.standby)[1])):
                for moment in kind.moments:
                    yield cell(kind, flow, place, moment)[0]


INTRO: Final = f"""\
# The crash matrix

Generated by `python -m tests.stories.matrix --write`: the simulated World runs whole sites (servers,
agents, softphones), and something happens to the active server at every message of a call that it
receives: *before* it read the message, with the message dealt with and its consequences *unsent* or
*partly* sent (the first of them), or just *after* they were sent. A cell is good when every call comes to
the same end as without a crash and at most {LATE_S:g} s later, every device has received the same messages, each
as often, there is one call record for each call with the same result, and nothing is left over anywhere.
Where two sides act at once, each order that can come about without a crash counts as the same.

Repeats count. A device may receive a message again only where a timer of its own has asked for it:

{"".join(f"* {timer.name}: {timer.because}." + chr(10) for timer in TIMERS)}
Crashes at messages that are not of calls (OPTIONS, SUBSCRIBE, NOTIFY, REGISTER), of agents' connections at any
message that an agent receives, and of the stand-by or a connection in the middle of a takeover are tried from
seeds: `python -m tests.stories.wider SEED` shows one.

"""


def page(found: list[Cell]) -> str:
    """docs/matrix.md."""
    lines = []
    by_kind: defaultdict[str, defaultdict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        by_kind[one.kind][one.flow].append(one)
    for kind in KINDS:
        if kind.name in by_kind:
            lines += _table(kind, by_kind[kind.name])
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
        numbers = []
        for moment in kind.moments:
            at = [one for one in row if one.moment == moment]
            numbers.append(f"{sum(not one.faults for one in at)}/{len(at)}")
        lines.append(f"| {flow} | {len(row) // len(kind.moments)} | " + " | ".join(numbers) + " |")
    return [*lines, ""]


def main() -> int:
    """Write the page, or show one cell."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories.matrix", description=__doc__)
    parser.add_argument("--kind", default="", help="only this kind")
    parser.add_argument("--flow", default="", help="only flows whose name contains this")
    parser.add_argument("--place", type=int, help="show the run with the crash at this message")
    parser.add_argument("--moment", choices=MOMENTS, default=MOMENTS[0])
    parser.add_argument("--write", action="store_true", help="write docs/matrix.md")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    flows = [flow for flow in FLOWS if options.flow in flow.name]
    kinds = [kind for kind in KINDS if options.kind in kind.name]
    if options.place is not None:
        one, sim = cell(kinds[0], flows[0], options.place, options.moment)
        print(sim.world.ladder(3000, calls_only=True))
        print("\n".join((*sim.said, *map(str, sim.records), str(one))))
        return 0
    found = []
    for one in cells(flows, kinds):
        found.append(one)
        if one.faults:
            print(one, flush=True)
    text = page(found)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.faults for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
