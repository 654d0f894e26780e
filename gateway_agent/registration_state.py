"""The registrations of a line as servers keep them for its agent: the line state of a phone (docs/wire.md)."""

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
    """One device that is registered; ``expires_in`` in seconds from when it was said."""

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
        """As a binding is now."""
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
        """The same of the user ``name``. Raises :class:`LineStateError`."""
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
    """Said only where there is one: earlier versions do not expect it."""
    return (path,) if path else ()


def decode(text: str, bound: str, keys: Sequence[bytes]) -> list[Registered]:
    """What was said; raises :class:`LineStateError`."""
    packed = opened(text, bound, keys)
    try:
        return [
            Registered(contact, Flow(transport, local, (host, port)), *rest[:5], *map(tuple, rest[5:]))
            for contact, transport, local, host, port, *rest in json.loads(packed)
        ]
    except (ValueError, TypeError):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


def bound_to(site: str, agent: str, line: str) -> str:
    """What it is bound to."""
    return f"{site} {agent} line {line}"
