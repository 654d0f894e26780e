"""Carries out the actions of an election's core, for servers and agents: sends statements, stores states, and passes
on decisions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from heartbeat import carriage
from heartbeat.agent_voter import AgentVoter
from heartbeat.decision import Decision, Persist, Tell
from heartbeat.header import Beat, Start
from heartbeat.member import Member
from heartbeat.persistent_state import PersistentState, encode
from sip.actions import Action, Flow, Send, Store
from sip.wire.message import Request

VOTES: Final = "votes"
"""The name under which the core's state is stored."""
_MOST_ASKED: Final = 1024
"""Requests that may wait for the disk; beyond that the oldest is not answered."""


class Carrier:
    """Drives one core. ``do`` is called with actions for the shell, ``ask`` sends a request of the core, ``apply``
    is called with each decision, ``key_for`` returns the key that signs messages to a node.
    """

    def __init__(
        self,
        core: Member | AgentVoter,
        do: Callable[[Action], None],
        ask: Callable[[Tell], None],
        apply: Callable[[Decision, float], None],
        key_for: Callable[[str], bytes],
    ) -> None:
        self._core = core
        self._do = do
        self._ask = ask
        self._apply = apply
        self._key_for = key_for
        self._asked: OrderedDict[tuple[Start, int], tuple[Request, Flow]] = OrderedDict()
        self._storing: dict[str, PersistentState] = {}

    def receive(self, request: Request, beat: Beat, sender: str, flow: Flow, now: float) -> None:
        """Give the core the statement of a request; the response is sent on ``flow``. Call `pump` afterwards."""
        self._asked[beat.start, beat.seq] = (request, flow)
        if len(self._asked) > _MOST_ASKED:
            self._asked.popitem(last=False)
        self._core.receive(beat, sender, now)

    def answer(self, request: Request, beat: Beat, flow: Flow) -> None:
        """Answer a heartbeat request."""
        self._do(Send(flow, carriage.answer(request, beat, self._key_for(beat.to)), True))

    def pump(self, now: float) -> None:
        """Carry out the core's actions and decisions until there are none."""
        while True:
            for action in self._core.to_do():
                if isinstance(action, Persist):
                    value = encode(action.state)
                    self._storing[value] = action.state
                    self._do(Store(VOTES, value))
                elif action.answer_to is None:
                    self._ask(action)
                elif (asked := self._asked.pop(action.answer_to, None)) is not None:
                    self.answer(asked[0], action.beat, asked[1])
            decision = self._core.next_event()
            if decision is None:
                return
            self._apply(decision, now)

    def stored(self, value: str, fault: str | None, now: float) -> bool:
        """``value`` is stored, or ``fault`` says why not. Returns whether it is a state of this core; call `pump`
        afterwards."""
        state = self._storing.pop(value, None)
        if state is None:
            return False
        if fault is None:
            self._core.persisted(state, now)
        else:
            self._core.not_persisted(state, fault, now)
        return True
