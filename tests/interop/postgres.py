"""A PostgreSQL server of Debian's on a socket in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.interop.unpacked import unpacked

AS_SOMEBODY = ("unshare", "--user", "--map-user=1000")
"""PostgreSQL does not run as root: a namespace in which we are somebody else."""


def programs() -> tuple[Path, str]:
    """Where its programs are, on this machine or unpacked, and why they are not to be had."""
    for root in (Path("/"), None):
        tree = unpacked("postgresql") if root is None else None
        if tree is not None and tree.because:
            return Path(), f"no PostgreSQL: apt-get install postgresql ({tree.because})"
        base = root if tree is None else tree.root
        assert base is not None
        for found in sorted((base / "usr/lib/postgresql").glob("*/bin/initdb"), reverse=True):
            return found.parent, ""
    return Path(), "no PostgreSQL: apt-get install postgresql"


class Postgres:
    """Runs until `stop`; it may be started again, with what it had."""

    def __init__(self) -> None:
        self._bin, self.because = programs()
        self._as = AS_SOMEBODY if os.geteuid() == 0 else ()
        # short enough for a socket, and not below a directory that others may not enter
        self.directory = Path(tempfile.mkdtemp(prefix="holdfast-pg-", dir="/tmp"))
        self.connect = f"host={self.directory} dbname=postgres user=holdfast"
        self._process: subprocess.Popen[bytes] | None = None
        if not self.because:
            done = self._run("initdb", "-D", str(self._data), "-U", "holdfast", "-A", "trust", "--no-sync")
            if done.returncode:
                self.because = f"PostgreSQL cannot be set up: {done.stderr.strip()[-300:]}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def start(self, host: str = "") -> None:
        """Returns when it answers; at that loopback address, too, where one is said."""
        log = self.directory / "log"
        started = self._run(
            "pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(log),
            "-o", f"-k {self.directory} -c listen_addresses='{host}' -c fsync=off -c shared_buffers=8MB",
        )  # fmt: skip
        assert started.returncode == 0, log.read_text() if log.exists() else started.stderr

    def stop(self) -> None:
        """At once, whoever is connected."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._data))

    def close(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = unpacked("postgresql").environment if str(self._bin)[:19] != "/usr/lib/postgresql" else None
        return subprocess.run(
            [*self._as, str(self._bin / program), *arguments],
            capture_output=True, text=True, env=environment, cwd=self.directory, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
