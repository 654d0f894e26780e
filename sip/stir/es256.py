"""Signatures and certificates of STIR (RFC 8226, RFC 7518 section 3.4), by ``cryptography``.

It is an extra, needed only for lines with ``stir_sign`` or ``stir_verify``.
"""

from __future__ import annotations

import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

LONGEST_CHAIN: Final = 5
BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_ES256: Final = ec.ECDSA(SHA256())


class Unsupported(ValueError):
    """A key or certificate that cannot be used; ``str()`` says why."""


class Signer:
    """Signs with one private key."""

    def __init__(self, pem: bytes) -> None:
        """Raises :class:`Unsupported`."""
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise Unsupported(f"is no private key in PEM without a password: {str(error)[:80]}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Unsupported("is no private key for ES256: make one with openssl ecparam -name prime256v1 -genkey")
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """The signature: r and s, 32 bytes each."""
        r, s = decode_dss_signature(self._key.sign(data, _ES256))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Authorities:
    """The certificate authorities that are trusted for callers."""

    def __init__(self, pem: bytes) -> None:
        """Raises :class:`Unsupported`."""
        self._roots = _read(pem)
        if not self._roots:
            raise Unsupported("has no certificate in PEM")

    def checked(self, chain: bytes, at: float) -> Checked:
        """The first certificate of ``chain`` (PEM), if it has a valid path to an authority at the time ``at`` (epoch
        seconds). Raises :class:`Unsupported`."""
        certificates = _read(chain)[: 2 * LONGEST_CHAIN]
        if not certificates:
            raise Unsupported("the certificate is not in PEM")
        leaf = certificates[0]
        when = datetime.datetime.fromtimestamp(at, datetime.UTC)
        until = self._follow(leaf, certificates[1:], when)
        key = leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Unsupported("the certificate has no key for ES256")
        return Checked(key, until.timestamp())

    def _follow(
        self, leaf: x509.Certificate, others: list[x509.Certificate], when: datetime.datetime
    ) -> datetime.datetime:
        """The end of validity of a path from ``leaf`` to an authority."""
        one, until = leaf, leaf.not_valid_after_utc
        for step in range(LONGEST_CHAIN):
            if not one.not_valid_before_utc <= when <= one.not_valid_after_utc:
                raise Unsupported("a certificate of its path has expired, or is not valid yet")
            until = min(until, one.not_valid_after_utc)
            if any(one == root or _issued(root, one) for root in self._roots if _holds(root, when)):
                return until
            issuer = next((each for each in others if each != one and _issued(each, one)), None)
            if issuer is None or (step == 0 and one.issuer == one.subject):
                break
            one = issuer
        raise Unsupported("no authority of ours stands behind the certificate")


class Checked:
    """A certificate with a valid path to an authority."""

    def __init__(self, key: ec.EllipticCurvePublicKey, until: float) -> None:
        self._key = key
        self.until = until
        """The end of the path's validity, epoch seconds."""

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether ``signature`` (r and s) of ``data`` verifies with its key."""
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), data, _ES256)
        except (InvalidSignature, ValueError):
            return False
        return True


def _read(pem: bytes) -> list[x509.Certificate]:
    if BEGIN not in pem:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _holds(root: x509.Certificate, when: datetime.datetime) -> bool:
    return root.not_valid_before_utc <= when <= root.not_valid_after_utc


def _issued(issuer: x509.Certificate, one: x509.Certificate) -> bool:
    """Whether ``issuer`` may issue certificates, and has issued ``one`` (RFC 5280 section 6.1)."""
    if not _is_authority(issuer):
        return False
    try:
        one.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints: Any = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage: Any = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid and bool(constraints.ca)
    except ValueError:
        return False
    return bool(constraints.ca and usage.key_cert_sign)
