"""Authentication and authorisation of API requests: by the owner of the UNIX socket, a bearer token, a user named by
a reverse proxy, or the session of a browser.

A browser attaches its credentials to requests of any page (CSRF), so it needs a session or a proxy's user header, and
its POSTs must carry the page's own CSRF token and come from the API's origin.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from heartbeat.console.api_socket import OPERATOR, PROVISIONER, REFUSED, VIEWER, Access, Audit, unaudited
from heartbeat.console.contract import Refused
from sip.actions import Flow
from sip.overload.bans import Ban, Bans

logger = logging.getLogger(__name__)

COOKIE: Final = "holdfast"
CSRF: Final = "X-CSRF-Token"
PROVISIONED: Final = "/v1/provisioned"
"""Path prefix of what the role provisioner may change."""
MOST_SESSIONS: Final = 64
"""Sessions at a time; beyond, the oldest one ends."""
MOST_HOST: Final = 45
"""Characters of an address (RFC 5952, with an IPv4 address inside)."""
SESSION_S: Final = 12 * 3600.0
BROWSERS: Final = ("Sec-Fetch-Mode", "Origin", "Cookie", "Forwarded", "X-Forwarded-For")
"""Header fields of which any shows that the request comes from a browser or through a proxy."""


class ApiUser(NamedTuple):
    """An authenticated user."""

    user: str
    role: str
    csrf: str = ""
    """The CSRF token that a browser must send with each POST; ``""``: none is needed."""
    ends: bool = False
    """Whether the user has a session, which a logout ends."""


class _Session(NamedTuple):
    """A browser's session; ``until``: when it ends, in seconds of the clock given to `AccessControl`."""

    role: str
    csrf: str
    until: float
    token: bytes


class AccessControl:
    """Authenticates requests. ``access`` is called for each request; ``by_socket``: the API is at a UNIX socket,
    whose clients are its owner; ``audit`` is called for logins and for refused changes; ``token_bans``: hosts banned
    for wrong tokens, by the same ``clock``."""

    def __init__(
        self,
        access: Callable[[], Access],
        by_socket: bool,
        token_bans: Bans,
        audit: Audit = unaudited,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audit = audit
        self._access = access
        self._by_socket = by_socket
        self._clock = clock
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._csrf_of_users: OrderedDict[str, str] = OrderedDict()
        self._token_bans = token_bans
        token_bans.told = self._banned

    def admit(self, request: web.Request) -> ApiUser:
        """The user of a request. Raises :class:`Refused` if there is none, or the user may not make it."""
        who = self._known(request)
        if who is None:
            raise Refused("This API wants its bearer token.", 401)
        if request.method in ("GET", "HEAD"):
            return who
        if not _is_own(request):
            raise Refused("This was asked by a page of another origin.", 403)
        if who.csrf and not hmac.compare_digest(request.headers.get(CSRF, "").encode(), who.csrf.encode()):
            raise Refused("What a browser posts needs the token of its page: load it again.", 403)
        if who.role != OPERATOR and request.path.startswith("/v1/"):
            may_provision = who.role == PROVISIONER
            if not (may_provision and request.path.startswith(PROVISIONED)):
                what = "change nothing but what is provisioned" if may_provision else "change nothing"
                said = f"{who.user} may look, and {what}: that needs the role operator."
                self._audit(who.user, request.remote or "", request.path[4:44], {}, REFUSED, said)
                raise Refused(said, 403)
        return who

    def login(self, request: web.Request, token: str) -> tuple[str, ApiUser]:
        """Begin a session for a browser; returns the value of its cookie and the user. Raises :class:`Refused`."""
        if not _is_own(request):
            raise Refused("This was asked by a page of another origin.", 403)
        now = self._clock()
        access, given = self._access(), token.encode("utf-8", "surrogateescape")
        if access.token is None and access.view_token is None:
            raise Refused("This server has no api_token in the site file, so nobody can log in.", 403)
        role = self._role_of(request, given)
        if not role:
            self._audit("somebody", request.remote or "", "login", {}, REFUSED, "That is no token of this API.")
            raise Refused("That is not the token of this server's API.", 401)
        name, session = secrets.token_urlsafe(32), _Session(role, secrets.token_urlsafe(32), now + SESSION_S, given)
        self._sessions[name] = session
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        who = ApiUser(f"{role} by token", role, session.csrf, True)
        self._audit(who.user, request.remote or "", "login", {}, "done", "")
        return name, who

    def logout(self, request: web.Request) -> None:
        if (session := self._sessions.pop(request.cookies.get(COOKIE, ""), None)) is not None:
            self._audit(f"{session.role} by token", request.remote or "", "logout", {}, "done", "")

    def _known(self, request: web.Request) -> ApiUser | None:
        access, headers = self._access(), request.headers
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        role = ""
        if scheme.lower() == "bearer":
            role = self._role_of(request, given.strip().encode("utf-8", "surrogateescape"))
        elif self._by_socket:
            role = OPERATOR
        if role and access.user_header and (user := headers.get(access.user_header, "")):
            return self._by_proxy(user[:64], role, access)
        if (session := self._session(request)) is not None:
            return ApiUser(f"{session.role} by token", session.role, session.csrf, True)
        if self._by_socket and scheme.lower() != "bearer" and any(name in headers for name in BROWSERS):
            return None
        if not role:
            return None
        by_owner = self._by_socket and scheme.lower() != "bearer"
        return ApiUser(f"{_owner(request)} by socket" if by_owner else f"{role} by token", role)

    def _role_of(self, request: web.Request, token: bytes) -> str:
        """The role of a token, ``""`` for an invalid one. Raises :class:`Refused`, without checking the token, for a
        host that was banned for wrong ones; existing sessions are not affected."""
        now, source = self._clock(), self._source(request)
        if self._token_bans.banned and self._token_bans.stops(source, now):
            raise Refused("Too many wrong tokens came from your address: wait some minutes.", 429)
        role = self._access().role_of(token)
        if not role and token:
            self._token_bans.offend(source, "wrong token", now)
        return role

    def _source(self, request: web.Request) -> Flow:
        """The source of a request, as bans need it. X-Forwarded-For counts at a UNIX socket only, where its last
        element was added by the proxy."""
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() if self._by_socket else ""
        return Flow("tcp", "api", (forwarded[:MOST_HOST] or request.remote or "socket", 0))

    def _banned(self, ban: Ban, now: float) -> None:
        logger.warning("banned %s for %.0f s: %s", ban.host, ban.until - ban.at, ban.because)
        self._audit("somebody", ban.host, "token", {}, REFUSED, f"banned for {ban.because}")

    def _by_proxy(self, user: str, most: str, access: Access) -> ApiUser:
        role = OPERATOR if user in access.operators and most == OPERATOR else VIEWER
        csrf = self._csrf_of_users.setdefault(user, secrets.token_urlsafe(32))
        while len(self._csrf_of_users) > MOST_SESSIONS:
            self._csrf_of_users.popitem(last=False)
        return ApiUser(user, role, csrf)

    def _session(self, request: web.Request) -> _Session | None:
        name = request.cookies.get(COOKIE, "")
        session = self._sessions.get(name)
        # a session ends when its token is changed
        if session is not None and (
            session.until < self._clock() or self._access().role_of(session.token) != session.role
        ):
            del self._sessions[name]
            return None
        return session


def _owner(request: web.Request) -> str:
    """The user of this machine at the other end of a UNIX socket (SO_PEERCRED, unix(7))."""
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is None:
        return OPERATOR
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return "root" if uid == 0 else f"uid {uid}"


def _is_own(request: web.Request) -> bool:
    """Whether the request comes from a page of the API's own origin (Fetch Metadata, RFC 6454), or from no
    browser."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("X-Forwarded-Host", request.host)
