"""A real Prometheus with the rules of docs/alerts.yaml."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

from examples.demo_processes import ROOT

CACHE: Final = Path(os.environ.get("HOLDFAST_CACHE") or Path.home() / ".cache" / "holdfast")
PROGRAM: Final = shutil.which("prometheus") or shutil.which(
    "prometheus", path=str(CACHE / "prometheus" / "usr" / "bin")
)


class Prometheus:
    """It scrapes and evaluates once a second."""

    def __init__(self, directory: Path, host: str, targets: dict[str, str], token: str = "") -> None:
        """``targets``: the URL of each node's API. ``token``: what opens them."""
        assert PROGRAM is not None
        rules = directory / "alerts.yaml"
        # the same rules, without their patience: what is tested is that they fire and clear
        lines = (ROOT / "docs" / "alerts.yaml").read_text().splitlines()
        rules.write_text("\n".join(line for line in lines if not line.strip().startswith("for:")))
        jobs = [
            {"targets": [url.removeprefix("http://")], "labels": {"instance": name}} for name, url in targets.items()
        ]
        access = {"authorization": {"credentials": token}} if token else {}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "holdfast", "static_configs": jobs, **access}],
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
