"""The phones of an agent by their user names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway_agent.line import Line
from gateway_agent.lines.phone import Phone
from gateway_agent.station.password import password_of
from heartbeat.site.lines import DIGESTS
from heartbeat.site.model import Agent
from sip.bearer import BearerTokens
from sip.device.phones import DigestOrders


class PhoneDirectory:
    """Empty until the lines are read. ``key`` gives the site's present key."""

    def __init__(self, secret: bytes, key: Callable[[], bytes]) -> None:
        self._key = key
        self.by_user: dict[str, Phone] = {}
        self.orders = DigestOrders(secret, DIGESTS)

    def reload(self, lines: Iterable[Line]) -> None:
        """The lines have changed."""
        phones = [line.far_side for line in lines if isinstance(line.far_side, Phone)]
        self.by_user.clear()
        self.by_user.update((phone.user, phone) for phone in phones)
        self.orders.by_user = {user: phone.settings.digest for user, phone in self.by_user.items()}

    def password(self, user: str) -> str | None:
        """The password of a phone; ``None`` where there is no such phone, or it is not known yet."""
        phone = self.by_user.get(user)
        return password_of(phone.settings, self._key()) if phone is not None else None

    def tokens(self, realm: str, agent: Callable[[], Agent], wall_offset: Callable[[], float | None]) -> BearerTokens:
        """The verifier of browsers' tokens, which uses the agent's key as the site file has it at each use."""

        def key() -> bytes | None:
            secret = agent().token_key
            return secret.value if secret is not None else None

        return BearerTokens(realm, key, wall_offset, self._takes_tokens)

    def _takes_tokens(self, user: str) -> bool:
        """Whether a user may use a token in place of a password: only browsers may."""
        phone = self.by_user.get(user)
        return phone is not None and phone.settings.kind == "web"
