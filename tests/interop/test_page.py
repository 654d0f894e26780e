"""The live page in a real browser, of a real site: what it shows, who may do what, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.chromium import PROGRAM, Chromium
from tests.interop.programs import HEAD, Site, network, until
from tests.interop.test_trace import LINES

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed: apt-get install chromium"),
]

TOKEN, VIEW = "a token of the page's tests", "who may only look"
PICTURES = os.environ.get("HOLDFAST_PICTURES", "")
"""A directory for the pictures of docs/page.md."""


class Tunnel:
    """TCP to a UNIX socket, as a reverse proxy makes it; ``lines`` are added to the head of each request."""

    def __init__(self, host: str, path: Path, lines: str = "") -> None:
        self._path, self._lines = str(path), lines.encode()
        self._listener = socket.create_server((host, 0))
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self._ending = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """To be called when the browser is gone."""
        self._ending = True
        socket.create_connection(self._listener.getsockname()).close()  # wakes it
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ending:
            outer, _ = self._listener.accept()
            self._threads.append(threading.Thread(target=self._carry, args=(outer,)))
            self._threads[-1].start()

    def _carry(self, outer: socket.socket) -> None:
        with outer, socket.socket(socket.AF_UNIX) as inner:
            try:
                inner.connect(self._path)
            except OSError:
                return
            back = threading.Thread(target=_pump, args=(inner, outer, b""))
            back.start()
            _pump(outer, inner, self._lines)
            back.join()


def _pump(source: socket.socket, target: socket.socket, lines: bytes) -> None:
    try:
        while data := source.recv(65_536):
            if lines and b"\r\n" in data:  # each connection has one request
                first, _, rest = data.partition(b"\r\n")
                data, lines = first + b"\r\n" + lines + rest, b""
            target.sendall(data)
    except OSError:
        pass
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory, net = tmp_path_factory.mktemp("site"), network()
    own = (
        'api_token = {{ file = "api.secret" }}\napi_view_token = {{ file = "view.secret" }}\n'
        'api_user_header = "X-Remote-User"\napi_operators = ["olga"]\nstate = "{dir}/state"\n[servers.m2]'
    )
    head = HEAD.replace('state = "{dir}/state"\n[servers.m2]', own)
    lines = LINES.replace('[trace]\ncollector = "udp:{net}99:9060"\n', "").format(net=net)
    site = Site(directory, net, lines, head=head, passwords={"api": TOKEN, "view": VIEW})
    try:
        site.start(120.0)
        yield site
        assert not site.bugs()
    finally:
        site.stop()


@pytest.fixture(scope="module")
def talking(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    left, right, work = f"{site.net}31", f"{site.net}41", tmp_path_factory.mktemp("calls")
    callee = ["-sn", "uas", "-i", right, "-mi", right, "-p", "5060"]
    caller = ["-sn", "uac", "-i", left, "-mi", left, "-p", "5060", "-s", "1000", "-d", "900000"]
    caller += ["-m", "3", "-l", "3", "-r", "3", f"{site.net}11:5060"]
    phones = [_sipp(words, work) for words in (callee, caller)]
    until(lambda: site.calls("m1") == 3, 60, "no calls")
    yield
    for each in phones:
        each.kill()
        each.wait()


def _sipp(words: list[str], directory: Path) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(["sipp", *words, "-nostdin"], stdin=quiet, stdout=quiet, stderr=quiet, cwd=directory)


@pytest.fixture
def tunnels() -> Iterator[list[Tunnel]]:
    opened: list[Tunnel] = []
    yield opened
    for tunnel in opened:
        tunnel.close()


@pytest.fixture
def browser(tmp_path: Path, tunnels: list[Tunnel]) -> Iterator[Chromium]:
    browser = Chromium(tmp_path)
    browser.tunnels = tunnels
    yield browser
    browser.close()


def page_of(site: Site, browser: Chromium, lines: str = "", host: str = "51") -> Tunnel:
    tunnel = Tunnel(f"{site.net}{host}", site["m1"].socket, lines)
    browser.tunnels.append(tunnel)
    browser.open(f"{tunnel.url}/")
    browser.until("document.getElementById('main') !== null && document.readyState == 'complete'")
    return tunnel


def log_in(browser: Chromium, token: str) -> None:
    browser.until("!document.getElementById('login').hidden")
    browser.value(
        f"document.getElementById('token').value = {json.dumps(token)}; "
        "document.querySelector('#login button').click()"
    )


def picture(browser: Chromium, name: str) -> None:
    if PICTURES:
        browser.picture(Path(PICTURES) / name)


def test_an_operator_sees_the_site_and_ends_a_call(site: Site, talking: None, browser: Chromium) -> None:
    browser.look(1100, 900, "light")
    page_of(site, browser)
    log_in(browser, "a guess")
    browser.until("document.getElementById('login-said').textContent.includes('not the token')")
    log_in(browser, TOKEN)
    browser.until("document.querySelectorAll('#calls tbody tr').length == 3")
    assert "m1 is active, epoch 1" in browser.text("head")
    for name in ("m2", "gw1", "gw2"):
        assert name in browser.text("nodes")
    browser.until("document.querySelectorAll('#lines tbody tr').length == 2")
    browser.until("document.querySelectorAll('#trends path').length == 4", 60)
    picture(browser, "page-light.png")

    browser.value("document.querySelector('#calls td:nth-child(6) button').click()")
    browser.until("document.querySelectorAll('#call-ladder g.hop').length > 8")
    assert "INVITE SDP" in browser.text("call-ladder") and "left called 1000" not in browser.text("call-said")
    picture(browser, "page-call.png")
    browser.value("document.querySelector('#call-ladder g.hop').dispatchEvent(new Event('click'))")
    assert "INVITE sip:1000@" in browser.text("call-message")
    browser.value("document.getElementById('call').close()")

    for word, out in (("busy out", True), ("end busyout", False)):
        browser.until(f"document.querySelector('#lines td:nth-child(7) button').innerText == '{word}'")
        browser.value("document.querySelector('#lines td:nth-child(7) button').click()")
        browser.value(
            "if (document.getElementById('sure').open) document.querySelector('#sure button.grave').click()"
        )
        until(lambda out=out: ("line-busied-out" in str(site["m1"].view()["alerts"])) is out, 30, word)
    browser.value("document.getElementById('rehearse').click()")
    browser.until("document.getElementById('done').textContent.includes('calls kept, 0 lost')")
    browser.value("document.querySelector('#calls td:nth-child(7) button').click()")
    browser.until("document.getElementById('sure').open")
    browser.value("document.querySelector('#sure button[value=yes]').click()")
    browser.until("document.querySelectorAll('#calls tbody tr').length == 2")
    until(lambda: site.calls("m1") == 2, 30, "the call goes on")
    # the wrong token, and that there was no takeover yet
    assert not [each for each in browser.said if "401" not in each and "404" not in each], browser.said


def test_a_phone_in_the_dark_may_look_only(site: Site, talking: None, browser: Chromium) -> None:
    browser.look(390, 840, "dark", mobile=True)
    page_of(site, browser)
    log_in(browser, VIEW)
    browser.until("document.querySelectorAll('#calls tbody tr').length > 1")
    browser.until("document.querySelectorAll('#trends path').length == 4", 60)
    picture(browser, "page-phone.png")
    assert browser.value("document.documentElement.scrollWidth <= innerWidth"), "nothing hangs over the edge"
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 22)"
    assert browser.value("document.getElementById('acts').hidden") and "hang up" not in browser.text("calls")
    told = browser.value(
        "fetch('../v1/pause', {method: 'POST', body: '{}', headers: {'X-CSRF-Token': csrf}})"
        ".then(async (r) => [r.status, (await r.json()).error])"
    )
    assert told == [403, "viewer by token may look, and change nothing: that needs the role operator."]


def test_what_another_page_makes_a_browser_post_is_refused(site: Site, browser: Chromium) -> None:
    tunnel = page_of(site, browser)
    log_in(browser, TOKEN)
    browser.until("!document.getElementById('main').hidden")
    without = "fetch('../v1/pause', {method: 'POST', body: '{}'}).then((r) => r.status)"
    assert browser.value(without) == 403, "without the page's token"
    page_of(site, browser, host="52")
    forged = (
        f"fetch('{tunnel.url}/v1/pause', {{method: 'POST', body: '{{}}', mode: 'no-cors', credentials: 'include'}})"
    )
    browser.value(f"{forged}.then(() => 0, () => 0)")
    assert site["m1"].view()["paused"] is False
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.evil = 1\">')")
    assert browser.value("window.evil === undefined")
    assert any("Content Security Policy" in each for each in browser.said)


@pytest.mark.parametrize(("user", "role"), [("olga", "operator"), ("victor", "viewer")])
def test_a_reverse_proxy_says_who_asks(site: Site, browser: Chromium, user: str, role: str) -> None:
    page_of(site, browser, f"X-Remote-User: {user}\r\n")
    browser.until("!document.getElementById('main').hidden")
    assert browser.text("who").strip() == f"{user}, {role}"
    assert browser.value("document.getElementById('acts').hidden") is (role == "viewer")


def test_after_a_takeover_the_story_is_told(site: Site, talking: None, browser: Chromium) -> None:
    browser.look(1100, 900, "dark")
    page_of(site, browser)
    log_in(browser, TOKEN)
    browser.until("!document.getElementById('main').hidden")
    site.command("switchover", "--yes")
    browser.until("document.getElementById('head').textContent.includes('m2 is active, epoch 2')")
    site.command("switchover", "--yes")
    browser.until("document.getElementById('head').textContent.includes('m1 is active, epoch 3')")
    browser.until("document.getElementById('takeover').innerText.includes('epoch 3, failback')")
    browser.until("document.querySelectorAll('#takeover rect').length >= 4")
    assert "kept" in browser.text("takeover")
    browser.value("document.getElementById('takeover').scrollIntoView()")
    picture(browser, "page-takeover.png")
