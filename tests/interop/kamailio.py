"""Kamailio of Debian, unpacked: a proxy, or what tests/peers/kamailio has besides."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from examples.demo_processes import ROOT
from tests.interop.programs import until
from tests.interop.strangers import Udp, request
from tests.interop.unpacked import Unpacked, unpacked

SCRIPTS = ROOT / "tests" / "peers" / "kamailio"


def package() -> Unpacked:
    return unpacked("kamailio", ("kamailio", "kamailio-tls-modules"))


def version() -> str:
    found = package()
    said = subprocess.run([found.program("kamailio"), "-v"], env=found.environment, capture_output=True, text=True)
    return " ".join(said.stdout.split()[1:3]).replace("kamailio ", "")


class Kamailio:
    """One, from a configuration in which names in capitals are filled in."""

    def __init__(self, directory: Path, script: str, inside: str, **values: str) -> None:
        """It answers OPTIONS at ``inside``."""
        found = package()
        directory.mkdir(parents=True, exist_ok=True)
        modules = found.libraries / "kamailio" / "modules"
        text = (SCRIPTS / script).read_text()
        for name, value in {"modules": str(modules), "directory": str(directory), "inside": inside, **values}.items():
            text = re.sub(rf"\b{name.upper()}\b", value, text)
        text = re.sub(r"^(listen=.*\n)(?=(?s:.*)^\1)", "", text, flags=re.M)  # two addresses may be the same
        config = directory / "kamailio.cfg"
        config.write_text(text)
        self._inside = inside
        self.log = directory / "kamailio.log"
        environment = {
            **found.environment,
            "LD_LIBRARY_PATH": f"{modules.parent}:{found.environment['LD_LIBRARY_PATH']}",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [found.program("kamailio"), "-f", str(config), "-DD", "-E", "-Y", str(directory), "-m", "64"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        until(self._is_up, 20, lambda: f"Kamailio does not start: {self.words()}")

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"Kamailio has ended: {self.words()}"
        host, _, port = self._inside.rpartition(":")
        with Udp(f"{host.rpartition('.')[0]}.250", (host, int(port))) as udp:
            return udp.ask(request("OPTIONS", f"sip:{host}", udp.via)) == 200

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def complaints(self) -> list[str]:
        return [line for line in self.words().splitlines() if "ERROR" in line or "CRITICAL" in line]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
