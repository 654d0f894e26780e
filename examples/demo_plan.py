"""Which calls the demo places, and the site that they go through: plain values, the same in every process of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["talking", "held", "ringing", "attempt"]
Side = Literal["caller", "callee"]

MOST_SAMPLED: Final = 200
MOST_AUDIO: Final = 20
ATTEMPTS_FROM: Final = 500_000
"""Added to the place of an attempt in the number that it calls: no two calls of a run have the same number."""
PASSWORD: Final = "a demo's password"
PHONES: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
"""The phones of the small demo: even ones call the next one, and belong to gw1; the others to gw2."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is done with one call."""

    id: str
    """Goes along as the Subject of its INVITE, so that both ends know which call it is."""
    kind: Kind
    caller: str
    """The line that calls."""
    number: str
    """The number that it calls."""
    ends: Side
    """Who hangs up."""
    holder: Side = "caller"
    """Of a held call: who holds."""
    sampled: bool = False
    """At the crash a request of this call is sent, and timed until it comes out at the other device."""
    audio: bool = False

    @property
    def sort(self) -> str:
        """Calls of one sort bring each of their devices the same messages."""
        holder = f" by {self.holder}" if self.kind == "held" else ""
        asked = ", asked" if self.sampled and self.kind != "ringing" else ""
        return f"{self.kind}{holder}{asked}, ended by {self.ends}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All calls of a run. ``calls`` 0 is the small demo: one call of each kind, between phones that register."""

    calls: int
    agents: int

    @property
    def small(self) -> bool:
        return not self.calls

    @property
    def attempts_per_s(self) -> float:
        """The small demo has one attempt, at the crash: it has one pair of phones for it."""
        return 0.0 if self.small else self.calls / 20

    def standing(self) -> Iterator[Script]:
        """The calls that stand when the server dies; the ringing ones last, so that they ring but a moment."""
        if self.small:
            for index, kind in enumerate(("talking", "held", "ringing")):
                yield self._of(index, kind, True, True)  # type: ignore[arg-type]
            return
        each = -(-self.calls // MOST_SAMPLED)
        kinds = [_kind(index) for index in range(self.calls)]
        order = sorted(range(self.calls), key=lambda index: kinds[index] == "ringing")
        audible = 0
        for place, index in enumerate(order):
            audio = kinds[index] != "ringing" and audible < MOST_AUDIO
            audible += audio
            yield self._of(index, kinds[index], place % each == 0, audio)

    def attempt(self, index: int) -> Script:
        """A call placed while the server dies."""
        if self.small:
            return Script(f"n{index}", "attempt", PHONES[6], "1008", "caller", audio=True)
        return self._of(index, "attempt", False, False)

    def references(self, audio: bool) -> list[Script]:
        """One call of each sort, to be placed before anything is killed: what they bring is what is expected."""
        found: dict[str, Script] = {}
        for script in (*self.standing(), self.attempt(0)):
            if script.audio == audio:
                found.setdefault(script.sort, script)
        return list(found.values())

    def _of(self, index: int, kind: Kind, sampled: bool, audio: bool) -> Script:
        ends: Side = "caller" if (index // 10 + index) % 2 == 0 else "callee"
        holder: Side = "caller" if index // 20 % 2 == 0 else "callee"
        if self.small:
            return Script(f"c{index}", kind, PHONES[2 * index], f"100{2 * index + 2}", ends, holder, sampled, audio)
        caller = index % self.agents
        callee = (caller + 1 + index // self.agents % max(1, self.agents - 1)) % self.agents
        prefix = "n" if kind == "attempt" else "c"
        ends = "caller" if kind == "attempt" else ends
        own = index + ATTEMPTS_FROM if kind == "attempt" else index
        number = f"{2 if audio else 1}{callee:03d}{own:06d}"
        line = f"{'a' if audio else 'd'}{caller}"
        return Script(f"{prefix}{index}", kind, line, number, ends, holder, sampled, audio)


def _kind(index: int) -> Kind:
    """Eight in ten talk, one is held, one rings."""
    return "held" if index % 10 == 4 else "ringing" if index % 10 == 9 else "talking"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of a run is: one /24 of loopback addresses, one directory."""

    net: str
    """The first three numbers and a dot, ``127.20.7.``"""
    directory: Path
    agents: int
    interval: float = 0.2
    """Between two heartbeats, in seconds."""
    name: str = "demo"
    """Of the site."""

    @property
    def site(self) -> Path:
        return self.directory / "site.toml"

    @property
    def names(self) -> list[str]:
        """Of the agents."""
        return [f"gw{index + 1}" for index in range(self.agents)]

    def agent(self, index: int) -> str:
        return f"{self.net}{11 + index}"

    def devices(self, audio: bool) -> str:
        """The listener of a process of devices."""
        return f"{self.net}{9 if audio else 8}:5060"

    def site_text(self, plan: Plan, beats: tuple[str, str] | None = None) -> str:
        """The site file. ``beats`` are other addresses for the servers' beats, main first."""
        m1, m2 = beats or (f"udp:{self.net}1:5162", f"udp:{self.net}2:5162")
        capacity = max(100, 2 * plan.calls)
        parts = [
            f'[site]\nname = "{self.name}"\nkey = {{ file = "site.key" }}\n',
            f"[timing]\ninterval = {self.interval}\n",
            _server("m1", "main", f"{self.net}1", m1, capacity),
            _server("m2", "standby", f"{self.net}2", m2, capacity),
        ]
        for index, name in enumerate(self.names):
            host = self.agent(index)
            rtp = f'rtp = {{ address = "{host}", ports = [20000, 20999] }}'
            parts.append(f'[agents.{name}]\nsip = ["udp:{host}:5060"]\nstate = "state"\n{rtp}\n')
        parts += self._phones() if plan.small else self._trunks(capacity)
        return "\n".join(parts)

    def _phones(self) -> Iterator[str]:
        for index, name in enumerate(PHONES):
            yield (
                f'[lines.{name}]\nkind = "phone"\nagent = "gw{1 + index % 2}"\nnumbers = ["{1001 + index}"]\n'
                f'password = {{ file = "phones.key" }}\nmedia = "relay"\n'
            )

    def _trunks(self, channels: int) -> Iterator[str]:
        """Each agent has two: one for calls without audio, and one whose audio it relays."""
        for index, agent in enumerate(self.names):
            for audio in (False, True):
                name, media = f"{'a' if audio else 'd'}{index}", "relay" if audio else "direct"
                peer = self.devices(audio)
                yield (
                    f'[lines.{name}]\nkind = "trunk"\nagent = "{agent}"\npeer = "sip:{peer}"\nfrom = ["{peer}"]\n'
                    f'channels = {min(channels, 100_000)}\nmedia = "{media}"\n'
                )
                yield f'[[routes]]\nmatch = "{2 if audio else 1}{index:03d}*"\nto = ["{name}"]\nring = 600\n'


def _server(name: str, role: str, host: str, beat: str, capacity: int) -> str:
    return (
        f'[servers.{name}]\nrole = "{role}"\nlisten = "tcp:{host}:5161"\nbeat = "{beat}"\n'
        f'capacity = {capacity}\nstate = "state"\n'
    )
