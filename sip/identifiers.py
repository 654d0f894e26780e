"""Tags, Call-IDs and branches that nobody can guess without the secret (RFC 3261 sections 8.1.1.7, 19.3)."""

from __future__ import annotations

from hashlib import blake2b, blake2s

from sip.wire.message import MAGIC


class Identifiers:
    """Makes them from ``secret``, of which 32 bytes count; a fixed one makes a run repeatable."""

    __slots__ = ("_branches", "_marks", "_secret", "_serial", "_tokens")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret[:32]
        self._serial = 0
        self._marks: list[str] = []
        self._tokens: list[str] = []
        self._branches = f"{MAGIC}{self._mark(b'branch')}"

    def token(self) -> str:
        """16 hexadecimal digits that nobody can guess: a tag, a Call-ID (RFC 3261 section 19.3)."""
        if not self._tokens:
            self._tokens = self._chance(b"token", 16)
        return self._tokens.pop()

    def branch(self) -> str:
        """One that nobody can guess who knows those before it: by its branch a response is believed."""
        if not self._marks:
            self._marks = self._chance(b"branch", 12)
        self._serial += 1
        return f"{MAGIC}{self._marks.pop()}{self._serial:x}"

    def branch_of_ack(self, key: str, cseq: int) -> str:
        """The same one each time that the ACK of a 2xx goes out: it is the same ACK (RFC 3261 section 13.2.2.4)."""
        return f"{self._branches}-{self._mark(f'{key} {cseq}'.encode())}"

    def tag_of(self, call_id: str) -> str:
        """The To tag of answers without a transaction: the same one each time (RFC 3261 section 8.2.7)."""
        return self._mark(call_id.encode("latin-1"))

    def _mark(self, text: bytes) -> str:
        return blake2s(text, key=self._secret, digest_size=6).hexdigest()

    def _chance(self, what: bytes, digits: int) -> list[str]:
        """As many pieces of so many hexadecimal digits as one hash yields."""
        self._serial += 1
        text = blake2b(b"%s %d" % (what, self._serial), key=self._secret).hexdigest()
        return [text[at : at + digits] for at in range(0, len(text) - digits + 1, digits)]
