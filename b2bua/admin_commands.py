"""An operator's verbs, and how far each has come: ``switchover reset hangup busyout pause resume readmit
init rehearse audit``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from b2bua.agents import Agents
from b2bua.call import CallServices
from b2bua.leadership import Leadership
from heartbeat import first_start
from heartbeat.console.contract import Progress, ProgressCheck, Refused
from heartbeat.decision import Decided
from sip.packages.line_dialog import BACK, BUSIED_BY, BUSIED_OUT, IDLE, OUT_OF_SERVICE

MOST: Final = 100
"""Orders remembered."""
LONGEST: Final = 30.0
"""Seconds after which an order that has not come true has failed."""


class AdminCommands:
    """Each order is a question that is asked again until it is true."""

    def __init__(
        self,
        services: CallServices,
        leadership: Leadership,
        agents: Agents,
        history: Sequence[Decided],
        looks: Mapping[str, Callable[[Mapping[str, str], float], ProgressCheck]],
        decided: Callable[[str, str, float], None],
        busy_out: Callable[[str, bool, float], None],
    ) -> None:
        """``history``: what was decided, the last one at the end; ``decided`` notes what an operator did there.
        ``looks``: verbs that only look, and how each is begun. ``busy_out`` takes no new calls on a line of the
        server's own, or takes them again."""
        self._busy_out = busy_out
        self._looks = looks
        self._decided = decided
        self._services = services
        self._leadership = leadership
        self._member = leadership.member
        self._agents = agents
        self._history = history
        self._commands: OrderedDict[str, tuple[str, float, ProgressCheck]] = OrderedDict()
        self._count = 0

    def command(self, verb: str, params: Mapping[str, str], now: float) -> Progress:
        """Begin; raises :class:`Refused` with the reason when it cannot be."""
        act = {
            "switchover": self._switchover,
            "reset": self._reset,
            "hangup": self._hangup,
            "busyout": self._busyout,
            "pause": self._pause,
            "resume": self._resume,
            "readmit": self._readmit,
            "init": self._init,
            **self._looks,
        }.get(verb)
        if act is None:
            raise Refused(f"there is no verb {verb} here", 404)
        check_progress = act(params, now)
        self._leadership.pump(now)
        self._count += 1
        order = f"{verb}-{self._count}"
        self._commands[order] = (verb, now, check_progress)
        if len(self._commands) > MOST:
            self._commands.popitem(last=False)
        return self.progress(order, now)

    def progress(self, order: str, now: float) -> Progress:
        found = self._commands.get(order)
        if found is None:
            raise Refused(f"no order {order or '(no id given)'} is known here", 404)
        verb, begun_at, check_progress = found
        state, sentence, done, total = check_progress(now)
        if state == "running" and now - begun_at > LONGEST:
            state, sentence = "failed", f"after {LONGEST:g} s still: {sentence}"
        return Progress(id=order, verb=verb, state=state, sentence=sentence, done=done, total=total)

    def _switchover(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        to = params.get("to", "")
        if params.get("force") == "yes":
            if to and to != self._leadership.node:
                raise Refused(f"a forced switchover is sent to {to} itself, this is {self._leadership.node}")
            fault = self._member.force(now)
            if fault:
                raise Refused(fault)
            return self._won(self._leadership.node)
        if uncovered := [each.name for each in self._agents.uncovered]:
            raise Refused(
                f"{' and '.join(uncovered)} would lose calls by a death during it: what only an agent knows of its"
                " calls is being told; try again in a second"
            )
        fault = self._member.switchover(to, now)
        if fault:
            raise Refused(fault)
        return self._handed_over(to or next(iter(self._member.cluster.others)), now)

    def _won(self, node: str) -> ProgressCheck:
        def check_progress(now: float) -> tuple[str, str, int, int]:
            connections = [
                connection for connection in self._agents.connections.values() if connection.flow is not None
            ]
            done = sum(1 for connection in connections if connection.complete or connection.hung)
            if self._leadership.serving and done == len(connections):
                return "done", f"{node} is active under epoch {self._leadership.epoch}", done, len(connections)
            return "running", f"{done} of {len(connections)} agents have moved to {node}", done, len(connections)

        return check_progress

    def _handed_over(self, to: str, begun_at: float) -> ProgressCheck:
        epoch = self._leadership.epoch

        def check_progress(now: float) -> tuple[str, str, int, int]:
            if not self._leadership.serving:
                peer = self._member.cluster.peers.get(to)
                if peer is not None and peer.state == "active":
                    return "done", f"{to} is active under epoch {self._member.cluster.epoch}", 1, 1
                return "running", f"{self._leadership.node} let go; {to} takes over", 0, 1
            if self._leadership.epoch != epoch:
                ruling = f"{self._leadership.node} rules again under epoch {self._leadership.epoch}"
                return "failed", f"{to} did not take over: {ruling}", 0, 1
            for decision in reversed(self._history):
                if decision.at < begun_at:
                    break
                if decision.code in ("called off", "refused"):
                    return "failed", decision.because, 0, 1
            return "running", f"{to} is gathering votes", 0, 1

        return check_progress

    def _reset(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        self._must_lead()
        state = OUT_OF_SERVICE if params.get("state") == "out of service" else IDLE
        wanted = [name for name in params.get("lines", "").split(",") if name]
        if not wanted:
            raise Refused("no line is named; name lines with commas between, or all", 400)
        names = list(self._services.site.lines) if wanted == ["all"] else wanted
        reset = f"{len(names)} lines are" if len(names) > 1 else f"{names[0]} is"
        by_agent: dict[str, list[str]] = {}
        for name in names:
            line = self._services.site.lines.get(name.partition("/")[0])
            if line is None:
                raise Refused(f"{name} is no line of this site", 404)
            channel = name.partition("/")[2]
            if "/" in name and not (
                channel.isascii() and channel.isdigit() and 1 <= int(channel[:9]) <= line.channels
            ):
                raise Refused(f"{name} is no channel of {line.name}, which has {line.channels}", 404)
            if line.agent:
                by_agent.setdefault(line.agent, []).append(name)
        for agent, lines in by_agent.items():
            connection = self._agents.connections[agent]
            if connection.flow is None:
                raise Refused(f"{agent}, which has {lines[0]}, is not connected")
            connection.reset(lines, state, now)
        # An agent ends towards the device without a word to us, who know; the other side of the call is ours to end.
        for call in list(self._services.calls.values()):
            if _is_on(call.state.caller_line, call.state.callee_line, names):
                call.bridge.release(f'SIP;cause=503;text="Reset by {self._leadership.node}"', now, status=503)

        return _true(f"{reset} reset to {state.replace('-', ' ')}")

    def _hangup(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        self._must_lead()
        wanted = params.get("call", "")
        calls = [call for name, call in self._services.calls.items() if wanted and name.startswith(wanted)]
        if not calls:
            raise Refused(f"no call {wanted or '(no id given)'} stands here; `b2bua calls` lists them", 404)
        if len(calls) > 1:
            raise Refused(f"{len(calls)} calls begin with {wanted}: give more of the id", 400)
        (call,) = calls
        answered = bool(call.state.answered)
        cause, status = (200, 200) if answered else (480, 480)
        call.bridge.release(f'SIP;cause={cause};text="Ended by an operator"', now, status=status)
        said = f"{call.state.caller or '?'} to {call.state.callee or '?'} ({call.id}) is ended by an operator"
        self._decided("hangup", said, now)
        return _true(said)

    def _busyout(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        name, out = params.get("line", ""), params.get("end") != "yes"
        line = self._services.site.lines.get(name)
        if line is None:
            raise Refused(f"{name or '(no line given)'} is no line of this site", 404)
        said = f"{name} takes {'no new calls; its calls go on' if out else 'new calls again'}"
        if line.at_servers:  # each server keeps it, so that it is so whoever leads
            self._busy_out(name, out, now)
            return _true(f"at {self._leadership.node} {said}")
        self._must_lead()
        connection = self._agents.connections[line.agent]
        if connection.flow is None:
            raise Refused(f"{line.agent}, which has {name}, is not connected")
        connection.reset([name], BUSIED_OUT if out else BACK, now)
        self._decided("busyout", f"{said}, by an operator", now)

        def check_progress(now: float) -> tuple[str, str, int, int]:
            told = connection.lines.get(name)
            if (told is not None and told.why.startswith(BUSIED_BY)) is not out:
                return "running", f"{line.agent} has not said that it does so", 0, 1
            return "done", said, 1, 1

        return check_progress

    def _must_lead(self) -> None:
        if not self._leadership.serving:
            leader = self._member.cluster.leader or "the active server"
            raise Refused(f"{self._leadership.node} is not active; send the order to {leader}")

    def _pause(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        self._member.pause(now)
        return _true(f"{self._leadership.node} takes nothing over by itself until resume")

    def _resume(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        self._member.resume(now)
        return _true(f"{self._leadership.node} takes over by itself again")

    def _init(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        fault = first_start.begin(self._member.participant, self._member.cluster, now)
        if fault:
            raise Refused(fault)
        return self._won(self._leadership.node)

    def _readmit(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        agent = params.get("agent", "")
        fault = self._member.restore_vote(agent, now, params.get("force") == "yes")
        if fault:
            raise Refused(fault)

        def check_progress(now: float) -> tuple[str, str, int, int]:
            if agent in self._member.cluster.non_voting:
                return "running", f"{agent} has no vote yet", 0, 1
            return "done", f"{agent} votes again", 1, 1

        return check_progress


def _is_on(caller_line: str, callee_line: str, names: list[str]) -> bool:
    return any(
        line == name or line.partition("/")[0] == name
        for name in names
        for line in (caller_line, callee_line)
        if line
    )


def _true(sentence: str) -> ProgressCheck:
    return lambda now: ("done", sentence, 1, 1)
