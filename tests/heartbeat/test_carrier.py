"""What is between the core of an election and its program: answers find their requests, states the disk."""

from __future__ import annotations

from heartbeat import carriage
from heartbeat.agent_voter import AgentVoter
from heartbeat.carrier import VOTES, Carrier
from heartbeat.decision import Decision, Tell, What
from heartbeat.header import QUERY, Beat
from heartbeat.persistent_state import PersistentState, decode
from heartbeat.proof import VoterList
from sip.actions import Action, Flow, Send, Store
from sip.wire.message import Request, Response, parse
from tests.heartbeat.ballot_world import KEY, membership

FLOW = Flow("tcp", "gw1>m1#1", ("127.0.0.1", 5061))
SITE = membership(2)


class Bench:
    """One agent and what its carrier does."""

    def __init__(self) -> None:
        voters = VoterList(1, SITE.voters, SITE.generation)
        state = PersistentState(incarnation=1, non_voting=False, voters=voters)
        self.core = AgentVoter("gw1", SITE, state, 0.0)
        self.done: list[Action] = []
        self.asked: list[Tell] = []
        self.decided: list[Decision] = []
        self.carrier = Carrier(self.core, self.done.append, self.asked.append, self._apply, lambda node: KEY)

    def _apply(self, decision: Decision, now: float) -> None:
        self.decided.append(decision)

    def hear(self, seq: int, kind: str, now: float, flow: Flow = FLOW, **more: object) -> None:
        beat = Beat("paris", "m1", 7, 0, "standby", seq, kind=kind, to="gw1", **more)  # type: ignore[arg-type]
        data = carriage.request(beat, KEY, "Via: SIP/2.0/TCP m1;branch=z9hG4bKb", FLOW.remote, "c", seq)
        request = parse(data)
        assert isinstance(request, Request)
        self.carrier.receive(request, beat, "m1", flow, now)
        self.carrier.pump(now)

    def answers(self) -> list[Beat]:
        sent = [_parsed(action.data) for action in self.done if isinstance(action, Send)]
        return [carriage.beat_in(message, (KEY,)) for message in sent]


def _parsed(data: bytes) -> Response:
    message = parse(data)
    assert isinstance(message, Response)
    return message


def test_an_answer_goes_where_its_request_came_from() -> None:
    bench = Bench()
    bench.hear(1, QUERY, 1.0)
    assert [(answer.to, answer.re) for answer in bench.answers()] == [("m1", (7, 1))]
    assert isinstance(bench.done[0], Send) and bench.done[0].flow == FLOW


def test_two_processes_that_count_the_same_have_each_its_own_answers() -> None:
    """As from copies of a state directory: the same start and number, told apart by their secrets."""
    bench = Bench()
    for commitment, local in (("a", "127.0.0.1:1#a"), ("b", "127.0.0.1:1#b")):
        lists = VoterList(1, SITE.voters, 1).text
        bench.hear(1, "grant", 9.0, Flow("tcp", local, FLOW.remote), commitment=commitment, for_epoch=1, list=lists)
    [store] = [action for action in bench.done if isinstance(action, Store)]
    assert bench.carrier.stored(store.value, None, 9.2)
    bench.carrier.pump(9.2)
    sent = {action.flow.local: action for action in bench.done if isinstance(action, Send)}
    granted = {local: bool(carriage.beat_in(_parsed(send.data), (KEY,)).grant) for local, send in sent.items()}
    assert granted == {"127.0.0.1:1#a": True}, "the other one's was a replay"


def test_what_rests_on_the_disk_waits_for_it_and_is_not_said_when_it_fails() -> None:
    bench = Bench()
    lists = SITE.voters
    bench.hear(1, "grant", 9.0, for_epoch=1, list=VoterList(1, lists, 1).text)
    [store] = bench.done
    assert isinstance(store, Store) and store.name == VOTES and bench.answers() == []
    assert decode(store.value).promised_epoch == 1
    assert [decision.what for decision in bench.decided] == [What.GRANTED]
    assert not bench.carrier.stored("something else", None, 9.0)
    assert bench.carrier.stored(store.value, "the disk is full", 9.0)
    bench.carrier.pump(9.0)
    assert bench.answers() == [] and bench.decided[-1].what is What.DISK
    bench.done.clear()
    bench.hear(2, "grant", 9.1, for_epoch=1, list=VoterList(1, lists, 1).text)
    assert [answer.no for answer in bench.answers()] == ["disk"], "it is asked, and the candidate told, at once"
    [store] = [one for one in bench.done if isinstance(one, Store)]
    assert bench.carrier.stored(store.value, None, 9.2)
    bench.done.clear()
    bench.hear(3, "grant", 9.3, for_epoch=1, list=VoterList(1, lists, 1).text)
    bench.carrier.pump(9.3)
    assert [answer.re for answer in bench.answers()] == [(7, 3)] and bench.answers()[0].grant


def test_questions_that_wait_for_the_disk_are_bounded() -> None:
    bench = Bench()
    bench.hear(1, "grant", 9.0, for_epoch=1, list=VoterList(1, SITE.voters, 1).text)
    [store] = bench.done
    assert isinstance(store, Store)
    for seq in range(2, 1500):
        bench.hear(seq, QUERY, 9.0)
    assert bench.carrier.stored(store.value, None, 9.2)
    bench.carrier.pump(9.2)
    assert len(bench.answers()) <= 256
