"""TLS streams: what is shown, who is believed, what a stranger may cost."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sip.actions import Close, Flow, Open, Send
from sip.io.acceptor import Limits
from sip.io.codecs import StreamCodecs
from sip.io.tls import CertificateFiles, Clients, Credentials, TlsError, read_certificate
from sip.io.transport import TransportError
from tests.certificates import Authority
from tests.sip.loops import FACTORIES, Side, run, until

loops = pytest.mark.parametrize("factory", FACTORIES)
Factory = Callable[[], asyncio.AbstractEventLoop]
TLS = "tls:127.0.0.1:0"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def speaks(
    authority: Authority, *files: CertificateFiles, clients: Clients = "ignored", authorities: tuple[Path, ...] = ()
) -> StreamCodecs:
    return StreamCodecs(Credentials(files, authority.path, clients, authorities))


def to(server: Side, local: str = "x@127.0.0.1") -> Flow:
    return Flow("tls", local, server.transport.address(TLS))


@loops
def test_both_ends_talk_and_close(factory: Factory, authority: Authority) -> None:
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]), clients="required")

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server, Side(codecs=codecs) as client:
            flow = to(server)
            client.transport.connect(Open(flow, ("gw1.example",)))
            client.transport.send(Send(flow, b"waits for the handshake;"))
            client.transport.send(Send(flow, b"beat;", urgent=True))
            client.transport.flush()
            assert client.seen.changes == []
            await until(lambda: bool(server.seen.received))
            assert client.seen.changes == [(flow, "open")]
            theirs = server.seen.changes[0][0]
            assert (theirs.transport, theirs.local) == ("tls", "127.0.0.1:0#1")
            assert client.seen.names == {flow: ("gw1.example",)} and server.seen.names == {theirs: ("gw1.example",)}
            big = b"." * 3_000_000
            server.transport.send(Send(theirs, big))
            server.transport.flush()
            await until(lambda: len(client.seen.bytes_of(flow)) == len(big))
            client.transport.send(Send(flow, b"last words"))
            client.transport.disconnect(Close(flow))
            await until(lambda: (theirs, "lost") in server.seen.changes)
            assert server.seen.bytes_of(theirs) == b"beat;waits for the handshake;last words"
            await until(lambda: client.transport.streams == 0)
            assert client.transport.waiting == server.transport.waiting == 0

    run(factory, main())


@loops
@pytest.mark.parametrize("name", ["two..dots.example", ".dot.example", f"{64 * 'x'}.example", 300 * "x", ""])
def test_a_name_that_no_host_can_have_is_connected_to_by_nobody(
    factory: Factory, authority: Authority, name: str
) -> None:
    """It may be a stranger's: the sent-by of a Via, to which an answer goes by a new connection."""
    codecs = speaks(authority)

    async def main() -> None:
        with Side(codecs=codecs) as client:
            flow = Flow("tls", "x@127.0.0.1", ("127.0.0.1", 9))
            client.transport.connect(Open(flow, (name,)))
            await until(lambda: client.seen.changes == [(flow, "lost")])

    run(factory, main())


@loops
@pytest.mark.parametrize(
    ("names", "well"),
    [
        (("gw1.example",), True),
        (("other.example", "GW1.example"), True),
        (("127.0.0.1",), True),
        (("a.wild.example",), False),  # RFC 5922 section 7.2: no wildcards
        (("cn.example",), False),  # there is a subjectAltName
        (("example",), False),
    ],
)
def test_the_certificate_is_for_the_name_that_was_wanted(
    factory: Factory, authority: Authority, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], well: bool
) -> None:
    files = authority.issue("names", ["gw1.example", "*.wild.example"], addresses=["127.0.0.1"], common="cn.example")
    codecs = speaks(authority, files)

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server, Side(codecs=codecs) as client:
            flow = to(server)
            client.transport.connect(Open(flow, names))
            await until(lambda: bool(client.seen.changes))
            assert client.seen.changes == [(flow, "open" if well else "lost")]

    run(factory, main())
    assert well or "its certificate is for gw1.example and 127.0.0.1, not for" in caplog.text


@loops
def test_who_is_not_believed_hears_nothing(
    factory: Factory, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path, "other")
    stranger = other.issue("stranger", ["gw1.example"])
    old = authority.issue("old", ["gw1.example"], since=-10, until=-1)
    mine = authority.issue("mine", ["me.example"])

    async def attempt(shown: CertificateFiles) -> None:
        with Side(TLS, codecs=speaks(authority, shown)) as server, Side(codecs=speaks(authority, mine)) as client:
            flow = to(server)
            client.transport.connect(Open(flow, ("gw1.example",)))
            client.transport.send(Send(flow, b"a secret"))
            client.transport.flush()
            await until(lambda: client.seen.changes == [(flow, "lost")])
            await until(lambda: server.transport.streams == 0)
            assert (server.seen.changes, server.seen.received) == ([], [])
            assert server.transport.counters.handshakes_failed == 1

    async def main() -> None:
        await attempt(stranger)
        await attempt(old)
        codecs = speaks(authority, mine, authorities=(other.path,))
        with Side(TLS, codecs=speaks(authority, stranger)) as server, Side(codecs=codecs) as client:
            flow = to(server)
            client.transport.connect(Open(flow, ("gw1.example",), authority=str(other.path)))
            await until(lambda: client.seen.changes == [(flow, "open")])

    run(factory, main())
    assert "unable to get local issuer certificate" in caplog.text and "certificate has expired" in caplog.text


@loops
def test_who_connects_has_to_prove_himself_where_that_is_required(
    factory: Factory, authority: Authority, tmp_path: Path
) -> None:
    nobody, other = Credentials((), authority.path), Authority(tmp_path, "other").issue("x", ["x.example"])
    files = authority.issue("gw1", ["gw1.example"])
    cases: tuple[tuple[Clients, bool], ...] = (("required", False), ("asked", True))

    async def attempt(clients: Clients, well: bool) -> None:
        codecs = speaks(authority, files, clients=clients)
        with Side(TLS, codecs=codecs) as server, Side(codecs=StreamCodecs(nobody)) as client:
            flow = to(server)
            client.transport.connect(Open(flow, ("gw1.example",)))
            # by TLS 1.3 the client is through before it hears that it is not wanted
            await until(lambda: (flow, "open" if well else "lost") in client.seen.changes)
            await until(lambda: [state for _, state in server.seen.changes] == ["open"] * well)
            assert server.seen.names == {}
        with Side(TLS, codecs=codecs) as server, Side(codecs=speaks(authority, other)) as client:
            flow = to(server)
            client.transport.connect(Open(flow, ("gw1.example",)))
            await until(lambda: (flow, "lost") in client.seen.changes)
            assert server.seen.changes == []

    async def main() -> None:
        for clients, well in cases:
            await attempt(clients, well)

    run(factory, main())


@loops
def test_by_ipv6(factory: Factory, authority: Authority) -> None:
    codecs = speaks(authority, authority.issue("six", addresses=["::1"]))

    async def main() -> None:
        with Side("tls:[::1]:0", codecs=codecs) as server, Side(codecs=codecs) as client:
            flow = Flow("tls", "x@::1", server.transport.address("tls:[::1]:0"))
            client.transport.connect(Open(flow, ("0:0:0:0:0:0:0:1",)))
            client.transport.send(Send(flow, b"hello"))
            client.transport.flush()
            await until(lambda: [data for data, _ in server.seen.received] == [b"hello"])
            assert server.seen.changes[0][0].remote[0] == "::1"

    run(factory, main())


@loops
def test_each_name_has_its_certificate(factory: Factory, authority: Authority) -> None:
    one, two = authority.issue("one", ["one.example"]), authority.issue("two", ["two.example"])
    codecs = speaks(authority, one, two, clients="asked")

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server, Side(codecs=codecs) as client:
            flows = [to(server, f"x{name}@127.0.0.1") for name in ("one", "two", "three")]
            for flow, name in zip(flows, ("one", "two", "one"), strict=True):
                client.transport.connect(Open(flow, (f"{name}.example",), shown=f"{name}.example"))
            await until(lambda: len(client.seen.changes) == len(server.seen.changes) == 3)
            assert sorted(client.seen.names.values()) == [("one.example",), ("one.example",), ("two.example",)]
            assert sorted(server.seen.names.values()) == sorted(client.seen.names.values())

    run(factory, main())


@loops
def test_a_reload_is_for_the_next_ones(factory: Factory, authority: Authority) -> None:
    codecs = speaks(authority, authority.issue("gw1", ["old.example"]))
    client_codecs = speaks(authority, authority.issue("client", ["c.example"]))

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server, Side(codecs=client_codecs) as client:
            before, after = to(server), to(server, "y@127.0.0.1")
            client.transport.connect(Open(before, ("old.example",)))
            await until(lambda: len(server.seen.changes) == 1)
            codecs.credentials = Credentials([authority.issue("gw1", ["new.example"])], authority.path)
            client.transport.connect(Open(after, ("new.example",)))
            await until(lambda: len(client.seen.changes) == 2)
            client.transport.send(Send(before, b"goes on"))
            client.transport.flush()
            await until(lambda: bool(server.seen.received))
            assert client.seen.changes == [(before, "open"), (after, "open")]

    run(factory, main())


@loops
def test_slow_handshakes_are_bounded_in_time_and_number(
    factory: Factory, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.io.transport.TICK", 0.02)
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))

    async def main() -> None:
        limits = Limits(handshakes=3, handshakes_of_one=2, handshake_s=1000.0)
        with Side(TLS, codecs=codecs, limits=limits) as server:
            at = server.transport.address(TLS)
            peers = [
                socket.create_connection(at, source_address=(host, 0))
                for host in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3")
            ]
            peers[1].send(b"\x16\x03\x01\x02")  # the beginning of a hello
            await until(lambda: server.transport.counters.connections_refused == 1)  # the third of one host
            await until(lambda: server.transport.counters.handshakes_failed == 1)  # the longest gave way to the fifth
            assert server.transport.streams == 3
            assert (peers[0].recv(1), peers[2].recv(1)) == (b"", b"")
            server.transport.limits = Limits(handshake_s=0.05)
            await until(lambda: server.transport.streams == 0)
            assert server.transport.counters.handshakes_failed == 4
            assert server.seen.changes == []
            for peer in peers:
                peer.close()
            with Side(codecs=codecs) as client:  # there is room again
                client.transport.connect(Open(to(server), ("gw1.example",)))
                await until(lambda: len(server.seen.changes) == 1)

    run(factory, main())


@loops
def test_handshakes_are_paced(factory: Factory, authority: Authority) -> None:
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))

    async def main() -> None:
        with Side(TLS, codecs=codecs, limits=Limits(handshakes_per_s=5.0)) as server:
            at, now = server.transport.address(TLS), [server.transport.clock()]
            server.transport.clock = lambda: now[0]
            peers = [socket.create_connection(at) for _ in range(12)]
            for taken in (5, 10, 12):
                await until(lambda taken=taken: server.transport.streams >= taken)  # type: ignore[misc]
                assert server.transport.streams == taken
                now[0] += 1.0
            assert server.transport.counters.connections_refused == 0
            for peer in peers:
                peer.close()

    run(factory, main())


@loops
def test_one_host_leaves_handshakes_to_others(factory: Factory, authority: Authority) -> None:
    """Who connects again and again, and hangs up, or has all that he may have, does not use up the pace."""
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))
    limits = Limits(handshakes_per_s=20.0, handshakes_of_one_per_s=2.0, handshakes_of_one=4)

    async def main() -> None:
        with Side(TLS, codecs=codecs, limits=limits) as server, Side(codecs=codecs) as client:
            at, now = server.transport.address(TLS), server.transport.clock()
            server.transport.clock = lambda: now
            for _ in range(40):
                socket.create_connection(at, source_address=("127.0.0.7", 0)).close()
            counters = server.transport.counters
            await until(lambda: counters.connections_refused == 36 and counters.handshakes_failed == 4)
            for number in range(16):
                client.transport.connect(Open(to(server, f"x{number}@127.0.0.{10 + number}"), ("gw1.example",)))
            await until(lambda: len(server.seen.changes) == 16)

    run(factory, main())


@loops
def test_a_peer_that_answers_no_hello_is_given_up(
    factory: Factory, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.io.transport.TICK", 0.02)
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))

    async def main() -> None:
        limits = Limits(connect_s=0.1)
        with Side(codecs=codecs, limits=limits) as client, socket.create_server(("127.0.0.1", 0)) as deaf:
            flow = Flow("tls", "x@127.0.0.1", deaf.getsockname())
            client.transport.connect(Open(flow, ("gw1.example",)))
            client.transport.send(Send(flow, b"never sent"))
            await until(lambda: client.seen.changes == [(flow, "lost")])
            assert client.transport.waiting == 0

    run(factory, main())


def blocking(at: Any, make: Callable[[ssl.SSLContext], None] = lambda context: None) -> str:
    """A connection of the standard library's own, in a thread: the version, or why there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    make(context)
    try:
        with socket.create_connection(at) as sock, context.wrap_socket(sock) as stream:
            return str(stream.version())
    except (ssl.SSLError, OSError) as error:
        return type(error).__name__


@loops
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_no_version_before_1_2(factory: Factory, authority: Authority) -> None:
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))

    def only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
        def make(context: ssl.SSLContext) -> None:
            context.minimum_version = context.maximum_version = version
            context.set_ciphers("DEFAULT:@SECLEVEL=0")

        return make

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server:
            at = server.transport.address(TLS)
            for version, found in (("TLSv1_3", "TLSv1.3"), ("TLSv1_2", "TLSv1.2"), ("TLSv1_1", "SSLError")):
                said = await asyncio.to_thread(blocking, at, only(ssl.TLSVersion[version]))
                assert said == found or (version == "TLSv1_1" and said in ("SSLError", "ConnectionResetError"))

    run(factory, main())


@loops
@pytest.mark.parametrize("words", [b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100])
def test_clear_text_on_a_secure_listener_is_refused(factory: Factory, authority: Authority, words: bytes) -> None:
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server, socket.create_connection(server.transport.address(TLS)) as peer:
            peer.send(words)
            await until(lambda: server.transport.counters.handshakes_failed == 1)
            assert (server.seen.changes, server.seen.received) == ([], [])

    run(factory, main())


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl, which negotiates anew, is not here: apt-get install openssl"
)
@loops
def test_a_session_is_not_negotiated_anew(factory: Factory, authority: Authority) -> None:
    codecs = speaks(authority, authority.issue("gw1", ["gw1.example"]))

    async def main() -> None:
        with Side(TLS, codecs=codecs) as server:
            host, port = server.transport.address(TLS)
            peer = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-CAfile", str(authority.path),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            assert peer.stdin is not None and peer.stdout is not None
            await until(lambda: len(server.seen.changes) == 1)
            peer.stdin.write(b"R\n")  # renegotiate
            await peer.stdin.drain()
            said = await peer.stdout.read()
            await peer.wait()
            assert b"no renegotiation" in said and b"Verify return code: 0 (ok)" in said
            await until(lambda: server.transport.streams == 0)

    run(factory, main())


def test_a_listener_without_a_certificate_is_one_sentence() -> None:
    async def main() -> None:
        with pytest.raises(TransportError, match=r"cannot listen on tls:.*: nothing here speaks it"):
            Side(TLS)
        with pytest.raises(TransportError, match=r"cannot listen on tls:.*: there is no certificate to show"):
            Side(TLS, codecs=StreamCodecs(Credentials(())))

    run(FACTORIES[0], main())


def test_what_a_certificate_says(authority: Authority) -> None:
    found = read_certificate(authority.issue("gw1", ["gw1.example"], since=-3, until=10))
    assert found.names == ("gw1.example",) and found.not_after - found.not_before == pytest.approx(13 * 86400 + 3600)
    assert read_certificate(authority.issue("old", ["a.example"], since=-3, until=-2)).names == ("a.example",)
    assert read_certificate(authority.issue("domain", uris=["sip:a.example"])).names == ("a.example",)


def test_files_that_cannot_be_used_are_one_sentence(authority: Authority, tmp_path: Path) -> None:
    well, other = authority.issue("well", ["a.example"]), authority.issue("other", ["b.example"])
    empty, open_key, locked = tmp_path / "empty.pem", tmp_path / "open.key", tmp_path / "locked.key"
    empty.write_text("nothing\n")
    empty.chmod(0o644)
    open_key.write_bytes(well.key.read_bytes())
    open_key.chmod(0o644)
    locked.touch(0o600)
    key = serialization.load_pem_private_key(well.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )
    gone = tmp_path / "gone.pem"

    def fault(certificate: Path, key: Path, ca: Path | None = None) -> str:
        with pytest.raises(TlsError) as caught:
            Credentials([CertificateFiles(certificate, key)], ca, "asked")
        return str(caught.value)

    assert fault(gone, well.key) == f"{gone} cannot be read: No such file or directory"
    assert fault(well.certificate, gone) == f"{gone} cannot be read: No such file or directory"
    assert fault(empty, well.key) == f"{empty} has no certificate in PEM"
    assert (
        fault(well.certificate, empty)
        == f"{empty} can be read by everybody on this machine: chmod 600 it, and have a new key made"
    )
    empty.chmod(0o600)
    assert fault(well.certificate, empty) == f"{empty} has no private key in PEM"
    assert "can be read by everybody" in fault(well.certificate, open_key)
    assert f"{other.key} is not the key of the certificate {well.certificate}" in fault(well.certificate, other.key)
    assert f"{locked} is encrypted" in fault(well.certificate, locked)
    assert f"{empty} has no certificates of authorities in PEM" in fault(well.certificate, well.key, empty)
