"""The vote machine, searched. The deeper searches are a command: ``python -m tests.search``."""

from __future__ import annotations

import random

import pytest

from heartbeat.detector import Detector
from tests.search import node
from tests.search.explorer import (
    CLAIM,
    CRASH,
    CUT,
    DIE,
    DOUBLE,
    HOLD,
    LOSE,
    MISFORTUNES,
    SLIP,
    STOP,
    SUSPECT,
    SWITCH,
    Broken,
    Explorer,
    State,
)
from tests.search.node import Node, Unknown, facts_of, key_of
from tests.search.planted import PLANTED, Planted
from tests.search.sites import site


@pytest.mark.parametrize("agents, begin", ((3, "peace"), (2, "peace"), (3, "won")))
def test_no_rule_breaks_by_one_misfortune_of_any_kind(agents: int, begin: str) -> None:
    result = Explorer(site(agents), MISFORTUNES, 1).search(begin)
    assert result.found is None, str(result.found)
    assert result.whole and result.states > 1000


@pytest.mark.parametrize(
    "kinds",
    (
        (CLAIM, LOSE),
        (CLAIM, HOLD),
        (CLAIM, DOUBLE),
        (SWITCH, HOLD),
        (SLIP, STOP),
        (SLIP, CUT, SUSPECT),
        (CRASH, DIE),
    ),
    ids="+".join,
)
def test_no_rule_breaks_by_two_misfortunes(kinds: tuple[str, ...]) -> None:
    result = Explorer(site(), frozenset(kinds), 2).search(most_states=4_000)
    assert result.found is None, str(result.found)


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_the_search_finds(fault: Planted) -> None:
    with fault.planted():
        result = Explorer(site(), fault.kinds, fault.most).search(fault.begin, most_states=60_000)
    assert result.found is not None, f"not found: {fault.rule}"
    assert str(result.found).endswith(f"BROKEN: {result.found.rule}")


class Unmerged(Explorer):
    """Takes no two states for one: each core is the one that lived through all that came before."""

    def _enter(self, node: Node) -> int:
        self._reps.append(node)
        self._facts.append(facts_of(node))
        return len(self._reps) - 1

    def alike(self, other: Explorer, here: State, there: State) -> bool:
        """Whether ``here`` is what ``other`` takes for ``there``."""
        nodes = zip(here.nodes, there.nodes, strict=True)
        return (
            here._replace(nodes=(), flight=(), held=(), past=0)
            == there._replace(nodes=(), flight=(), held=(), past=0)
            and self._pasts[here.past] == other._pasts[there.past]
            and [self._whole(m) for m in here.flight] == [other._whole(m) for m in there.flight]
            and [self._whole(h.message) for h in here.held] == [other._whole(h.message) for h in there.held]
            and all(key_of(self._reps[mine]) == key_of(other._reps[theirs]) for mine, theirs in nodes)
        )


@pytest.mark.parametrize("seed", range(12))
def test_states_that_the_search_takes_for_one_are_alike(seed: int) -> None:
    """A walk through the search and one with cores that were never merged see the same at every step."""
    rng = random.Random(seed)
    most = 6
    merged, real = Explorer(site(), MISFORTUNES, most), Unmerged(site(), MISFORTUNES, most)
    here, there = merged.peace(), real.won()
    while not real.alike(merged, there, here):
        there = real.step(there, real._onward(there))
    for _ in range(150):
        steps = list(merged.steps(here))
        onward = [step for step in steps if step[0] in ("round", "tick")]
        step = rng.choice(onward if onward and rng.random() < 0.8 else steps)
        try:
            here = merged.step(here, step)
        except Broken as broken:
            pytest.fail(str(broken))
        there = real.step(there, step)
        assert real.alike(merged, there, here), f"after {step}"


def test_a_field_that_the_search_does_not_know_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    init = Detector.__init__

    def with_one_more(self: Detector, *args: object) -> None:
        init(self, *args)  # type: ignore[arg-type]
        self.new_at = 1.5  # type: ignore[attr-defined]

    monkeypatch.setattr(Detector, "__init__", with_one_more)
    monkeypatch.setattr(node, "_NAMES", {})
    with pytest.raises(Unknown, match="new_at"):
        Explorer(site(), frozenset(), 0).peace()


def test_a_key_tells_nodes_apart_that_heard_at_different_times() -> None:
    explorer = Explorer(site(), frozenset(), 0)
    state = explorer.peace()
    now = explorer._reps[state.nodes[2]]
    later = explorer._reps[explorer._do(state.nodes[2], ("wait", 1, False))[0]]
    assert key_of(now) != key_of(later)
