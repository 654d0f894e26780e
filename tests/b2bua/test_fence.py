"""Requests that an agent refuses by its fence although this server rules: they come again when it has adopted us."""

from __future__ import annotations

import pytest

from sip.wire.message import Request
from tests.b2bua.fake import HOLD, SDP, Side
from tests.b2bua.fake_agent import AGENTS, FakeAgent, ServerFixture, kept, record


class Behind(FakeAgent):
    """An agent that still obeys an older epoch, as long as it is told to."""

    behind = False
    refused = 0

    def receive(self, data: bytes) -> None:
        if not (self.behind and data.startswith(b"ACK ")):  # nobody answers those
            super().receive(data)

    def _obeys(self, request: Request) -> bool:
        if self.behind and request.method != "CANCEL":
            self.refused += 1
            return False
        return super()._obeys(request)


class Site(ServerFixture):
    """gw2 may be behind."""

    def __init__(self, text: str = AGENTS) -> None:
        super().__init__(text)
        self.gw2.disconnect()
        self.gw2 = self.slow = Behind(self.bench, "gw2", "bob", self.gw2.voter, port=40502)
        self.slow.connect()
        self.bench.after(1)

    def fall_behind(self) -> None:
        """The agent has not adopted us yet."""
        self.slow.behind = True
        self.bench.core.agents.connections["gw2"].obeyed = 0

    def adopt(self, *records: dict[str, object]) -> None:
        """The agent sees our proof again, and adopts us."""
        self.slow.behind = False
        self.slow.records = list(records)
        proof = self.bench.core.member.participant.proof
        assert proof is not None
        self.bench.core.agents.connections["gw2"].subscribe(proof, self.bench.now)
        self.bench.pump()


@pytest.mark.parametrize("method", ["INVITE", "INFO", "MESSAGE", "BYE"])
def test_a_request_inside_a_call_goes_again(method: str) -> None:
    site = Site()
    a, b = site.talk()
    site.fall_behind()
    a.say(method, body=HOLD if method == "INVITE" else b"x")
    assert site.slow.refused == 1 and not b.asked
    assert a.statuses == ([100] if method == "INVITE" else [])
    site.bench.after(5)
    assert not a.heard and not b.asked
    site.adopt(record(b))
    request = b.take(method)
    assert request.get("call-origin") == f"gw1;{a.sent and a.sent.branch};1" and not b.asked
    b.answer(request, 200, body=SDP if method == "INVITE" else b"")
    assert a.statuses == [200]
    if method == "INVITE":
        a.ack()
        b.take("ACK")
    leg = next(iter(site.bench.core.calls.values())).bridge.target if site.bench.core.calls else None
    assert (leg is None) == (method == "BYE") and (leg is None or leg.client_invite.pending is None)


def test_the_order_of_asking_is_kept() -> None:
    site = Site()
    a, b = site.talk()
    site.fall_behind()
    for digit in (b"1", b"2", b"3"):
        a.say("INFO", body=digit)
    site.adopt(record(b))
    assert [each.body for each in b.asked] == [b"1", b"2", b"3"]
    assert [each.cseq for each in b.asked] == sorted(each.cseq for each in b.asked)


def test_the_bye_of_a_release_goes_again() -> None:
    site = Site()
    a, b = site.talk()
    [call] = site.bench.core.calls.values()
    site.fall_behind()
    call.bridge.release("SIP;cause=480", site.bench.now)
    site.bench.pump()
    a.answer(a.take("BYE"), 200)
    assert not b.asked
    site.adopt()
    bye = b.take("BYE")
    assert bye.get("reason") == "SIP;cause=480" and str(bye.get("call-origin")).startswith("m1;")
    b.answer(bye, 200)


def test_one_that_its_device_gave_up_does_not_go_again() -> None:
    site = Site()
    a, b = site.talk()
    site.fall_behind()
    a.say("INVITE", body=HOLD)
    a.cancel()
    assert a.statuses == [100, 200]
    site.adopt(record(b))
    invite = b.take("INVITE")  # the agent may have it from a former server: it is to hear that it is off
    b.answer(invite, 100)
    b.answer(b.take("CANCEL"), 200)
    b.answer(invite, 487)
    assert a.statuses == [487]


def test_who_takes_a_place_meets_a_change_when_it_goes_again() -> None:
    site = Site(AGENTS.replace("channels = 2000\n", 'channels = 2000\ntransfer = "pass"\n'))
    a, b = site.talk()
    named = [f"Replaces: {a.call_id};to-tag={a.other_tag};from-tag={a.tag}"]
    site.fall_behind()
    c = site.gw1.call("1002", SDP, named)
    b.say("INVITE", body=HOLD)
    change = a.take("INVITE")
    site.adopt(record(b))
    assert c.statuses == [100, 491]
    a.answer(change, 200, body=SDP)
    b.ack()
    a.take("ACK")
    again = site.gw1.call("1002", SDP, named)
    b.take("INVITE")
    b.accept()
    assert again.statuses == [100, 200]


def test_a_new_call_waits_for_the_agent_a_little() -> None:
    site = Site()
    site.fall_behind()
    a = site.gw1.call("1002")
    assert a.statuses == [100] and not site.slow.sides
    site.bench.after(0.5)
    site.adopt()
    b = site.slow.called
    assert str(b.take("INVITE").get("call-origin")).endswith(";1")
    b.accept()
    assert a.statuses == [200]
    loads = site.bench.core.lines.loads
    assert loads["bob"].busy == 1


def test_and_is_hunted_on_when_it_does_not_adopt_us_in_time() -> None:
    site = Site()
    site.fall_behind()
    a = site.gw1.call("2000")
    site.bench.after(1.1)
    assert site.gw1.called.take("INVITE").uri.endswith("line=dave")
    site.gw1.called.accept()
    assert a.statuses == [100, 200]
    site.adopt()
    assert not site.slow.sides and site.bench.core.lines.loads["bob"].busy == 0


def test_a_new_call_that_its_caller_gives_up_meanwhile_is_over() -> None:
    site = Site()
    site.fall_behind()
    a = site.gw1.call("1002")
    a.cancel()
    assert a.statuses == [100, 200, 487]
    site.adopt()
    assert not site.slow.sides and not site.bench.core.calls
    assert [cdr.result for cdr in site.bench.cdrs] == ["cancelled"]


def test_one_refused_for_the_epoch_before_goes_again_by_itself() -> None:
    """The agent has adopted us already: what it refused was on its way when our epoch changed."""
    site = Site()
    a, b = site.talk()
    site.slow.behind = True
    a.say("INFO", body=b"1")
    site.slow.behind = False
    site.bench.after(1.1)
    assert b.take("INFO").body == b"1"


def test_an_ack_that_the_fence_swallowed_is_paid_from_the_list() -> None:
    site = Site()
    a, b = site.talk()
    a.say("INVITE", body=HOLD)
    b.answer(b.take("INVITE"), 200, body=SDP)
    a.ack()
    b.take("ACK")  # and is not let in: nobody answers an ACK
    [call] = site.bench.core.calls.values()
    assert call.bridge.target is not None
    site.adopt(record(b, ack="awaited", ack_cseq=call.bridge.target.ack.cseq))
    assert b.take("ACK").cseq == call.bridge.target.ack.cseq


def test_a_cancel_needs_no_adoption_and_carries_who_speaks() -> None:
    site = Site()
    a = site.gw1.call("1002")
    b = site.slow.called
    b.ring()
    b.take("INVITE")
    a.cancel()
    cancel = b.take("CANCEL")
    assert cancel.get("heartbeat") == "site=paris; node=m1; boot=1; epoch=1" and "call-origin" not in cancel


def test_ack_and_bye_to_another_branch_of_a_fork_carry_who_speaks() -> None:
    site = Site()
    a = site.gw1.call("1002")
    b = site.slow.called
    invite = b.take("INVITE")
    b.accept()
    a.ack()
    b.take("ACK")
    b.answer(invite, 200, tag="other", body=SDP)
    for method in ("ACK", "BYE"):
        request = b.take(method)
        assert request.to_tag == "other" and request.get("heartbeat") == "site=paris; node=m1; boot=1; epoch=1"
    parts = str(request.get("call-origin")).split(";")
    assert parts[0] == "m1" and parts[2] == "0"


# -- requests that wait when the rule changes ------------------------------------------------------------------------


def test_what_waited_for_its_dialog_is_taken_again_after_the_next_epoch() -> None:
    """A waiting request is forgotten with its transaction, else its replay would pass for a repetition."""
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.die()
    sent = a.say("INVITE", body=HOLD)
    fixture.gw1.records = [record(a)]
    fixture.gw2.records = [record(b)]
    fixture.gw1.silent = fixture.gw2.silent = True
    bench = fixture.succeed()
    fixture.gw1.send(sent.to_bytes())
    assert bench.core.recovery.replay._waiting and not b.asked
    bench.core.recovery.begin(bench.now)
    assert not any(each.open for each in bench.core.stack.servers.values() if each.key.startswith(sent.branch))
    fixture.gw1.records = [record(a, sent=[kept(sent)])]
    proof = bench.core.member.participant.proof
    assert proof is not None
    bench.core.agents.begin(proof, bench.now, False)
    bench.pump()
    for agent in (fixture.gw1, fixture.gw2):
        agent.notify()
    bench.after(0.1)
    assert isinstance(a, Side) and b.take("INVITE").body == HOLD


@pytest.mark.parametrize("purpose", ["takeover", "observe", "reset"])
def test_no_list_makes_calls_at_a_server_that_has_stood_down(purpose: str) -> None:
    """Else they, and what their agents had under way then, would still be there when it rules again."""
    fixture = ServerFixture()
    a, b = fixture.talk()
    core = fixture.bench.core
    connection = core.agents.connections["gw1"]
    fixture.gw1.silent = True
    proof = core.member.participant.proof
    assert proof is not None
    if purpose == "takeover":
        connection.subscribe(proof, fixture.bench.now)
    elif purpose == "observe":
        connection.fetch(a.call_id, fixture.bench.now)
    else:
        connection.reset(["alice"], "idle", fixture.bench.now)
    fixture.bench.pump()
    fixture.bench.after(0.0)
    assert fixture.gw1.asked[-1][0] == purpose
    core.leadership_changes.step_down(fixture.bench.now)
    core.leadership.serving = False
    sent = a.say("INVITE", body=HOLD)
    status = fixture.gw1.notify(len(fixture.gw1.asked) - 1, [record(a, sent=[kept(sent)])])
    assert status == 481 and not core.calls and not len(core.recovery.index) and not b.asked


def test_a_call_that_is_there_when_a_new_rule_begins_is_of_the_one_before() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.die()
    fixture.gw1.records, fixture.gw2.records = [record(a)], [record(b)]
    bench = fixture.succeed()
    [call] = bench.core.calls.values()
    assert call.bridge.origin is not None and call.bridge.target is not None
    bench.core.services.drop_calls()
    assert call.bridge.origin is None and not bench.core.calls and not bench.core.lines.loads


def test_so_many_requests_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("b2bua.takeover.fenced_retry_queue.MOST", 3)
    site = Site()
    a, b = site.talk()
    site.fall_behind()
    for digit in (b"1", b"2", b"3", b"4"):
        a.say("INFO", body=digit)
    assert a.statuses == [500]
    fresh = site.gw1.call("2000")
    assert site.gw1.called.take("INVITE").uri.endswith("line=dave") and fresh.statuses == [100]
    site.adopt(record(b))
    assert [each.body for each in b.asked] == [b"1", b"2", b"3"]
