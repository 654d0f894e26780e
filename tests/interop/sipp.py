"""SIPp as a device: one scenario, any number of calls."""

from __future__ import annotations

import csv
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.interop import heard

SCENARIOS = Path(__file__).parent / "scenarios"
_LATE = 15.0


class Sipp:
    """A SIPp process. ``listen`` is the device's own ``host:port``; it calls at ``remote``, or is called without one.

    ``calls`` is how many it places or takes before it ends; ``seconds`` after which it gives up. A message that
    its scenario does not expect is a failure where it is ``strict``, else it is passed over.
    """

    def __init__(
        self,
        directory: Path,
        scenario: str,
        listen: str,
        *,
        remote: str = "",
        calls: int = 1,
        rate: float = 10.0,
        number: str = "1000",
        seconds: float = 60.0,
        transport: str = "u1",
        strict: bool = True,
    ) -> None:
        self.scenario = scenario
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.messages = directory / "messages.log"
        self._stats = directory / "stats.csv"
        self._errors = directory / "errors.log"
        host, _, port = listen.rpartition(":")
        self._seconds = seconds
        self._began_at = time.monotonic()
        arguments = [
            "sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", host, "-p", port, "-mi", host,
            "-ci", host, "-m", str(calls), "-t", transport, "-nostdin", "-s", number,
            "-trace_msg", "-message_file", str(self.messages), "-trace_stat", "-stf", str(self._stats), "-fd", "1",
            "-trace_err", "-error_file", str(self._errors), "-timeout", str(int(seconds)), "-timeout_error",
        ]  # fmt: skip
        if not strict:
            arguments += ["-default_behaviors", "all,-abortunexp"]
        if remote:
            arguments += ["-r", f"{rate:g}", "-rp", "1000", "-l", str(calls), remote]
        with (directory / "screen.log").open("wb") as screen:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen, cwd=directory
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self) -> None:
        """Until it has done its calls. Raises ``AssertionError`` with SIPp's own words when a call failed."""
        left = self._began_at + self._seconds + _LATE - time.monotonic()
        try:
            code = self.process.wait(max(0.1, left))
        except subprocess.TimeoutExpired:
            self.stop()
            code = -1
        assert code == 0, f"{self.scenario}: SIPp ended with {code}, {dict(self.stats())}\n{self.complaints()}"

    def stop(self) -> None:
        """At once."""
        if self.running:
            self.process.kill()
        self.process.wait()

    def stats(self) -> dict[str, int]:
        """Calls ``created``, ``current``, ``good`` and ``failed``, as of a second ago at the most."""
        rows = []
        if self._stats.exists():
            with self._stats.open(newline="") as lines:
                rows = list(csv.DictReader(lines, delimiter=";"))
        last = rows[-1] if rows else {}
        names = {
            "created": "TotalCallCreated", "current": "CurrentCall", "good": "SuccessfulCall(C)",
            "failed": "FailedCall(C)", "retransmissions": "Retransmissions(C)",
        }  # fmt: skip
        return {name: int(float(last.get(column) or 0)) for name, column in names.items()}

    def complaints(self) -> str:
        """What SIPp wrote of calls that failed: the first and the last of it."""
        text = self._errors.read_text("latin-1") if self._errors.exists() else ""
        if not text:
            text = (self.directory / "screen.log").read_text("latin-1")
        return text if len(text) < 4000 else f"{text[:3000]}\n…\n{text[-1000:]}"

    def heard(self) -> Counter[str]:
        """What this device has received, see ``heard``."""
        return heard.multiset(heard.logged(self.messages))
