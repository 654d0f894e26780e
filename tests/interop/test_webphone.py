"""examples/webphone in headless Chromium: pages that call what is no browser, and each other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo_processes import ROOT
from tests.certificates import Authority
from tests.interop import asterisk
from tests.interop.asterisk import Asterisk
from tests.interop.chromium import Chromium
from tests.interop.microphone import HEARS, LIBRARIES, missing, speaking
from tests.interop.played import WORDS
from tests.interop.programs import HEAD, PASSWORDS, Site, network, until
from tests.interop.test_browsers import main_dies
from tests.interop.test_webrtc import MIRROR, PBX, Mirror, gateway_dies, pages_agent_dies, ready, sessions
from tests.interop.test_webrtc_sdes import PHONE, telephone

pytestmark = pytest.mark.interop

LINES = """
[lines.alice]
kind = "web"
agent = "gw1"
numbers = ["5001"]
channels = 2
password = { file = "alice.secret" }
digest = ["MD5"]
transfer = "serve"
[lines.bob]
kind = "web"
agent = "gw1"
numbers = ["5002"]
password = { file = "bob.secret" }
digest = ["MD5"]
"""


def head(directory: Path, net: str) -> str:
    """Agent gw1 serves the page by HTTPS, and browsers with it."""
    files = Authority(directory).issue("gw1", addresses=[f"{net}11"])
    own = '"tcp:{net}11:5060"]'
    assert own in HEAD
    web = (
        f'origins = "https://{net}11:7443"\npage = "{directory}/page"\n'
        f'tls = {{{{ certificate = "{files.certificate}", key = "{files.key}" }}}}'
    )
    text = HEAD.replace("[agents.gw1]\n", f"[agents.gw1]\n{web}\n")
    return text.replace('sip = ["udp:{net}11:5060", ' + own, 'sip = ["udp:{net}11:5060", "wss:{net}11:7443"]')


class Scene:
    def __init__(self, directory: Path, more: str = "") -> None:
        """``more``: further lines; ``{net}`` is its network."""
        net = self.net = network()
        self.directory = directory
        shutil.copytree(ROOT / "examples" / "webphone", directory / "page")
        shutil.copy(LIBRARIES / "jssip.js", directory / "page")
        shutil.copy(LIBRARIES / "sip.js", directory / "page")
        lines, passwords = LINES + MIRROR + more.replace("{net}", net), {**PASSWORDS, "phone": WORDS["phone"]}
        self.site = Site(directory / "site", net, lines, passwords=passwords, head=head(directory, net))
        (directory / "page" / "bob.html").write_text('<!doctype html><script src="sip.js"></script>')
        self.tabs: list[Chromium] = []

    def start(self) -> None:
        self.site.start()
        until(lambda: all(ready(self.site, agent) for agent in ("gw1", "gw2")), 30, self.site.words)
        self.mirror = Mirror(self.site)

    def tab(self, user: str, hertz: float) -> Chromium:
        """A page in which that user has logged in."""
        tab = speaking(self.directory / user, hertz)
        self.tabs.append(tab)
        self.logs_in(tab, user)
        return tab

    def logs_in(self, tab: Chromium, user: str) -> None:
        tab.open(f"https://{self.net}11:7443/")
        tab.until("typeof logIn === 'function'")
        tab.value(f"logIn('{user}', 'interop.test', '{PASSWORDS[user]}'), $('realm').value = 'interop.test'")
        tab.until("ua.isRegistered()")

    def stop(self) -> None:
        for tab in self.tabs:
            tab.close()
        self.site.stop()


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    if because := missing():
        pytest.skip(because)
    scene = Scene(tmp_path / "scene", getattr(request, "param", ""))
    try:
        scene.start()
        yield scene
        assert not scene.site.bugs()
    finally:
        scene.stop()


def hears(tab: Chromium, hertz: float, scene: Scene, connection: str = "session.connection") -> None:
    until(
        lambda: abs(tab.value(HEARS % connection) - hertz) < 20,
        30,
        lambda: f"{tab.value(HEARS % connection)} {tab.value('document.body.innerText')}\n{scene.site.words()}",
    )


def test_a_page_calls_a_telephone_and_goes_on_when_the_main_dies(scene: Scene) -> None:
    alice = scene.tab("alice", 440.0)
    alice.value("$('number').value = '6002', $('call').click()")
    alice.until("session?.isEstablished()")
    hears(alice, 440.0, scene)
    alice.until("$('theirs').value > 0.05 && $('own').value > 0.05")
    alice.until("$('serving').textContent === 'gw1, served by m1'")
    alice.picture(scene.directory / "talking.png")
    main_dies(scene.site)
    hears(alice, 440.0, scene)
    alice.until("$('serving').textContent === 'gw1, served by m2'")
    alice.value("$('hangup').click()")
    alice.until("!session")
    until(lambda: scene.site.idle("gw1", "gw2") and sessions(scene.site, "gw2") == 0, 10, scene.site.words)


def test_a_telephone_calls_a_page_that_holds_and_comes_back_when_the_agent_and_its_gateway_die(scene: Scene) -> None:
    """What died with the agent is the WebSocket: the page connects anew by itself. When the gateway dies the page
    restarts ICE by itself, too."""
    alice = scene.tab("alice", 440.0)
    scene.mirror.dials("5001")
    alice.until("$('call').textContent === 'Answer'")
    assert alice.value("ringing.where === 'here' && document.title") == "mirror calls"
    alice.value("$('call').click()")
    alice.until("session?.isEstablished()")
    hears(alice, 440.0, scene)
    assert alice.value("ringing === null && document.title") == "Holdfast webphone"
    assert sessions(scene.site, "gw1") == 1
    alice.value("$('hold').click()")
    alice.until("session.isOnHold().local")
    hears(alice, 0.0, scene)
    alice.value("$('hold').click()")
    hears(alice, 440.0, scene)

    pages_agent_dies(scene.site)
    hears(alice, 440.0, scene)
    alice.until("ua.isRegistered()")
    hears(alice, 440.0, scene)

    gateway_dies(scene.site, "gw1")
    hears(alice, 440.0, scene)
    alice.value("$('hangup').click()")
    alice.until("!session")
    until(lambda: scene.site.idle("gw1", "gw2") and sessions(scene.site, "gw1") == 0, 10, scene.site.words)


def test_pages_with_jssip_and_sip_js_talk_end_to_end_when_the_main_dies(scene: Scene) -> None:
    bob = logged_in_by_sip_js(scene)
    alice = scene.tab("alice", 440.0)
    alice.value("$('number').value = '5002', $('call').click()")
    alice.until("session?.isEstablished()")
    theirs = "invitation.sessionDescriptionHandler.peerConnection"
    for _ in range(2):
        hears(alice, 1000.0, scene)
        hears(bob, 440.0, scene, theirs)
        assert sessions(scene.site, "gw1") == 0, "browsers need no gateway"
        if scene.site["m2"].view().get("state") != "active":
            main_dies(scene.site)
    bob.value("void invitation.bye()")
    alice.until("!session")


def logged_in_by_sip_js(scene: Scene) -> Chromium:
    """A page of bob's, which answers whoever calls."""
    bob = speaking(scene.directory / "bob", 1000.0)
    scene.tabs.append(bob)
    bob.open(f"https://{scene.net}11:7443/bob.html")
    bob.until("typeof SIP === 'object'")
    bob.value(BOB % {"net": scene.net, "password": PASSWORDS["bob"]})
    return bob


def test_a_muted_page_is_silent_at_the_far_end(scene: Scene) -> None:
    alice = scene.tab("alice", 440.0)
    alice.value("$('number').value = '6002', $('call').click()")
    alice.until("session?.isEstablished()")
    hears(alice, 440.0, scene)
    alice.value("$('mute').click()")
    alice.until("$('mute').ariaPressed === 'true'")
    hears(alice, 0.0, scene)
    alice.value("$('mute').click()")
    alice.until("$('mute').ariaPressed === 'false'")
    hears(alice, 440.0, scene)


def test_a_page_transfers_a_browser_to_a_telephone(scene: Scene) -> None:
    """The two browsers talk end to end; the telephone that one is left with needs the gateway."""
    bob = logged_in_by_sip_js(scene)
    alice = scene.tab("alice", 440.0)
    alice.value("$('number').value = '5002', $('call').click()")
    alice.until("session?.isEstablished()")
    theirs = "invitation.sessionDescriptionHandler.peerConnection"
    hears(bob, 440.0, scene, theirs)
    alice.value("window.prompt = () => '6999', $('transfer').click()")
    alice.until("$('said').textContent.startsWith('Not transferred: ')")
    hears(bob, 440.0, scene, theirs)
    alice.value("window.prompt = () => '6002', $('transfer').click()")
    alice.until("!session")
    assert alice.value("$('said').textContent") == "The call is over."
    hears(bob, 1000.0, scene, theirs)
    assert sessions(scene.site, "gw1") == 1, "its own agent has seen what the telephone offers"
    main_dies(scene.site)
    hears(bob, 1000.0, scene, theirs)
    bob.value("void invitation.bye()")
    until(lambda: scene.site.idle("gw1", "gw2") and sessions(scene.site, "gw1") == 0, 10, scene.site.words)


@pytest.mark.parametrize("scene", [PBX], indirect=True)
def test_a_page_hears_asterisks_echo_when_the_main_dies(scene: Scene) -> None:
    if because := asterisk.missing():
        pytest.skip(because)
    at = f"{scene.net}22:5060", f"{scene.net}12:5060"
    peer = Asterisk("pbx", scene.directory / "asterisk", *at, "holdfast", "a word")
    try:
        alice = scene.tab("alice", 440.0)
        alice.value("$('number').value = '2600', $('call').click()")
        alice.until("session?.isEstablished()")
        hears(alice, 440.0, scene)
        main_dies(scene.site)
        hears(alice, 440.0, scene)
        alice.value("$('hangup').click()")
        alice.until("!session")
        until(lambda: scene.site.idle("gw1", "gw2") and peer.channels == 0, 10, scene.site.words)
        assert not peer.complaints()
    finally:
        peer.stop()


def test_a_page_presses_keys(scene: Scene) -> None:
    """RFC 4733: what the telephone sends back are the page's own events, which come as audio no more."""
    alice = scene.tab("alice", 440.0)
    alice.value("$('number').value = '6002', $('call').click()")
    alice.until("session?.isEstablished()")
    hears(alice, 440.0, scene)
    assert alice.value("session.connection.getSenders()[0].dtmf.canInsertDTMF")
    alice.value("[...$('keys').children].find((key) => key.textContent.startsWith('5')).click()")
    alice.until("session.connection.getSenders()[0].dtmf.toneBuffer === ''")
    hears(alice, 440.0, scene)


@pytest.mark.parametrize("scene", [PHONE], indirect=True)
def test_a_page_presses_keys_at_a_telephone_with_sdes(scene: Scene) -> None:
    """RFC 4733, through gateway and relay, and after the server has died; its audio is there before and behind."""
    with telephone(scene.site, scene.directory / "phone") as phone:
        alice = scene.tab("alice", 440.0)
        alice.value("$('number').value = '6003', $('call').click()")
        alice.until("session?.isEstablished()")
        hears(alice, 440.0, scene)
        main_dies(scene.site)
        hears(alice, 440.0, scene)
        alice.value("[...$('keys').children].find((key) => key.textContent.startsWith('5')).click()")
        until(lambda: "received event: '5' (end=1)" in phone.words(), 10, lambda: phone.words()[-2000:])
        hears(alice, 440.0, scene)
        alice.value("$('hangup').click()")
        alice.until("!session")


BOB = """
(async () => {
  window.ua = new SIP.UserAgent({
    uri: SIP.UserAgent.makeURI('sip:bob@interop.test'),
    transportOptions: { server: 'wss://%(net)s11:7443' },
    authorizationUsername: 'bob', authorizationPassword: '%(password)s',
    delegate: { onInvite: (found) => { window.invitation = found; found.accept(); } },
  });
  await ua.start();
  const registerer = new SIP.Registerer(ua);
  await new Promise((resolve, reject) => {
    registerer.stateChange.addListener((state) => { if (state === SIP.RegistererState.Registered) resolve(); });
    setTimeout(() => reject(new Error('SIP.js does not register')), 20000);
    registerer.register();
  });
})()
"""


def test_a_page_that_is_reloaded_takes_its_call_up_again(scene: Scene) -> None:
    alice = scene.tab("alice", 440.0)
    alice.value("$('number').value = '6002', $('call').click()")
    alice.until("session?.isEstablished()")
    hears(alice, 440.0, scene)
    alice.open("about:blank")
    scene.logs_in(alice, "alice")
    alice.until("session?.isEstablished()")
    hears(alice, 440.0, scene)
    until(lambda: scene.site.calls("gw1") == scene.site.calls("gw2") == 1, 10, scene.site.words)
    assert sessions(scene.site, "gw2") == 1
    alice.value("$('hangup').click()")
    alice.until("!session")
    until(lambda: scene.site.idle("gw1", "gw2") and sessions(scene.site, "gw2") == 0, 10, scene.site.words)
