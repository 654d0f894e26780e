"""Calls without any agent after a takeover: made again of what their devices carry in our Contact."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from b2bua.contact_cookie import FORMAT
from sip.wire import sdp
from sip.wire.message import Request, Response
from sip.wire.uri import Uri
from tests.b2bua.direct_fixture import DIRECT, Telephone
from tests.b2bua.fake import HOLD, SDP, Bench, Peer, Side
from tests.b2bua.takeover_fixture import TakeoverFixture
from tests.b2bua.test_trunk_transfer import replaces

ANSWER = SDP.replace(b"m=audio 4000", b"m=audio 4444")
UPDATES = ("Allow: INVITE, ACK, BYE, CANCEL, UPDATE",)


class Scene(NamedTuple):
    """A call between two telephones, whose server has died; both have registered with the next."""

    fixture: TakeoverFixture
    caller: Side
    callee: Side

    @property
    def bench(self) -> Bench:
        return self.fixture.bench

    def led(self, side: Side) -> Telephone:
        """That side finds the new server, under the Contact that it was given."""
        side.target = side.target.replace("127.0.0.1:5060", "127.0.0.2:5060")
        assert isinstance(side.peer, Telephone)
        return side.peer


def talking(text: str = DIRECT, updates: bool = True) -> Scene:
    fixture = TakeoverFixture(text)
    desk, hall = Telephone(fixture.bench, "desk"), Telephone(fixture.bench, "hall", "127.0.0.62")
    assert desk.register() == hall.register() == 200
    lines = UPDATES if updates else ()
    a = desk.dial("1062", lines=lines)
    b = hall.called
    b.ring()
    fixture.bench.after(2)
    b.accept(lines=lines)
    a.ack()
    assert a.statuses == [100, 180, 200]
    a.asked.clear()
    b.asked.clear()
    return Scene(fixture, a, b)


def died(text: str = DIRECT, registered: bool = True, updates: bool = True) -> Scene:
    scene = talking(text, updates)
    scene.bench.after(3)
    scene.fixture.die()
    bench = scene.fixture.succeed()
    for side in (scene.caller, scene.callee):
        assert isinstance(side.peer, Telephone)
        phone = side.peer.go(bench)
        assert not registered or phone.register() == 200
    return scene


def test_both_carry_the_call_and_neither_can_read_it() -> None:
    scene = talking()
    for side in (scene.caller, scene.callee):
        user = Uri.parse(side.target).user
        assert user.startswith(FORMAT) and len(user) < 500
    assert scene.caller.target != scene.callee.target


def test_a_server_without_a_stand_by_and_a_call_with_an_agent_put_nothing_there() -> None:
    fixture = TakeoverFixture(DIRECT)
    desk = Telephone(fixture.bench, "desk")
    assert desk.register() == 200
    a = desk.dial("1002")
    fixture.gw2.called.accept()
    assert FORMAT not in a.target and FORMAT not in fixture.gw2.called.target


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("registered", [True, False])
def test_the_first_who_asks_something_brings_the_call_back(who: str, registered: bool) -> None:
    scene = died(registered=registered)
    asking, other = (scene.caller, scene.callee) if who == "caller" else (scene.callee, scene.caller)
    phone = scene.led(asking)
    asking.cseq = max(asking.cseq, 1)
    if registered:
        asking.say("INVITE", body=HOLD)
    else:
        asking.say("INVITE", body=HOLD)
        challenge = asking.heard.pop()
        assert challenge.status == 407 and not scene.bench.core.calls
        asking.say("INVITE", phone.proof(challenge, "INVITE", asking.target), HOLD)
    other.invite = other.take("INVITE")
    assert sdp.same_but_origin(other.invite.body, HOLD) and other.invite.cseq > 1000
    former, origin = sdp.origin_of(SDP), sdp.origin_of(other.invite.body)
    assert origin._replace(version=former.version) == former, "RFC 3264 section 8"
    assert origin.version > 1000 if who == "caller" else other.invite.body == HOLD, "as far as it was known"
    other.accept()
    assert asking.statuses == [100, 200]
    asking.ack()
    other.take("ACK")
    scene.bench.after(5)
    assert not asking.asked, "the answer told it where its call is"
    update = other.asked.pop(0)
    assert update.method == "UPDATE"
    assert "127.0.0.2" in (update.get("contact") or "") and FORMAT in (update.get("contact") or "")
    other.answer(update, 200, body=update.body)
    other.asked.clear()
    assert list(scene.bench.core.recovery.verdicts.counts.elements()) == ["kept"]
    other.target, other.cseq = "sip:127.0.0.2:5060", max(other.cseq, 1)
    other.say("BYE")
    asking.answer(asking.take("BYE"), 200)
    assert other.statuses == [200]
    [cdr] = scene.bench.cdrs
    assert (cdr.result, cdr.caller, cdr.callee, cdr.caller_line, cdr.callee_line) == (
        "answered", "desk", "1062", "desk", "hall",
    )  # fmt: skip
    scene.fixture.gone()


def test_who_asks_from_behind_a_nat_without_having_registered_is_told_by_that_way() -> None:
    scene = died(registered=False)
    phone = scene.led(scene.caller)
    phone.behind = "10.1.2.3:5060"
    phone.prove(scene.caller, "INFO", ["Content-Type: application/dtmf-relay"])
    scene.callee.answer(scene.callee.take("INFO"), 200)
    scene.bench.after(1.2)
    update = scene.caller.take("UPDATE")
    assert update.uri == "sip:desk@10.1.2.3:5060" and FORMAT in (update.get("contact") or "")


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_bye_of_one_reaches_the_other(who: str) -> None:
    scene = died()
    asking, other = (scene.caller, scene.callee) if who == "caller" else (scene.callee, scene.caller)
    scene.led(asking)
    asking.cseq = max(asking.cseq, 1)
    asking.say("BYE")
    other.answer(other.take("BYE"), 200)
    assert asking.statuses == [200] and [cdr.result for cdr in scene.bench.cdrs] == ["answered"]


def test_a_second_death_changes_nothing() -> None:
    scene = died()
    scene.led(scene.caller)
    scene.caller.say("INFO", ["Content-Type: application/dtmf-relay"], b"Signal=1\r\n")
    scene.callee.answer(scene.callee.take("INFO"), 200)
    scene.bench.after(1.2)
    told = scene.callee.take("UPDATE")
    scene.callee.answer(told, 200)
    carried = scene.bench.core.cookies.read((told.get("contact") or "").strip("<>"))
    assert carried is not None and carried.state.epochs == (1, 2) and not carried.calls
    assert carried.other.dialog.call_id == scene.caller.call_id


def test_what_is_no_call_of_a_former_server_is_481() -> None:
    scene = died()
    caller = scene.caller
    scene.led(caller)
    caller.say("BYE")
    scene.callee.answer(scene.callee.take("BYE"), 200)
    scene.bench.after(40)
    caller.cseq += 1
    caller.heard.clear()
    caller.say("INFO")
    assert caller.statuses == [481], "it was ended here"


def test_another_dialog_s_contact_and_another_telephone_bring_nothing() -> None:
    scene = died()
    a, b = scene.caller, scene.callee
    scene.led(a)
    scene.led(b)
    theirs, a.target = a.target, b.target
    a.say("INFO")
    assert a.statuses == [481]
    a.target = theirs
    a.peer, a.peer.by_call_id[a.call_id] = b.peer, a
    b.peer.by_call_id[a.call_id] = a
    a.say("INFO")
    challenge = a.heard.pop()
    assert challenge.status == 407
    assert isinstance(b.peer, Telephone)
    a.say("INFO", b.peer.proof(challenge, "INFO", a.target))
    assert a.statuses == [481] and not scene.bench.core.calls


def test_a_stranger_is_challenged_before_anything_is_made() -> None:
    scene = died()
    thief = Peer(scene.bench, "thief", "127.0.0.66")
    scene.led(scene.caller)
    scene.caller.peer = thief
    scene.caller.say("BYE")
    [challenge] = thief.others
    assert isinstance(challenge, Response) and challenge.status == 407 and not scene.bench.core.calls


@pytest.mark.parametrize("status", [200, 405])
def test_a_session_of_which_no_description_is_known_is_refreshed_all_the_same(status: int) -> None:
    """By UPDATE; or by an INVITE, once each has told the other one anew what it describes."""
    timed = DIRECT.replace("channels = 100", "channels = 100\nsession_timer = { expires = 90 }")
    scene = died(timed, updates=False)
    a, b = scene.caller, scene.callee
    scene.led(a)
    a.say("INFO", ["Content-Type: application/dtmf-relay"], b"Signal=1\r\n")
    b.answer(b.take("INFO"), 200)
    for _ in range(300):
        scene.bench.after(0.5)
        for side in (a, b):
            for asked in side.asked:
                if asked.method == "UPDATE":
                    side.answer(asked, status, [f"Session-Expires: {asked.get('session-expires')}"])
                elif asked.method == "INVITE":
                    side.answer(asked, 200, [f"Session-Expires: {asked.get('session-expires')}"], HOLD)
                else:
                    assert asked.method == "ACK"
            side.asked.clear()
    assert scene.bench.core.calls


class Without(NamedTuple):
    """Two telephones that do not say what they take. The caller has brought the call back by a digit; the callee
    takes no UPDATE, and is asked for its offer."""

    scene: Scene
    ask: Request

    @classmethod
    def told(cls) -> Without:
        scene = died(updates=False)
        a, b = scene.caller, scene.callee
        scene.led(a)
        a.say("INFO", ["Content-Type: application/dtmf-relay"], b"Signal=1\r\n")
        b.answer(b.take("INFO"), 200)
        for _ in range(12):
            scene.bench.after(0.1)
            for side, status in (a, 200), (b, 405):
                if side.asked and side.asked[0].method == "UPDATE":
                    side.answer(side.take("UPDATE"), status)
        ask = b.take("INVITE")
        assert not a.asked
        b.asked.clear()  # repeats
        assert not ask.body and "127.0.0.2" in (ask.get("contact") or "")
        return cls(scene, ask)


def test_a_telephone_without_update_is_asked_for_its_offer_which_the_other_side_answers() -> None:
    scene, ask = Without.told()
    a, b = scene.caller, scene.callee
    b.accept(body=HOLD)
    offer = a.take("INVITE")
    assert sdp.same_but_origin(offer.body, HOLD) and "127.0.0.2" in (offer.get("contact") or "")
    assert not b.asked, "its ACK has the answer"
    a.accept(body=ANSWER)
    a.take("ACK")
    ack = b.take("ACK")
    assert sdp.same_but_origin(ack.body, ANSWER) and ack.cseq == ask.cseq
    scene.bench.after(5)
    b.cseq, b.target = 1, (ask.get("contact") or "").strip("<>")
    b.say("BYE")
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]


def test_who_asks_for_something_itself_is_asked_again() -> None:
    scene, _ = Without.told()
    a, b = scene.caller, scene.callee
    b.accept(body=HOLD)
    a.answer(a.take("INVITE"), 491)
    a.take("ACK")
    scene.bench.after(2.0)  # its Call-ID (RFC 3261 section 14.1)
    assert not b.asked
    offer = a.take("INVITE")
    assert sdp.same_but_origin(offer.body, HOLD)
    a.accept(body=ANSWER)
    assert sdp.same_but_origin(b.take("ACK").body, ANSWER)


def test_an_offer_that_the_other_side_refuses_is_answered_and_asked_for_again() -> None:
    """A 2xx has to be acknowledged, with an answer (RFC 3261 section 13.2.2.4): media rest until then."""
    scene, _ = Without.told()
    a, b = scene.caller, scene.callee
    b.accept()
    a.answer(a.take("INVITE"), 503, ["Retry-After: 30"])  # longer than the callee waits
    a.take("ACK")
    assert b"a=inactive" in b.take("ACK").body
    scene.bench.after(4.1)
    assert not b.take("INVITE").body
    b.asked.clear()
    b.accept(body=HOLD)
    assert sdp.same_but_origin(a.take("INVITE").body, HOLD)
    a.accept(body=ANSWER)
    assert sdp.same_but_origin(b.take("ACK").body, ANSWER)


@pytest.mark.parametrize("status", [408, 481])
def test_who_does_not_know_the_call_ends_it(status: int) -> None:
    scene, _ = Without.told()
    a, b = scene.caller, scene.callee
    b.accept()
    a.answer(a.take("INVITE"), status)
    a.take("ACK")
    b.take("ACK")
    b.take("BYE")
    assert not a.asked or a.take("BYE")


def test_a_call_that_ends_meanwhile_leaves_nothing_behind() -> None:
    scene, _ = Without.told()
    a, b = scene.caller, scene.callee
    b.accept()
    a.take("INVITE")
    a.say("BYE")
    b.take("ACK")
    b.answer(b.take("BYE"), 200)
    scene.bench.after(40)
    assert not scene.bench.core.calls


@pytest.mark.parametrize("cold", ["desk", "hall"])
def test_a_cold_line_loses_its_calls(cold: str) -> None:
    head, _, tail = DIRECT.partition(f"[lines.{cold}]\n")
    scene = died(f'{head}[lines.{cold}]\nrecovery = "cold"\n{tail}')
    scene.led(scene.caller)
    scene.caller.say("INFO")
    assert scene.caller.statuses == [481]


MORE = """
[lines.door]
kind = "direct"
numbers = ["1063"]
password = { env = "KEY" }
transfer = "HOW"
"""


def third(how: str) -> tuple[Scene, Telephone]:
    """A call between two telephones that transfer calls, and a third one."""
    text = DIRECT.replace("channels = 100", f'channels = 100\ntransfer = "{how}"') + MORE.replace("HOW", how)
    scene = talking(text)
    door = Telephone(scene.bench, "door", "127.0.0.63")
    assert door.register() == 200
    return scene, door


def told_by(request: Request) -> str:
    """Our Contact."""
    return (request.get("contact") or "").strip("<>")


@pytest.mark.parametrize("whose", ["caller", "callee"])
@pytest.mark.parametrize("who", ["stays", "comes"])
def test_who_has_taken_the_place_of_another_one_is_who_is_found(whose: str, who: str) -> None:
    scene, door = third("pass")
    left, stays = (scene.caller, scene.callee) if whose == "caller" else (scene.callee, scene.caller)
    comes = door.dial("1001", lines=(*replaces(left), *UPDATES))
    stays.invite = stays.take("INVITE")
    stays.accept(lines=UPDATES)
    stays.target = told_by(stays.invite)
    comes.ack()
    stays.take("ACK")
    left.answer(left.take("BYE"), 200)
    scene.fixture.die()
    bench = scene.fixture.succeed()
    for side in (stays, comes):
        assert isinstance(side.peer, Telephone) and side.peer.go(bench).register() == 200
    asking, other = (stays, comes) if who == "stays" else (comes, stays)
    scene.led(asking)
    asking.cseq = max(asking.cseq, 1)
    asking.say("BYE")
    other.answer(other.take("BYE"), 200)
    assert asking.statuses[-1] == 200 and not left.asked
    [cdr] = bench.cdrs
    assert (cdr.caller_line, cdr.callee_line) == (("door", "hall") if whose == "caller" else ("desk", "door"))


def test_who_refuses_that_carries_what_it_did() -> None:
    scene, door = third("pass")
    a, b = scene.caller, scene.callee
    comes = door.dial("1001", lines=replaces(a))
    b.answer(b.take("INVITE"), 488)
    assert comes.statuses[-1] == 488
    b.take("ACK")
    a.say("INVITE", body=HOLD)
    scene.bench.after(0.1)
    b.invite = b.take("INVITE")
    carried = scene.bench.core.cookies.read(told_by(b.invite))
    assert carried is not None and carried.other.dialog.call_id == a.call_id and carried.state.caller_line == "desk"


@pytest.mark.parametrize("to", ["1063", "1002"])
def test_who_is_transferred_by_the_server_carries_nothing_until_the_other_one_is_there(to: str) -> None:
    scene, door = third("serve")
    bench, a, b = scene.bench, scene.caller, scene.callee
    a.say("REFER", (f"Refer-To: <sip:{to}@127.0.0.1>",))
    bench.after(0.1)
    target = door.called if to == "1063" else scene.fixture.gw2.called
    target.accept()
    bench.after(0.1)
    b.invite = b.take("INVITE")
    assert FORMAT not in told_by(b.invite)
    b.accept()
    bench.after(0.1)
    b.asked.clear()
    target.say("INVITE", body=HOLD)
    carried = bench.core.cookies.read(told_by(b.take("INVITE")))
    if to == "1002":
        assert carried is None, "an agent keeps that call"
    else:
        assert carried is not None and carried.other.dialog.remote_tag == target.tag and carried.state.part


def test_between_two_trunks_of_the_servers_the_next_request_brings_the_call_back() -> None:
    text = DIRECT + '[lines.east]\nkind = "trunk"\npeer = "sip:127.0.0.85:5060"\nnumbers = ["2000"]\nchannels = 10\n'
    fixture = TakeoverFixture(text)
    own, east = Peer(fixture.bench, "own", port=5080), Peer(fixture.bench, "east", "127.0.0.85", 5060)
    a = own.call("2000", lines=UPDATES)
    b = east.called
    b.accept(lines=UPDATES)
    a.ack()
    b.asked.clear()
    fixture.die()
    bench = fixture.succeed()
    again, peer = Peer(bench, "own", port=5080), Peer(bench, "east", "127.0.0.85", 5060)
    again.by_call_id, peer.by_call_id = {a.call_id: a}, {b.call_id: b}
    a.peer, b.peer = again, peer
    a.target = a.target.replace("127.0.0.1:5060", "127.0.0.2:5060")
    a.heard.clear()
    a.say("INVITE", body=SDP)
    b.invite = b.take("INVITE")
    b.accept()
    assert a.statuses == [100, 200]
