"""What agents with keys of their own say, as it counts among servers, and what they are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.agent_key import derive
from heartbeat.agent_statements import MOST_AHEAD, MOST_EPOCH, AgentStatements
from heartbeat.cluster_view import ClusterView
from heartbeat.header import GRANT, PREVOTE, PROOF, Beat, BeatError
from heartbeat.keyring import Keyring
from heartbeat.participant import Participant
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import FORCED, Proof, VoterList, sign_grant
from tests.heartbeat.ballot_world import KEY, membership

OLD = b"the key of the site before that."
LIST = VoterList(1, ("gw1", "gw2", "gw3"), 1)
NAMES = ("gw1", "gw2", "gw3")


class Made:
    """The words of server m1, start 7, with three agents, ``own`` of which have keys of their own."""

    def __init__(self, *own: str, keys: tuple[bytes, ...] = (KEY, OLD), agents: int = 3) -> None:
        site = membership(agents, keys=keys)
        state = PersistentState(incarnation=7, non_voting=False, voters=LIST)
        node = Participant("m1", site, state, lambda: "standby", lambda name, now: None, 0.0)
        self.ring = Keyring("paris", site.agents, keys)
        self.cluster = ClusterView("m1", 7, 9)
        self.words = AgentStatements(self.ring, node, self.cluster)
        for name in site.agents:
            self.ring.proved(name, derive(keys[0], "paris", name) if name in own else keys[0])

    def ask(self, agent: str, epoch: int = 8, voters: VoterList = LIST) -> None:
        beat = Beat("paris", "m1", 7, 7, "standby", 1, kind=GRANT, to=agent, for_epoch=epoch, list=voters.text)
        assert self.words.told(agent, beat) is beat

    def grant(self, agent: str, key: bytes, epoch: int = 8, voters: VoterList = LIST, voter: str = "") -> str:
        mark = sign_grant(key, "paris", voter or agent, epoch, "m1", 7, voters)
        return self.words.heard(said(agent, kind=GRANT, for_epoch=epoch, grant=mark), 0.0).grant


def said(agent: str, **more: object) -> Beat:
    return replace(Beat("paris", agent, 1, 7, "agent", 5, re=(7, 1)), **more)  # type: ignore[arg-type]


def own(agent: str, key: bytes = KEY) -> bytes:
    return derive(key, "paris", agent)


def test_a_grant_is_held_as_signed_with_the_site_s_key() -> None:
    made = Made("gw1")
    made.ask("gw1")
    assert made.grant("gw1", own("gw1")) == sign_grant(KEY, "paris", "gw1", 8, "m1", 7, LIST)
    assert made.grant("gw1", own("gw1", OLD)) == sign_grant(OLD, "paris", "gw1", 8, "m1", 7, LIST)


def test_what_it_did_not_sign_for_what_it_was_asked_is_no_grant() -> None:
    made = Made("gw1", "gw2")
    assert made.grant("gw1", own("gw1")) == "", "nobody asked it"
    made.ask("gw1")
    made.ask("gw2")
    assert made.grant("gw1", own("gw1"), epoch=9) == ""
    assert made.grant("gw1", own("gw1"), voters=VoterList(1, ("gw1",), 1)) == ""
    assert made.grant("gw1", own("gw1"), voter="gw2") == "", "it cannot vote for another one"
    assert made.grant("gw2", own("gw1")) == ""
    assert made.grant("gw1", KEY) == "", "nor with a key that is not its own"
    made.ask("gw1", epoch=10)
    assert made.grant("gw1", own("gw1")) == ""
    assert made.grant("gw1", own("gw1"), epoch=10)


def test_who_has_the_site_key_is_left_as_it_is() -> None:
    made = Made()
    beat = said("gw1", kind=GRANT, for_epoch=8, grant="ab", list="7:7:gw1", promised_epoch=2**52, no="voters")
    assert made.words.heard(beat, 0.0) is beat
    shown = Beat("paris", "m1", 7, 8, "active", 1, kind=PROOF, to="gw1", proof="8|m1|7|1:1:gw1|gw1:ab")
    assert made.words.told("gw1", shown) is shown


def proof(*grants: tuple[str, bytes]) -> Proof:
    marks = tuple((voter, sign_grant(key, "paris", voter, 8, "m1", 7, LIST)) for voter, key in grants)
    return Proof(8, "m1", 7, LIST, marks)


def test_a_proof_is_shown_to_each_under_its_own_key() -> None:
    made = Made("gw1", "gw2")
    whole = proof(("gw1", KEY), ("gw3", OLD)).text
    for agent in ("gw1", "gw2"):
        beat = Beat("paris", "m1", 7, 8, "active", 1, kind=PROOF, to=agent, proof=whole)
        told = made.words.told(agent, beat)
        shown = Proof.parse(told.proof)
        assert shown.fault((own(agent),), "paris") == "" and shown.voters == LIST and told.seq == beat.seq
        for key in (KEY, OLD, own("gw3"), *(own(name) for name in NAMES if name != agent)):
            assert shown.fault((key,), "paris"), "by no other key"
    assert made.words.shown(whole, "gw3") == whole


def test_what_is_no_proof_does_not_become_one_by_being_shown() -> None:
    made = Made("gw1")
    forged = proof(("gw1", KEY), ("gw2", b"a key that is none here, thirty2"), ("gw3", own("gw3")))
    assert Proof.parse(made.words.shown(forged.text, "gw1")).grants == (
        ("gw1", sign_grant(own("gw1"), "paris", "gw1", 8, "m1", 7, LIST)),
    )


def test_a_forced_proof_is_shown_too_and_a_later_one_after_it() -> None:
    made = Made("gw1")
    forced = proof((FORCED, KEY))
    shown = Proof.parse(made.words.shown(forced.text, "gw1"))
    assert shown.forced and shown.fault((own("gw1"),), "paris") == ""
    later = proof(("gw1", KEY), ("gw2", KEY))
    assert not Proof.parse(made.words.shown(later.text, "gw1")).forced
    made.ring.proved("gw1", own("gw1", OLD))
    assert Proof.parse(made.words.shown(later.text, "gw1")).fault((own("gw1", OLD),), "paris") == ""


@pytest.mark.parametrize("field", ["epoch", "promised_epoch", "promised_to_others"])
def test_no_agent_uses_up_the_numbers_of_epochs(field: str) -> None:
    made = Made("gw1")
    assert made.words.heard(said("gw1", **{field: MOST_EPOCH}), 0.0)
    with pytest.raises(BeatError, match="nobody can have led"):
        made.words.heard(said("gw1", **{field: MOST_EPOCH + 1}), 0.0)
    made.cluster.promise(MOST_EPOCH)
    with pytest.raises(BeatError, match="nobody can have led"):
        made.words.heard(said("gw1", **{field: MOST_EPOCH + 1}), 0.0)
    made.cluster.lead(MOST_EPOCH)
    assert made.words.heard(said("gw1", **{field: MOST_EPOCH + MOST_AHEAD}), 0.0)
    with pytest.raises(BeatError, match="nobody can have led"):
        made.words.heard(said("gw1", **{field: MOST_EPOCH + MOST_AHEAD + 1}), 0.0)


def told_list(made: Made, agent: str, voters: str = "801:2:gw1", epoch: int = 8) -> str:
    return made.words.heard(said(agent, kind=PREVOTE, no="voters", list=voters, epoch=epoch), 0.0).list


def test_a_list_of_voters_is_believed_when_most_say_it() -> None:
    made = Made(*NAMES)
    assert told_list(made, "gw1") == "", "one may lie"
    assert told_list(made, "gw1") == "" and told_list(made, "gw2", "801:2:gw1,gw2") == ""
    assert told_list(made, "gw3", epoch=7) == "801:2:gw1", "two who live by no earlier epoch than this one"
    assert told_list(made, "gw1") == "", "of epoch 8 it is the only one that says so"
    assert told_list(made, "gw2") == "801:2:gw1"


def test_one_that_has_the_site_key_needs_no_second() -> None:
    made = Made("gw1", "gw2")
    assert told_list(made, "gw3") == "801:2:gw1" and told_list(made, "gw1") == ""


def test_the_only_agent_of_a_site_is_all_its_voters() -> None:
    made = Made("gw1", agents=1)
    assert told_list(made, "gw1") == "801:2:gw1"


def leads(
    made: Made, agent: str, leader: str, epoch: int, heard: float | None, now: float
) -> tuple[str, int, float | None]:
    """What is believed of who leads when an agent says so."""
    beat = made.words.heard(said(agent, leader=leader, epoch=epoch, heard=heard), now)
    return beat.leader, beat.epoch, None if beat.heard is None else round(beat.heard, 3)


def led() -> Made:
    """All agents have keys of their own, and m2 leads."""
    made = Made(*NAMES)
    made.cluster.learn_leader(7, "m2", False, 0.0)
    return made


def test_who_leads_anew_is_believed_when_most_say_it() -> None:
    made = led()
    for agent in NAMES:
        leads(made, agent, "m2", 7, 0.1, 1.0)
    for epoch in (7, 8, 9000):
        assert leads(made, "gw1", "m1", epoch, 0.0, 2.0) == ("", 7, None), "one may lie, of epoch 7 too"
    assert leads(made, "gw2", "m1", 8, 0.2, 3.0) == ("m1", 8, 1.0)
    assert leads(made, "gw3", "m2", 7, 0.1, 3.0) == ("m2", 7, None), "and of the former one hardly anybody hears"
    assert leads(made, "gw3", "m9", 8, 0.1, 3.0) == ("", 7, None)


def test_when_it_was_heard_last_most_must_say() -> None:
    made = led()
    assert leads(made, "gw1", "m2", 7, 0.0, 10.0) == ("m2", 7, 0.0), "nobody else is there"
    assert leads(made, "gw2", "m2", 7, 3.0, 10.0) == ("m2", 7, 3.0)
    assert leads(made, "gw3", "m2", 7, 4.0, 10.0) == ("m2", 7, 4.0), "one that says longer is taken at its word"
    assert leads(made, "gw1", "m2", 7, 0.0, 11.0) == ("m2", 7, 4.0), "the second of three heard it then"
    assert leads(made, "gw2", "m2", 7, 0.5, 11.0) == ("m2", 7, 0.5)
    assert leads(made, "gw1", "m2", 7, None, 11.0) == ("m2", 7, None)


def test_who_has_not_been_heard_for_long_is_no_witness() -> None:
    made = led()
    for agent in ("gw2", "gw3"):
        leads(made, agent, "m2", 7, 9.0, 10.0)
    assert leads(made, "gw1", "m2", 7, 0.0, 11.0)[2] == 10.0
    assert leads(made, "gw1", "m2", 7, 0.0, 30.0)[2] == 0.0


def test_agents_with_the_site_key_are_witnesses_too_and_need_none() -> None:
    made = Made("gw1")
    made.cluster.learn_leader(7, "m2", False, 0.0)
    assert leads(made, "gw2", "m1", 8, 0.1, 1.0) == ("m1", 8, 0.1)
    assert leads(made, "gw1", "m1", 8, 0.1, 1.0) == ("m1", 8, 0.1)


def test_who_follows_this_server_is_believed() -> None:
    made = Made(*NAMES)
    made.cluster.lead(8)
    answer = said("gw1", leader="m1", epoch=8, heard=0.0)
    assert made.words.heard(answer, 1.0) is answer
    assert leads(made, "gw1", "m2", 7, 0.0, 1.0) == ("m2", 7, 0.0), "one that is behind"
    assert leads(made, "gw2", "m2", 8, 0.0, 1.0) == ("", 8, None)


def test_where_no_voter_is_there_any_agent_is_a_witness() -> None:
    made = Made(*(f"gw{n}" for n in range(1, 10)), agents=9)
    made.cluster.learn_leader(7, "m2", False, 0.0)
    assert leads(made, "gw9", "m2", 7, 0.3, 1.0) == ("m2", 7, 0.3)
    leads(made, "gw1", "m2", 7, 0.9, 1.0)
    assert leads(made, "gw9", "m2", 7, 0.0, 1.0) == ("m2", 7, 0.9)


def test_who_is_behind_is_heard_with_its_epoch_and_is_no_witness() -> None:
    made = led()
    made.cluster.learn_leader(8, "m1", False, 0.0)
    for agent in ("gw2", "gw3"):
        assert leads(made, agent, "m1", 8, None, 1.0) == ("m1", 8, None)
    assert leads(made, "gw1", "m2", 7, 0.0, 1.0) == ("m2", 7, None)


def test_a_word_counts_as_long_as_a_living_agent_may_be_silent() -> None:
    timing = membership(3).timing
    window = 2 * timing.slow_interval + timing.silence
    for late, heard in ((-0.001, 0.0 + window + 5.999), (0.001, 0.0)):
        made = led()
        for agent in ("gw2", "gw3"):
            leads(made, agent, "m2", 7, 6.0, 10.0)
        assert leads(made, "gw1", "m2", 7, 0.0, 10.0 + window + late)[2] == round(heard, 3)


def test_what_is_believed_is_not_made_anew() -> None:
    made = led()
    beat = said("gw1", leader="m2", epoch=7, heard=0.25)
    assert made.words.heard(beat, 1.0) is beat


def test_a_proof_is_verified_once_and_signed_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("verified", "signed_for"):
        real = getattr(Proof, name)
        monkeypatch.setattr(Proof, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1])
    made = Made(*NAMES)
    whole = proof(("gw1", KEY), ("gw3", OLD)).text
    for agent in NAMES * 3:
        made.words.shown(whole, agent)
    assert done == ["verified", *["signed_for"] * 3]
    made.ring.load(NAMES, (KEY,))
    made.ring.proved("gw1", own("gw1", OLD))
    made.ring.proved("gw1", own("gw1"))
    later = proof(("gw1", KEY), ("gw2", OLD)).text
    assert [voter for voter, _ in Proof.parse(made.words.shown(later, "gw1")).grants] == ["gw1"]
