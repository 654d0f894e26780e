"""Legs with trunks of the servers' own after a takeover: made of tokens, moved to the new server, spoken with."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from b2bua.state_token import read
from sip.wire.message import Request
from tests.b2bua.fake import HOLD, SDP, Bench, Peer, Side
from tests.b2bua.fake_agent import AGENTS, kept, record
from tests.b2bua.takeover_fixture import SITE_KEY, TakeoverFixture

UPDATES = ("Allow: INVITE, ACK, BYE, CANCEL, UPDATE",)
WITH_SDP = {"sdp": {"sent": SDP.decode(), "received": SDP.decode()}}


class Scene(NamedTuple):
    """A call between an agent and a trunk of the servers, whose server has died."""

    fixture: TakeoverFixture
    mine: Side
    """The agent's."""
    peer: Peer
    """The trunk's device, which the new server can reach."""
    theirs: Side

    @property
    def bench(self) -> Bench:
        return self.fixture.bench


def died(back: bool = False, text: str = AGENTS, updates: bool = True, silent: bool = False, **more: Any) -> Scene:
    """``back``: the trunk called; ``updates``: it takes UPDATE; ``more`` of the agent's record."""
    fixture = TakeoverFixture(text)
    trunk, lines = Peer(fixture.bench, "trunk", port=5080), UPDATES if updates else ()
    if back:
        theirs = trunk.call("1002", lines=lines)
        mine = fixture.gw2.called
        mine.accept()
        theirs.ack()
    else:
        theirs, mine = _called(fixture, trunk, lines)
    mine.asked.clear()
    theirs.asked.clear()
    theirs.heard.clear()
    (fixture.gw2 if back else fixture.gw1).records = [record(mine, **(WITH_SDP | more))]
    fixture.die()
    if silent:
        fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    peer = Peer(bench, "trunk", port=5080)
    peer.by_call_id, peer.sides, theirs.peer = {theirs.call_id: theirs}, [theirs], peer
    return Scene(fixture, mine, peer, theirs)


def _called(fixture: TakeoverFixture, trunk: Peer, lines: tuple[str, ...]) -> tuple[Side, Side]:
    mine = fixture.gw1.call("9123")
    theirs = trunk.called
    theirs.accept(lines=lines)
    mine.ack()
    return theirs, mine


def asked(scene: Scene, method: str) -> Request:
    """What the new server asks of the trunk within a second."""
    scene.bench.after(1.1)
    return scene.theirs.take(method)


@pytest.mark.parametrize("back", [False, True])
def test_the_leg_is_made_of_the_token_and_its_peer_told_where_it_is(back: bool) -> None:
    scene = died(back)
    update = asked(scene, "UPDATE")
    assert update.get("contact") == "<sip:127.0.0.2:5060>" and not update.body
    assert (update.call_id, update.to_tag, update.from_tag) == (
        scene.theirs.call_id,
        scene.theirs.tag,
        scene.theirs.other_tag,
    )
    assert update.cseq > 1000
    scene.theirs.answer(update, 200)
    [verdict] = scene.bench.core.recovery.verdicts.details.values()
    assert verdict == ("kept", "one leg was handed over, that with own was in its token")
    scene.theirs.target = "sip:127.0.0.2:5060"
    scene.theirs.cseq += 1
    scene.theirs.say("BYE")
    scene.mine.answer(scene.mine.take("BYE"), 200)
    assert scene.theirs.statuses == [200] and [cdr.result for cdr in scene.bench.cdrs] == ["answered"]
    scene.fixture.gone()


def test_a_server_that_is_overruled_tells_the_peer_nothing_more() -> None:
    scene = died(silent=True)
    scene.fixture.gw1.silent = False
    scene.fixture.gw1.notify()
    scene.bench.after(0.01)
    assert scene.bench.core.calls and not scene.theirs.asked, "it is told within a second, and not at once"
    scene.bench.core.leadership_changes.step_down(scene.bench.now)
    scene.bench.after(40)
    assert not scene.theirs.asked and not scene.mine.asked


def test_who_takes_no_update_gets_the_agreed_session_under_a_version_of_its_own() -> None:
    scene = died(updates=False)
    invite = asked(scene, "INVITE")
    assert b"o=a 1 1002 IN IP4" in invite.body and b"m=audio 4000" in invite.body  # it has lasted a second
    scene.theirs.invite = invite
    scene.theirs.accept()
    assert scene.theirs.take("ACK").cseq == invite.cseq
    scene.bench.after(60)
    assert not scene.theirs.asked and not scene.mine.asked


def test_update_that_is_refused_as_unknown_goes_as_a_re_invite() -> None:
    scene = died()
    scene.theirs.answer(asked(scene, "UPDATE"), 405)
    assert scene.theirs.take("INVITE").body


@pytest.mark.parametrize("status", [491, 500, 503])
def test_a_refusal_for_the_moment_is_tried_again_for_a_while(status: int) -> None:
    scene = died()
    update = asked(scene, "UPDATE")
    tries = 1
    while update is not None:
        scene.theirs.answer(update, status)
        scene.bench.after(4.1)
        update = scene.theirs.asked.pop() if scene.theirs.asked else None
        tries += update is not None
    assert 8 < tries < 20 and not scene.mine.asked, "the call goes on"


@pytest.mark.parametrize("status", [481, 408])
def test_a_peer_that_does_not_know_the_call_ends_it(status: int) -> None:
    scene = died()
    scene.theirs.answer(asked(scene, "UPDATE"), status)
    bye = scene.mine.take("BYE")
    assert "does not know the call" in str(bye.get("reason"))


def test_a_peer_that_is_not_heard_for_as_long_as_a_request_lasts_is_gone() -> None:
    scene = died()
    asked(scene, "UPDATE")
    scene.bench.after(33)
    assert "The device is gone" in str(scene.mine.take("BYE").get("reason"))


@pytest.mark.parametrize("status", [403, 488])
def test_any_other_refusal_changes_nothing(status: int) -> None:
    scene = died()
    scene.theirs.answer(asked(scene, "UPDATE"), status)
    scene.bench.after(60)
    assert not scene.mine.asked and not [each for each in scene.theirs.asked if each.method != "UPDATE"]


def test_a_peer_that_reaches_both_servers_by_one_address_is_not_told_anything() -> None:
    shared = 'beat = "udp:127.0.0.{0}:5162"'
    text = AGENTS
    for number in (1, 2):
        beat = shared.format(number)
        text = text.replace(beat, f'{beat}\nadvertise = "192.0.2.1"')
    scene = died(text=text)
    scene.bench.after(5)
    assert not scene.theirs.asked
    scene.theirs.target = "sip:192.0.2.1:5060"
    scene.theirs.say("INFO", body=b"Signal=1\r\n", lines=["Content-Type: application/dtmf-relay"])
    assert scene.mine.take("INFO")


@pytest.mark.parametrize(("nat", "shared"), [(True, False), (True, True), (False, False)])
def test_behind_nat_only_the_address_that_the_peer_knows_gets_through(nat: bool, shared: bool) -> None:
    text = AGENTS.replace('peer = "sip:127.0.0.1:5080"', f'peer = "sip:127.0.0.1:5080"\nnat = {str(nat).lower()}')
    for number in (1, 2) if shared else ():
        beat = f'beat = "udp:127.0.0.{number}:5162"'
        text = text.replace(beat, f'{beat}\nadvertise = "192.0.2.1"')
    scene = died(text=text)
    scene.bench.after(0.1)
    if nat and not shared:
        assert "behind NAT" in str(scene.mine.take("BYE").get("reason"))
    else:
        assert not scene.mine.asked


@pytest.mark.parametrize("method", ["INFO", "NOTIFY"])
def test_a_request_of_the_peer_waits_until_all_is_restored(method: str) -> None:
    """A NOTIFY is one of the call, too, where it names no line behind an agent."""
    scene = died(silent=True)
    bench, theirs = scene.bench, scene.theirs
    theirs.say(method, body=b"Signal=1\r\n", lines=["Content-Type: application/dtmf-relay", "Event: kpml"])
    bench.after(1)
    assert not theirs.heard
    scene.fixture.gw1.silent = False
    scene.fixture.gw1.notify()
    bench.after(0.2)
    scene.mine.answer(scene.mine.take(method), 200)
    assert theirs.statuses == [200]


def test_a_request_in_a_dialog_that_nobody_tells_is_answered_481_once_all_is_told() -> None:
    scene = died(silent=True)
    scene.theirs.other_tag = "nobody's"
    scene.theirs.say("INFO")
    scene.bench.after(1)
    assert not scene.theirs.heard
    for agent in (scene.fixture.gw1, scene.fixture.gw2):
        agent.silent = False
        agent.notify()
    scene.bench.after(1)
    assert scene.theirs.statuses == [481]
    scene.theirs.say("INFO")
    assert scene.theirs.statuses == [481], "nothing is awaited any more"
    stranger = Peer(scene.bench, "stranger", port=5099)
    side = stranger.call("1002")
    side.other_tag = "tag"
    side.heard.clear()
    side.say("INFO")
    assert side.statuses == [481]


def test_a_request_of_the_peer_waits_for_an_agent_that_is_away_for_a_moment() -> None:
    fixture = TakeoverFixture()
    theirs, mine = _called(fixture, Peer(fixture.bench, "trunk", port=5080), UPDATES)
    mine.asked.clear()
    fixture.gw1.records = [record(mine, **WITH_SDP)]
    fixture.die()
    bench = fixture.succeed("gw1")
    theirs.peer = peer = Peer(bench, "trunk", port=5080)
    peer.by_call_id, peer.sides = {theirs.call_id: theirs}, [theirs]
    theirs.heard.clear()
    theirs.say("BYE")
    bench.after(3)
    assert not theirs.heard
    fixture.gw1.connect()
    bench.after(1)
    mine.answer(mine.take("BYE"), 200)
    assert theirs.statuses == [200]


def test_a_request_waits_for_no_agent_that_stays_away() -> None:
    fixture = TakeoverFixture()
    theirs, _ = _called(fixture, Peer(fixture.bench, "trunk", port=5080), UPDATES)
    fixture.die()
    bench = fixture.succeed("gw1")
    theirs.peer = peer = Peer(bench, "trunk", port=5080)
    peer.by_call_id, peer.sides = {theirs.call_id: theirs}, [theirs]
    theirs.heard.clear()
    theirs.say("BYE")
    bench.after(20)
    assert theirs.statuses == [481]


def test_an_ack_that_was_under_way_is_paid_once_more() -> None:
    scene = died(ack="owed", ack_cseq=1)
    assert not scene.theirs.asked
    scene.mine.say("ACK", cseq=1)
    ack = scene.theirs.take("ACK")
    assert ack.cseq == 1 and "heartbeat" not in ack and "call-state" not in ack


def test_the_token_follows_the_peer_to_where_its_calls_are() -> None:
    fixture = TakeoverFixture()
    trunk = Peer(fixture.bench, "trunk", port=5080)
    theirs, mine = _called(fixture, trunk, UPDATES)
    first = read(mine.token, [SITE_KEY])
    assert first.device_leg is not None and first.device_leg.dialog.target == "sip:trunk@127.0.0.1:5080"
    trunk.name = "moved"
    fixture.bench.after(0.02)  # over UDP a re-INVITE keeps its distance from the ACK before it
    mine.say("INVITE", body=HOLD)
    theirs.accept(body=SDP)
    after = read(mine.token, [SITE_KEY])
    assert after.device_leg is not None and after.device_leg.dialog.target == "sip:moved@127.0.0.1:5080"
    mine.ack()
    fixture.bench.after(1)
    trunk.name = "further"
    theirs.say("INVITE", body=SDP)
    mine.accept()
    last = read(mine.token, [SITE_KEY])
    assert last.device_leg is not None and last.device_leg.dialog.target == "sip:further@127.0.0.1:5080"
    assert first.counter < after.counter < last.counter


def test_the_longest_call_of_a_trunk_goes_on_from_the_answer() -> None:
    text = AGENTS.replace('peer = "sip:127.0.0.1:5080"', 'peer = "sip:127.0.0.1:5080"\nlongest_call = 60')
    scene = died(text=text, age={"answer": 30})
    scene.theirs.answer(asked(scene, "UPDATE"), 200)
    scene.bench.after(27)
    assert not scene.mine.asked
    scene.bench.after(40)
    assert "Longest call" in str(scene.mine.take("BYE").get("reason"))


# -- a call of the trunk that rings -----------------------------------------------------------------------------


def ringing(
    text: str = AGENTS, lines: tuple[str, ...] = (), answered: bool = False, cancelled: bool = False
) -> Scene:
    """The trunk calls, and the agent's phone rings, or has ``answered`` by now, when the server dies; or that had
    ``cancelled`` the attempt."""
    fixture = TakeoverFixture(text)
    trunk = Peer(fixture.bench, "trunk", port=5080)
    theirs = trunk.call("1002", lines=lines)
    mine = fixture.gw2.called
    mine.ring()
    invite = mine.asked[0]
    if answered:
        origin = str(invite.get("call-origin"))
        mine.accept()
        mine.asked.clear()
        fixture.gw2.records = [
            record(mine, ack="awaited", ack_cseq=invite.cseq, ack_origin=origin, origin=origin, **WITH_SDP)
        ]
    else:
        found = {**fixture.attempt(mine), **WITH_SDP}
        found["received"][0]["cancelled"] = cancelled
        fixture.gw2.records = [found]
    theirs.heard.clear()
    fixture.die()
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    peer = Peer(bench, "trunk", port=5080)
    peer.by_call_id, peer.sides, theirs.peer = {theirs.call_id: theirs}, [theirs], peer
    for agent in (fixture.gw1, fixture.gw2):
        agent.silent = False
        agent.notify()
    bench.after(0.1)
    return Scene(fixture, mine, peer, theirs)


def test_a_call_of_the_trunk_rings_on_and_is_answered_by_the_new_server() -> None:
    scene = ringing(lines=("Record-Route: <sip:127.0.0.1:5080;lr>", "Supported: 100rel, timer"))
    assert scene.theirs.statuses == [180], "the agent has recognised its INVITE"
    assert scene.mine.invite is not None and scene.mine.invite.body == SDP
    assert "it rings on" in str(list(scene.bench.core.recovery.verdicts.details.values()))
    scene.mine.accept()
    assert scene.theirs.statuses == [200]
    scene.theirs.ack()
    assert scene.mine.take("ACK")
    scene.mine.say("BYE")
    bye = scene.theirs.take("BYE")
    assert bye.get("route") == "<sip:127.0.0.1:5080;lr>"
    scene.theirs.answer(bye, 200)
    assert [cdr.result for cdr in scene.bench.cdrs] == ["answered"]
    scene.fixture.gone()


def test_a_repeat_of_the_invite_and_its_cancel_are_heard_by_the_new_server() -> None:
    scene = ringing()
    invite = scene.theirs.sent
    assert invite is not None
    scene.theirs.heard.clear()
    scene.theirs.target = invite.uri
    scene.peer.send(invite.to_bytes())
    assert scene.theirs.statuses == [180]
    scene.theirs.cancel()
    assert scene.mine.take("CANCEL")
    scene.mine.accept(487, b"")
    assert sorted(scene.theirs.statuses) == [200, 487]
    assert [cdr.result for cdr in scene.bench.cdrs] == ["cancelled"]
    scene.fixture.gone()


def test_who_is_busy_after_the_takeover_is_hunted_on_from() -> None:
    scene = ringing()
    scene.mine.accept(486, b"")
    forwarded = scene.fixture.gw2.called
    assert forwarded is not scene.mine and forwarded.asked[0].uri.startswith("sip:1003@")
    forwarded.accept()
    assert scene.theirs.statuses[-1] == 200


def test_an_answer_that_the_trunk_may_not_have_heard_is_given_again() -> None:
    scene = ringing(answered=True)
    assert scene.theirs.statuses[-1] == 200
    scene.theirs.ack()
    assert scene.mine.take("ACK")


def test_nobody_is_rung_for_a_trunk_that_may_have_given_up() -> None:
    scene = ringing(cancelled=True)
    assert scene.mine.take("CANCEL") and not scene.theirs.heard


@pytest.mark.parametrize("setting", ['recovery = "cold"', "nat = true"])
def test_a_ringing_call_of_a_trunk_that_is_not_reached_from_here_is_cancelled(setting: str) -> None:
    scene = ringing(AGENTS.replace('peer = "sip:127.0.0.1:5080"', f'peer = "sip:127.0.0.1:5080"\n{setting}'))
    assert scene.mine.take("CANCEL") and not scene.theirs.heard


def called(ended: bool = False) -> Scene:
    """A call to the trunk that rings there when the server dies; ``ended``: its caller gives up in the gap."""
    fixture = TakeoverFixture()
    trunk = Peer(fixture.bench, "trunk", port=5080)
    mine = fixture.gw1.call("9123")
    theirs = trunk.called
    theirs.ring()
    assert mine.statuses == [100, 180] and mine.sent is not None
    asked = kept(mine.sent, ended)
    fixture.gw1.records = [
        record(mine, "terminated" if ended else "early", sent=[asked], **({"ended": {"ago": 0.1}} if ended else {}))
    ]
    theirs.asked.clear()
    fixture.die()
    bench = fixture.succeed()
    peer = Peer(bench, "trunk", port=5080)
    peer.by_call_id, peer.sides, theirs.peer = {theirs.call_id: theirs}, [theirs], peer
    return Scene(fixture, mine, peer, theirs)


def test_a_call_to_the_trunk_that_rings_is_called_off_before_it_is_called_once_more() -> None:
    scene = called()
    scene.bench.after(0.6)
    cancel = scene.theirs.take("CANCEL")
    assert scene.theirs.invite is not None
    former = scene.theirs.invite
    assert (cancel.uri, cancel.branch, cancel.cseq) == (former.uri, former.branch, former.cseq)
    assert cancel.to_tag == "" and "127.0.0.1:5060" in (cancel.get("via") or ""), "it is that of the INVITE"
    scene.theirs.answer(cancel, 200)
    again = scene.peer.called
    assert again is not scene.theirs and again.asked[0].method == "INVITE"
    again.accept()
    assert scene.mine.statuses[-1] == 200


def test_a_call_to_the_trunk_that_its_caller_gave_up_in_the_gap_is_called_off() -> None:
    scene = called(ended=True)
    scene.bench.after(0.6)
    assert scene.theirs.take("CANCEL") and scene.peer.called is scene.theirs, "and not called once more"
