"""Certificates for tests: an authority of their own, and whatever it signs."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sip.io.tls import CertificateFiles

DAY = datetime.timedelta(days=1)
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs what it is asked to; its files are below ``directory``.

    Without ``identifiers`` it is one as operators make for themselves: its certificates do not say which key signed,
    and for what, as RFC 5280 section 4.2.1 requires.
    """

    def __init__(self, directory: Path, name: str = "ca", *, identifiers: bool = True) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._identifiers = identifiers
        self._subject = _named(f"the authority {name}")
        builder = self._builder(self._subject, self._key.public_key(), 0.0, 3650.0)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        if identifiers:
            builder = builder.add_extension(_SIGNS, critical=True)
        self.path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        dns: Sequence[str] = (),
        *,
        addresses: Sequence[str] = (),
        uris: Sequence[str] = (),
        common: str = "",
        since: float = -1.0,
        until: float = 90.0,
    ) -> CertificateFiles:
        """A certificate with a key of its own, in ``NAME.pem`` and ``NAME.key``; times in days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(common or name), key.public_key(), since, until)
        names: list[x509.GeneralName] = [x509.DNSName(one) for one in dns]
        names += [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
        names += [x509.UniformResourceIdentifier(one) for one in uris]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, secret = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        secret.touch(0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return CertificateFiles(certificate, secret)

    def _builder(self, subject: x509.Name, key: Any, since: float, until: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + since * DAY - DAY / 24)
            .not_valid_after(now + until * DAY)
        )
        if self._identifiers:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(by, critical=False)
        return builder


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
