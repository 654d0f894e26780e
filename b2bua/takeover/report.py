"""The takeover report: the evidence, the decision with its reason, and the verdict on each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, cast

from b2bua.agents import Agents
from b2bua.call import CallServices
from b2bua.takeover.verdicts import KEPT, RELEASED, REPLAYED, Verdicts
from heartbeat.console.contract import Refused
from heartbeat.console.views.history import Explanation, Sentence
from heartbeat.console.views.takeovers import AgentReport, Evidence, Kind, Report, TakeoverSummary, Verdict
from heartbeat.decision import Decision, What

MOST: Final = 20
"""Takeovers remembered. Verdicts on calls are remembered only for the last takeover of each process start."""
MOST_KEPT: Final = 2000
"""Verdicts on calls that are kept for the next process start."""

_EVIDENCE: Final = (What.SUSPECT, What.DEAD, What.LEFT, What.ASKING, What.TAKING_OVER, What.READY, What.HANDING_OVER)


@dataclass(slots=True)
class Takeover:
    """One change of the active server, as this server saw it."""

    epoch: int
    kind: Kind
    old: str
    new: str
    because: str
    decided_at: float
    """When the epoch was won: proved and on disk."""
    suspected_at: float | None = None
    granted_at: float | None = None
    active_at: float | None = None
    grants: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    messages: int = 0


class Takeovers:
    """The takeovers that this server remembers, those of former process starts included."""

    def __init__(self, node: str, services: CallServices, agents: Agents, verdicts: Verdicts) -> None:
        self._node = node
        self._services = services
        self._agents = agents
        self._verdicts = verdicts
        self._all: list[Takeover] = []
        self._former: list[Report] = []
        """Reports of former starts of this server, oldest first."""
        self._evidence: list[Evidence] = []
        self._suspected_at: float | None = None
        self.counts: Counter[str] = Counter()
        """How often this server became the active one, by kind."""

    def seen(self, decision: Decision) -> None:
        """Collect the decisions that lead to a takeover; the peer being alive again clears them."""
        if decision.what is What.ALIVE:
            self._evidence.clear()
            self._suspected_at = None
        elif decision.what in _EVIDENCE:
            self._evidence.append(Evidence(at=decision.at, by=self._node, text=decision.because))
            del self._evidence[:-50]
            if decision.what is What.SUSPECT:
                self._suspected_at = decision.at

    def began(self, decision: Decision, old: str, kind: Kind) -> None:
        """This server has won an epoch: begin the report of that takeover."""
        self.counts[kind] += 1
        grants = [name for name, _ in decision.proof.grants] if decision.proof is not None else []
        self._all.append(
            Takeover(
                decision.epoch,
                kind,
                old,
                self._node,
                decision.because,
                decision.at,
                self._suspected_at,
                decision.at,
                None,
                grants,
                list(self._evidence),
            )
        )
        del self._all[:-MOST]
        self._evidence.clear()
        self._suspected_at = None

    def served(self, now: float) -> None:
        """The lists of all connected agents are complete: the takeover is done."""
        if self._all and self._all[-1].active_at is None:
            self._all[-1].active_at = now
            self._all[-1].messages = self._agents.services.messages

    def remember(self, reports: Sequence[Report]) -> None:
        """Load the reports of former starts, oldest first."""
        kept = list(reports[-MOST:])
        self._former = [*(replace(each, calls=()) for each in kept[:-1]), *kept[-1:]]

    def reports(self) -> list[Report]:
        """All reports, to be kept for the next start, oldest first."""
        own = [self._report(takeover, MOST_KEPT) for takeover in self._all]
        return [*self._former, *own][-MOST:]

    @property
    def state(self) -> tuple[int, int, float | None]:
        """Changes when :meth:`reports` do."""
        last = self._all[-1].active_at if self._all else None
        return len(self._former) + self.counts.total(), self._verdicts.counts.total(), last

    def summary(self, now: float) -> TakeoverSummary | None:
        if not self._all:
            return _summary(self._former[-1], now) if self._former else None
        last = self._all[-1]
        verdicts = self._verdicts.counts
        return TakeoverSummary(
            at=last.decided_at,
            kind=last.kind,
            old=last.old,
            new=last.new,
            epoch=last.epoch,
            because=last.because,
            took=round((last.active_at or now) - last.decided_at, 4),
            kept=verdicts[KEPT] + verdicts[REPLAYED],
            lost=verdicts[RELEASED],
        )

    def report(self, params: Mapping[str, str], limit: int) -> Report:
        takeover = self._find(params.get("epoch", ""))
        if isinstance(takeover, Report):
            return replace(takeover, calls=takeover.calls[:limit])
        return self._report(takeover, limit)

    def _report(self, takeover: Takeover, limit: int) -> Report:
        last = takeover is self._all[-1]
        connections, verdicts = self._agents.connections, self._verdicts
        details = list(islice(verdicts.details.items(), limit)) if last else []
        return Report(
            epoch=takeover.epoch,
            kind=takeover.kind,
            old=takeover.old,
            new=takeover.new,
            suspected_at=takeover.suspected_at,
            decided_at=takeover.decided_at,
            granted_at=takeover.granted_at,
            active_at=takeover.active_at,
            because=takeover.because,
            evidence=tuple(takeover.evidence),
            grants=tuple(takeover.grants),
            agents=tuple(self._agent(name) for name in connections) if last else (),
            not_reached=tuple(name for name, connection in connections.items() if connection.flow is None)
            if last
            else (),
            messages=takeover.messages,
            replayed=verdicts.counts[REPLAYED] if last else 0,
            verdicts={name: count for name, count in verdicts.counts.items() if count} if last else {},
            calls=tuple(self._verdict(call_id, *detail) for call_id, detail in details),
        )

    def explain(self, wanted: str) -> Explanation:
        takeover = self._find("" if wanted == "takeover" else wanted)
        sentences: list[Sentence] = [Sentence(at=each.at, text=each.text) for each in takeover.evidence]
        sentences.append(Sentence(at=takeover.granted_at, text=takeover.because))
        if takeover.active_at is not None:
            took = takeover.active_at - takeover.decided_at
            text = f"the lists of all agents were complete {took:.3f} s after the decision"
            sentences.append(Sentence(at=takeover.active_at, text=text))
        counts: Mapping[str, int] = {}
        if isinstance(takeover, Report):
            counts = takeover.verdicts
        elif takeover is self._all[-1]:
            counts = self._verdicts.counts
        sentences += [Sentence(at=None, text=f"{n} calls were {name}") for name, n in counts.items() if n]
        return Explanation(about=f"{takeover.kind} to epoch {takeover.epoch}", sentences=tuple(sentences))

    def knows(self, epoch: str) -> bool:
        """Whether a takeover to that epoch is remembered. If not, the digits may be the beginning of a call id."""
        return any(str(takeover.epoch) == epoch for takeover in self._latest())

    def verdict_before(self, call_id: str) -> tuple[float, Verdict] | None:
        """The time of a takeover in a former start that has a verdict on a call, with the verdict; the newest one."""
        for report in reversed(self._former):
            for verdict in report.calls:
                if verdict.id == call_id:
                    return report.decided_at, verdict
        return None

    def calls_before(self) -> Iterator[str]:
        """The ids of calls with a verdict from a former start."""
        return (verdict.id for report in self._former for verdict in report.calls)

    def _latest(self) -> Iterator[Takeover | Report]:
        yield from reversed(self._all)
        yield from reversed(self._former)

    def _find(self, epoch: str) -> Takeover | Report:
        for takeover in self._latest():
            if not epoch or str(takeover.epoch) == epoch:
                return takeover
        raise Refused("this server has taken nothing over, as far as it remembers", 404)

    def _agent(self, name: str) -> AgentReport:
        connection = self._agents.connections[name]
        return AgentReport(
            agent=name,
            asked_at=connection.asked_at or None,
            complete_at=connection.complete_at,
            parts=connection.parts,
            size=connection.size,
            calls=connection.dialogs,
        )

    def _verdict(self, call_id: str, verdict: str, because: str) -> Verdict:
        state = "gone" if call_id not in self._services.calls else "there"
        return Verdict(id=call_id, verdict=verdict, state=state, because=because)


def _summary(report: Report, now: float) -> TakeoverSummary:
    """The summary of a takeover in a former start."""
    verdicts = Counter(report.verdicts)
    return TakeoverSummary(
        at=report.decided_at,
        kind=cast("Kind", report.kind),
        old=report.old,
        new=report.new,
        epoch=report.epoch,
        because=report.because,
        took=round((report.active_at or report.decided_at) - report.decided_at, 4),
        kept=verdicts[KEPT] + verdicts[REPLAYED],
        lost=verdicts[RELEASED],
    )


def kind_of(because: str, old: str, node: str, preferred: str) -> Kind:
    """The kind of a change of the active server: ``takeover``, ``switchover``, ``failback``, ``restart`` or
    ``force``."""
    if "force" in because:
        return "force"
    if old in ("", node):
        return "restart"
    if "hand" in because or "operator" in because:
        return "failback" if node == preferred else "switchover"
    return "takeover"
