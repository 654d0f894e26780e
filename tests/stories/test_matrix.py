"""The crash matrix: a kill at every message, other failures at every third; docs/matrix.md has all of them."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.stories import matrix
from tests.stories.flows import FLOWS, Flow

STEP = 3


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_the_active_server_is_killed_at_every_message(flow: Flow) -> None:
    found = list(matrix.cells([flow], matrix.KINDS[:1]))
    assert len(found) >= 16
    assert [one for one in found if one.faults] == []


@pytest.mark.parametrize("kind", matrix.KINDS[1:], ids=lambda kind: kind.name)
def test_other_failures_at_some_messages(kind: matrix.Kind) -> None:
    places = [
        (flow, place, moment)
        for flow in FLOWS
        for place in range(len(matrix.calm(flow.name, kind.standby)[1]))
        for moment in kind.moments
    ]
    found = [matrix.cell(kind, *place)[0] for place in islice(places, 0, None, STEP)]
    assert [one for one in found if one.faults] == []


def test_the_page_tells_of_every_flow_and_of_no_failure() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert page.endswith("## Cells that fail\n\nNone.\n")
    for kind in matrix.KINDS:
        assert page.count(f"## {kind.name.capitalize()}: {kind.means}\n") == 1
    assert all(page.count(f"| {flow.name} |") == len(matrix.KINDS) for flow in FLOWS)


def test_a_page_names_the_cells_that_fail() -> None:
    good = matrix.Cell("kill", "busy", 0, "before", "INVITE from gw1", ())
    bad = matrix.Cell("kill", "busy", 1, "before", "486 INVITE from gw2", ("west received 1 x BYE more",))
    page = matrix.page([good, bad])
    assert "| busy | 0 | 1/2 | 0/0 | 0/0 | 0/0 |" in page and "1 of 2 cells are good." in page
    assert "* kill, busy, message 1 (486 INVITE from gw2), before: west received 1 x BYE more" in page
