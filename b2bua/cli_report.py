"""The screens of ``explain``: a call, and the takeover report."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from heartbeat.console import render
from heartbeat.console.render import NOTHING, clock, count, grid, listed, several, span, table
from heartbeat.console.views.history import Explanation
from heartbeat.console.views.takeovers import Report, Verdict


def explanation_screen(explanation: Explanation) -> RenderableType:
    """The sentences about a call or takeover, each with its time."""
    rows = [
        (clock(sentence.at, fine=True) if sentence.at is not None else "", sentence.text)
        for sentence in explanation.sentences
    ]
    return render.stack(Text(explanation.about, "bold"), render.facts((at, text) for at, text in rows))


def report_screen(report: Report, with_calls: bool) -> RenderableType:
    """The takeover report: evidence, decisions, the progress of the takeover, verdicts on calls."""
    decided = report.decided_at
    title = Text.assemble(
        (f"{report.kind.capitalize()} to epoch {report.epoch}", "bold"),
        f"  {report.old or NOTHING} → {report.new}  {clock(decided)}",
    )
    return render.stack(
        title,
        _timeline(report, decided),
        _hand_over(report, decided),
        _sums(report),
        render.warnings([f"{listed(report.not_reached)} was not reached."]) if report.not_reached else None,
        _verdicts(report) if with_calls else None,
    )


def _timeline(report: Report, decided: float) -> RenderableType:
    moments: list[tuple[float, str, str]] = [(e.at, e.by, e.text) for e in report.evidence]
    if report.suspected_at is not None and not any(at == report.suspected_at for at, _, _ in moments):
        moments.append((report.suspected_at, report.new, f"{report.old} is suspect"))
    moments.append((decided, report.new, f"decided to take over: {report.because}"))
    if report.granted_at is not None:
        granted = f"epoch {report.epoch} granted by {listed(report.grants) if report.grants else 'nobody'}"
        moments.append((report.granted_at, report.new, granted))
    if report.active_at is not None:
        moments.append((report.active_at, report.new, "active"))
    moments.sort(key=lambda moment: moment[0])
    return render.wide(
        ("~At", ">Decision", "By", "What was seen and done"),
        [(clock(at, fine=True), f"{at - decided:+.3f} s", by, text) for at, by, text in moments],
    )


def _hand_over(report: Report, decided: float) -> RenderableType:
    rows = [
        (
            agent.agent,
            _after(agent.asked_at, decided),
            _after(agent.complete_at, decided) if agent.complete_at is not None else Text("not yet", "yellow"),
            count(agent.parts),
            f"{count(agent.size / 1024)} KB",
            count(agent.calls),
        )
        for agent in report.agents
    ]
    columns = ("Agent", ">Asked", ">Complete", ">Parts", ">Size", ">Calls")
    return grid(columns, rows, "No agent was asked.")


def _after(at: float | None, decided: float) -> str:
    return NOTHING if at is None else f"{at - decided:+.3f} s"


def _sums(report: Report) -> RenderableType:
    verdicts = [
        render.line(count(number), render.coloured(word), gap=" ")
        for word, number in report.verdicts.items()
        if number
    ]
    active = report.active_at
    took = NOTHING if active is None else span(active - report.decided_at)
    replayed = several(report.replayed, "request")
    return render.facts(
        [
            ("Calls", render.line(*verdicts) if verdicts else "none"),
            ("Messages", f"{count(report.messages)} between servers and agents; {replayed} replayed"),
            ("Took", f"{took} from the decision until active"),
        ]
    )


def _verdicts(report: Report) -> RenderableType:
    return table(Verdict, report.calls, empty="No calls were taken over.")
