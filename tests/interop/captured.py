"""What goes over the loopback addresses of one site, captured by dumpcap, and what tshark finds wrong in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.programs import until

SITE_PORT = 5161
"""Where agents connect to servers: SIP as well."""
_OURS = (1, 2, 11, 12)
_WRONG = (
    "_ws.malformed or _ws.expert.severity >= 0x600000 or sdp.unknown or sdp.invalid"
    " or (sip and not (sip.Via and sip.From and sip.To and sip.Call-ID and sip.CSeq.method))"
    " or (udp and not sip and frame.len > 46)"
)
"""Warnings and errors, messages without what each must have (RFC 3261 section 8.1.1), and datagrams on SIP's port
that are neither SIP nor a keep-alive."""
_OF_TCP = ("|D-SACK Sequence", "|Connection reset (RST)")


def missing() -> str:
    """Why nothing can be captured; ``""`` when it can."""
    if os.geteuid() != 0:
        return "capturing needs root"
    return (
        ""
        if shutil.which("tshark") and shutil.which("dumpcap")
        else "tshark is not installed: apt-get install tshark"
    )


class Capture:
    """SIP of one site, in clear."""

    def __init__(self, file: Path, net: str) -> None:
        self.file = file
        self.net = net

    @contextmanager
    def running(self) -> Iterator[None]:
        ports = f"port 5060 or port {SITE_PORT}"
        words = [
            "dumpcap",
            "-q",
            "-i",
            "lo",
            "-B",
            "16",
            "-f",
            f"net {self.net}0/24 and ({ports})",
            "-w",
            str(self.file),
        ]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            try:
                self._seen(b"begin")
                yield
                self._seen(b"end")
            finally:
                process.send_signal(signal.SIGINT)
                process.stderr.read()

    def _seen(self, word: bytes) -> None:
        """Returns when all that was sent up to here is in the file: so is what is sent now, by nobody of the site."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

            def written() -> bool:
                sender.sendto(word, (f"{self.net}250", 5060))
                return self.file.exists() and word in self.file.read_bytes()[-65536:]

            sender.bind((f"{self.net}250", 0))
            until(written, 20, "dumpcap does not capture", every=0.2)

    def _tshark(self, wanted: str, *fields: str) -> list[str]:
        done = subprocess.run(
            ["tshark", "-r", str(self.file), "-d", f"tcp.port=={SITE_PORT},sip", "-d", "udp.port==5060,sip",
             "-o", "sip.strict_sip_version:TRUE", "-o", "ip.check_checksum:FALSE", "-o", "udp.check_checksum:FALSE",
             "-Y", wanted, "-T", "fields", "-E", "separator=|",
             *(word for field in fields for word in ("-e", field))],
            capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    def messages(self) -> int:
        """How many SIP messages were sent by servers and agents."""
        return len(self._tshark(f"sip and ({self._ours()})", "frame.number"))

    def wrong(self) -> list[str]:
        """What tshark complains of in what they sent, TCP's own matters apart."""
        fields = ("frame.number", "ip.src", "sip.Method", "sip.Status-Code", "_ws.expert.message")
        found = self._tshark(f"({self._ours()}) and ({_WRONG}) and not tcp.analysis.flags", *fields)
        return [line for line in found if not line.endswith(_OF_TCP)]

    def _ours(self) -> str:
        return " or ".join(f"ip.src == {self.net}{host}" for host in _OURS)
