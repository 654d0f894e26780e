"""Sealing what a device carries for us without being able to read it: AES-GCM (NIST SP 800-38D) by ``cryptography``.

It is an extra (``holdfast[direct]``): without it no Contact carries anything.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_PERSON: Final = b"holdfast-cookie"


class CookieCipher:
    """One for each site key."""

    def __init__(self, key: bytes) -> None:
        self._nonce_key = blake2b(b"nonce", key=key[:64], digest_size=32, person=_PERSON).digest()
        self._cipher = AESGCM(blake2b(b"cipher", key=key[:64], digest_size=32, person=_PERSON).digest())

    def seal(self, plain: bytes) -> bytes:
        """Encrypted and authenticated. The nonce is made of what is sealed: it takes no chance, equal texts have
        equal seals, and no two texts one nonce."""
        nonce = blake2b(plain, key=self._nonce_key, digest_size=_NONCE).digest()
        return nonce + self._cipher.encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes | None:
        """What was sealed under that key; None for anything else."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, ValueError):
            return None
