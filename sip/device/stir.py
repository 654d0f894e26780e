"""STIR (RFC 8224) on a line: calls from its devices are verified, calls to them signed, by its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from sip.actions import Fetch
from sip.device.identity import Numbers
from sip.layer import Stack
from sip.stir.passport import Attest, Passport, canonical, date_line, date_of, header_line, origid_of, to_be_signed
from sip.stir.verification import NONE, Call, Certificates, Trust, Verdict, Verifier, Waiting
from sip.wire.errors import SipError
from sip.wire.headers import NameAddr
from sip.wire.message import Request
from sip.wire.uri import Uri

ASSERTED = "p-asserted-identity"
DUE = "certificate"
Then = Callable[[Numbers, int, float], None]


class Key(Protocol):
    """A private key in PEM; ``value`` is None if it is not on this machine."""

    @property
    def value(self) -> bytes | None: ...

    def reveal(self) -> bytes: ...


class Pattern(Protocol):
    """A pattern of numbers in the site file."""

    def matches(self, number: str) -> bool: ...


class Signing(Protocol):
    """The setting ``stir_sign`` of a line."""

    @property
    def key(self) -> Key: ...

    @property
    def url(self) -> str:
        """URL of the certificate, for the ``info`` parameter."""

    @property
    def attest(self) -> Attest: ...

    @property
    def full(self) -> Sequence[Pattern]:
        """Callers that get full attestation, ``A``."""


class Verification(Protocol):
    """The setting ``stir_verify`` of a line."""

    @property
    def ca(self) -> Path:
        """PEM file of the authorities."""

    @property
    def required(self) -> bool: ...

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that certificates may be fetched from; empty: all with public addresses."""


class SignedLine(Protocol):
    """The settings of a line that matter here (`heartbeat.site.lines`)."""

    @property
    def name(self) -> str: ...

    @property
    def stir_sign(self) -> Signing | None: ...

    @property
    def stir_verify(self) -> Verification | None: ...


class Signs(Protocol):
    """A private key, ready to sign."""

    def sign(self, data: bytes) -> bytes: ...


class Crypto(NamedTuple):
    """The cryptography in use (``sip.stir.es256``). Each function raises :class:`ValueError` for invalid data."""

    signer: Callable[[bytes], Signs]
    authorities: Callable[[bytes], Trust]
    read: Callable[[Path], bytes]
    """Reads a file; raises :class:`OSError`."""


def faults(lines: Iterable[SignedLine], crypto: Crypto) -> list[str]:
    """Faults of the lines' keys and authorities, a sentence each."""
    found = []
    for line in lines:
        place = f"lines.{line.name}"
        if line.stir_sign is not None and line.stir_sign.key.value is not None:
            try:
                crypto.signer(line.stir_sign.key.value)
            except ValueError as error:
                found.append(f"{place}.stir_sign.key: {error}")
        if line.stir_verify is not None:
            path = line.stir_verify.ca
            try:
                crypto.authorities(crypto.read(path))
            except OSError as error:
                found.append(f"{place}.stir_verify.ca: {path} cannot be read: {error.strerror or error}")
            except ValueError as error:
                found.append(f"{place}.stir_verify.ca: {path} {error}")
    return found


class Stir:
    """Signs and verifies the calls of one program."""

    def __init__(self, stack: Stack, site: str, wall: Callable[[], float | None], crypto: Crypto) -> None:
        """``wall``: seconds to add to ``now`` for the wall clock; None if not known yet."""
        self._site = site
        self._wall = wall
        self._crypto = crypto
        self._certificates = Certificates(lambda url: stack.do(Fetch(url)), lambda at, call: _wake(stack, at, call))
        self._signers: dict[str, Signs] = {}
        self._verifiers: dict[str, Verifier] = {}
        self.counters = stack.counters

    def load(self, lines: Iterable[SignedLine]) -> None:
        """Use the settings of these lines, in which `faults` found none."""
        self._signers, self._verifiers = {}, {}
        for line in lines:
            if line.stir_sign is not None:
                self._signers[line.name] = self._crypto.signer(line.stir_sign.key.reveal())
            if line.stir_verify is not None:
                trust = self._crypto.authorities(self._crypto.read(line.stir_verify.ca))
                self._verifiers[line.name] = Verifier(trust, line.stir_verify.hosts, self._certificates)

    def fetched(self, url: str, result: bytes | str, now: float) -> None:
        """The result of a :class:`~sip.actions.Fetch`: a certificate, or a sentence that says why there is none."""
        self._certificates.fetched(url, result, now)

    def verify(self, line: SignedLine, request: Request, told: Numbers, then: Then, now: float) -> None:
        """Verify a call of a device of ``line``. ``then`` is called with the numbers, to which ``verstat`` was added,
        and the status to refuse it with (0: none), at once or when the certificate has been fetched."""
        verifier, settings = self._verifiers.get(line.name), line.stir_verify
        if verifier is None or settings is None:
            then(told, 0, now)
            return

        def judged(verdict: Verdict, now: float) -> None:
            self.counters[f"verstat {verdict.verstat}"] += 1
            status = verdict.status if settings.required else 0
            then(_with_verstat(told, verdict.verstat), status, now)

        verifier.verify(_claimed(request), self._wall(), judged, now)

    def signed(self, line: SignedLine, request: Request, told: Numbers, now: float) -> list[str]:
        """Identity and Date lines for a call to ``line``; none if it has an Identity already, or cannot be signed."""
        signer, settings, wall = self._signers.get(line.name), line.stir_sign, self._wall()
        if signer is None or settings is None or wall is None or "identity" in request.names:
            return []
        caller, called = canonical(told.caller), canonical(told.called)
        if not caller or not called:
            return []
        at, lines = now + wall, []
        try:
            date = date_of(request)
        except SipError:
            return []
        if date is None:
            lines.append(date_line(at))
        attest: Attest = "A" if any(pattern.matches(told.caller) for pattern in settings.full) else settings.attest
        origid = origid_of(f"{self._site}/{line.name}")
        passport = Passport(caller, (called,), int(at), attest, origid, "shaken", settings.url)
        data = to_be_signed(passport)
        return [*lines, header_line(passport, data, signer.sign(data))]


def _wake(stack: Stack, at: float, call: Waiting) -> None:
    stack.deadlines.set(at, call, DUE)


def _claimed(request: Request) -> Call:
    """Caller and callee as the device wrote them; P-Asserted-Identity is preferred to From (RFC 8224 section 5.1)."""
    caller = _number(request.get(ASSERTED) or request.from_untagged)
    try:
        called = Uri.parse(request.uri).dialled
    except SipError:
        called = ""
    return Call(request, caller, called)


def _number(value: str) -> str:
    try:
        return Uri.parse(NameAddr.parse(value).uri).dialled
    except SipError:
        return ""


def _with_verstat(told: Numbers, verstat: str) -> Numbers:
    """``told`` with ``verstat`` in its first P-Asserted-Identity; all others are dropped, since a device may not set
    ``verstat`` itself."""
    asserted = [line for line in told.more if line.partition(":")[0].strip().lower() == ASSERTED]
    number = _number(asserted[0].partition(":")[2]) if asserted else told.caller
    others = tuple(line for line in told.more if line not in asserted)
    told = told._replace(dropped=told.dropped | {ASSERTED}, more=others)
    digits = number.removeprefix("+")
    if not digits.isdigit() or (verstat == NONE and not asserted):  # there is nothing to be said of it
        return told
    host = told.sender.rpartition("@")[2].partition(">")[0].partition(";")[0]
    line = f"P-Asserted-Identity: <sip:{number};verstat={verstat}@{host};user=phone>"
    return told._replace(more=(*others, line))
