"""A headless Chromium, driven by its own protocol (Chrome DevTools). It talks to loopback addresses alone."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps --disable-extensions --no-pings "
    "--remote-debugging-port=0 --remote-allow-origins=* --remote-debugging-address=127.0.0.1"
).split()
_NO_NAMES = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*"


class Chromium:
    """One page of it; ``flags``: more of its command line."""

    def __init__(self, directory: Path, seconds: float = 60.0, flags: Sequence[str] = ()) -> None:
        assert PROGRAM is not None
        self._stack = ExitStack()
        with (directory / "chromium.log").open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, *_QUIET, _NO_NAMES, *flags, f"--user-data-dir={directory / 'profile'}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._connect(directory, seconds)
        except BaseException:
            self._end()
            raise

    def _connect(self, directory: Path, seconds: float) -> None:
        port_file = directory / "profile" / "DevToolsActivePort"
        end = time.monotonic() + seconds
        while not port_file.exists() or "\n" not in port_file.read_text():
            assert time.monotonic() < end and self.process.poll() is None, (directory / "chromium.log").read_text()
            time.sleep(0.05)
        port, path = port_file.read_text().split("\n")[:2]
        opened = connect(f"ws://127.0.0.1:{port}{path}", max_size=64 * 1024 * 1024, proxy=None)
        self._socket = self._stack.enter_context(opened)
        self._count = 0
        self._session = ""
        self.tunnels: list[Any] = []
        """By which it reaches what it shows; to be closed after it."""
        self.said: list[str] = []
        """What the page's console said: errors, what its policy forbade."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def close(self) -> None:
        self._stack.close()
        self._end()

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)

    def look(self, width: int, height: int, scheme: str, mobile: bool = False) -> None:
        """Be of that size, and of a user who likes ``dark`` or ``light``."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> Any:
        """Wait until an expression is true; its value."""
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"{expression} is not true; the page: {self.value(_TEXT)}\n{self.said}"
            time.sleep(0.1)
        return value

    def text(self, element: str = "") -> str:
        return str(self.value(f"document.getElementById({element!r}).innerText" if element else _TEXT))

    def picture(self, path: Path) -> None:
        """A PNG of what is to be seen."""
        data = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=False)["data"]
        path.write_bytes(base64.b64decode(data))

    def _ask(self, method: str, **params: Any) -> Any:
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        self._socket.send(json.dumps(order))
        while True:
            said = json.loads(self._socket.recv(60))
            if said.get("id") == self._count:
                assert "error" not in said, said
                return said["result"]
            if said.get("method") == "Log.entryAdded":
                self.said.append(said["params"]["entry"]["text"])
            elif said.get("method") == "Runtime.exceptionThrown":
                self.said.append(str(said["params"]["exceptionDetails"]))


_TEXT = "document.body.innerText"
