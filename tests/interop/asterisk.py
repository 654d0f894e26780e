"""Asterisk 22 from the chroot of tests/peers/asterisk, as PBX or as carrier."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from examples.demo_processes import ROOT
from tests.interop.programs import until

SCRIPTS = ROOT / "tests" / "peers" / "asterisk"
_NOISE = (
    "PJSIP_SAFE_MODULE",
    "modules will be loaded",
    "No music on hold",
    "Missing default country",
    "CDR",
    "Asterisk 22",
)


def missing() -> str:
    """Why there is no Asterisk; ``""`` when there is one. Installs it where that is possible: minutes, once."""
    if os.geteuid() != 0:
        return "Asterisk runs in a chroot, which needs root"
    for program, package in (("unshare", "util-linux"), ("debootstrap", "debootstrap")):
        if shutil.which(program) is None:
            return f"Asterisk needs {program}: apt-get install {package}"
    done = subprocess.run([SCRIPTS / "install.sh"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


class Asterisk:
    """One Asterisk. ``role`` is ``pbx`` or ``carrier``; see up.sh for its numbers."""

    def __init__(
        self,
        role: str,
        directory: Path,
        address: str,
        agent: str,
        user: str = "",
        password: str = "",
        tls: Path | None = None,
        transport: str = "udp",
        endpoint: str = "",
        also: str = "",
        mailbox: str = "",
    ) -> None:
        """``also``: further hosts that it takes for the agent. ``mailbox``: a number that has one. ``tls``: a
        directory with its certificate, ``endpoint``: more lines of its settings, see up.sh."""
        directory.mkdir(parents=True)
        self.mailbox = directory / "spool" / "voicemail" / "default" / mailbox / "INBOX"
        self._messages = directory / "log" / "messages"
        environment = {
            "AST_ADDRESS": address, "AST_AGENT": agent, "AST_USER": user, "AST_PASSWORD": password,
            "AST_TLS": str(tls or ""), "AST_TRANSPORT": transport, "AST_ENDPOINT": endpoint, "AST_ALSO": also,
            "AST_MAILBOX": mailbox,
        }  # fmt: skip
        with (directory / "screen.log").open("wb") as screen:
            self.process = subprocess.Popen(
                [SCRIPTS / "up.sh", role, directory],
                stdin=subprocess.DEVNULL, stdout=screen, stderr=screen, env={**os.environ, **environment},
            )  # fmt: skip
        try:
            until(lambda: "fully booted" in self.cli("core waitfullybooted"), 30, "Asterisk does not start")
        except AssertionError:
            self.stop()
            raise

    def cli(self, command: str) -> str:
        """What its command line says."""
        assert self.process.poll() is None, "Asterisk has ended"
        done = subprocess.run(
            [SCRIPTS / "cli.sh", str(self.process.pid), command], capture_output=True, text=True, check=False
        )
        return done.stdout

    @property
    def channels(self) -> int:
        """Its legs of calls at present."""
        words = self.cli("core show channels count").split()
        return int(words[words.index("active") - 1]) if "active" in words else -1

    def channel(self, number: str) -> list[str]:
        """Its leg of a call from or to that number, as the words of ``core show channels concise``; empty: none."""
        for line in self.cli("core show channels concise").splitlines():
            words = line.split("!")
            if len(words) > 7 and number in (words[2], words[7]):
                return words
        return []

    def redirect(self, number: str, to: str) -> None:
        """Have it do something else with a call: what it does with calls to ``to``."""
        name = until(lambda: self.channel(number), 10, f"Asterisk has no call of {number}")[0]
        self.cli(f"channel redirect {name} in,{to},1")

    def hang_up(self, number: str) -> None:
        self.cli(f"channel request hangup {self.channel(number)[0]}")

    def complaints(self) -> list[str]:
        """Warnings and errors in its log that are about calls."""
        lines = self._messages.read_text(errors="replace").splitlines()
        return [
            line
            for line in lines
            if ("WARNING" in line or "ERROR" in line) and not any(noise in line for noise in _NOISE)
        ]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        time.sleep(0.1)
