"""A run of the bench as a picture."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.chart import chart

SVG = "{http://www.w3.org/2000/svg}"
RESULT: dict[str, Any] = {
    "cpu_us_per_call": 800.0,
    "peers": {"kamailio": {"cpu_us_per_call": 400.0}, "a<b>&c": {"cpu_us_per_call": 3512.4}},
    "latency_ms": {
        "100": {"ours": {"setup_p99": 2.0}, "kamailio": {"setup_p99": 0.5}, "a<b>&c": {"setup_p99": None}},
        "10": {"ours": {"setup_p99": 1.0}},
    },
}


def drawn(result: dict[str, Any]) -> tuple[list[str], list[float]]:
    """All texts, and the widths of the bars."""
    root = ElementTree.fromstring(chart(result))
    return (
        [text.text or "" for text in root.iter(f"{SVG}text")],
        [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")],
    )


def test_it_shows_each_figure_of_each_program():
    texts, widths = drawn(RESULT)
    cpu = ["CPU a call, µs", "ours", "800", "kamailio", "400", "a<b>&c", "3,512"]
    latency = ["10 calls/s", "ours", "1.0", "100 calls/s", "ours", "2.0", "kamailio", "0.5"]
    assert texts == [*cpu, "Added to the set-up of a call, 99th percentile, ms", *latency]
    longest = max(widths)
    assert [width / longest for width in widths] == pytest.approx(
        [800 / 3512.4, 400 / 3512.4, 1.0, 0.5, 1.0, 0.25], abs=1e-3
    )


def test_it_is_for_light_and_dark_and_has_a_title():
    root = ElementTree.fromstring(chart(RESULT))
    style = root.find(f"{SVG}style")
    title = root.find(f"{SVG}title")
    assert style is not None and "prefers-color-scheme: dark" in (style.text or "")
    assert title is not None and title.text
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    bottoms = [float(bar.attrib["y"]) + float(bar.attrib["height"]) for bar in root.iter(f"{SVG}rect")]
    assert max(bottoms) < height
    assert all(float(text.attrib["x"]) < width for text in root.iter(f"{SVG}text"))


def test_a_run_without_figures_is_an_empty_picture():
    assert drawn({"peers": {}, "latency_ms": {}}) == ([], [])
