"""TLS by the standard library: certificates from files, and one connection as bytes in, bytes out."""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from sip.certificate_names import identities, speaks_for
from sip.endpoint import is_numeric
from sip.io.codec import CodecError
from sip.wire.errors import SipError

Clients = Literal["ignored", "asked", "required"]
_READ: Final = 64 * 1024
_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, to read expired certificates too
_PASSPHRASE: Final = b"\0"  # without one OpenSSL would ask at the terminal
_EXPECT: Final = MappingProxyType(
    {"ignored": ssl.CERT_NONE, "asked": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
)


class TlsError(SipError):
    """A certificate, key or list of authorities cannot be used; the text begins with its path."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files of one of our certificates."""

    certificate: Path
    """PEM: the certificate itself first, then the intermediate ones."""
    key: Path
    """PEM, without a passphrase, not readable by others."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one of our certificates contains."""

    path: Path
    names: tuple[str, ...]
    """Its identities by RFC 5922 section 7.1, in lower case; empty: it has none."""
    not_before: float
    """Epoch seconds."""
    not_after: float
    """Epoch seconds."""


class Credentials:
    """The certificates and trusted authorities of a program as read from their files. A reload makes another object;
    existing streams go on with the old one."""

    def __init__(
        self,
        shown: Sequence[CertificateFiles],
        ca: Path | None = None,
        clients: Clients = "ignored",
        authorities: Iterable[Path] = (),
    ) -> None:
        """``shown``: our certificates; the first one is used when a client names no server, or one that no
        certificate is for. ``ca``: PEM file of the authorities that peers are verified by; None: those of the system.
        ``clients``: whether connecting clients are asked for a certificate, and must have one. ``authorities``: the
        files that single peers are verified by. Raises :class:`TlsError`.
        """
        self.certificates = tuple(map(read_certificate, shown))
        # Client verification stays that of the first context when SNI selects another: see SSL_set_SSL_CTX(3).
        self._servers = [_server_context(files, clients, ca) for files in shown]
        for context in self._servers:
            context.sni_callback = self._choose
        trusts: list[Path | None] = [ca, *authorities]
        self._default_trust = ca
        self._clients = {
            (index, trust): _client_context(files, trust)
            for index, files in enumerate(shown or [None])
            for trust in dict.fromkeys(trusts)
        }

    def accept(self) -> TlsCodec:
        """The server's end of a connection. Requires a certificate."""
        return TlsCodec(self._servers[0], True)

    def connect(self, wanted: Sequence[str], shown: str = "", authority: str = "") -> TlsCodec:
        """The client's end of a connection: the peer must have a certificate for one of the names ``wanted``, of
        which the first that is no address is sent as SNI; ``shown`` selects our certificate by one of its names;
        ``authority`` is one of the given files to verify the peer by. Raises :class:`CodecError` for an invalid name.
        """
        trust = Path(authority) if authority else self._default_trust
        return TlsCodec(self._clients[self._index(shown), trust], False, tuple(wanted))

    def _index(self, name: str) -> int:
        wanted = (name,)
        for index, certificate in enumerate(self.certificates):
            if name and speaks_for(certificate.names, wanted):
                return index
        return 0

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Server Name Indication (RFC 6066 section 3)."""
        chosen = self._servers[self._index(name or "")]
        if chosen is not context:
            connection.context = chosen


class TlsCodec:
    """See :class:`~sip.io.codec.Codec`."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_wanted", "closed", "names", "ready")

    def __init__(self, context: ssl.SSLContext, server: bool, wanted: tuple[str, ...] = ()) -> None:
        """``wanted``: as for `Credentials.connect`. Raises :class:`CodecError`."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._wanted = wanted
        name = next((name for name in wanted if not is_numeric(name)), None)
        try:
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=name)
        except (ValueError, ssl.SSLError) as error:
            raise CodecError(f"{name!r:.80} cannot be the name of a host: {error}") from None
        self.ready = False
        self.closed = False
        self.names: tuple[str, ...] = ()

    def begin(self) -> None:
        self._shake()

    def receive(self, data: bytes) -> list[bytes]:
        self._incoming.write(data)
        if not self.ready:
            self._shake()
            if not self.ready:
                return []
        pieces = []
        try:
            while piece := self._object.read(_READ):
                pieces.append(piece)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        except ssl.SSLError as error:
            raise CodecError(_said(error)) from None
        return pieces if len(pieces) < 2 else [b"".join(pieces)]

    def send(self, pieces: list[bytes]) -> bytes:
        try:
            self._object.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except ssl.SSLError as error:
            raise CodecError(_said(error)) from None
        return self._outgoing.read()

    def pending(self) -> bytes:
        return self._outgoing.read()

    def ping(self) -> None:
        """TLS has no ping that is in use (the one of RFC 6520 is not)."""

    def end(self) -> None:
        """There is nothing to release."""

    def close(self) -> bytes:
        try:
            self._object.unwrap()
        except ssl.SSLError:  # the peer has not sent its close_notify, and need not
            pass
        return self._outgoing.read()

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise CodecError(_said(error)) from None
        certificate = self._object.getpeercert()  # empty when it was not verified
        self.names = identities(certificate) if certificate else ()
        if self._wanted and not speaks_for(self.names, self._wanted):
            raise CodecError(
                f"its certificate is for {' and '.join(self.names[:8]) or 'no SIP domain'}, not for"
                f" {' or '.join(self._wanted)} (RFC 5922)"
            )
        self.ready = True


def unverified_context() -> ssl.SSLContext:
    """A client context that verifies nothing, for a ping, or a message that is authenticated by other means."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def for_the_web(authorities: Path | None = None) -> ssl.SSLContext:
    """A client context for https, with the system's authorities or those of the file.

    It verifies alike under all versions of Python: the default since 3.13 (VERIFY_X509_STRICT) refuses certificates
    without the key identifier extensions of RFC 5280, which operators' own authorities often leave out.
    """
    context = ssl.create_default_context(cafile=authorities)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context


def say(stream: socket.socket, data: bytes, shown: Sequence[str]) -> None:
    """Write ``data`` to a connected blocking socket by TLS without verifying the peer. ``shown``: the paths of
    certificate and key, or nothing. Raises `OSError`."""
    context = unverified_context()
    if shown:
        certificate, key = shown
        context.load_cert_chain(certificate, key, password=lambda: _PASSPHRASE)
    with context.wrap_socket(stream, suppress_ragged_eofs=True) as secure:
        secure.sendall(data)
        secure.settimeout(0.1)
        try:
            secure.unwrap()
        except OSError:
            pass  # a peer without close_notify has read the data all the same


def read_certificate(files: CertificateFiles) -> Certificate:
    """Read a certificate, expired or not, and check that its key belongs to it. Raises :class:`TlsError`.

    The standard library decodes only a verified certificate of a peer, so a handshake is made in memory with a client
    that trusts this certificate alone.
    """
    path = files.certificate
    server = _server_context(files)
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = _read(path)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    try:
        client.load_verify_locations(cadata=text[text.index(begin) : text.index(end) + len(end)] + "\n")
        found = _shown(server, client)
        not_before, not_after = (ssl.cert_time_to_seconds(found[name]) for name in ("notBefore", "notAfter"))
    except (KeyError, ValueError, ssl.SSLError) as error:
        said = _said(error) if isinstance(error, ssl.SSLError) else str(error)
        raise TlsError(f"{path} has a certificate that cannot be used: {said}") from None
    return Certificate(path, identities(found), not_before, not_after)


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """The server's certificate as the client gets it in a handshake in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    callee = server.wrap_bio(there, back, server_side=True)
    caller = client.wrap_bio(back, there)
    for _ in range(3):
        try:
            caller.do_handshake()
            return caller.getpeercert() or {}
        except ssl.SSLWantReadError:
            pass
        try:
            callee.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return {}


def _server_context(files: CertificateFiles, clients: Clients = "ignored", ca: Path | None = None) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # Connections last for days: session tickets would not be used.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.verify_mode = _EXPECT[clients]
    if clients != "ignored":
        _trust(context, ca, ssl.Purpose.CLIENT_AUTH)
    _show(context, files)
    return context


def _client_context(files: CertificateFiles | None, authority: Path | None) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # OpenSSL's check takes wildcards and knows no SIP domains: see TlsCodec
    _trust(context, authority, ssl.Purpose.SERVER_AUTH)
    if files is not None:
        _show(context, files)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _trust(context: ssl.SSLContext, authority: Path | None, purpose: ssl.Purpose) -> None:
    if authority is None:
        context.load_default_certs(purpose)
        return
    text = _read(authority)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        said = _said(error) if isinstance(error, ssl.SSLError) else str(error)
        raise TlsError(f"{authority} has no certificates of authorities in PEM: {said}") from None


def _show(context: ssl.SSLContext, files: CertificateFiles) -> None:
    certificate, key = files.certificate, files.key
    if "-----BEGIN CERTIFICATE-----" not in _read(certificate):
        raise TlsError(f"{certificate} has no certificate in PEM")
    _check_key(key)
    try:
        context.load_cert_chain(certificate, key, password=lambda: _PASSPHRASE)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(
                f"{key} is not the key of the certificate {certificate}: give the one that it was made for"
            ) from None
        raise TlsError(f"{certificate} with the key {key} cannot be used: {_said(error)}") from None
    except OSError as error:
        raise TlsError(f"{certificate} with the key {key} cannot be read: {error.strerror}") from None


def _check_key(path: Path) -> None:
    text = _read(path)
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise TlsError(f"{path} can be read by everybody on this machine: chmod 600 it, and have a new key made")
    if "PRIVATE KEY-----" not in text:
        raise TlsError(f"{path} has no private key in PEM")
    if "-----BEGIN ENCRYPTED" in text or "Proc-Type: 4,ENCRYPTED" in text:
        raise TlsError(f"{path} is encrypted, and nobody is there at the start to say its passphrase: decrypt it")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror or error}") from None


def _said(error: ssl.SSLError) -> str:
    """The reason of an error, without the position in OpenSSL's sources."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")
