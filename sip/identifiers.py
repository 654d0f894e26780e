"""Tags, Call-IDs and branches that cannot be guessed without the secret (RFC 3261 sections 8.1.1.7, 19.3)."""

from __future__ import annotations

from hashlib import blake2b, blake2s

from sip.wire.message import MAGIC


class Identifiers:
    """Makes identifiers from ``secret``, of which the first 32 bytes count; a fixed secret makes a run repeatable."""

    __slots__ = ("_branches", "_marks", "_secret", "_serial", "_tokens")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret[:32]
        self._serial = 0
        self._marks: list[str] = []
        self._tokens: list[str] = []
        self._branches = f"{MAGIC}{self._mark(b'branch')}"

    def token(self) -> str:
        """16 hexadecimal digits for a tag or Call-ID (RFC 3261 section 19.3)."""
        if not self._tokens:
            self._tokens = self._chance(b"token", 16)
        return self._tokens.pop()

    def branch(self) -> str:
        """A new branch. Earlier ones must not help to guess it, since a response is accepted by its branch."""
        if not self._marks:
            self._marks = self._chance(b"branch", 12)
        self._serial += 1
        return f"{MAGIC}{self._marks.pop()}{self._serial:x}"

    def branch_of_ack(self, key: str, cseq: int) -> str:
        """The branch of the ACK of a 2xx, the same for each retransmission (RFC 3261 section 13.2.2.4)."""
        return f"{self._branches}-{self._mark(f'{key} {cseq}'.encode())}"

    def tag_of(self, call_id: str) -> str:
        """The To tag of stateless responses, the same for the same Call-ID (RFC 3261 section 8.2.7)."""
        return self._mark(call_id.encode("latin-1"))

    def _mark(self, text: bytes) -> str:
        return blake2s(text, key=self._secret, digest_size=6).hexdigest()

    def _chance(self, what: bytes, digits: int) -> list[str]:
        """One hash, cut into pieces of ``digits`` hexadecimal digits."""
        self._serial += 1
        text = blake2b(b"%s %d" % (what, self._serial), key=self._secret).hexdigest()
        return [text[at : at + digits] for at in range(0, len(text) - digits + 1, digits)]
