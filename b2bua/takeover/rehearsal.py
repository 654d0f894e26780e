"""The rehearsal of a takeover by this server: which calls it would keep and lose now, and why.

Agents are asked for their lists as in a takeover, but with the purpose ``observe``, which changes nothing. Each call
is judged as in a takeover (``b2bua.takeover.restoration`` and ``reconciliation``). Since calls change between the
lists of two agents, those that seem lost are asked for a second time. The numbers of calls without agents come from
the leader (`b2bua.unattended`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from b2bua.agents import Agents
from b2bua.call import CallServices
from b2bua.leadership import Leadership, answers
from b2bua.state_token import CallState, TokenError, call_id_of, read
from b2bua.takeover.observation import Observation
from b2bua.takeover.records import DialogReport
from b2bua.takeover.verdicts import CARRIED, KEPT, RELEASED, REPLAYED, RESET, UNKEPT
from b2bua.unattended import UnattendedCalls, cold_line
from heartbeat.console.contract import ProgressCheck, Refused
from heartbeat.console.views.takeovers import Rehearsal, Verdict
from heartbeat.timing import Timing
from sip.packages.line_dialog import BadRecord

WAITING: Final = "waiting"
"""Its other side is at an agent that has not sent its list; it would be kept until ``agent_grace`` has passed."""
ALONE: Final = "alone"
"""One leg would be served without another: its state token is invalid."""
LOST: Final = (RELEASED, RESET, ALONE, UNKEPT)

AGAIN: Final = 1.0
"""Seconds until calls that seem lost are asked for again."""
MOST_AGAIN: Final = 1000
"""Calls that are asked for again; if more seem lost, the time between two lists is not the reason."""
LOOK: Final = "look again"


class Seen(NamedTuple):
    """What matters of one dialog for the verdict on its call."""

    agent: str
    call: str
    """The call id."""
    call_id: str
    """The Call-ID of the server dialog."""
    line: str
    cold: bool
    """The line has cold recovery."""
    over: bool
    """It has ended, and no request is pending."""
    talks: bool
    """It is confirmed."""
    by_server: bool
    """The server sent the INVITE: a callee's leg."""
    sends: bool
    """Requests of its device are pending."""
    counter: int
    """The counter in its token."""
    state: CallState | None
    """The state in its token; ``None`` if the token is invalid."""
    cold_line: str = ""
    """The servers' own line on its other side, if that has cold recovery."""


class Heard(NamedTuple):
    """The agents whose lists are known."""

    complete: frozenset[str]
    """Agents that have sent their whole lists."""
    known: frozenset[str]
    """All agents of the site."""


Judgement = tuple[str, str]
"""The verdict and its sentence."""


def judge(seen: Sequence[Seen], heard: Heard) -> Judgement | None:
    """The verdict on a call with these dialogs; ``None`` for one that has ended, or is ending."""
    legs = [each for each in seen if not each.over]
    if not legs:
        return None
    cold = next((each for each in legs if each.cold), None)
    if cold is not None:
        return RESET, f"{cold.line} is cold: its calls are dropped"
    believed = [each for each in seen if each.state is not None]
    state = max(believed, key=lambda each: each.counter).state if believed else None
    sends = any(each.sends for each in legs)
    talks = any(each.talks for each in legs)
    if state is None:
        if sends and not talks:
            return REPLAYED, "no server has answered it yet: it is taken as just arrived"
        return ALONE, "its state token is not signed with the key of the site"
    callers = [each for each in legs if not each.by_server]
    callees = [each for each in legs if each.by_server and state.callee_dialog in ("", each.call_id)]
    if callers and (callees or not (talks or state.answered)):
        if sends:
            return REPLAYED, "what is under way in it is handed over"
        return KEPT, "both of its legs are handed over" if callees else "its caller is handed over"
    if not callers and not callees:
        return None  # a leg to a target that was given up
    missing = state.callee_agent if callers else state.caller_agent
    if any(each.over and each.by_server is bool(callers) for each in seen):
        return None  # the end of one side is on its way to the other
    if not missing and (line := legs[0].cold_line):
        return RELEASED, f"{line} is cold: its calls are dropped"
    if not missing and state.device_leg is not None:
        return KEPT, "one leg is handed over, that with a line of the servers is in its token"
    if not missing:
        return RELEASED, "its other side is a line of the servers' own, of which its token does not tell"
    if missing not in heard.known:
        return RELEASED, f"{missing} is no agent of this site any more"
    if missing in heard.complete:
        return RELEASED, f"{missing} has no such dialog"
    return WAITING, f"its other side is at {missing}, which has not told what it has"


def obstacles(leadership: Leadership, timing: Timing, calls: int, capacity: int, now: float) -> list[str]:
    """Why this server could not take over, or not as it should, a sentence each."""
    member, node = leadership.member, leadership.node
    found: list[str] = []
    if member.paused:
        found.append(f"{node} takes nothing over by itself: it is paused")
    if member.participant.trouble:
        found.append(member.participant.trouble)
    if few := too_few_voters(leadership, timing, now):
        found.append(few)
    if calls > capacity:
        found.append(f"{node} takes {capacity:,} calls, and there are {calls:,}")
    return found


def too_few_voters(leadership: Leadership, timing: Timing, now: float) -> str:
    """Why no quorum would elect this server if the active one failed; empty: one would."""
    member = leadership.member
    voters, quorum = member.participant.on_disk.voters.names, member.participant.quorum
    leader = "" if leadership.serving else member.cluster.leader
    answering = [name for name in voters if name != leader and answers(leadership, name, timing, now)]
    if not voters:
        return "the site has no voters, so nobody can be elected"
    if len(answering) < quorum:
        return f"{len(answering)} of {len(voters)} voters would answer {leadership.node}, {quorum} are needed"
    return ""


class Rehearsals:
    """The rehearsals of one server, one at a time; the last result is kept."""

    def __init__(
        self,
        services: CallServices,
        agents: Agents,
        leadership: Leadership,
        keys: Callable[[], Sequence[bytes]],
        capacity: Callable[[], int],
        unattended: UnattendedCalls,
    ) -> None:
        """``keys``: the site's keys, to verify tokens; ``capacity``: most calls of this server; ``unattended``: its
        calls without agents."""
        self.generation = 0
        self._services = services
        self._agents = agents
        self._leadership = leadership
        self._keys = keys
        self._capacity = capacity
        self._unattended = unattended
        self._look: Observation | None = None
        """The observation under way: of all dialogs, or the second one."""
        self._whole: Observation | None = None
        self._begun_at = 0.0
        self._calls: dict[str, list[Seen]] = {}
        self._last: tuple[Rehearsal, list[Verdict]] | None = None

    def begin(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        """Begin a rehearsal, unless one is under way; returns its progress."""
        if self._whole is None:
            self._begun_at = now
            self._calls.clear()
            wanted: dict[str, Sequence[str] | None] = dict.fromkeys(self._services.site.agents)
            self._whole = self._look = Observation(
                self._leadership.node, self._agents, wanted, self._take, self._heard_all, now
            )
        run = self._whole
        return run.progress(lambda: self._whole is run, "the rehearsal is done, nothing was changed")

    def result(self, limit: int) -> Rehearsal:
        """The last result, with at most ``limit`` of the calls that would not be kept. Raises :class:`Refused`."""
        if self._last is None:
            raise Refused("no rehearsal was made here yet", 404)
        found, calls = self._last
        return replace(found, calls=tuple(calls[:limit]))

    def _take(self, told: DialogReport, now: float) -> None:
        """Store what matters of a dialog."""
        try:
            seen = self._seen(told)
        except BadRecord:
            return  # a takeover skips it, too
        self._calls.setdefault(seen.call, []).append(seen)

    def _seen(self, told: DialogReport) -> Seen:
        record, over = told.record, told.is_over
        state = None
        if record.token:
            try:
                state = read(record.token, self._keys())
            except (TokenError, ValueError):
                pass
        name = record.line.partition("/")[0]
        line = self._services.site.lines.get(name)
        return Seen(
            told.agent,
            state.call_id if state is not None else told.call or call_id_of(told.agent, told.call_id),
            told.call_id,
            name,
            line is not None and line.recovery == "cold",
            over,
            told.talks,
            told.opened_by_server,
            told.has_sent,
            told.counter,
            state,
            "" if state is None else cold_line(state, self._services.site),
        )

    def _heard_all(self, now: float) -> None:
        """All lists have come: ask again for calls that seem lost, as they may have begun or ended between two
        lists."""
        doubtful = self._doubtful()
        if not doubtful or len(doubtful) > MOST_AGAIN:
            self._finish(now)
            return
        self._services.stack.deadlines.set(now + AGAIN, self, LOOK)

    def _doubtful(self) -> list[str]:
        heard = self._heard()
        return [call for call, seen in self._calls.items() if (judge(seen, heard) or ("",))[0] in (RELEASED, ALONE)]

    def due(self, cause: str, now: float) -> None:
        wanted: dict[str, list[str]] = {}
        for call in self._doubtful():
            for each in self._calls.pop(call):
                wanted.setdefault(each.agent, []).append(each.call_id)
                if each.state is not None:
                    for agent, dialog in (
                        (each.state.caller_agent, each.state.caller_dialog),
                        (each.state.callee_agent, each.state.callee_dialog),
                    ):
                        if agent in self._services.site.agents and dialog:
                            wanted.setdefault(agent, []).append(dialog)
        unique = {agent: tuple(dict.fromkeys(call_ids)) for agent, call_ids in wanted.items()}
        self._look = Observation(self._leadership.node, self._agents, unique, self._take, self._finish, now)

    def _heard(self) -> Heard:
        assert self._whole is not None
        return Heard(self._whole.complete, frozenset(self._services.site.agents))

    def _finish(self, now: float) -> None:
        run, heard = self._whole, self._heard()
        assert run is not None
        verdicts: Counter[str] = Counter()
        calls: list[Verdict] = []
        for call, seen in self._calls.items():
            found = judge(seen, heard)
            if found is None:
                continue
            verdict, because = found
            verdicts[verdict] += 1
            if verdict not in (KEPT, REPLAYED):
                state = "talking" if any(each.talks for each in seen) else "ringing"
                calls.append(Verdict(call, verdict, state, because))
        without_agents = self._without_agents(verdicts, calls)
        site = self._services.site
        said = obstacles(self._leadership, site.timing, verdicts.total(), self._capacity(), now)
        late = [each.agent for each in run.questions if each.complete_at is None]
        said += [f"{agent} is not connected to {self._leadership.node}" for agent in run.not_reached]
        said += [f"{agent} has not told what it has" for agent in late]
        result = Rehearsal(
            at=self._begun_at,
            node=self._leadership.node,
            active=self._leadership.node if self._leadership.serving else self._leadership.member.cluster.leader,
            kept=verdicts[KEPT] + verdicts[REPLAYED] + verdicts[CARRIED],
            lost=sum(verdicts[word] for word in LOST),
            waiting=verdicts[WAITING],
            verdicts=dict(+verdicts),
            decision=site.decision_time,
            took=round(run.took, 4),
            agents=tuple(each.report() for each in run.questions),
            obstacles=tuple(said),
            calls=(),
            without_agents=without_agents,
        )
        self._last = result, calls
        self._calls.clear()
        self._whole = self._look = None

    def _without_agents(self, verdicts: Counter[str], calls: list[Verdict]) -> str:
        """Count the calls without any agent, ours or those that the leading server tells of; a sentence about them,
        empty where there are none."""
        node, cluster = self._leadership.node, self._leadership.member.cluster
        if self._leadership.serving:
            teller, found = node, list(self._unattended.each())
            verdicts.update(each.verdict for each in found)
            calls += [Verdict(*each) for each in found if each.verdict != CARRIED]
            carried = sum(each.verdict == CARRIED for each in found)
            lost = len(found) - carried
        else:
            teller = cluster.leader
            peer = cluster.peers.get(teller)
            if peer is None or peer.beat is None:
                return ""
            carried, lost = peer.beat.carried, peer.beat.unkept
            if not self._services.cookies.enabled:  # what the devices carry cannot be read here
                carried, lost = 0, carried + lost
            verdicts[CARRIED] += carried
            verdicts[UNKEPT] += lost
        if not carried + lost:
            return ""
        total = f"{carried + lost:,} call{'s' * (carried + lost != 1)} between lines without agents"
        back = f"{carried:,} would come back with the next request of one of its devices"
        return f"{teller} has {total}: {back}, {lost:,} would be lost"
