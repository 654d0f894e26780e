"""SRTP of one pair of ports (RFC 3711), by libsrtp (``holdfast[srtp]``); loaded with the first keys."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

from pylibsrtp import Error, Policy, Session

from gateway_agent.media.ports import Keys

_PROFILES: Final = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}


def _session(suite: str, key: str, kind: int) -> Session:
    return Session(Policy(b64decode(key), kind, 0, _PROFILES[suite]))


class Srtp:
    """Both directions of a pair. With `rekey` a direction whose key does not change keeps its rollover counter and
    replay list."""

    __slots__ = ("_in", "_keys", "_out")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._out = _session(keys.suite, keys.ours, Policy.SSRC_ANY_OUTBOUND)
        self._in = _session(keys.suite, keys.theirs, Policy.SSRC_ANY_INBOUND)

    def rekey(self, keys: Keys) -> None:
        """Change the keys. Raises `ValueError` or `KeyError` for invalid ones."""
        before, self._keys = self._keys, keys
        if (keys.suite, keys.ours) != (before.suite, before.ours):
            self._out = _session(keys.suite, keys.ours, Policy.SSRC_ANY_OUTBOUND)
        if (keys.suite, keys.theirs) != (before.suite, before.theirs):
            self._in = _session(keys.suite, keys.theirs, Policy.SSRC_ANY_INBOUND)

    def open(self, packet: bytes) -> bytes:
        """Decrypt a packet; empty if it fails authentication or is a replay."""
        try:
            return self._in.unprotect_rtcp(packet) if _is_rtcp(packet) else self._in.unprotect(packet)
        except (Error, ValueError):
            return b""

    def seal(self, packet: bytes) -> bytes:
        """Encrypt a packet; empty if it is no RTP, or too long."""
        try:
            return self._out.protect_rtcp(packet) if _is_rtcp(packet) else self._out.protect(packet)
        except (Error, ValueError):
            return b""


def _is_rtcp(packet: bytes) -> bool:
    """Whether a packet is RTCP (RFC 5761 section 4)."""
    return len(packet) > 1 and 192 <= packet[1] <= 223
