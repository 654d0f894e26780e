"""python -m tests.stories.matrix

The active server dies at every message of every flow; what became of the calls is written to docs/matrix.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from examples.softphone_call import ENDED
from tests.stories.flows import FLOWS, Flow
from tests.stories.town import Town
from tests.wires import Delivery
from tests.world import MOMENTS, Crash, method_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "matrix.md"
LIMIT_S: Final = 60.0
SETTLED_S: Final = 45.0
"""After the last call ended: longer than 64*T1, so that every repeat has come."""


class Outcome(NamedTuple):
    """What a run came to."""

    heard: dict[str, Counter[str]]
    """By device."""
    calls: dict[str, list[tuple[str, int, bool]]]
    """By device: state, status, whether it was answered."""
    results: Sequence[tuple[str, int]]
    """Of the call records after the merge."""
    odd: Counter[str]


class Cell(NamedTuple):
    """One crash."""

    flow: str
    place: int
    moment: str
    message: str
    """The message at which it happened."""
    faults: tuple[str, ...]


def of_calls(delivery: Delivery) -> bool:
    """Messages of calls: not beats, not what a takeover is made of."""
    return method_of(delivery.data) not in ("OPTIONS", "SUBSCRIBE", "NOTIFY", "REGISTER")


def play(flow: Flow, crash: Crash | None = None, seed: int = 1) -> tuple[Town, Outcome]:
    """Run a flow to its end."""
    town = Town(seed, flow.who, start=flow.starts_at)
    town.world.crash = crash
    flow.play(town)

    def over() -> bool:
        calls = [call for name in flow.who for call in town.line(name).calls.values()]
        return bool(calls) and all(call.state is ENDED for call in calls)

    states: dict[str, list[tuple[str, int, bool]]] = {}
    town.world.run_until(over, LIMIT_S)
    town.world.run(town.world.now + 1.0)
    for name in flow.who:
        calls = town.line(name).calls.values()
        states[name] = sorted((call.state, call.status, call.answered_at > 0) for call in calls)
    town.world.run(town.world.now + SETTLED_S)
    odd: Counter[str] = Counter()
    for name in flow.who:
        odd.update({f"{name}: {what}": number for what, number in town.odd(name).items()})
    for name in town.site.servers:
        if town.world.nodes[name].alive and (left := len(town.server(name).calls)):
            odd[f"{name} still has a call"] = left
    for name in town.site.agents:
        left = sum(1 for call in town.agent(name).calls.values() if not getattr(call, "ended", None))
        if left:
            odd[f"{name} still has a call"] = left
    heard = {name: town.heard(name) for name in flow.who}
    results = sorted((record.result, record.status) for record in town.cdrs)
    return town, Outcome(heard, states, results, odd)


@cache
def calm(name: str, seed: int = 1) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """The outcomes without a crash, and the messages that the active server received in the first run."""
    flow = next(flow for flow in FLOWS if flow.name == name)
    messages: list[str] = []

    def noted(delivery: Delivery) -> bool:
        if of_calls(delivery):
            messages.append(_start(delivery))
        return False

    crash = Crash("m1", -1, "", noted)
    outcomes = [play(flow, crash, seed)[1]]
    for other in flow.others:
        _, outcome = play(flow._replace(play=other), None, seed)
        if outcome not in outcomes:
            outcomes.append(outcome)
    return tuple(outcomes), tuple(messages)


def _start(delivery: Delivery) -> str:
    first = delivery.data[:12].decode("latin-1")
    status = f"{first[8:11]} " if first.startswith("SIP/2.0 ") else ""
    return f"{status}{method_of(delivery.data)} from {delivery.source}"


def differences(flow: Flow, base: Outcome, got: Outcome) -> tuple[str, ...]:
    """What a crash changed, one sentence each; none: all is well."""
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
    faults += [f"{what} ({number})" for what, number in (got.odd - base.odd).items()]
    return tuple(faults)


def cell(flow: Flow, index: int, moment: str, seed: int = 1) -> tuple[Cell, Town]:
    """Run one crash."""
    bases, messages = calm(flow.name, seed)
    crash = Crash("m1", index, moment, of_calls)
    town, got = play(flow, crash, seed)
    faults = min((differences(flow, base, got) for base in bases), key=len)
    if crash.happened_at is None:
        faults = (*faults, "the crash did not happen")
    return Cell(flow.name, index, moment, messages[index], faults), town


def cells(flows: Iterable[Flow] = FLOWS, moments: Iterable[str] = MOMENTS) -> list[Cell]:
    """All of them."""
    return [
        cell(flow, index, moment)[0]
        for flow in flows
        for index in range(len(calm(flow.name)[1]))
        for moment in moments
    ]


def page(found: list[Cell]) -> str:
    """docs/matrix.md."""
    lines = [
        "# The crash matrix",
        "",
        "Generated by `python -m tests.stories.matrix --write`. In the simulated World the active server of a site",
        "with a stand-by is killed at every message of a call that it receives: *before* it read the message, with",
        "the message dealt with and its consequences *unsent* or *partly* sent (the first of them), or just *after*",
        "they were sent. A cell is good when every call comes to the same end as without a crash, every device has",
        "received the same messages, repeats apart, there is one call record for each call with the same result, and",
        "nothing is left over anywhere.",
        "",
        "| flow | messages | " + " | ".join(MOMENTS) + " |",
        "| --- | --- | " + " | ".join("---" for _ in MOMENTS) + " |",
    ]
    table: defaultdict[str, defaultdict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        table[one.flow][one.moment].append(one)
    for flow, row in table.items():
        numbers = [f"{sum(not one.faults for one in row[moment])}/{len(row[moment])}" for moment in MOMENTS]
        lines.append(f"| {flow} | {len(row[MOMENTS[0]])} | " + " | ".join(numbers) + " |")
    bad = [one for one in found if one.faults]
    good = len(found) - len(bad)
    lines += ["", f"{good} of {len(found)} cells are good.", "", "## Cells that fail", ""]
    if not bad:
        lines.append("None.")
    for one in bad:
        lines.append(f"* {one.flow}, message {one.place} ({one.message}), {one.moment}: {'; '.join(one.faults)}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or show one cell."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories.matrix", description=__doc__)
    parser.add_argument("--flow", default="", help="only flows whose name contains this")
    parser.add_argument("--index", type=int, help="show the run with the crash at this message")
    parser.add_argument("--moment", choices=MOMENTS, default=MOMENTS[0])
    parser.add_argument("--write", action="store_true", help="write docs/matrix.md")
    options = parser.parse_args()
    flows = [flow for flow in FLOWS if options.flow in flow.name]
    if options.index is not None:
        one, town = cell(flows[0], options.index, options.moment)
        print(town.world.ladder(3000, calls_only=True))
        print("\n".join(town.said))
        print(one)
        return 0
    found = cells(flows)
    text = page(found)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.faults for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
