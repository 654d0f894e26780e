"""Tells others what happens to a site: a command that is run, or a URL that is posted to, for each event.

A thread of its own does it, one event after the other, and tries again until it has succeeded or an hour is over. The
loop appends to a bounded queue and waits for nothing. Events are takeovers of this process, and warnings of its
status that appear and go.
"""

from __future__ import annotations

import hmac
import http.client
import json
import logging
import secrets
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from heartbeat.console.views.status import Alert
from heartbeat.site.model import HookSettings, Site
from heartbeat.site.values import Secret
from sip.io.tls import for_the_web

logger = logging.getLogger(__name__)

MOST: Final = 1000
"""Events that wait; beyond, the oldest are lost."""
TRIED_FOR: Final = 3600.0
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
PATIENCE: Final = 30.0
"""Seconds that a command or an answer may take."""
TAKEOVER: Final = "takeover"


class HookError(Exception):
    """It did not succeed; the text says why."""


class Hooks:
    """See the module. ``settings`` may be assigned anew at any time."""

    def __init__(self, site: Site, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = site.hooks
        self._about = {"site": site.name, "node": node}
        self._clock = clock
        self._queue: deque[tuple[float, dict[str, Any]]] = deque(maxlen=MOST)
        self._alerts: dict[tuple[str, str], Alert] | None = None
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to be told."""
        return bool(self.settings.command or self.settings.url)

    def tell(self, event: str, code: str, text: str) -> None:
        """Something happened. Never blocks, never raises."""
        if not self.wanted or (self.settings.codes and code not in self.settings.codes):
            return
        told = {"id": secrets.token_hex(16), "event": event, "code": code, "text": text, "at": round(time.time(), 3)}
        self._queue.append((self._clock(), {**told, **self._about}))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
            self._thread.start()
        self._wake.set()

    def look(self, alerts: Iterable[Alert]) -> None:
        """The warnings of status now: what is new, and what has gone, is told. Those of the first look are new."""
        now = {(alert.code, _about(alert)): alert for alert in alerts}
        before, self._alerts = self._alerts or {}, now
        for key, alert in now.items():
            if key not in before:
                self.tell("alert", alert.code, alert.text)
        for key, alert in before.items():
            if key not in now:
                self.tell("alert-over", alert.code, alert.text)

    def close(self) -> None:
        """End; what waits is tried once more, for a moment."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            if not self._queue:
                if self._ending.is_set():
                    return
                self._wake.wait()
                self._wake.clear()
                continue
            since, event = self._queue[0]
            try:
                deliver(self.settings, event)
            except HookError as error:
                over = self._clock() - since > TRIED_FOR
                if wait == FIRST_WAIT or over:
                    so = "is given up" if over else "is tried again"
                    logger.warning("the hook for %s (%s) failed and %s: %s", event["event"], event["code"], so, error)
                if not over:
                    if self._ending.wait(wait):
                        return
                    wait = min(2 * wait, LONGEST_WAIT)
                    continue
            wait = FIRST_WAIT
            if self._queue and self._queue[0][1] is event:  # it may have been pushed out meanwhile
                self._queue.popleft()


def _about(alert: Alert) -> str:
    """What tells two warnings of a code apart, without the figures in them, which change."""
    return "".join(" " if each.isdigit() else each for each in alert.text.partition(":")[0])


def signature(key: bytes, at: str, body: bytes) -> str:
    """What a receiver is to work out for himself: HMAC-SHA256 (RFC 2104) of the time, a full stop and the body."""
    return "sha256=" + hmac.new(key, at.encode() + b"." + body, "sha256").hexdigest()


def deliver(settings: HookSettings, event: Mapping[str, Any]) -> None:
    """Run the command, and post to the URL. Raises :class:`HookError`. It blocks."""
    body = json.dumps(event, separators=(",", ":")).encode()
    if settings.command:
        _run_command(settings.command, body)
    if settings.url:
        post(settings.url, settings.key, body)


def _run_command(command: tuple[str, ...], body: bytes) -> None:
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HookError(f"{command[0]}: {error}") from None
    if done.returncode:
        said = done.stderr[-200:].decode(errors="replace").strip()
        raise HookError(f"{command[0]} ended with {done.returncode}: {said}")


def post(to: str, key: Secret | None, body: bytes) -> None:
    """Post JSON to a URL, signed where there is a key. Raises :class:`HookError`. It blocks."""
    url, at = urlsplit(to), str(int(time.time()))
    headers = {"Content-Type": "application/json", "X-Holdfast-Time": at}
    try:
        if key is not None:
            headers["X-Holdfast-Signature"] = signature(key.reveal(), at, body)
        connection = _connection(url)
        try:
            connection.request("POST", f"{url.path or '/'}{'?' + url.query if url.query else ''}", body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise HookError(f"{url.hostname}: {error}") from None
    if not 200 <= status < 300:
        raise HookError(f"{url.hostname} answered {status}")


def _connection(url: SplitResult) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=PATIENCE, context=for_the_web())
    return http.client.HTTPConnection(host, url.port, timeout=PATIENCE)
