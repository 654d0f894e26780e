"""The phones of an agent by their user names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2s

from gateway_agent.line import Line
from gateway_agent.lines.phone import Phone
from gateway_agent.station.password import password_of
from heartbeat.site.lines import DIGESTS
from heartbeat.site.model import Agent
from sip.bearer import BearerTokens


class PhoneDirectory:
    """Empty until the lines are read. ``key`` gives the site's present key."""

    def __init__(self, secret: bytes, key: Callable[[], bytes]) -> None:
        self._secret = secret[:32]
        self._key = key
        self.by_user: dict[str, Phone] = {}
        self._orders: list[tuple[str, ...]] = []

    def reload(self, lines: Iterable[Line]) -> None:
        """The lines changed."""
        phones = [line.far_side for line in lines if isinstance(line.far_side, Phone)]
        self.by_user = {phone.settings.aor_user: phone for phone in phones}
        self._orders = [phone.settings.digest for phone in self.by_user.values()]

    def password(self, user: str) -> str | None:
        """The password of a phone, ``None`` for nobody's and where it is not known yet."""
        phone = self.by_user.get(user)
        return password_of(phone.settings, self._key()) if phone is not None else None

    def tokens(self, realm: str, agent: Callable[[], Agent], wall_offset: Callable[[], float | None]) -> BearerTokens:
        """What judges the tokens of browsers, by the key of the agent as it is in the site file by then."""

        def key() -> bytes | None:
            secret = agent().token_key
            return secret.value if secret is not None else None

        return BearerTokens(realm, key, wall_offset, self._takes_tokens)

    def _takes_tokens(self, user: str) -> bool:
        """Whether a user may show a token instead of a password: those of browsers."""
        phone = self.by_user.get(user)
        return phone is not None and phone.settings.kind == "web"

    def algorithms_of(self, user: str) -> tuple[str, ...]:
        """What a phone's digest may be made with. A user that is nobody is treated like one of the phones, always
        the same one, so that no order of algorithms tells who exists."""
        phone = self.by_user.get(user)
        if phone is None and self._orders:
            mark = blake2s(user.encode("utf-8", "replace"), key=self._secret, digest_size=8).digest()
            return self._orders[int.from_bytes(mark, "big") % len(self._orders)]
        return phone.settings.digest if phone is not None else DIGESTS
