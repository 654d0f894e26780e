"""Log records for systemd's journal, with fields by which they can be selected, in its native protocol
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Final

SOCKET: Final = "/run/systemd/journal/socket"
PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""The priorities of sd-daemon(3) by log level."""
LABELS: Final = ("call", "line", "agent")
"""Attributes of a record (``extra=``) that become fields in the journal, and members in JSON."""


class NativeJournal(logging.Handler):
    """Sends each record to the journal without blocking; one that cannot be sent is passed to ``otherwise``.

    Raises OSError where there is no journal at ``address``.
    """

    def __init__(self, otherwise: logging.Handler, address: str = SOCKET) -> None:
        super().__init__()
        self._otherwise = otherwise
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._socket.send(b"".join(_fields(record, self.format(record))))
        except OSError:  # its buffer is full, it restarts, or the record is too long
            self._otherwise.handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def _fields(record: logging.LogRecord, text: str) -> Iterator[bytes]:
    yield _field("MESSAGE", text)
    yield _field("PRIORITY", str(PRIORITIES.get(record.levelno, 6)))
    yield _field("HOLDFAST_PACKAGE", record.name)
    for name in LABELS:
        if about := getattr(record, name, None):
            yield _field(f"HOLDFAST_{name.upper()}", str(about))


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
