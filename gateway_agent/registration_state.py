"""The registrations of a phone's line, as servers keep them for its agent (docs/wire.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from gateway_agent.seal import LineStateError, opened, sealed
from sip.actions import Flow
from sip.registrar import Binding
from sip.wire.errors import SipError
from sip.wire.headers import NameAddr


class Registered(NamedTuple):
    """One registered device; ``expires_in`` is in seconds from the instant at which the value was made."""

    contact: str
    flow: Flow
    expires_in: float
    call_id: str
    cseq: int
    q: float
    user_agent: str
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, binding: Binding, now: float) -> Registered:
        """The value for a binding of the registrar."""
        left = round(binding.expires_at - now, 3)
        return cls(
            str(binding.contact),
            binding.flow,
            left,
            binding.call_id,
            binding.cseq,
            binding.q,
            binding.user_agent,
            binding.path,
        )

    def binding(self, name: str, said_at: float) -> Binding:
        """The binding of the user ``name`` for this value, which was made at ``said_at``. Raises
        :class:`LineStateError`."""
        try:
            contact = NameAddr.parse(self.contact)
        except SipError as error:
            raise LineStateError(f"a contact of {name} cannot be read: {error}") from None
        expires_at = said_at + self.expires_in
        return Binding(
            name, contact, self.flow, expires_at, self.call_id, self.cseq, self.q, self.user_agent, self.path
        )


def encode(devices: Sequence[Registered], incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """The text that servers keep."""
    values = [
        [one.contact, one.flow.transport, one.flow.local, *one.flow.remote, *one[2:7], *_known(one.path)]
        for one in devices
    ]
    plain = json.dumps(values, separators=(",", ":"))
    return sealed(plain, plain.encode, incarnation, counter, bound, key)


def _known(path: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The path as a further value, only where there is one: earlier versions do not expect it."""
    return (path,) if path else ()


def decode(text: str, bound: str, keys: Sequence[bytes]) -> list[Registered]:
    """The devices in a text that servers kept. Raises :class:`LineStateError`."""
    packed = opened(text, bound, keys)
    try:
        return [
            Registered(contact, Flow(transport, local, (host, port)), *rest[:5], *map(tuple, rest[5:]))
            for contact, transport, local, host, port, *rest in json.loads(packed)
        ]
    except (ValueError, TypeError):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


def bound_to(site: str, agent: str, line: str) -> str:
    """What the text is bound to: site, agent and line."""
    return f"{site} {agent} line {line}"
