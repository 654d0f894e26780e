"""What a server gives back to an agent that has started anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from b2bua.agents import READ_OUT
from b2bua.alerts import alerts
from b2bua.line_return import MOST_PART
from heartbeat.agent_voter import AgentVoter
from heartbeat.persistent_state import PersistentState
from sip.wire.message import Request, Response
from sip.wire.message import parse as parse_message
from tests.b2bua.fake import Bench, Side
from tests.b2bua.fake_agent import FakeAgent, ServerFixture

KEPT = "1.1.{counter}.AAAA.mac"


class NextStart(FakeAgent):
    """The next start of an agent: it asks for what it had."""

    def __init__(self, bench: Bench, name: str = "gw1", incarnation: int = 2) -> None:
        kept = PersistentState(incarnation=incarnation, non_voting=False)
        voter = AgentVoter(name, bench.site.membership(name), kept, bench.now)
        super().__init__(bench, name, "alice", voter, port=40003 + 100 * incarnation)
        self.incarnation = incarnation
        self.answers: list[int] = []
        """To its SUBSCRIBEs for a return."""
        self.parts: list[list[dict[str, Any]]] = []
        """Heads and records that came."""
        self.status = 200
        """What NOTIFYs of it are answered; 0: nothing."""
        self.unanswered: list[Request] = []
        self.states: list[str] = []

    def ask(self, event: str = "line-dialog;purpose=return") -> None:
        self.branches += 1
        number = f"{self.incarnation}-{self.branches}"
        head = (
            "SUBSCRIBE sip:m1@127.0.0.1:5161;transport=tcp SIP/2.0",
            f"Via: SIP/2.0/TCP {self.host}:{self.port};branch=z9hG4bKr{number}",
            "Max-Forwards: 70",
            f"From: <sip:{self.name}@paris>;tag=ret{number}",
            "To: <sip:m1@paris>",
            f"Call-ID: return-{number}",
            "CSeq: 1 SUBSCRIBE",
            f"Contact: <sip:{self.name};transport=tcp>",
            f"Event: {event}",
            "Expires: 0",
            "Content-Length: 0\r\n\r\n",
        )
        text = "\r\n".join(head)
        self.send(text.encode())
        self.bench.pump()

    def receive(self, data: bytes) -> None:
        message = parse_message(data)
        if isinstance(message, Response) and message.call_id.startswith("return-"):
            self.answers.append(message.status)
        elif isinstance(message, Request) and message.call_id.startswith("return-"):
            self.states.append(message.get("subscription-state") or "")
            self.parts.append([json.loads(piece) for piece in message.body.split(b"\x1e") if piece.strip()])
            self.unanswered.append(message)
            if self.status:
                self.answer()
        else:
            super().receive(data)

    def answer(self) -> None:
        request = self.unanswered.pop(0)
        Side(self, request.call_id, "", "", "", "").answer(request, self.status)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [record for part in self.parts for record in part[1:]]


def talking(fixture: ServerFixture) -> Any:
    """A call of gw1, of which the server has the line state."""
    a = fixture.gw1.call("1002", lines=[f"Line-State: {KEPT.format(counter=1)}"])
    fixture.gw2.called.ring()
    fixture.gw2.called.accept()
    a.ack()
    return a


def restarted(fixture: ServerFixture) -> NextStart:
    fixture.gw1.disconnect()
    agent = NextStart(fixture.bench)
    agent.connect()
    fixture.bench.pump()
    return agent


def restarted_with_much(fixture: ServerFixture | None = None) -> NextStart:
    """There is more to be told than goes into two parts."""
    fixture = fixture or ServerFixture()
    agent = restarted(fixture)
    states = fixture.bench.core.agents.connections["gw1"].line_states
    for number in range(60):
        states.note_line(f"line{number}", f"1.1.1.{'A' * 4000}.mac", fixture.bench.now)
    return agent


def test_the_dialogs_of_the_former_start_come_back() -> None:
    fixture = ServerFixture()
    a = talking(fixture)
    agent = restarted(fixture)
    agent.ask()
    assert agent.answers == [200] and agent.states == ["terminated;reason=timeout"]
    [[head, record]] = agent.parts
    assert head["complete"] and head["agent"] == "gw1" and head["site"] == "paris"
    assert record["call-id"] == a.call_id and record["state"] == "confirmed"
    assert record["line-state"] == KEPT.format(counter=1) and record["line-state-age"] >= 0.0
    assert record["direction"] == "recipient" and "early" not in record


def test_what_is_under_way_comes_first_and_with_its_messages() -> None:
    fixture = ServerFixture()
    talking(fixture)
    ringing = fixture.gw1.call("1002", lines=[f"Line-State: {KEPT.format(counter=7)}"])
    agent = restarted(fixture)
    agent.ask()
    first, second = agent.told
    assert first["call-id"] == ringing.call_id and first["state"] == "early" and second["state"] == "confirmed"
    assert first["sent"][0]["request"].startswith("INVITE sip:1002")


def test_a_dialog_without_a_line_state_is_not_told_of() -> None:
    fixture = ServerFixture()
    fixture.talk()
    fixture.gw1.call("1002", lines=["Line-State: 1.1.1.-.mac"])
    agent = restarted(fixture)
    agent.ask()
    assert agent.told == []


def test_whether_all_was_heard_is_said() -> None:
    fixture = ServerFixture()
    agent = restarted(fixture)
    agent.ask()
    assert not agent.parts[0][0].get("covered")
    connection = fixture.bench.core.agents.connections["gw1"]
    connection.line_states.complete = True
    agent.ask()
    assert agent.parts[1][0]["covered"] is True


def test_no_more_than_two_parts_are_unanswered() -> None:
    agent = restarted_with_much()
    agent.status = 0
    agent.ask()
    assert len(agent.parts) == 2 and not any(part[0]["complete"] for part in agent.parts)
    agent.status = 200
    while agent.unanswered:
        agent.answer()
    assert agent.parts[-1][0]["complete"] and len(agent.told) == 60
    assert [part[0]["part"] for part in agent.parts] == [*range(1, len(agent.parts) + 1)]
    assert all(len(json.dumps(part)) < MOST_PART + 2000 for part in agent.parts)


def test_a_part_that_is_refused_ends_it() -> None:
    agent = restarted_with_much()
    agent.status = 481
    agent.ask()
    assert len(agent.parts) == 2


def test_without_a_lease_nothing_is_given() -> None:
    fixture = ServerFixture()
    talking(fixture)
    agent = restarted(fixture)
    fixture.gw2.disconnect()
    agent.offline = True
    fixture.bench.after(10.0)
    assert not fixture.bench.core.member.may_act(fixture.bench.now)
    agent.offline = False
    agent.ask()
    assert agent.told == []


def test_the_lease_is_looked_at_before_each_part() -> None:
    fixture = ServerFixture()
    agent = restarted_with_much(fixture)
    agent.status = 0
    agent.ask()
    fixture.gw2.disconnect()
    agent.offline = True
    fixture.bench.after(10.0)
    assert not fixture.bench.core.member.may_act(fixture.bench.now)
    agent.offline, agent.status = False, 200
    agent.answer()
    assert len(agent.parts) == 2 and not agent.parts[-1][0]["complete"], "another server may know better by now"


@pytest.mark.parametrize(
    ("event", "status"), [("line-dialog;purpose=takeover", 489), ("line-dialog", 489), ("dialog", 489)]
)
def test_nothing_else_can_be_subscribed_to(event: str, status: int) -> None:
    agent = restarted(ServerFixture())
    agent.ask(event)
    assert agent.answers == [status] and not agent.parts


def test_the_former_connection_is_read_to_its_end_first() -> None:
    fixture = ServerFixture()
    a = talking(fixture)
    agent = NextStart(fixture.bench)
    agent.connect()  # the connection of the start before is there still, with something on its way
    agent.ask()
    assert not agent.parts
    a.say("INFO", lines=[f"Line-State: {KEPT.format(counter=2)}"])
    fixture.bench.after(READ_OUT + 0.01)
    assert [record["line-state"] for record in agent.told] == [KEPT.format(counter=2)]


def test_a_dialog_that_kills_its_agent_comes_last_then_not_at_all() -> None:
    fixture = ServerFixture()
    calls = [talking(fixture) for _ in range(3)]
    agent = restarted(fixture)
    agent.status = 0  # it dies of this part
    agent.ask()
    assert [len(part) for part in agent.parts] == [4]
    agent.disconnect()

    second = NextStart(fixture.bench, incarnation=3)
    second.connect()
    second.ask()
    assert max(len(part) for part in second.parts) == 2, "a part of its own has a head and a record"
    assert len(second.told) == 3 and fixture.bench.core.agents.connections["gw1"].former_starts.resend_from is None

    third = NextStart(fixture.bench, incarnation=4)
    second.disconnect()
    third.connect()
    third.status = 0
    third.ask()
    suspects = {record["call-id"] for record in third.told}
    third.disconnect()
    states = fixture.bench.core.agents.connections["gw1"].line_states
    assert len(suspects) == 2 and states.withheld == 2

    last = NextStart(fixture.bench, incarnation=5)
    last.connect()
    last.ask()
    assert {record["call-id"] for record in last.told} == {call.call_id for call in calls} - suspects
    said = [alert.text for alert in alerts(fixture.bench.core, fixture.bench.now)]
    assert "2 calls are not given back to gw1 any more: it died of that twice" in said
