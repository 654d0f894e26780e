"""A run of the bench as a picture for a page: CPU a call, and the 99th percentile of added latency by rate, by
program. SVG whose colours follow the reader's light or dark scheme. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from tests.bench.comparison import OURS, figures

_WIDTH: Final = 760
_LEFT: Final = 130
_RIGHT: Final = 90
_BAR: Final = 18
_GAP: Final = 6
_COLOURS: Final = (("#1f6feb", "#58a6ff"), ("#1a7f37", "#3fb950"), ("#9a6700", "#d29922"), ("#8250df", "#bc8cff"),
                   ("#57606a", "#8b949e"))  # fmt: skip
"""For a light and a dark background; ours has the first."""


def chart(result: Mapping[str, Any]) -> str:
    """The SVG of a run, as ``--format json`` prints it; figures that it does not have are left out."""
    all_figures = figures(result)
    names = [OURS, *(name for name in result.get("peers", {}) if name != OURS)]
    rates = sorted(map(float, result.get("latency_ms", {})))
    groups = [("CPU a call, µs", [("", all_figures.get("CPU a call, us", {}))], "{:,.0f}")]
    by_rate = [
        (f"{rate:g} calls/s", all_figures.get(f"added to set-up at {rate:g}/s, 99th percentile, ms", {}))
        for rate in rates
    ]
    groups.append(("Added to the set-up of a call, 99th percentile, ms", by_rate, "{:,.1f}"))
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": "sans-serif"})
    SubElement(svg, "title").text = "CPU and added latency of a call, by program"
    SubElement(svg, "style").text = _style()
    y = 10
    for title, rows, shape in groups:
        y = _group(svg, title, rows, names, shape, y)
    svg.set("viewBox", f"0 0 {_WIDTH} {y}")
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _group(
    svg: Element,
    title: str,
    rows: Sequence[tuple[str, Mapping[str, float]]],
    names: Sequence[str],
    shape: str,
    y: int,
) -> int:
    """Bars on one scale under a title, from ``y`` down; where they end."""
    most = max((value for _, row in rows for value in row.values()), default=0.0)
    if most <= 0:
        return y
    _text(svg, title, 10, y + 14, "title")
    y += 26
    for label, row in rows:
        if label and row:
            _text(svg, label, 10, y + 12, "label")
            y += 20
        for index, name in enumerate(names):
            if name not in row:
                continue
            width = max(1.0, row[name] / most * (_WIDTH - _LEFT - _RIGHT))
            _text(svg, name, _LEFT - 8, y + 13, "label", "end")
            bar = {"x": str(_LEFT), "y": str(y), "width": f"{width:.1f}", "height": str(_BAR), "rx": "2"}
            SubElement(svg, "rect", {**bar, "class": f"p{min(index, len(_COLOURS) - 1)}"})
            _text(svg, shape.format(row[name]), _LEFT + width + 6, y + 13, "value")
            y += _BAR + _GAP
        y += _GAP
    return y + 10


def _text(svg: Element, text: str, x: float, y: float, kind: str, anchor: str = "start") -> None:
    SubElement(svg, "text", {"x": f"{x:g}", "y": f"{y:g}", "class": kind, "text-anchor": anchor}).text = text


def _style() -> str:
    light = [f".p{index} {{ fill: {light} }}" for index, (light, _) in enumerate(_COLOURS)]
    dark = [f".p{index} {{ fill: {dark} }}" for index, (_, dark) in enumerate(_COLOURS)]
    words = "text { fill: #24292f; font-size: 13px } .title { font-weight: bold; font-size: 14px }"
    in_the_dark = f"@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} {' '.join(dark)} }}"
    return f"{words} {' '.join(light)} {in_the_dark}"
