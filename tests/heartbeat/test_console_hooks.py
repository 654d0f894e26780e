"""Hooks: a real command and a real receiver, which fail at first; and which warnings are told."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from heartbeat.console import hooks
from heartbeat.console.hooks import MOST, HookError, Hooks, deliver, signature
from heartbeat.console.views.status import Alert
from heartbeat.site.load import SiteError, parse
from heartbeat.site.model import HookSettings
from heartbeat.site.values import Secret
from sip.io.tls import CertificateFiles
from tests.certificates import Authority
from tests.consoles import SITE

KEY = Secret("", b"a key of hooks")
FAILS = "import sys; print('so it is', file=sys.stderr); exit(3)"
EVENT = {"id": "1", "event": "alert", "code": "disk", "text": "full"}


class Receiver:
    """It answers the first requests with these statuses, then 204; by https where it has a certificate."""

    def __init__(self, *statuses: int, shown: CertificateFiles | None = None) -> None:
        left, self.got, self.changed = list(statuses), list[tuple[dict[str, str], bytes]](), threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.changed:
                    receiver.got.append((dict(self.headers), body))
                    receiver.changed.notify_all()
                self.send_response(left.pop(0) if left else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if shown is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(shown.certificate, shown.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if shown else 'http'}://127.0.0.1:{self._server.server_address[1]}/in?x=1"
        threading.Thread(target=self._server.serve_forever).start()

    def wait(self, count: int) -> list[dict[str, Any]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count, 30)
            return [json.loads(body) for _, body in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver(500, 302)
    yield one
    one.close()


def hooks_of(settings: HookSettings) -> Hooks:
    return Hooks(replace(parse(SITE, Path("site.toml")), hooks=settings), "m1")


def test_what_fails_is_told_again_in_order_and_signed(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "FIRST_WAIT", 0.01)
    told = hooks_of(HookSettings(url=receiver.url, key=KEY))
    told.tell("takeover", "takeover", "m1 is active")
    told.tell("alert", "disk", "full")
    events = receiver.wait(4)
    told.close()
    assert [event["code"] for event in events] == ["takeover", "takeover", "takeover", "disk"]
    assert len({event["id"] for event in events}) == 2 and {event["site"] for event in events} == {"paris"}
    for headers, body in receiver.got:
        assert headers["X-Holdfast-Signature"] == signature(b"a key of hooks", headers["X-Holdfast-Time"], body)


def test_warnings_are_told_when_they_appear_and_when_they_are_over() -> None:
    told: list[tuple[str, str, str]] = []
    one = hooks_of(HookSettings(url="http://127.0.0.1:9/"))
    one.tell = lambda *event: told.append(event)  # type: ignore[method-assign]
    disk, later = Alert("disk", "the disk of m1: 5 MB"), Alert("disk", "the disk of m1: 4 MB")
    line = Alert("trunk-out", "Line carrier is out of service: 503")
    for look in ([disk], [later, line], [line], []):
        one.look(look)
    assert [(event, code) for event, code, _ in told] == [
        ("alert", "disk"),
        ("alert", "trunk-out"),
        ("alert-over", "disk"),
        ("alert-over", "trunk-out"),
    ]


def test_only_what_is_wanted_is_told_and_events_are_bounded() -> None:
    silent = hooks_of(HookSettings())
    silent.tell("alert", "disk", "full")
    assert not silent.wanted and not silent._queue
    picky = hooks_of(HookSettings(url="http://127.0.0.1:9/", codes=("disk",)))
    picky._thread = threading.current_thread()
    for _ in range(MOST + 5):
        picky.tell("alert", "disk", "full")
        picky.tell("alert", "clock", "wrong")
    assert len(picky._queue) == MOST


def test_a_command_reads_the_event_and_its_failure_is_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "event.json"
    copy = f"import sys, pathlib; pathlib.Path({str(out)!r}).write_text(sys.stdin.read())"
    deliver(HookSettings(command=(sys.executable, "-c", copy)), EVENT)
    assert json.loads(out.read_text()) == EVENT
    with pytest.raises(HookError, match="ended with 3: so it is"):
        deliver(
            HookSettings(command=(sys.executable, "-c", "import sys; print('so it is', file=sys.stderr); exit(3)")),
            EVENT,
        )
    with pytest.raises(HookError, match="No such file"):
        deliver(HookSettings(command=("/nowhere/at/all",)), EVENT)
    with pytest.raises(HookError, match=r"127\.0\.0\.1"):
        deliver(HookSettings(url="http://127.0.0.1:9/"), EVENT)
    with pytest.raises(HookError, match=r"the file hook\.key is missing"):
        deliver(HookSettings(url="http://127.0.0.1:9/", key=Secret("the file hook.key")), EVENT)


@pytest.mark.parametrize("identifiers", [True, False])
def test_a_receiver_is_believed_by_the_authorities_of_the_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identifiers: bool
) -> None:
    """Also by one that leaves out what RFC 5280 wants, which Python's own default refuses since 3.13."""
    authority = Authority(tmp_path, identifiers=identifiers)
    receiver = Receiver(shown=authority.issue("noc", addresses=["127.0.0.1"]))
    try:
        with pytest.raises(HookError, match=r"127\.0\.0\.1: .*certificate verify failed"):
            deliver(HookSettings(url=receiver.url), EVENT)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        deliver(HookSettings(url=receiver.url), EVENT)
        assert receiver.wait(1) == [EVENT]
    finally:
        receiver.close()


@pytest.mark.parametrize("url", ["ftp://x/", "noc.example.com", "http://x y/", "http://u:p@x/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SiteError, match=r"hooks\.url: must be like https://"):
        parse(f'{SITE}\n[hooks]\nurl = "{url}"\n', Path("site.toml"))
