"""A stolen agent: somebody has gw1's own key and all that is on its disk, and says whatever he likes.

He has one vote, the lines of gw1 and their calls. He cannot pass for another node, to anybody.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from b2bua.state_token import read, sign
from gateway_agent import seal
from heartbeat import carriage
from heartbeat.agent_key import derive
from heartbeat.agent_voter import AgentVoter
from heartbeat.handshake import Initiator
from heartbeat.header import BEAT, CONSOLE, FETCH, GRANT, OPEN, PING, PREVOTE, PROOF, QUERY, RELEASE, VOTERS, Beat
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import FORCED, Proof, VoterList, sign_grant
from heartbeat.site.model import Site
from heartbeat.site.values import Secret
from sip.actions import Flow
from sip.wire.message import Request, Response, parse
from tests.agent_keys import own_site
from tests.b2bua.fake import KEY, Bench, site_of
from tests.b2bua.fake_agent import AGENTS, FakeAgent, ServerFixture, record
from tests.stories.site_simulation import SiteSimulation
from tests.stories.site_simulation import site_of as town_of
from tests.stories.test_stories import part, serve, taken_over

SITE_KEY = KEY.encode()
STOLEN = derive(SITE_KEY, "paris", "gw1")
TOWN_KEY = b"a key of the town, long enough"
VIA = "Via: SIP/2.0/TCP 127.0.0.66;branch=z9hG4bKt"


class Own(ServerFixture):
    """A server with two agents that have keys of their own."""

    def __init__(self, text: str = AGENTS) -> None:
        self.bench = Bench(site_of(text))
        self.gw1 = self.agent("gw1", "alice")
        self.gw2 = self.agent("gw2", "bob", 40002)
        self.bench.serve()
        self.bench.after(1)
        assert self.bench.core.agents.all_complete
        assert self.bench.core.leadership.keyring.has_own("gw1")

    def agent(self, name: str, line: str, port: int = 40001) -> FakeAgent:
        agent = FakeAgent(self.bench, name, line, port=port)
        agent.keys = (derive(SITE_KEY, "paris", name),)
        member = agent.voter.participant
        member.reload(replace(member.membership, keys=agent.keys))
        return agent.connect()

    @property
    def bad(self) -> int:
        return int(self.bench.core.stack.counters["bad beats"])

    def state(self) -> tuple[Any, ...]:
        """What nobody but servers and a quorum may change."""
        core, member = self.bench.core, self.bench.core.member
        state = member.participant.voter.state
        return core.serving, core.epoch, member.state, state, core.site.provisioned.version, self.gw2.connected


def address(bench: Bench) -> Flow:
    beat = bench.core.server.beat
    assert beat is not None
    return Flow("udp", f"{beat.host}:{beat.port}", ("127.0.0.66", 5162))


def test_he_proves_himself_as_gw1_and_as_nobody_else() -> None:
    it = Own()
    bench = it.bench
    before = it.state()
    for name in ("gw2", "m1", "m2", "nobody"):
        flow = Flow("tcp", f"127.0.0.1:5161#{name}", ("127.0.0.66", 4000))
        bench.core.flow_changed(flow, "open", bench.now)
        hello = Initiator("m1", "ab" * 16).hello(Beat("paris", name, 999, 0, "agent", 1))
        bench.core.receive(carriage.request(hello, STOLEN, VIA, ("127.0.0.1", 5161), "c", 1), flow, bench.now)
        bench.pump()
        assert flow in bench.closed and bench.core.agents.agent_of(flow) == ""
    assert it.state() == before and bench.core.stack.counters["refused openings"] == 4


@pytest.mark.parametrize("kind", [BEAT, PROOF, QUERY, PREVOTE, GRANT, RELEASE, VOTERS, FETCH, OPEN, PING, CONSOLE])
@pytest.mark.parametrize(
    ("where", "name"),
    [("beats", "gw1"), ("calls", "gw1"), *product(("beats", "agents", "calls"), ("m2", "m1", "gw2"))],
)
def test_nothing_that_he_says_in_another_name_is_heard(kind: str, name: str, where: str) -> None:
    """At the address for heartbeats, on gw1's own connection, and at the port for calls."""
    it = Own()
    bench = it.bench
    before, start = it.state(), bench.core.member.participant.incarnation_of("m2")
    lists = VoterList(9901, ("gw1",), 9)
    beat = Beat("paris", name, 77, 99, "active", 5, kind=kind, to="m1", for_epoch=99, list=lists.text, lease=9.0)
    marks = tuple((voter, sign_grant(STOLEN, "paris", voter, 99, name, 77, lists)) for voter in ("gw1", FORCED))
    for proof in (Proof(99, name, 77, lists, marks[:1]), Proof(99, name, 77, lists, marks[1:])):
        data = carriage.request(replace(beat, proof=proof.text), STOLEN, VIA, ("127.0.0.1", 5161), "c", 1)
        flow = {
            "beats": address(bench),
            "agents": it.gw1.flow,
            "calls": Flow("udp", "127.0.0.1:5060", ("127.0.0.66", 9)),
        }
        sent, stray = len(bench.beats), len(bench.stray)
        bench.core.receive(data, flow[where], bench.now)
        bench.pump()
        answers = [parse(each.data) for each in (*bench.beats[sent:], *bench.stray[stray:])]
        told = [each for each in answers if isinstance(each, Response) and "heartbeat" in each]
        assert bool(told) == (kind == PING and name == "gw1"), "who has a key may ask how it is"
    bench.after(3)
    assert it.state() == before and bench.core.member.participant.incarnation_of("m2") == start


@pytest.mark.parametrize("name", ["gw1", "gw2", "m2"])
@pytest.mark.parametrize("where", ["beats", "agents"])
def test_he_orders_nothing_of_a_server(name: str, where: str) -> None:
    """An order that is whole in one statement, for this start of the server."""
    it = Own()
    core = it.bench.core
    asked: list[Any] = []
    core.leadership.console._do = asked.append  # what the shell would be told
    ours = core.member.participant.on_disk.incarnation
    for keys, heard in ((STOLEN, 0), (SITE_KEY, int((name, where) == ("m2", "beats")))):
        beat = Beat("paris", name, 77, 0, "standby", 9, kind=CONSOLE, to="m1", for_incarnation=ours)
        data = carriage.request(replace(beat, fetch="1/q/0/5/aGVsbG8"), keys, VIA, ("127.0.0.1", 5161), "c", 1)
        flow = address(it.bench) if where == "beats" else it.gw1.flow
        assert flow is not None
        core.receive(data, flow, it.bench.now)
        it.bench.pump()
        assert len(asked) == heard, "and a server with the site key is heard, where servers speak"


def asked_of(it: Own, agent: FakeAgent) -> tuple[int, list[Request], list[Any]]:
    """A question of the server to an agent: its number, its statements, and what comes of it for the shell."""
    core = it.bench.core
    came: list[Any] = []
    statements: list[Request] = []
    core.leadership.console._do = came.append
    agent._beat = statements.append  # type: ignore[method-assign, assignment]
    number = core.leadership.console.ask(agent.name, b"lines", it.bench.now)
    it.bench.pump()
    return number, statements, came


@pytest.mark.parametrize(("name", "key"), [*product(("gw1", "gw2", "m2"), (STOLEN, SITE_KEY))])
def test_he_answers_for_no_other_node_what_is_asked_of_it(name: str, key: bytes) -> None:
    it = Own()
    number, [question], came = asked_of(it, it.gw2)
    asked = carriage.beat_in(question, it.gw2.keys)
    said = Beat("paris", name, 1, 0, "agent", 999, kind=CONSOLE, to="m1", re=(asked.incarnation, asked.seq))
    it.gw1.send(carriage.answer(question, replace(said, piece=f"{number}/a/0/4/bGllcw"), key))
    data = carriage.answer(question, replace(said, piece=f"{number}/a/0/4/bGllcw"), key)
    it.bench.core.receive(data, address(it.bench), it.bench.now)
    it.bench.pump()
    assert came == []


@pytest.mark.parametrize("kind", [CONSOLE, FETCH])
def test_a_piece_of_an_answer_says_nothing_of_who_leads(kind: str) -> None:
    """It has no place for that: an agent that is asked by an operator would else say that nobody leads."""
    it = Own()
    it.bench.after(1)
    words = it.bench.core.leadership.words._last["gw1"]
    assert words.leader == "m1"
    _, [question], _ = asked_of(it, it.gw1)
    stamp = it.gw1.voter.participant.stamp("m1", kind=kind, re=(1, 1), piece="9/a/0/0/")
    it.gw1.send(carriage.answer(question, stamp, STOLEN))
    it.bench.pump()
    assert it.bench.core.leadership.words._last["gw1"] == words


def test_the_new_machine_is_heard_however_high_the_thief_has_counted() -> None:
    it = Own()
    bench, gw1 = it.bench, it.gw1
    site = bench.site.membership("gw1")
    gw1.disconnect()
    thief = FakeAgent(
        bench, "gw1", "alice", AgentVoter("gw1", site, PersistentState(incarnation=2**52), bench.now), 41001
    )
    thief.keys = gw1.keys
    thief.voter.participant.reload(replace(site, keys=gw1.keys))
    thief.connect()
    assert bench.core.agents.connections["gw1"].incarnation == 2**52
    whole = 'key = { env = "KEY" }'
    changed = AGENTS.replace(whole, f'{whole}\nprevious_key = {{ env = "OLD" }}', 1)
    new = "the next key of paris, long enough"
    for text in (changed, AGENTS):
        bench.core.reload(site_of(text, new), bench.now)
        bench.pump()
    assert bench.core.agents.agent_of(thief.flow) == "" and not bench.core.agents.connections["gw1"].flow
    gw1.keys = (derive(new.encode(), "paris", "gw1"),)
    gw1.voter.participant.reload(replace(site, keys=gw1.keys))
    gw1.connect()
    bench.after(1)
    assert bench.core.agents.agent_of(gw1.flow) == "gw1"


def last_beat(it: Own) -> Request:
    """The last heartbeat that the server sent to gw1."""
    flow = it.gw1.flow
    assert flow is not None
    heard: list[Request] = []
    beat = it.gw1._beat

    def listen(message: Any) -> None:
        if isinstance(message, Request):
            heard.append(message)
        beat(message)

    it.gw1._beat = listen  # type: ignore[method-assign]
    it.bench.after(1)
    it.gw1._beat = beat  # type: ignore[method-assign]
    return heard[-1]


@pytest.mark.parametrize(
    "lie",
    [
        {"node": "gw2"},
        {"node": "m2", "state": "active"},
        {"promised_epoch": 2**52},
        {"promised_to_others": 2**52},
        {"epoch": 2**52, "leader": "m2"},
        {"no": "voters", "list": "9901:9:gw1", "kind": PREVOTE},
        {"given": "99.1"},
        {"kind": GRANT, "grant": "ab" * 16, "for_epoch": 1},
        {"proof": "99|gw1|1|9901:9:gw1|gw1:ab"},
    ],
)
def test_no_answer_of_his_moves_more_than_his_own_vote(lie: dict[str, Any]) -> None:
    it = Own()
    request = last_beat(it)
    asked = carriage.beat_in(request, (STOLEN,))
    before = it.state()
    stamp = it.gw1.voter.participant.stamp("m1", kind=asked.kind, re=(asked.incarnation, asked.seq + 1000))
    it.gw1.send(carriage.answer(request, replace(stamp, **lie), STOLEN))
    it.bench.after(3)
    assert it.state() == before
    assert it.bench.core.leadership.part_exchange.newest.epoch < 99 and "gw1" in it.bench.core.agents.reached


def test_the_site_key_on_his_connection_does_not_help_him_either() -> None:
    """Who has taken a key of its own is not believed by another there, should it leak from elsewhere."""
    it = Own()
    request = last_beat(it)
    bad = it.bad
    it.gw1.send(carriage.answer(request, it.gw1.voter.participant.stamp("m1", re=(1, 1)), SITE_KEY))
    assert it.bad == bad + 1


def test_he_forges_no_grant_and_no_proof() -> None:
    voters = VoterList(1, ("gw1", "gw2", "m2"), 1)
    marks = tuple((name, sign_grant(STOLEN, "paris", name, 9, "m2", 3, voters)) for name in voters.names)
    forged, forced = Proof(9, "m2", 3, voters, marks), Proof(9, "m2", 3, voters, ((FORCED, marks[0][1]),))
    for key in (SITE_KEY, derive(SITE_KEY, "paris", "gw2")):
        assert "0 good grants of 3" in forged.fault((key,), "paris")
        assert "forced by nobody" in forced.fault((key,), "paris")


def test_he_seals_no_line_state_of_another_agent() -> None:
    text = seal.sealed("[1]", lambda: b"[1]", 1, 1, "paris gw2 c t", STOLEN)
    with pytest.raises(seal.LineStateError):
        seal.opened(text, "paris gw2 c t", (derive(SITE_KEY, "paris", "gw2"),))


def test_a_token_that_he_signs_joins_no_call() -> None:
    it = Own()
    a, b = it.talk()
    a.token = sign(read(a.token, [SITE_KEY])._replace(caller="+4471", counter=99), STOLEN)
    it.gw1.records, it.gw2.records = [record(a)], [record(b)]
    it.die()
    bench = it.succeed()
    bench.after(1)
    assert bench.core.stack.counters["bad token"] == 1
    assert [call.state.caller for call in bench.core.calls.values()] != ["+4471"]


def thief_s(site: Site, key: bytes) -> Site:
    """The site as the thief's programs read it, with a key that is none of the site."""
    return replace(site, identity=replace(site.identity, key=Secret("file stolen", key)))


def town() -> SiteSimulation:
    site = town_of()
    return SiteSimulation(site=site, own_sites={name: own_site(site, name) for name in ("gw1", "gw2")})


@pytest.mark.parametrize("forces", [False, True])
def test_he_runs_a_server_and_nobody_but_his_own_agent_hears_it(forces: bool) -> None:
    sim = town()
    sim.world.kill("m1")
    sim.own_sites["m1"] = thief_s(sim.site, derive(TOWN_KEY, "town", "gw1"))
    sim.world.start("m1")
    if forces:
        sim.world.ask("m1", lambda now: sim.server("m1").member.force(now))
    sim.world.run(sim.world.now + 60.0)
    assert sim.may_act("s1") and sim.server("s1").epoch >= 2
    assert sim.agent("gw2").connections.voter.leadership.node == "s1"
    assert sim.agent("gw2").counters["failed openings"] > 3, "it cannot prove itself to gw2"
    assert not sim.server("m1").agents.connections["gw2"].flow
    assert (
        sim.server("s1").stack.counters["bad beats"] > 3
        and sim.server("s1").member.cluster.peers["m1"].beat.epoch < 2
    )
    sim.world.kill("m1")
    sim.own_sites.pop("m1")
    sim.world.start("m1")
    sim.world.run(sim.world.now + 60.0)
    [active] = sim.active
    serve(sim, *sim.talk())
    assert sim.epoch_of("gw1") == sim.epoch_of("gw2") == sim.server(active).epoch, "and gw1 itself comes back"


def test_he_runs_another_agent_and_no_server_hears_it() -> None:
    sim = town()
    call, other = sim.talk()
    sim.world.kill("gw2")
    honest = sim.own_sites["gw2"]
    sim.own_sites["gw2"] = thief_s(sim.site, derive(TOWN_KEY, "town", "gw1"))
    sim.world.start("gw2")
    sim.world.run(sim.world.now + 20.0)
    assert sim.server("m1").agents.reached == sim.server("s1").agents.reached == ["gw1"]
    assert sim.agent("gw2").connections.voter.leadership.epoch in (0, 1) and not sim.agent("gw2").connected
    sim.world.kill("gw2")
    sim.own_sites["gw2"] = honest
    sim.world.start("gw2")
    sim.world.run(sim.world.now + 5.0)
    serve(sim, call, other)
    sim.world.kill("m1")
    taken_over(sim)
    part(sim, "west", call, other, ["answered"])
