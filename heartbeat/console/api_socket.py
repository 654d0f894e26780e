"""Where a process's API is asked: a socket that is bound before anything else is done."""

from __future__ import annotations

import errno
import hmac
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from heartbeat.site.values import Api
from sip.io.unix_path import short_path
from sip.overload.bans import BanPolicy, Bans

_BACKLOG: Final = 100


VIEWER: Final = "viewer"
PROVISIONER: Final = "provisioner"
OPERATOR: Final = "operator"
REFUSED: Final = "refused"
"""A result in the audit log."""


class Access(NamedTuple):
    """Whom the site file lets in."""

    token: bytes | None = None
    """Of operators."""
    view_token: bytes | None = None
    """Of those who may look and change nothing."""
    provision_token: bytes | None = None
    """Of those who may look, and change what is provisioned."""
    user_header: str = ""
    """The field in which a reverse proxy says who asks."""
    operators: frozenset[str] = frozenset()
    """Users named by the proxy who may change something."""

    def role_of(self, given: bytes) -> str:
        """The role of who says this token, ``""`` for none."""
        known = ((self.token, OPERATOR), (self.provision_token, PROVISIONER), (self.view_token, VIEWER))
        for token, role in known:
            if token and hmac.compare_digest(given, token):
                return role
        return ""


Audit = Callable[[str, str, str, Mapping[str, str], str, str], None]
"""Notes who (user, host) did what, with which parameters, with which result, and what was answered."""


MOST_GUESSES: Final = 10
"""Wrong tokens of one host at once; as many are forgiven in a minute."""
GUESSERS_BANNED: Final = 300.0
"""Seconds."""


def guessers() -> Bans:
    """Of an API: hosts (IPv6: networks of 64 bits) are banned for wrong tokens, apart from those that are banned for
    what they send to SIP."""
    found = Bans()
    found.live_by(BanPolicy(MOST_GUESSES, 60.0, GUESSERS_BANNED))
    return found


def unaudited(user: str, host: str, what: str, params: Mapping[str, str], result: str, said: str) -> None:
    """Note nothing."""


class ApiError(Exception):
    """The API cannot be offered; its text is the sentence that says why and what to do."""


class ApiSocket:
    """It listens as soon as it is made: who asks before somebody answers waits."""

    def __init__(self, api: Api, access: Access | None = None) -> None:
        """Raises :class:`ApiError` when the address is taken, cannot be bound, or is TCP without a token."""
        if not api.path and not (access and access.token):
            raise ApiError(
                f"The API at {api} needs an api_token in the site file: TCP is open to anyone who reaches it."
            )
        self.api = api
        self.access = access or Access()
        """Whom it lets in; to be set anew when that has changed."""
        self.audit: Audit = unaudited
        """Told of what is done here."""
        self.guessers = guessers()
        """Whose tokens are not looked at."""
        try:
            self.sock = _unix_socket(Path(api.path)) if api.path else _tcp_socket(api.host, api.port)
            self.sock.listen(_BACKLOG)
        except OSError as error:
            raise ApiError(f"The API cannot listen at {api}: {error.strerror or error}.") from error
        self.sock.setblocking(False)
        self._inode = os.stat(api.path).st_ino if api.path else 0

    @property
    def port(self) -> int:
        """The TCP port that is listened at; 0 for a UNIX socket."""
        return 0 if self.api.path else int(self.sock.getsockname()[1])

    def close(self) -> None:
        self.sock.close()
        path = Path(self.api.path)
        if self.api.path and path.exists() and path.stat().st_ino == self._inode:
            path.unlink()


def _tcp_socket(host: str, port: int) -> socket.socket:
    six = ":" in host
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: Path) -> socket.socket:
    """A bound socket that only its owner may use; one left by a dead process is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        # On Linux the mode of an unbound socket becomes that of its file, so it is never open to others.
        os.fchmod(listener.fileno(), 0o600)
        with short_path(path) as short:
            listener.bind(short)
    except OSError:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ApiError(
                f"The API cannot listen at {path}: a file that is no socket is in its place; move it away."
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe, short_path(path) as short:
        probe.settimeout(1.0)
        try:
            probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT):
                raise
    raise ApiError(f"Another process already listens at {path}; stop it first, or give this one another api address.")
