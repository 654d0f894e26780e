"""Sites of which a part still runs the former version: calls, takeovers from one version to the other, upgrades."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.softphone_call import ENDED
from heartbeat.agent_key import OWN, SITE
from tests.agent_keys import own_site
from tests.stories import former, matrix
from tests.stories.former import MIXES, Former, MixedSimulation
from tests.stories.own_trunks import text_with_own_trunk
from tests.stories.rules import Rules
from tests.stories.test_stories import heard, part, serve, taken_over
from tests.world import MOMENTS


@pytest.fixture(scope="module")
def old_version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Former]:
    packages = former.archive()
    if not packages:
        pytest.skip(former.MISSING)
    with former.former_in(tmp_path_factory.mktemp("former"), packages) as process:
        yield process


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_calls_survive_the_way_from_one_version_to_the_other(mix: former.Mix, old_version: Former) -> None:
    """Every other flow, with one crash, in each mix another; ``python -m tests.stories.former`` tries them all."""
    for number, flow in list(enumerate(former.KNOWN))[MIXES.index(mix) % 2 :: 2]:
        calm, places = former.calm(old_version, mix, flow)
        reference, _ = matrix.calm(flow.name)
        assert (calm.calls, calm.results) in [(one.calls, one.results) for one in reference], flow.name
        assert not calm.again and not calm.odd, (flow.name, calm)
        at = MIXES.index(mix) * 3 + number
        faults = former.crashed(old_version, mix, flow, at % places, MOMENTS[at % len(MOMENTS)])
        assert not faults, (flow.name, at % places, MOMENTS[at % len(MOMENTS)])


@pytest.mark.parametrize(
    ("old", "kept"),
    [({"gw1", "gw2"}, True), ({"s1"}, False), ({"m1"}, False)],
    ids=["agents old", "to an old server", "from an old server"],
)
def test_a_call_over_a_trunk_of_the_servers_is_kept_between_new_ones_and_ends_with_an_old_one(
    old: set[str], kept: bool, old_version: Former
) -> None:
    sim = MixedSimulation(old_version, old, text=text_with_own_trunk())
    Rules(sim)
    call, other = sim.talk()
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    if kept:
        serve(sim, call, other)
        part(sim, "west", call, other, ["answered"])
    else:
        assert sim.world.run_until(lambda: call.state is ENDED, 20.0), sim.world.ladder(60)
        sim.world.run(sim.world.now + 1.0)
        assert [record.result for record in sim.cdrs] == ["answered"]
        assert not any(sim.calls_of(name) for name in ("s1", "gw1", "gw2"))


def replaced(sim: MixedSimulation, name: str, old: bool) -> None:
    """Its process ends, and one of the other version starts on its disk."""
    sim.world.kill(name)
    (sim.old.add if old else sim.old.discard)(name)
    sim.world.run(sim.world.now + 0.5)
    sim.world.start(name)
    sim.world.run(sim.world.now + 3.0)


@pytest.mark.parametrize("back", [False, True], ids=["upgrade", "back to the former version"])
def test_a_site_changes_its_version_under_a_call(back: bool, old_version: Former) -> None:
    """As docs/deploy.md has it: the stand-by, a switchover, the other server, a switchover; agents without calls."""
    nodes = {"m1", "s1", "gw1", "gw2"}
    sim = MixedSimulation(old_version, set() if back else set(nodes))
    Rules(sim)
    call, other = sim.talk()
    before = heard(sim)
    replaced(sim, "s1", back)
    sim.switchover("m1")
    taken_over(sim)
    replaced(sim, "m1", back)
    sim.switchover("s1")
    taken_over(sim, "m1")
    assert heard(sim) == before
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])
    for name in ("gw1", "gw2"):
        replaced(sim, name, back)
    assert sim.old == (nodes if back else set())
    call, other = sim.talk()
    sim.world.kill("m1")
    taken_over(sim)
    part(sim, "east", other, call, ["answered", "answered"])


@pytest.mark.parametrize("old", ["gw1", "gw2"])
def test_beside_an_old_agent_a_new_one_may_have_a_key_of_its_own(old: str, old_version: Former) -> None:
    sim = MixedSimulation(old_version, {old})
    own = "gw2" if old == "gw1" else "gw1"
    sim.own_sites[own] = own_site(sim.site, own)
    replaced(sim, own, False)
    Rules(sim)
    call, other = sim.talk()
    sim.world.kill("m1")
    taken_over(sim)
    sorts = {name: sim.server("s1").leadership.keyring.sort_of(name) for name in ("gw1", "gw2")}
    assert sorts == {own: OWN, old: SITE}
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])
