"""The short MAC of a text under the site key, as header values carry it: of state tokens and of line states."""

from __future__ import annotations

import hmac
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_BYTES: Final = 16
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def mac_of(text: str, key: bytes) -> str:
    """The first 16 bytes of HMAC-SHA256, in the alphabet of URLs (RFC 4648 section 5) without padding."""
    mac = _keyed(key).copy()
    mac.update(text.encode())
    return b2a_base64(mac.digest()[:_BYTES], newline=False).translate(_URL_SAFE).decode().rstrip("=")


def is_mac_of(given: str, text: str, keys: Sequence[bytes]) -> bool:
    """Whether it is that of the text under any of the keys."""
    return given.isascii() and any(hmac.compare_digest(given, mac_of(text, key)) for key in keys)


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hmac.HMAC:
    """The key is hashed once, not for each text."""
    return hmac.new(key, digestmod="sha256")
