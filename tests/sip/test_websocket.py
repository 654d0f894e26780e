"""SIP over WebSocket: what browsers say and hear, who may connect, what a stranger may cost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from sip.actions import Close, Flow, Open, Send
from sip.io import websocket
from sip.io.acceptor import Limits
from sip.io.codec import CodecError, Layered
from sip.io.codecs import StreamCodecs
from sip.io.tls import Credentials
from sip.io.transport import TransportError
from sip.io.websocket import WebSocketCodec, WebSocketPolicy
from tests.certificates import Authority
from tests.sip.loops import FACTORIES, Side, run, until

PAGE = "https://phone.example"
WS = "ws:127.0.0.1:0"


class Browser:
    """The client's end, by the same library."""

    def __init__(self, codec: Any, origin: str | None = PAGE, subprotocols: tuple[str, ...] = ("sip",)) -> None:
        self.codec = codec
        self.protocol = ClientProtocol(
            parse_uri("ws://127.0.0.1/"),
            origin=origin,
            subprotocols=subprotocols or None,  # type: ignore[arg-type]
        )
        self.protocol.send_request(self.protocol.connect())

    def goes(self) -> list[bytes]:
        """What it has to say is heard, and what is said to it: the messages that came."""
        messages: list[bytes] = self.codec.receive(b"".join(self.protocol.data_to_send()))
        if said := self.codec.pending():
            self.protocol.receive_data(said)
        return messages

    def frames(self) -> list[Any]:
        """What it has heard since, without the handshake's answer."""
        return [event for event in self.protocol.events_received() if hasattr(event, "opcode")]


class Time:
    now = 100.0


def policy(*origins: str) -> WebSocketPolicy:
    return WebSocketPolicy(origins or (PAGE,), lambda: Time.now)


def opened(rules: WebSocketPolicy | None = None) -> Browser:
    browser = Browser(WebSocketCodec(rules or policy()))
    browser.goes()
    assert browser.codec.ready and browser.protocol.state is State.OPEN and browser.protocol.subprotocol == "sip"
    return browser


def test_messages_both_ways() -> None:
    browser = opened()
    browser.protocol.send_text(b"REGISTER one")
    browser.protocol.send_binary(b"REGISTER \xff")
    browser.protocol.send_text(b"half ", fin=False)
    browser.protocol.send_continuation(b"and half", fin=True)
    assert browser.goes() == [b"REGISTER one", b"REGISTER \xff", b"half and half"]
    browser.protocol.receive_data(browser.codec.send([b"SIP/2.0 200 OK", "é".encode(), b"\xff\xfe"]))
    browser.frames()
    browser.protocol.receive_data(browser.codec.send([b"SIP/2.0 200 OK", "é".encode(), b"\xff\xfe"]))
    frames = browser.frames()
    assert [bytes(frame.data) for frame in frames] == [b"SIP/2.0 200 OK", "é".encode(), b"\xff\xfe"]
    assert [frame.opcode for frame in frames] == [Opcode.TEXT, Opcode.TEXT, Opcode.BINARY]


@pytest.mark.parametrize(
    ("origins", "origin", "subprotocols", "sentence"),
    [
        ((PAGE,), "https://evil.example", ("sip",), "invalid Origin header: https://evil.example"),
        ((PAGE,), "null", ("sip",), "invalid Origin"),
        ((PAGE,), f"{PAGE}.evil.example", ("sip",), "invalid Origin"),
        ((PAGE,), PAGE, (), "missing subprotocol"),
        ((PAGE,), PAGE, ("chat", "xmpp"), "invalid subprotocol"),
        ((PAGE,), PAGE, ("chat", "sip"), ""),
        ((PAGE,), None, ("sip",), ""),  # no browser
        (("*",), "https://evil.example", ("sip",), ""),
        (("https://a.example", PAGE), PAGE, ("sip",), ""),
    ],
)
def test_who_may_connect(
    origins: tuple[str, ...], origin: str | None, subprotocols: tuple[str, ...], sentence: str
) -> None:
    browser = Browser(WebSocketCodec(policy(*origins)), origin, subprotocols)
    if not sentence:
        browser.goes()
        assert browser.codec.ready
        return
    with pytest.raises(CodecError, match=sentence):
        browser.goes()
    browser.protocol.receive_data(browser.codec.pending())
    assert browser.protocol.handshake_exc is not None and not browser.codec.ready


@pytest.mark.parametrize(
    "words",
    [
        b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 10 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n",
        b"y" * 20_000,
    ],
)
def test_what_is_no_handshake_ends_the_stream(words: bytes) -> None:
    codec = WebSocketCodec(policy())
    with pytest.raises(CodecError):
        codec.receive(words)
    codec.pending()
    assert not codec.ready


@pytest.mark.parametrize("subprotocols", [("sip",), ()])
@pytest.mark.parametrize("verb", ["send_text", "send_ping", "send_close"])
def test_who_does_not_wait_for_the_answer_to_its_handshake_is_refused(
    verb: str, subprotocols: tuple[str, ...]
) -> None:
    """RFC 6455 section 4.1: it has to wait. Its handshake may be one that is refused, too."""
    browser = Browser(WebSocketCodec(policy()), subprotocols=subprotocols)
    browser.protocol.state = State.OPEN
    getattr(browser.protocol, verb)(*((1000,) if verb == "send_close" else (b"x",)))
    with pytest.raises(CodecError, match="speaks before its handshake is over"):
        browser.goes()
    assert not browser.codec.ready


def test_oversized_and_broken_frames_end_the_stream() -> None:
    for words, sentence in (
        (b"\x82\xff" + (websocket.LARGEST + 1).to_bytes(8, "big") + b"mask", "breaks the protocol: .* limit"),
        (b"\x82\xff\x7f" + b"\xff" * 7 + b"mask", "breaks the protocol: .* limit"),
        (b"\x02\x05hello", "incorrect masking"),
        (b"\x83\x80mask", "invalid opcode"),
        (b"\x80\x80mask", "unexpected continuation frame"),
    ):
        browser = opened()
        with pytest.raises(CodecError, match=sentence):
            browser.codec.receive(words)
        browser.protocol.receive_data(browser.codec.pending())
        assert browser.protocol.close_rcvd is not None and browser.protocol.close_rcvd.code in (1002, 1009)
    browser = opened()
    browser.protocol.send_binary(b"x" * 40_000, fin=False)
    browser.goes()
    browser.protocol.send_continuation(b"x" * 40_000, fin=True)
    with pytest.raises(CodecError, match=r"breaks the protocol: .* limit"):
        browser.goes()


def test_who_sends_too_many_frames_is_cut_off() -> None:
    browser = opened()
    for _ in range(int(websocket.BURST)):
        browser.protocol.send_ping(b"")
    browser.goes()
    Time.now += 0.5
    for _ in range(int(websocket.RATE / 2)):
        browser.protocol.send_text(b"x")
    assert len(browser.goes()) == websocket.RATE / 2
    browser.protocol.send_text(b"one more")
    with pytest.raises(CodecError, match="too many frames"):
        browser.goes()


def test_half_read_messages_are_bounded_in_time_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = policy()
    browser = opened(rules)
    browser.protocol.send_text(b"x" * 1000)
    data = b"".join(browser.protocol.data_to_send())
    assert browser.codec.receive(data[:500]) == []
    assert rules.half_read == 500
    Time.now += websocket.LONGEST + 1
    with pytest.raises(CodecError, match="a message takes too long"):
        browser.codec.receive(data[500:501])
    browser.codec.end()
    assert rules.half_read == 0

    monkeypatch.setattr(websocket, "MOST_HALF_READ", 1000)
    monkeypatch.setattr(websocket, "SMALL", 500)
    one, two, small = opened(rules), opened(rules), opened(rules)
    assert one.codec.receive(data[:600]) == []
    with pytest.raises(CodecError, match="too much is half-read"):
        two.codec.receive(data[:600])
    assert small.codec.receive(data[:500]) == [], "who has little under way is not cut off for others"
    assert small.codec.receive(data[500:]) == [b"x" * 1000]
    two.codec.end()
    assert one.codec.receive(data[600:]) == [b"x" * 1000]
    assert rules.half_read == 0
    fragments = opened(rules)
    fragments.protocol.send_text(b"y" * 900, fin=False)
    fragments.goes()
    assert rules.half_read == 900
    for _ in range(3):  # a message in the making grows older whatever comes between
        Time.now += websocket.LONGEST / 2
        fragments.protocol.send_pong(b"")
        if _ < 2:
            fragments.goes()
    with pytest.raises(CodecError, match="a message takes too long"):
        fragments.goes()


def test_pings_and_the_end() -> None:
    browser = opened()
    browser.protocol.send_ping(b"are you there")
    browser.goes()
    assert [(frame.opcode, bytes(frame.data)) for frame in browser.frames()] == [(Opcode.PONG, b"are you there")]
    browser.codec.ping()
    browser.protocol.receive_data(browser.codec.pending())
    assert browser.goes() == [] and not browser.codec.closed
    browser.protocol.receive_data(browser.codec.close())
    assert browser.protocol.close_rcvd is not None and browser.protocol.close_rcvd.code == 1000
    with pytest.raises(CodecError):
        browser.codec.send([b"too late"])
    other = opened()
    other.protocol.send_close(1001)
    other.goes()
    assert other.codec.closed and other.codec.close() == b""
    other.codec.ping()


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    credentials = Credentials([authority.issue("a", ["a.example"])], authority.path)
    codecs = StreamCodecs(credentials, [PAGE], lambda: Time.now)
    codec, tls = codecs.accept("wss"), credentials.connect(["a.example"])
    assert isinstance(codec, Layered)
    tls.begin()
    while not tls.ready:
        assert codec.receive(tls.pending()) == []
        tls.receive(codec.pending())
    browser = Browser(codec)
    said = codec.receive(tls.send([b"".join(browser.protocol.data_to_send())]))
    assert said == [] and codec.ready
    (answer,) = tls.receive(codec.pending())
    browser.protocol.receive_data(answer)
    browser.protocol.send_text(b"REGISTER")
    assert codec.receive(tls.send([b"".join(browser.protocol.data_to_send())])) == [b"REGISTER"]
    browser.protocol.receive_data(tls.receive(codec.send([b"SIP/2.0 200 OK"]))[0])
    assert [bytes(frame.data) for frame in browser.frames()] == [b"SIP/2.0 200 OK"]
    codec.ping()
    assert tls.receive(codec.pending()) == [b"\x89\x00"]
    assert codec.names == () and codec.close() and not codec.closed
    codec.end()


loops = pytest.mark.parametrize("factory", FACTORIES)
Factory = Callable[[], asyncio.AbstractEventLoop]


async def hand_shaken(side: Side) -> tuple[socket.socket, ClientProtocol]:
    peer = socket.create_connection(side.transport.address(WS))
    peer.setblocking(False)
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), subprotocols=["sip"])  # type: ignore[list-item]
    protocol.send_request(protocol.connect())
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(peer, b"".join(protocol.data_to_send()))
    while protocol.state is State.CONNECTING:
        protocol.receive_data(await loop.sock_recv(peer, 65536))
    return peer, protocol


@loops
def test_a_browser_that_is_gone_is_found_out(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sip.io.transport.TICK", 0.02)
    codecs = StreamCodecs(Credentials(()), ["*"])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Side(WS, codecs=codecs, limits=Limits(ping_s=0.2, first_byte_s=1000)) as side:
            there, protocol = await hand_shaken(side)
            gone, _ = await hand_shaken(side)
            assert [flow.transport for flow, _ in side.seen.changes] == ["ws", "ws"]
            flow = side.seen.changes[0][0]
            while len(side.seen.changes) == 2:
                if said := await loop.sock_recv(there, 65536):
                    protocol.receive_data(said)
                    await loop.sock_sendall(there, b"".join(protocol.data_to_send()))
            assert side.seen.changes[2] == (side.seen.changes[1][0], "lost")
            protocol.send_text(b"OPTIONS")
            await loop.sock_sendall(there, b"".join(protocol.data_to_send()))
            await until(lambda: side.seen.received == [(b"OPTIONS", flow)])
            side.transport.send(Send(flow, b"SIP/2.0 200 OK"))
            side.transport.disconnect(Close(flow))
            while not protocol.close_expected() and protocol.close_rcvd is None:
                protocol.receive_data(await loop.sock_recv(there, 65536))
            there.close()
            gone.close()
            await until(lambda: side.transport.streams == 0)

    run(factory, main())


@loops
def test_who_asks_and_does_not_listen_is_cut_off(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "BURST", 1e9)
    codecs = StreamCodecs(Credentials(()), ["*"])

    async def main() -> None:
        with Side(WS, codecs=codecs) as side:
            peer, protocol = await hand_shaken(side)
            protocol.send_ping(b"x" * 125)
            pings = b"".join(protocol.data_to_send()) * 1000
            left, most = pings, 0
            while side.transport.streams:  # the pongs are read by nobody
                try:
                    left = left[peer.send(left) :] or pings
                except (BlockingIOError, ConnectionError):
                    pass
                await asyncio.sleep(0)
                most = max(most, side.transport.waiting)
            assert most < 1_000_000
            assert side.transport.waiting == 0
            peer.close()

    run(factory, main())


def test_no_listener_without_origins_and_no_stream_of_ours() -> None:
    async def main() -> None:
        with pytest.raises(TransportError, match=r"cannot listen on ws:.*: nobody may use it: say in `origins`"):
            Side(WS, codecs=StreamCodecs(Credentials(())))
        with Side(codecs=StreamCodecs(Credentials(()), ["*"])) as side:
            flow = Flow("ws", "x@127.0.0.1", ("127.0.0.1", 9))
            side.transport.connect(Open(flow))
            await until(lambda: side.seen.changes == [(flow, "lost")])

    run(FACTORIES[0], main())
