"""A real Prometheus that scrapes a site: the active server is killed, its rules fire, and are silent again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from examples.demo_processes import ROOT
from tests.interop.programs import Site, network, until
from tests.interop.test_page import Tunnel
from tests.interop.test_trace import LINES

CACHE = Path(os.environ.get("HOLDFAST_CACHE") or Path.home() / ".cache" / "holdfast")
PROGRAM = shutil.which("prometheus") or shutil.which("prometheus", path=str(CACHE / "prometheus" / "usr" / "bin"))

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(PROGRAM is None, reason="Prometheus is not here: tools/setup.sh promtool"),
]

NODES = ("m1", "m2", "gw1", "gw2")


class Prometheus:
    """It scrapes and evaluates once a second."""

    def __init__(self, directory: Path, host: str, targets: dict[str, str]) -> None:
        assert PROGRAM is not None
        rules = directory / "alerts.yaml"
        # the same rules, without their patience: what is tested is that they fire and clear
        lines = (ROOT / "docs" / "alerts.yaml").read_text().splitlines()
        rules.write_text("\n".join(line for line in lines if not line.strip().startswith("for:")))
        jobs = [
            {"targets": [url.removeprefix("http://")], "labels": {"instance": name}} for name, url in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "holdfast", "static_configs": jobs}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))
        with socket.create_server((host, 0)) as free:
            self._at = f"{host}:{free.getsockname()[1]}"
        words = [
            PROGRAM, f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={self._at}", "--log.level=warn",
        ]  # fmt: skip
        self.log = directory / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def ask(self, query: str) -> dict[str, float]:
        """The value of an expression, by what its labels say of whom it is of; nothing while it cannot be asked."""
        try:
            with urlopen(f"http://{self._at}/api/v1/query?{urlencode({'query': query})}", timeout=10) as answer:
                found: list[Any] = json.load(answer)["data"]["result"]
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return {}
        return {" ".join(sorted(each["metric"].values())): float(each["value"][1]) for each in found}


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
