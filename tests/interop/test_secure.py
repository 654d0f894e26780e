"""A site that speaks TLS and nothing else between its programs, and to its devices: a PBX with mutual TLS (Asterisk),
a browser's end of WebSocket, and ``openssl s_client``. Calls outlive the main, and a reload of certificates."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from examples.demo_processes import ROOT
from examples.softphone_call import Call, Policy
from sip.digest import DigestClient, Refusal
from sip.wire.message import Message, Request, Response, parse
from tests.certificates import Authority
from tests.interop import asterisk
from tests.interop.asterisk import Asterisk
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import HEAD, PASSWORDS, Site, network, phone_line, until

pytestmark = pytest.mark.interop

PAGE = "https://phone.example"
LINES = """
[lines.asterisk]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}22:5061;transport=tls"
certificate = "pbx.example"
channels = 20
options = {{ interval = 1 }}
[[routes]]
match = "26*"
to = ["asterisk"]
"""


def head(names: tuple[str, ...] = ("m1", "m2", "gw1", "gw2")) -> str:
    """The usual head of a site file, by TLS."""
    text = HEAD.replace('realm = "interop.test"', 'realm = "interop.test"\nca = "{dir}/ca.pem"')
    for number in (1, 2):
        text = text.replace(f'listen = "tcp:{{net}}{number}:5161"', f'listen = "tls:{{net}}{number}:5161"')
        text = text.replace(f'beat = "udp:{{net}}{number}:5162"', f'beat = "tls:{{net}}{number}:5162"')
    own = '"udp:{net}12:5060", "tcp:{net}12:5060"'
    assert own in text
    text = text.replace(own, f'{own}, "tls:{{net}}12:5061", "wss:{{net}}12:7443"')
    for name in names:
        kind = "servers" if name.startswith("m") else "agents"
        files = f'certificate = "{{{{dir}}}}/{name}.pem", key = "{{{{dir}}}}/{name}.key", ca = "{{{{dir}}}}/ca.pem"'
        more = f'\norigins = "{PAGE}"' if name == "gw2" else ""
        files = files.replace("{{", "{").replace("}}", "}")
        text = text.replace(
            f"[{kind}.{name}]\n", f'[{kind}.{name}]\ntls = {{{{ {files}, clients = "required" }}}}{more}\n'
        )
    return text.replace('"required" }}\norigins', '"asked" }}\norigins')  # browsers have no certificates


class Scene:
    """The site, its authority, and two phones in clear at gw1."""

    def __init__(self, directory: Path, pbx: bool = False) -> None:
        net = self.net = network()
        directory.mkdir()
        self.directory = directory
        self.authority = Authority(directory)
        for name, host in (("m1", 1), ("m2", 2), ("gw1", 11), ("gw2", 12)):
            self.authority.issue(name, [f"{name}.example"], addresses=[f"{net}{host}"])
        lines = phone_line("alice", "gw1", media="relay") + phone_line("bob", "gw2")
        lines += LINES.format(net=net) if pbx else ""
        self.site = Site(directory, net, lines, passwords=PASSWORDS, head=head())
        self.phone = Phone(f"{net}51:5060")

    def start(self) -> None:
        self.site.start()
        self.alice = self.phone.line("alice", f"{self.net}11:5060", PASSWORDS["alice"], Policy(answer_after=0.3))

    def stop(self) -> None:
        self.phone.close()
        self.site.stop()

    def kill_main(self) -> None:
        self.site["m1"].die()
        until(lambda: self.site["m2"].view().get("state") == "active", 10, lambda: self.site.words())

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.path))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "site")
    try:
        scene.start()
        yield scene
        assert not scene.site.bugs()
    finally:
        scene.stop()


def s_client(scene: Scene, words: str = "") -> str:
    """What ``openssl s_client`` says of gw2's listener; with ``words``, up to the end of the answer to them."""
    peer = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{scene.net}12:5061", "-CAfile", str(scene.authority.path), "-quiet",
         "-verify_return_error", "-verify", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert peer.stdin is not None and peer.stdout is not None
    heard = b""
    try:
        peer.stdin.write(words.encode())
        peer.stdin.flush()
        end = b"\r\n\r\n" if words else b"depth=0"
        while end not in heard and (piece := peer.stdout.readline()):
            heard += piece
    finally:
        peer.kill()
        peer.communicate()
    return heard.decode("latin-1")


def options(scene: Scene) -> str:
    lines = (
        f"OPTIONS sip:{scene.net}12 SIP/2.0", f"Via: SIP/2.0/TLS {scene.net}61:5061;branch=z9hG4bKo;keep;rport",
        "From: <sip:x@y.example>;tag=1", "To: <sip:interop.test>", "Call-ID: o1", "CSeq: 1 OPTIONS",
        "Max-Forwards: 70", "Content-Length: 0", "", "",
    )  # fmt: skip
    return "\r\n".join(lines)


class WebPhone:
    """A browser's end: it registers, answers one call, and says what it hears."""

    def __init__(self, socket: ClientConnection, user: str, password: str) -> None:
        self.socket = socket
        self._user = user
        self._digest = DigestClient(user, password, Random(1))

    def hears(self, kind: str | int) -> Any:
        """The next message, which must be that."""
        data = self.socket.recv(timeout=10)
        message: Message = parse(data.encode() if isinstance(data, str) else data)
        got = message.status if isinstance(message, Response) else message.method  # type: ignore[attr-defined]
        assert got == kind, message.to_bytes()
        return message

    def says(self, start: str, *lines: str, body: str = "") -> None:
        self.socket.send("\r\n".join([start, *lines, "", body]))

    def registers(self) -> None:
        credentials: tuple[str, ...] = ()
        for number in (1, 2):
            self.says(
                "REGISTER sip:interop.test SIP/2.0", f"Via: SIP/2.0/WSS x.invalid;branch=z9hG4bKr{number}",
                f"From: <sip:{self._user}@interop.test>;tag=r", f"To: <sip:{self._user}@interop.test>", "Call-ID: r",
                f"CSeq: {number} REGISTER", "Max-Forwards: 70", "Expires: 60",
                f"Contact: <sip:{self._user}@x.invalid;transport=ws>", *credentials,
            )  # fmt: skip
            if number == 1:
                answer = self._digest.answer(self.hears(401), "REGISTER", "sip:interop.test")
                assert not isinstance(answer, Refusal)
                credentials = tuple(each.line for each in answer)
        self.hears(200)

    def answers(self, invite: Request, status: str, body: str = "") -> None:
        self.says(
            f"SIP/2.0 {status}", *(f"Via: {via}" for via in invite.all("via")), f"From: {invite.get('from')}",
            f"To: {invite.get('to')}" + ("" if invite.to_tag else ";tag=web"), f"Call-ID: {invite.call_id}",
            f"CSeq: {invite.cseq} {invite.method}", f"Contact: <sip:{self._user}@x.invalid;transport=ws>",
            *(("Content-Type: application/sdp",) if body else ()), body=body,
        )  # fmt: skip


def web_socket(scene: Scene) -> connect:
    """A connection of a browser with the page that is allowed."""
    at = f"wss://{scene.net}12:7443/"
    return connect(at, ssl=scene.trusting(), origin=Origin(PAGE), subprotocols=[Subprotocol("sip")], open_timeout=5)


def sdp(host: str) -> str:
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


def test_openssl_is_answered_and_a_reload_shows_the_next_certificate(scene: Scene) -> None:
    assert shutil.which("openssl"), "openssl is missing: apt-get install openssl"
    said = s_client(scene, options(scene))
    assert "SIP/2.0 200 OK" in said and ";keep=120;" in said
    ping = [sys.executable, "-m", "heartbeat.cli", "ping", f"tls:{scene.net}12:5061", "-c", "1"]
    done = subprocess.run(ping, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 0 and " over tls: 200 OK" in done.stdout, done
    with web_socket(scene) as standing:
        scene.authority.issue("gw2", ["renewed.example"], addresses=[f"{scene.net}12"], common="renewed")
        scene.site["gw2"].signal(signal.SIGHUP)
        until(lambda: "renewed" in s_client(scene), 10, "the certificate is not taken")
        assert standing.ping().wait(5)
        (scene.directory / "gw2.key").write_text("nonsense")
        scene.site["gw2"].signal(signal.SIGHUP)
        until(lambda: "has no private key" in scene.site["gw2"].words(), 10, "the reload is not refused")
        assert "SIP/2.0 200 OK" in s_client(scene, options(scene))
        assert standing.ping().wait(5)
    errors = [bug for bug in scene.site.bugs() if "is not taken: agents.gw2.tls: " not in bug]
    scene.site["gw2"].log.write_text("\n".join(errors))


def test_a_browser_is_called_and_outlives_the_main(scene: Scene) -> None:
    with web_socket(scene) as socket:
        call_a_browser(scene, WebPhone(socket, "bob", PASSWORDS["bob"]))


def call_a_browser(scene: Scene, web: WebPhone) -> None:
    web.registers()
    call = scene.phone.call(scene.alice, "5002")
    invite = web.hears("INVITE")
    assert invite.uri == "sip:bob@x.invalid;transport=ws"
    web.answers(invite, "180 Ringing")
    web.answers(invite, "200 OK", sdp(f"{scene.net}61"))
    web.hears("ACK")
    until(lambda: talking(call), 5, "no answer")

    scene.kill_main()

    scene.phone.ask(scene.phone.core.bye, call)
    web.answers(web.hears("BYE"), "200 OK")
    until(lambda: ended(call), 5, "it does not end")
    web.socket.send("\r\n\r\n")
    assert web.socket.recv(timeout=5) == "\r\n"


def test_a_pbx_with_mutual_tls_and_calls_that_outlive_the_main(tmp_path: Path) -> None:
    if because := asterisk.missing():
        pytest.skip(because)
    scene = Scene(tmp_path / "site", pbx=True)
    files = scene.authority.issue("pbx", ["pbx.example"], addresses=[f"{scene.net}22"])
    keys = tmp_path / "keys"
    keys.mkdir()
    for source, name in ((files.certificate, "cert"), (files.key, "key"), (scene.authority.path, "ca")):
        shutil.copy(source, keys / f"{name}.pem")
    peer = Asterisk("pbx", tmp_path / "asterisk", f"{scene.net}22:5061", f"{scene.net}12:5061", tls=keys)
    try:
        scene.start()
        talk(scene, peer)
        assert not scene.site.bugs()
    finally:
        scene.stop()
        peer.stop()


def talk(scene: Scene, peer: Asterisk) -> None:
    phone = scene.phone
    until(lambda: in_service(scene), 15, lambda: f"no OPTIONS come through\n{scene.site.words()}")
    out = phone.call(scene.alice, "2600")
    until(lambda: talking(out), 5, lambda: f"no answer: {phone.events}\n{scene.site.words()}")
    peer.cli("channel originate PJSIP/5001@agent application Echo")
    inside = incoming(scene)
    goes_on(scene, out, inside)

    scene.kill_main()

    goes_on(scene, out, inside)
    again = phone.call(scene.alice, "2601")
    until(lambda: talking(again), 8, lambda: f"no answer: {phone.events}")
    for call in (again, out):
        phone.ask(phone.core.bye, call)
    peer.cli("channel request hangup all")
    until(lambda: ended(inside) and ended(out) and ended(again), 5, "a call does not end")
    until(lambda: peer.channels == 0, 5, "a channel is left over in Asterisk")
    assert not [line for line in peer.complaints() if "SSL" not in line]


def in_service(scene: Scene) -> bool:
    return any(one["name"].startswith("asterisk") and one["in_service"] for one in lines_of(scene))


def lines_of(scene: Scene) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scene.site["gw2"].view("lines").get("lines", [])
    return found


def incoming(scene: Scene) -> Call:
    events = until(
        lambda: scene.phone.told("incoming", scene.alice), 8, lambda: f"no call comes\n{scene.site.words()}"
    )
    call: Call = events[-1].call
    until(lambda: talking(call), 5, "it is not answered")
    return call


def goes_on(scene: Scene, *calls: Call) -> None:
    goals = [(call, scene.phone.heard_audio(call) + 25) for call in calls]
    until(lambda: all(scene.phone.heard_audio(call) >= goal for call, goal in goals), 10, "the audio stops")
