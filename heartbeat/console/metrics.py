"""Figures in Prometheus' text format (its exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Gauge(NamedTuple):
    """One figure."""

    name: str
    """Without the prefix ``holdfast_``."""
    meaning: str
    value: float
    labels: Mapping[str, str] = {}


def vitals(status: Mapping[str, Any]) -> list[Gauge]:
    """How the process itself does; nothing where a core stands alone."""
    own = status.get("process")
    if own is None:
        return []
    return [
        Gauge("cpu_share", "Share of a processor, over ten seconds", own["cpu"]),
        Gauge("messages_per_second", "SIP messages received a second", own["messages_per_s"]),
        Gauge("loop_stall_seconds", "Longest stall of the loop in the last minute", own["stall_last_minute"]),
        Gauge("loop_stall_most_seconds", "Longest stall of the loop since the start", own["stall_since_start"]),
    ]


def text_of(common: Mapping[str, str], gauges: Iterable[Gauge]) -> str:
    """The figures, ``common`` labels on each; those of one name are to stand together."""
    lines: list[str] = []
    last = ""
    for name, meaning, value, labels in gauges:
        if name != last:
            lines += [f"# HELP holdfast_{name} {meaning}", f"# TYPE holdfast_{name} gauge"]
            last = name
        text = ",".join(f'{key}="{_escaped(label)}"' for key, label in {**common, **labels}.items())
        lines.append(f"holdfast_{name}{{{text}}} {float(value):g}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
