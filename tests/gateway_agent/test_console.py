"""What a server passes on to an agent: asked by a server of the site on its own connection, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_agent import console
from heartbeat import carriage
from heartbeat.console_exchange import ConsoleAsked
from heartbeat.header import CONSOLE
from tests.gateway_agent.agent_fixture import KEY, AgentFixture, Server


class Asked(AgentFixture):
    """The agent, and what its shell would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.core.connections.console._do = self.asked.append
        self.start = self.core.connections.voter.participant.on_disk.incarnation

    def ask(self, by: Server, key: bytes = KEY, **more: Any) -> str:
        """The piece with which a whole question is answered; empty: with none."""
        said = {"kind": CONSOLE, "fetch": "1/q/0/5/aGVsbG8", "for_incarnation": self.start, **more}
        via = f"Via: SIP/2.0/TCP {by.name};branch=z9hG4bKc"
        before = len(by.beats)
        by.send(carriage.request(by.stamp(**said), key, via, ("127.0.0.1", 5161), "console", 1))
        return by.beats[-1].piece if len(by.beats) > before else ""


def test_each_server_asks_whoever_is_obeyed() -> None:
    it = Asked()
    for server in (it.m1, it.m2):
        assert it.ask(server) == "1/a/0/0/"
        it.core.connections.console.serve(server.name, 1, b"fine", it.now)
        assert it.ask(server, fetch="1/a/0") == "1/a/0/4/ZmluZQ"
    assert it.asked == [ConsoleAsked("m1", 1, b"hello"), ConsoleAsked("m2", 1, b"hello")]


@pytest.mark.parametrize(
    "wrong", [{"for_incarnation": 0}, {"for_incarnation": 99}], ids=["of no start", "of another start"]
)
def test_what_is_not_for_this_start_is_not_done(wrong: dict[str, Any]) -> None:
    it = Asked()
    assert it.ask(it.m1, **wrong) == "1/gone"
    assert it.asked == []


def test_what_is_signed_with_another_key_is_not_heard() -> None:
    it = Asked()
    assert it.ask(it.m1, b"another key of the tests") == ""
    assert it.asked == []


def test_a_server_asks_in_its_own_name() -> None:
    it = Asked()
    it.m1.name = "m2"
    assert it.ask(it.m1) == ""
    assert it.asked == []


def test_an_answer_is_no_question() -> None:
    it = Asked()
    assert it.ask(it.m1, re=(it.start, 1)) == ""
    assert it.asked == []


def test_of_orders_a_server_passes_on_the_test_of_a_line_alone() -> None:
    assert {"test"} == console.ORDERS and console.ORDERS <= console.VERBS
