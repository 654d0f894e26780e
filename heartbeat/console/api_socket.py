"""The listening socket of a process's API, bound before anything else is done, and the tokens of the site file."""

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
    """Who has access by the site file."""

    token: bytes | None = None
    """Token of the role operator."""
    view_token: bytes | None = None
    """Token of the role viewer, which changes nothing."""
    provision_token: bytes | None = None
    """Token of the role provisioner, which may view, and change provisioned lines and routes."""
    user_header: str = ""
    """Header field in which a reverse proxy names the user; ``""``: there is none."""
    operators: frozenset[str] = frozenset()
    """Users named by the proxy that have the role operator; others are viewers."""

    def role_of(self, given: bytes) -> str:
        """The role of a token, ``""`` for an invalid one."""
        known = ((self.token, OPERATOR), (self.provision_token, PROVISIONER), (self.view_token, VIEWER))
        for token, role in known:
            if token and hmac.compare_digest(given, token):
                return role
        return ""


Audit = Callable[[str, str, str, Mapping[str, str], str, str], None]
"""Writes to the audit log: user, host, command, its parameters, result (``done``, ``refused``, …) and the answer."""


MOST_WRONG_TOKENS: Final = 10
"""Wrong tokens of one host within a minute before it is banned."""
TOKEN_BAN_S: Final = 300.0
"""Seconds of such a ban."""


def token_bans() -> Bans:
    """The bans of an API for wrong tokens, by host (IPv6: by /64 network), separate from those for SIP."""
    found = Bans()
    found.apply(BanPolicy(MOST_WRONG_TOKENS, 60.0, TOKEN_BAN_S))
    return found


def unaudited(user: str, host: str, what: str, params: Mapping[str, str], result: str, said: str) -> None:
    """An :data:`Audit` that writes nothing."""


class ApiError(Exception):
    """The API cannot listen; the text says why and what to do."""


class ApiSocket:
    """Listens as soon as it is made; clients wait in its backlog until requests are served."""

    def __init__(self, api: Api, access: Access | None = None) -> None:
        """Raises :class:`ApiError` when the address is taken, cannot be bound, or is TCP without a token."""
        if not api.path and not (access and access.token):
            raise ApiError(
                f"The API at {api} needs an api_token in the site file: TCP is open to anyone who reaches it."
            )
        self.api = api
        self.access = access or Access()
        """Who has access; assigned after a reload."""
        self.audit: Audit = unaudited
        """Called for each command."""
        self.token_bans = token_bans()
        """Hosts banned for wrong tokens."""
        try:
            self.sock = _unix_socket(Path(api.path)) if api.path else _tcp_socket(api.host, api.port)
            self.sock.listen(_BACKLOG)
        except OSError as error:
            raise ApiError(f"The API cannot listen at {api}: {error.strerror or error}.") from error
        self.sock.setblocking(False)
        self._inode = os.stat(api.path).st_ino if api.path else 0

    @property
    def port(self) -> int:
        """The TCP port; 0 for a UNIX socket."""
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
    """A bound socket with mode 0600; one left by a dead process is replaced."""
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
