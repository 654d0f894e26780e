"""Encryption of cookies that devices return to us but cannot read: AES-GCM (NIST SP 800-38D) by ``cryptography``.

It is an extra (``holdfast[direct]``); without it no cookies are used.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_PERSON: Final = b"holdfast-cookie"


class CookieCipher:
    """The cipher of one site key."""

    def __init__(self, key: bytes) -> None:
        self._nonce_key = blake2b(b"nonce", key=key[:64], digest_size=32, person=_PERSON).digest()
        self._cipher = AESGCM(blake2b(b"cipher", key=key[:64], digest_size=32, person=_PERSON).digest())

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and authenticate. The nonce is a keyed hash of the plain text, so no randomness is needed, equal
        texts have equal results, and different texts practically never the same nonce."""
        nonce = blake2b(plain, key=self._nonce_key, digest_size=_NONCE).digest()
        return nonce + self._cipher.encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes | None:
        """Decrypt; None for anything that was not encrypted with this key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, ValueError):
            return None
