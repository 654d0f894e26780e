"""SRTP of one pair of ports (RFC 3711), by libsrtp. A relay loads this for its first pair that has keys
(``holdfast[srtp]``)."""

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
    """Both directions of a pair. Keys may change (`rekey`); a direction whose key stays goes on as it was, with its
    roll-over counter and the packets that it has seen."""

    __slots__ = ("_in", "_keys", "_out")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._out = _session(keys.suite, keys.ours, Policy.SSRC_ANY_OUTBOUND)
        self._in = _session(keys.suite, keys.theirs, Policy.SSRC_ANY_INBOUND)

    def rekey(self, keys: Keys) -> None:
        """Raises `ValueError` or `KeyError` for keys that are none."""
        before, self._keys = self._keys, keys
        if (keys.suite, keys.ours) != (before.suite, before.ours):
            self._out = _session(keys.suite, keys.ours, Policy.SSRC_ANY_OUTBOUND)
        if (keys.suite, keys.theirs) != (before.suite, before.theirs):
            self._in = _session(keys.suite, keys.theirs, Policy.SSRC_ANY_INBOUND)

    def open(self, packet: bytes) -> bytes:
        """What was secured; empty for what was not by this key, or came before."""
        try:
            return self._in.unprotect_rtcp(packet) if _is_rtcp(packet) else self._in.unprotect(packet)
        except (Error, ValueError):
            return b""

    def seal(self, packet: bytes) -> bytes:
        """A packet, secured; empty for what is no RTP, or is too long."""
        try:
            return self._out.protect_rtcp(packet) if _is_rtcp(packet) else self._out.protect(packet)
        except (Error, ValueError):
            return b""


def _is_rtcp(packet: bytes) -> bool:
    """RFC 5761 section 4."""
    return len(packet) > 1 and 192 <= packet[1] <= 223
