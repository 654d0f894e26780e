"""The main dies, pauses or is cut off in the middle of 200 calls, while new ones arrive. The devices, SIPp and
softphones with audio, must not be able to tell: their calls end in good order, and they receive what they would have
received without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.interop import cut
from tests.interop.cut import Cut
from tests.interop.heard import difference
from tests.interop.programs import PASSWORDS, Site, network, until
from tests.interop.traffic import FLOWS, Devices, Traffic, first_invites, site_lines, time_of_day

pytestmark = pytest.mark.interop

CALLS = sum(flow.calls for flow in FLOWS) + 3
CANCELLED = next(flow.calls for flow in FLOWS if flow.name == "cancel")


class Run(NamedTuple):
    devices: Devices
    records: list[dict[str, Any]]
    arrived: int
    """Calls that began in the two seconds after the blow."""


@contextmanager
def running(net: str, directory: Path) -> Iterator[tuple[Site, Traffic]]:
    site = Site(directory, net, site_lines(net), passwords=PASSWORDS)
    traffic = Traffic(site, directory / "devices")
    try:
        site.start()
        traffic.start()
        yield site, traffic
    finally:
        traffic.stop()
        site.stop()


def run(net: str, directory: Path, blow: Callable[[Site], None], after: Callable[[Site], None], serves: str) -> Run:
    """One run: ``blow`` at 200 calls, then ``serves`` must be active; ``after`` once the takeover is through."""
    with running(net, directory) as (site, traffic):
        traffic.wait_until_busy()
        at = time_of_day()
        blow(site)
        until(
            lambda: site[serves].view().get("state") == "active",
            15,
            lambda: f"{serves} does not serve\n{site.words()}",
        )
        traffic.go_on()
        after(site)
        devices = traffic.finish()
        arrived = first_invites(traffic, at, at + 2.0)
        until(lambda: site.idle(serves, "gw1", "gw2"), 5, lambda: f"calls are left over\n{site.words()}")
        records = site.records()
        assert not site.bugs()
    return Run(devices, records, arrived)


def nothing(site: Site) -> None:
    pass


@pytest.fixture(scope="module")
def net() -> str:
    return network()


@pytest.fixture(scope="module")
def quiet(net: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same calls when nothing happens."""
    return run(net, tmp_path_factory.mktemp("quiet"), nothing, nothing, "m1")


def check(found: Run, quiet: Run) -> None:
    """Nobody could tell."""
    assert found.arrived >= 20, "no new calls arrived after the blow: the test tests nothing"
    assert list(found.devices.by_name) == list(quiet.devices.by_name)
    wrong = {
        name: lines
        for name, expected in quiet.devices.by_name.items()
        if (lines := difference(expected, found.devices.by_name[name]))
    }
    assert not wrong, "\n".join(f"{name}: {line}" for name, lines in wrong.items() for line in lines)
    for audio in found.devices.audio:
        assert (audio.lost, audio.foreign, audio.corrupted) == (0, 0, 0), audio
    assert len(found.devices.audio) == 6
    check_records(found)


def check_records(found: Run) -> None:
    """One record a call, with the right end."""
    assert len(found.records) == CALLS, sorted((r["started"], r["callee"], r["result"]) for r in found.records)
    results = [record["result"] for record in found.records]
    assert (results.count("answered"), results.count("cancelled")) == (CALLS - CANCELLED, CANCELLED)


@pytest.mark.row("SIPp", "200 calls at once: early media, hold, CANCEL, INFO; the devices hear the same", "calm")
def test_calls_without_a_crash(quiet: Run) -> None:
    check(quiet, quiet)


@pytest.mark.row(
    "SIPp", "200 calls at once: early media, hold, CANCEL, INFO; the devices hear the same", "server killed"
)
def test_main_is_killed(net: str, quiet: Run, tmp_path: Path) -> None:
    check(run(net, tmp_path, lambda site: site["m1"].kill(), nothing, "m2"), quiet)


def test_main_is_paused_and_wakes(net: str, quiet: Run, tmp_path: Path) -> None:
    """SIGSTOP, and SIGCONT after the takeover: the old main must not touch a call any more."""

    def pause(site: Site) -> None:
        site["m1"].pause()

    def wake(site: Site) -> None:
        site["m1"].go_on()
        stands_by(site)

    check(run(net, tmp_path, pause, wake, "m2"), quiet)


def test_main_is_cut_off_and_returns(net: str, quiet: Run, tmp_path: Path) -> None:
    """All packets from and to the main are dropped, and let through again after the takeover."""
    if because := cut.impossible():
        pytest.skip(because)
    wall = Cut(f"{net}1")

    def heal(site: Site) -> None:
        wall.end()
        stands_by(site)

    try:
        check(run(net, tmp_path, lambda site: wall.begin(), heal, "m2"), quiet)
    finally:
        wall.end()


def stands_by(site: Site) -> None:
    until(lambda: site["m1"].view().get("state") == "standby", 15, lambda: f"m1 does not stand by\n{site.words()}")
    time.sleep(0.5)
    assert site["m2"].view()["state"] == "active"
