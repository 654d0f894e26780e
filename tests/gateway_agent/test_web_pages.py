"""The pages that an agent gives to browsers: read once, by their kind, and nothing that is not theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway_agent import web_pages
from gateway_agent.web_pages import PagesError, WebPages
from sip.io.codec import CodecError
from sip.io.websocket import Page, WebSocketCodec, WebSocketPolicy

WHO = {"agent": "gw1", "server": "m1"}


def pages(directory: Path) -> WebPages:
    (directory / "sub").mkdir()
    (directory / "index.html").write_text("<h1>hello</h1>")
    (directory / "sub" / "a.js").write_text("1")
    (directory / "secret.key").write_text("no page")
    return WebPages(directory, lambda: WHO)


def asked(path: str, of: WebPages | None, more: str = "") -> bytes:
    """The answer to a browser that asks for it."""
    codec = WebSocketCodec(WebSocketPolicy(["https://phone.example"], lambda: 0.0, of))
    request = f"GET {path} HTTP/1.1\r\nHost: a.example\r\n{more}\r\n"
    try:
        assert codec.receive(request.encode()) == [] and not codec.ready
    except CodecError:
        assert of is None
    return codec.pending()


def test_a_page_and_who_serves(tmp_path: Path) -> None:
    found = pages(tmp_path)
    assert found("/") == found("/index.html") == Page("text/html; charset=utf-8", b"<h1>hello</h1>")
    script = found("/sub/a.js")
    assert script is not None and script.kind.startswith("text/javascript")
    serving = found("/serving.json")
    assert serving is not None and json.loads(serving.body) == WHO


@pytest.mark.parametrize(
    "path", ["/secret.key", "/../index.html", "/sub/../index.html", "//index.html", "/%2e%2e", ""]
)
def test_nothing_else_is_found(tmp_path: Path, path: str) -> None:
    assert pages(tmp_path)(path) is None


def test_it_is_given_by_http_to_who_wants_no_web_socket(tmp_path: Path) -> None:
    head, _, body = asked("/?from=a", pages(tmp_path)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and body == b"<h1>hello</h1>"
    for line in (b"Content-Length: 14", b"Connection: close", b"X-Content-Type-Options: nosniff"):
        assert line in head
    assert b"default-src 'self'" in head and b"frame-ancestors 'none'" in head


def test_what_is_not_there_is_404_and_where_there_are_no_pages_nobody_gets_any(tmp_path: Path) -> None:
    assert asked("/etc/passwd", pages(tmp_path)).startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert asked("/", None).startswith(b"HTTP/1.1 426 ")


def test_who_wants_a_web_socket_is_checked_as_ever(tmp_path: Path) -> None:
    codec = WebSocketCodec(WebSocketPolicy(["https://phone.example"], lambda: 0.0, pages(tmp_path)))
    lines = [
        "GET / HTTP/1.1", "Host: a.example", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: sip", "Origin: https://evil.example",
        "", "",
    ]  # fmt: skip
    with pytest.raises(CodecError):
        codec.receive("\r\n".join(lines).encode())
    assert codec.pending().startswith(b"HTTP/1.1 403 ")


def test_what_cannot_be_served_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PagesError, match=r"has no index\.html"):
        WebPages(tmp_path, lambda: WHO)
    pages(tmp_path)
    monkeypatch.setattr(web_pages, "MOST_FILES", 1)
    with pytest.raises(PagesError, match="more than 1 files or 16 MB"):
        WebPages(tmp_path, lambda: WHO)
