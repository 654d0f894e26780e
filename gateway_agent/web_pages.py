"""The web pages that an agent serves to browsers where it listens for their WebSockets: read once, kept in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sip.io.websocket import Page

KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
}
"""Files of other kinds are not served."""
MOST_FILES: Final = 200
MOST_BYTES: Final = 16 * 1024 * 1024
SERVING: Final = "/serving.json"
"""Which agent this is, and which server it obeys."""


class PagesError(Exception):
    """They cannot be served; one sentence."""


class WebPages:
    """All of one directory; ``serving`` names the agent and the server that it obeys."""

    def __init__(self, directory: Path, serving: Callable[[], dict[str, str]]) -> None:
        """Raises `PagesError`. It blocks."""
        self._serving = serving
        self._pages: dict[str, Page] = {}
        size = 0
        try:
            files = sorted(one for one in directory.rglob("*") if one.is_file() and one.suffix in KINDS)
            for one in files[: MOST_FILES + 1]:
                body = one.read_bytes()
                size += len(body)
                self._pages[f"/{one.relative_to(directory).as_posix()}"] = Page(KINDS[one.suffix], body)
                if len(self._pages) > MOST_FILES or size > MOST_BYTES:
                    limits = f"{MOST_FILES} files or {MOST_BYTES // 2**20} MB"
                    raise PagesError(f"{directory} has more than {limits}: let a web server serve it")
        except OSError as error:
            raise PagesError(f"{error.filename}: {error.strerror}") from None
        if "/index.html" not in self._pages:
            raise PagesError(f"{directory} has no index.html")
        self._pages["/"] = self._pages["/index.html"]

    def __call__(self, path: str) -> Page | None:
        if path == SERVING:
            return Page(KINDS[".json"], json.dumps(self._serving()).encode())
        return self._pages.get(path)
