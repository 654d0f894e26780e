"""Cutting a machine off: all packets from and to one loopback address are dropped, by a table of nftables."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType


def impossible() -> str:
    """Why packets cannot be dropped here; ``""`` when they can."""
    if shutil.which("nft") is None:
        return "dropping packets needs nft: apt-get install nftables"
    if os.geteuid() != 0:
        return "dropping packets needs root"
    try:
        with Cut("127.255.255.1"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"dropping packets is not allowed here: {error.stderr.decode().strip()}"


class Cut:
    """In effect from ``begin`` to ``end``, or as long as the ``with`` block lasts."""

    def __init__(self, address: str) -> None:
        assert address.startswith("127."), address
        self._address = address
        self._table = f"holdfast_interop_{os.getpid()}"
        self._cut = False

    def begin(self) -> None:
        rules = [f'iif "lo" ip {end} {self._address} drop' for end in ("saddr", "daddr")]
        hook = "type filter hook input priority 0; policy accept"
        _nft(f"table ip {self._table} {{\nchain cut {{\n" + "\n".join([hook, *rules, "}", "}"]))
        self._cut = True

    def end(self) -> None:
        if self._cut:
            self._cut = False
            _nft(f"delete table ip {self._table}")

    def __enter__(self) -> Cut:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _nft(command: str) -> None:
    subprocess.run(["nft", command], check=True, capture_output=True)
