"""One stepper for all tables: what stands in none is ignored, and each step is logged."""

from __future__ import annotations

import logging
from enum import Enum

import pytest

from heartbeat.state_machine import StateMachine


class Event(Enum):
    COIN = "a coin came"
    PUSH = "somebody pushes"


TABLE = {("locked", Event.COIN): ("open", "click"), ("open", Event.PUSH): ("locked", "clack")}


def test_a_step_gives_the_action_and_says_from_event_and_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door = StateMachine("the door", TABLE, "locked")
    assert (door.step(Event.COIN), door.state) == ("click", "open")
    assert caplog.messages == ["the door: locked, a coin came, to open"]


def test_what_stands_in_no_table_is_ignored() -> None:
    door = StateMachine("the door", TABLE, "locked")
    assert (door.step(Event.PUSH), door.state) == (None, "locked")
