"""The call between two legs (``sip.b2b``): its table, and a plain back-to-back user agent between devices."""

from __future__ import annotations

import pytest

from sip.actions import Send
from sip.b2b import bridge as b2b
from sip.b2b.bridge import OVER, TABLE, Bridge, phase_of
from sip.b2b.discarded import Discarded
from sip.b2b.policy import Party, Passage, Policy
from sip.dialog import DialogState, called_by
from sip.invite import InviteUsage
from sip.transaction import ServerTransaction
from sip.wire.message import Request, Response
from tests.sip.two_stacks import End


class Plain(Policy):
    """Tries one device after the other, or all of them at once."""

    def __init__(self, middle: Middle, request: Request) -> None:
        self.middle = middle
        self.request = request
        self.left = list(middle.devices)
        self.best = 480

    def try_next(self, now: float) -> None:
        middle, request = self.middle, self.request
        while self.left:
            device = self.left.pop(0)
            stack = middle.stack
            state = DialogState(stack.token(), stack.token(), "", request.from_untagged, request.to_untagged)
            leg = InviteUsage(stack, middle.bridge, middle.flow_to(device), state)
            middle.bridge.invite(leg, f"sip:{device.name}@127.0.0.1:{device.port}", (), b"", 69, 20.0, now)
            if not middle.parallel:
                break

    def failed(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        self.best = status
        if self.left:
            self.try_next(now)
        elif not self.middle.bridge.targets:
            self.middle.bridge.refuse(self.best, now, response=response)

    def ended(self, status: int, by: Party, reason: str, now: float) -> None:
        self.middle.ends.append((status, by))

    def over(self, now: float) -> None:
        self.middle.overs += 1

    def wanted(self, leg: InviteUsage, now: float) -> None:
        self.middle.wants += 1


class Middle(End):
    """The user agent between a caller and its devices."""

    def __init__(self, devices: list[End], parallel: bool) -> None:
        super().__init__("m", 5000)
        self.devices = devices
        self.parallel = parallel
        self.discarded = Discarded(Passage())
        self.bridge: Bridge
        self.ends: list[tuple[int, Party]] = []
        self.overs = self.wants = 0

    def requested(self, *args: object) -> None:
        transaction, request, now = args
        assert isinstance(transaction, ServerTransaction) and isinstance(request, Request) and isinstance(now, float)
        policy = Plain(self, request)
        self.bridge = Bridge(self.stack.deadlines, self.discarded, policy)
        leg = InviteUsage(self.stack, self.bridge, transaction.flow, called_by(request, self.stack.token()))
        self.bridge.offer(leg, transaction)
        self.stack.reply(transaction, 100, now)
        policy.try_next(now)

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        leg = invite.context
        leg.owner.cancelled(leg, invite, cancel, now)


class Trio:
    """A caller, the middle, and devices; each takes its own answers from ``heard``."""

    def __init__(self, parallel: bool = False) -> None:
        self.now = 0.0
        self.a, self.b, self.c = End("a", 5001), End("b", 5002), End("c", 5003)
        self.middle = Middle([self.b, self.c], parallel)
        self.ends = [self.a, self.middle, self.b, self.c]
        state = DialogState("call@a", "ta", "", "<sip:a@x>", "<sip:b@x>")
        self.leg = InviteUsage(self.a.stack, self.a, self.a.flow_to(self.middle), state, no_timeout=True)
        self.leg.call("sip:b@127.0.0.1:5000", (), b"", self.now)
        self.settle()

    def heard(self) -> list[str]:
        """What the caller was told."""
        return [word for word in self.a.take() if word != "100"]

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for end in self.ends:
                for action in end.stack.to_do():
                    busy = True
                    assert isinstance(action, Send)
                    other = next(each for each in self.ends if each.port == action.flow.remote[1])
                    other.stack.receive(action.data, other.flow_to(end), self.now)

    def turn(self, until: float) -> None:
        while ats := [at for end in self.ends if (at := end.stack.get_timer()) is not None and at <= until]:
            self.now = min(ats)
            for end in self.ends:
                end.stack.handle_timer(self.now)
            self.settle()
        self.now = until

    def answer(self, end: End, status: int) -> None:
        end.leg.reply(end.asked, status, self.now)
        self.settle()

    def talk(self) -> None:
        self.answer(self.b, 200)
        self.leg.acknowledge((), b"", self.now)
        self.settle()
        for end in self.ends:
            end.take()


def test_every_event_that_asks_for_an_answer_is_in_every_phase() -> None:
    phases = {phase for phase, _ in TABLE} | {phase for phase, _ in TABLE.values()}
    asking = (b2b.REQUESTED, b2b.CHANGED, b2b.WITHDRAWN)
    missing = [(phase, event) for phase in phases for event in asking if (phase, event) not in TABLE]
    assert not missing
    alive = phases - {OVER}
    assert not [phase for phase in alive if (phase, b2b.RELEASED) not in TABLE or (phase, b2b.DROPPED) not in TABLE]
    assert {phase_of(True), phase_of(False)} < alive


def test_a_call_with_all_that_may_happen_in_it() -> None:
    trio = Trio()
    trio.answer(trio.b, 180)
    assert trio.heard() == ["180"]
    trio.talk()
    assert trio.middle.bridge.phase == b2b.TALKING
    for first, leg, second in ((trio.a, trio.leg, trio.b), (trio.b, trio.b.leg, trio.a)):
        leg.send("INFO", (), b"", trio.now)
        trio.settle()
        assert second.take() == ["INFO"]
        second.stack.reply(second.asked, 200, trio.now)
        trio.settle()
        assert first.take() == ["200"]
    trio.b.leg.send("BYE", (), b"", trio.now)
    trio.settle()
    assert trio.heard() == ["BYE"] and not trio.b.take()
    trio.a.stack.reply(trio.a.asked, 200, trio.now)
    trio.settle()
    assert trio.b.take() == ["200"]
    assert trio.middle.ends == [(200, "callee")] and trio.middle.overs == 1
    assert trio.middle.bridge.phase == OVER and trio.middle.bridge.origin is None


@pytest.mark.parametrize("late", [200, 487])
def test_an_attempt_is_over_when_its_cancel_is_due(late: int) -> None:
    trio = Trio()
    trio.answer(trio.b, 180)
    trio.turn(20.5)
    assert trio.b.take() == ["INVITE", "CANCEL"] and trio.c.take() == ["INVITE"]
    trio.answer(trio.b, late)
    assert trio.b.take() == (["ACK", "BYE"] if late == 200 else [])
    trio.answer(trio.c, 200)
    assert trio.heard() == ["180", "200"] and trio.middle.bridge.phase == b2b.TALKING
    assert not trio.middle.discarded.legs


def test_one_that_never_said_anything_is_left_behind_too() -> None:
    trio = Trio()
    trio.turn(20.5)
    assert trio.c.take()[0] == "INVITE" and "CANCEL" not in trio.b.take()
    trio.turn(70.0)
    assert trio.heard()[-1] == "408" and trio.middle.overs == 1 and not trio.middle.discarded.legs


@pytest.mark.parametrize("said", [487, 503, 200, 0])
def test_a_caller_that_gives_up_hears_487_or_the_answer_that_crossed(said: int) -> None:
    trio = Trio()
    trio.answer(trio.b, 180)
    trio.leg.cancel(trio.now, ("Reason: Q.850;cause=16", 'Reason: SIP;cause=600;text="busy elsewhere"'))
    trio.settle()
    assert trio.b.take() == ["INVITE", "CANCEL"]
    assert isinstance(trio.b.last, Request)
    assert trio.b.last.all("reason") == ["Q.850;cause=16", 'SIP;cause=600;text="busy elsewhere"']
    if said:
        trio.answer(trio.b, said)
    else:
        trio.turn(40.0)
    assert trio.heard() == ["180", "200" if said == 200 else "487"] and not trio.c.take()
    if said != 200:
        assert trio.middle.ends == [(487, "caller")] and trio.middle.overs == 1


def test_of_several_at_once_the_first_answer_wins_and_the_others_are_given_up() -> None:
    trio = Trio(parallel=True)
    trio.answer(trio.b, 180)
    trio.answer(trio.c, 183)
    trio.answer(trio.c, 200)
    assert trio.heard() == ["180", "183", "200"]
    assert trio.b.take() == ["INVITE", "CANCEL"]
    trio.answer(trio.b, 200)
    assert trio.b.take() == ["ACK", "BYE"]


def test_of_several_at_once_one_failure_leaves_the_others_ringing() -> None:
    trio = Trio(parallel=True)
    trio.answer(trio.b, 486)
    assert not trio.heard() and trio.middle.bridge.phase == b2b.DIALING
    trio.answer(trio.c, 480)
    assert trio.heard() == ["480"] and trio.middle.ends == [(480, "server")]


def _restored(trio: Trio) -> tuple[Bridge, InviteUsage, InviteUsage]:
    """The same call, made of its dialogs in the place of the one that is there."""
    old, middle = trio.middle.bridge, trio.middle
    assert old.origin is not None and old.target is not None
    states = [(leg.dialog.export(), leg.flow) for leg in (old.origin, old.target)]
    policy = old.policy
    old.drop()
    bridge = Bridge(middle.stack.deadlines, middle.discarded, policy, phase_of(True), restored=True)
    middle.bridge = bridge
    a, b = (InviteUsage(middle.stack, bridge, flow, state, established=True) for state, flow in states)
    return bridge, a, b


@pytest.mark.parametrize("later", [False, True])
def test_what_is_asked_of_an_absent_leg_waits_for_it_the_bye_last(later: bool) -> None:
    trio = Trio()
    trio.talk()
    bridge, a, b = _restored(trio)
    bridge.attach(a, True)
    trio.leg.send("INFO", (), b"", trio.now)
    trio.leg.send("BYE", (), b"", trio.now)
    trio.settle()
    assert bridge.bye_queued and not trio.b.take() and trio.middle.wants == 2
    bridge.attach(b, False)
    bridge.step(b2b.JOINED, None, later, None, trio.now)
    trio.settle()
    assert trio.b.take() == ([] if later else ["INFO"])
    trio.turn(trio.now)
    assert trio.b.take() == (["INFO", "BYE"] if later else ["BYE"])
    trio.b.stack.reply(trio.b.asked, 200, trio.now)
    trio.settle()
    assert trio.heard() == ["200"] and bridge.phase == OVER


def test_no_more_waits_for_an_absent_leg_than_a_bound() -> None:
    trio = Trio()
    trio.talk()
    bridge, a, _ = _restored(trio)
    bridge.attach(a, True)
    for _ in range(b2b.MOST_QUEUED + 1):
        trio.leg.send("INFO", (), b"", trio.now)
        trio.settle()
    assert trio.heard() == ["500"]
    bridge.release("SIP;cause=480", trio.now)
    trio.settle()
    assert sorted(trio.heard()) == ["481"] * b2b.MOST_QUEUED + ["BYE"] and bridge.phase == OVER


def test_a_bye_that_waits_for_a_leg_that_never_comes_ends_the_call_in_good_order() -> None:
    trio = Trio()
    trio.talk()
    bridge, a, _ = _restored(trio)
    bridge.attach(a, True)
    trio.leg.send("BYE", (), b"", trio.now)
    trio.settle()
    bridge.release("SIP;cause=480", trio.now)
    trio.settle()
    assert trio.heard() == ["200"] and trio.middle.ends[-1] == (200, "caller")


def test_a_call_released_before_its_answer_and_after() -> None:
    trio = Trio()
    trio.answer(trio.b, 180)
    trio.middle.bridge.release('SIP;cause=503;text="Reset"', trio.now)
    trio.settle()
    assert trio.heard() == ["180", "480"] and trio.b.take() == ["INVITE", "CANCEL"]
    trio = Trio()
    trio.talk()
    trio.middle.bridge.release('SIP;cause=503;text="Reset"', trio.now)
    trio.settle()
    assert trio.heard() == trio.b.take() == ["BYE"] and trio.middle.overs == 1


def change(trio: Trio, from_b: bool) -> tuple[InviteUsage, End]:
    """A re-INVITE of one end is answered, and its ACK does not come; the leg that asked, and who answered."""
    leg, other = (trio.b.leg, trio.a) if from_b else (trio.leg, trio.b)
    trio.turn(trio.now + 1.0)
    leg.send("INVITE", (), b"", trio.now)
    trio.settle()
    (trio.leg if from_b else trio.b.leg).reply(other.asked, 200, trio.now)
    trio.settle()
    assert other.take() == ["INVITE"] and (trio.b if from_b else trio.a).take() == ["100", "200"]
    return leg, other


@pytest.mark.parametrize("from_b", [False, True])
def test_a_re_invite_does_not_overtake_the_ack_of_the_one_before(from_b: bool) -> None:
    """The ACK may be lost, with a datagram or with its connection, and is to come again (RFC 3261 section 14.1)."""
    trio = Trio()
    trio.talk()
    leg, other = change(trio, from_b)
    leg.send("INVITE", (), b"", trio.now)  # although it has not acknowledged
    trio.turn(trio.now + 0.4)
    assert other.take() == []
    leg.acknowledge((), b"", trio.now)
    trio.settle()
    assert other.take() == ["ACK"]  # over UDP even what is sent behind it might overtake it
    trio.turn(trio.now + 0.1)
    assert other.take() == ["INVITE"]


@pytest.mark.parametrize("ends", ["cancel", "bye", "bye of the other", "release"])
def test_a_re_invite_that_waits_for_an_ack_is_answered_whatever_ends_it(ends: str) -> None:
    trio = Trio()
    trio.talk()
    leg, _ = change(trio, False)
    leg.send("INVITE", (), b"", trio.now)
    trio.settle()
    if ends == "cancel":
        leg.cancel(trio.now)
    elif ends == "bye":
        leg.send("BYE", (), b"", trio.now)
    elif ends == "bye of the other":
        trio.b.leg.send("BYE", (), b"", trio.now)
    else:
        trio.middle.bridge.release("SIP;cause=480", trio.now)
    trio.settle()
    for end in (trio.a, trio.b):
        if end.heard and end.heard[-1] == "BYE":
            end.stack.reply(end.asked, 200, trio.now)
    trio.settle()
    trio.turn(trio.now + 0.4)
    assert "487" in trio.a.take() and "INVITE" not in trio.b.take()
    assert trio.middle.bridge.phase == (b2b.TALKING if ends == "cancel" else OVER)


def test_a_request_of_a_target_ahead_of_the_response_that_makes_its_dialog_waits_for_that() -> None:
    trio = Trio()
    trio.b.leg.send("INFO", (), b"", trio.now)
    trio.settle()
    assert trio.heard() == []
    trio.answer(trio.b, 183)
    assert trio.heard() == ["183", "INFO"]
    trio.leg.reply(trio.a.asked, 200, trio.now)
    trio.settle()
    assert trio.b.take() == ["INVITE", "200"]


@pytest.mark.parametrize("parallel", [False, True])
def test_such_a_request_of_a_target_that_is_given_up_gets_481(parallel: bool) -> None:
    trio = Trio(parallel)
    trio.b.leg.send("INFO", (), b"", trio.now)
    trio.settle()
    if not parallel:
        trio.answer(trio.b, 503)
    trio.answer(trio.c, 200)
    assert trio.heard() == ["200"]
    trio.leg.acknowledge((), b"", trio.now)
    trio.settle()
    assert "481" in trio.b.take() and "INFO" not in trio.c.take()
