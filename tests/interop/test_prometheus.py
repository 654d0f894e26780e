"""A real Prometheus that scrapes a site: the active server is killed, its rules fire, and are silent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.programs import Site, network, until
from tests.interop.test_page import Tunnel
from tests.interop.test_trace import LINES
from tests.interop.watched import PROGRAM, Prometheus

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(PROGRAM is None, reason="Prometheus is not here: tools/setup.sh promtool"),
]

NODES = ("m1", "m2", "gw1", "gw2")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Site, Prometheus]]:
    net = network()
    site = Site(tmp_path, net, LINES.replace('[trace]\ncollector = "udp:{net}99:9060"\n', "").format(net=net))
    tunnels: list[Tunnel] = []
    prometheus = None
    try:
        site.start(120.0)
        tunnels = [Tunnel(f"{net}51", site[name].socket) for name in NODES]
        targets = {name: tunnel.url for name, tunnel in zip(NODES, tunnels, strict=True)}
        prometheus = Prometheus(tmp_path, f"{net}61", targets)
        yield site, prometheus
    finally:
        if prometheus is not None:
            prometheus.close()
        site.stop()
        for tunnel in tunnels:
            tunnel.close()


def test_the_death_of_the_active_server_is_told_and_its_end_too(watched: tuple[Site, Prometheus]) -> None:
    site, prometheus = watched
    ask = prometheus.ask
    until(lambda: ask("sum(up)").get("") == 4.0, 60, lambda: f"not all answer: {prometheus.log.read_text()}")
    assert ask('holdfast_active{node="m1"}').popitem()[1] == 1.0
    fires = 'ALERTS{alertname="HoldfastTakeover", alertstate="firing"}'
    assert not ask(fires)

    site["m1"].kill()
    until(lambda: list(ask('holdfast_active{node="m2"} == 1').values()) == [1.0], 60, "m2 is not active")
    until(lambda: ask('up{instance="m1"} == 0'), 30, "the dead server is not missed")
    until(lambda: ask(fires), 60, "the takeover is not told")
    assert list(ask('holdfast_takeovers_total{node="m2", kind="takeover"}').values()) == [1.0]
    assert [value < 30.0 for value in ask('holdfast_takeover_seconds{node="m2"}').values()] == [True]
    until(lambda: ask('ALERTS{alertname="HoldfastDown", alertstate="firing"}'), 30, "its death is not told")

    site["m1"].start()
    until(lambda: not ask('up{instance="m1"} == 0'), 60, "it is back, and missed still")
    silent = 'ALERTS{alertstate="firing", severity="critical"}'
    until(lambda: not ask(silent), 60, lambda: f"critical alerts go on: {ask(silent)}")
