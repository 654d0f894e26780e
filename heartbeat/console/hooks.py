"""Notifications of a site's events: for each event a command is run, or JSON is posted to a URL.

A thread delivers the events one after the other and tries each again until it succeeds or an hour has passed. The
loop only appends to a bounded queue. Events are takeovers by this process, and alerts of its status that begin or
end.
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
"""Events in the queue; beyond, the oldest are lost."""
TRIED_FOR: Final = 3600.0
"""Seconds for which delivery of an event is tried."""
FIRST_WAIT: Final = 1.0
"""Seconds before the first repetition, doubled with each up to ..."""
LONGEST_WAIT: Final = 60.0
"""... these."""
TIMEOUT: Final = 30.0
"""Seconds that a command or an HTTP response may take."""
TAKEOVER: Final = "takeover"


class HookError(Exception):
    """Delivery failed; the text says why."""


class Hooks:
    """Delivers the events of one process. ``settings`` may be assigned at any time."""

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
        """Whether a command or a URL is configured."""
        return bool(self.settings.command or self.settings.url)

    def tell(self, event: str, code: str, text: str) -> None:
        """Queue an event. Never blocks, never raises."""
        if not self.wanted or (self.settings.codes and code not in self.settings.codes):
            return
        told = {"id": secrets.token_hex(16), "event": event, "code": code, "text": text, "at": round(time.time(), 3)}
        self._queue.append((self._clock(), {**told, **self._about}))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
            self._thread.start()
        self._wake.set()

    def look(self, alerts: Iterable[Alert]) -> None:
        """Queue events for alerts that began or ended since the last call; at the first call all are new."""
        now = {(alert.code, _about(alert)): alert for alert in alerts}
        before, self._alerts = self._alerts or {}, now
        for key, alert in now.items():
            if key not in before:
                self.tell("alert", alert.code, alert.text)
        for key, alert in before.items():
            if key not in now:
                self.tell("alert-over", alert.code, alert.text)

    def close(self) -> None:
        """End the thread; queued events are tried once more, for two seconds at most."""
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
            if self._queue and self._queue[0][1] is event:  # else the full queue has dropped it
                self._queue.popleft()


def _about(alert: Alert) -> str:
    """The subject of an alert, which with its code identifies it: its text up to a colon without digits, as these
    change."""
    return "".join(" " if each.isdigit() else each for each in alert.text.partition(":")[0])


def signature(key: bytes, at: str, body: bytes) -> str:
    """The signature of a request: HMAC-SHA256 (RFC 2104) over time, a full stop and body."""
    return "sha256=" + hmac.new(key, at.encode() + b"." + body, "sha256").hexdigest()


def deliver(settings: HookSettings, event: Mapping[str, Any]) -> None:
    """Run the command and post to the URL, as configured. Blocks. Raises :class:`HookError`."""
    body = json.dumps(event, separators=(",", ":")).encode()
    if settings.command:
        _run_command(settings.command, body)
    if settings.url:
        post(settings.url, settings.key, body)


def _run_command(command: tuple[str, ...], body: bytes) -> None:
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HookError(f"{command[0]}: {error}") from None
    if done.returncode:
        said = done.stderr[-200:].decode(errors="replace").strip()
        raise HookError(f"{command[0]} ended with {done.returncode}: {said}")


def post(to: str, key: Secret | None, body: bytes) -> None:
    """Post JSON to a URL, signed if there is a key. Blocks. Raises :class:`HookError`."""
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
        return http.client.HTTPSConnection(host, url.port, timeout=TIMEOUT, context=for_the_web())
    return http.client.HTTPConnection(host, url.port, timeout=TIMEOUT)
