"""The key of the site is changed under calls, in the three steps of docs/deploy.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2bua.alerts import alerts
from heartbeat.site import load as sites
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.stories.test_stories import begun, part, serve, taken_over

OLD, NEW = '{ env = "TOWN_KEY" }', '{ env = "NEXT_KEY" }'
BOTH = (OLD, NEW)
SWAPPED = (NEW, OLD)
NEW_ALONE = (NEW, "")


def apply_keys(sim: SiteSimulation, keys: tuple[str, str]) -> None:
    """All nodes read a file with this key, and the previous one."""
    key, previous = keys
    words = [f"key = {key}", *([f"previous_key = {previous}"] if previous else [])]
    text = text_of().replace(f"key = {OLD}", "\n".join(words))
    sim.site = sites.parse(text, Path("town.toml"), {**KEYS, "NEXT_KEY": "another key of the town, as long"})
    sim.reload(sim.site)
    sim.world.run(sim.world.now + 3.0)


def warned(sim: SiteSimulation) -> str:
    """What the active server says of tokens of the former key."""
    [active] = sim.active
    core, node = sim.server(active), sim.world.nodes[active]
    return " ".join(each.text for each in alerts(core, node.clock(sim.world.now)) if each.code == "former-key")


@pytest.mark.parametrize("who", ["west", "east"])
@pytest.mark.parametrize("verb, arguments", [("hold", ()), ("info", ("1",))])
@pytest.mark.parametrize("dies", [False, True])
def test_a_call_in_which_something_is_said_outlives_the_old_key(
    who: str, verb: str, arguments: tuple[str, ...], dies: bool
) -> None:
    """``dies``: a server dies in the middle of the change, and the next one knows which tokens are old."""
    sim = begun()
    call, other = sim.talk()
    apply_keys(sim, BOTH)
    assert not warned(sim)
    apply_keys(sim, SWAPPED)
    if dies:
        sim.world.kill("m1")
        taken_over(sim)
        sim.world.start("m1")
        sim.world.run(sim.world.now + 5.0)
    assert warned(sim).startswith("1 call has state tokens that the former key has signed")
    sim.do(who, verb, call if who == "west" else other, *arguments)
    sim.world.run(sim.world.now + 1.0)
    assert not warned(sim)
    if verb == "hold":
        sim.do(who, "resume", call if who == "west" else other)
        sim.world.run(sim.world.now + 1.0)
    apply_keys(sim, NEW_ALONE)
    [active] = sim.active
    sim.world.kill(active)
    taken_over(sim, "s1" if active == "m1" else "m1")
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_both_ends_of_a_call_may_be_at_one_agent() -> None:
    sim = begun(who=("bert", "carl"))
    call, other = sim.talk("bert", "1003", "carl")
    apply_keys(sim, BOTH)
    apply_keys(sim, SWAPPED)
    sim.do("bert", "info", call, "1")
    sim.world.run(sim.world.now + 1.0)
    assert not warned(sim)
    apply_keys(sim, NEW_ALONE)
    sim.world.kill("m1")
    taken_over(sim)
    serve(sim, call, other, ("bert", "carl"))
    part(sim, "carl", other, call, ["answered"])


def test_a_call_that_has_ended_is_not_waited_for() -> None:
    sim = begun()
    call, other = sim.talk()
    apply_keys(sim, BOTH)
    apply_keys(sim, SWAPPED)
    assert warned(sim)
    part(sim, "east", other, call, ["answered"])
    assert not warned(sim)


def test_a_call_that_ended_before_the_change_is_no_stranger_s() -> None:
    sim = begun()
    part(sim, "west", *sim.talk(), ["answered"])
    for keys in (BOTH, SWAPPED, NEW_ALONE):
        apply_keys(sim, keys)
    sim.world.kill("m1")
    taken_over(sim)
    assert not sim.server("s1").stack.counters["bad token"]
    assert [record.result for record in sim.cdrs] == ["answered"]
