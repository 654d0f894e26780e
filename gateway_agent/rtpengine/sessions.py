"""The agent core's side of rtpengine: sessions at hand without waiting, and the commands for its daemons.

A session is a call of rtpengine with one section of media and two pairs of ports, one towards the device and one
towards the servers. Sessions are made ahead, with descriptions that send nothing anywhere, so that the core can put
their ports into a message at once. Once it knows where both sides receive, the daemon is told in the background, by
an offer and an answer. With the flag ``port latching`` the ports stay what they are through all later descriptions.

The daemons outlive the agent. After a restart it goes on with the sessions that its calls name (`cookie`), and
deletes what is left of former starts (`audit`). The commands of one session go one by one, since a daemon works on
several at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

from gateway_agent.media.ports import Keys, Notice, Pair, Remote, Total, Trouble
from gateway_agent.rtpengine.commands import Answer, Commands
from gateway_agent.rtpengine.counters import Counters, Counting
from gateway_agent.rtpengine.engine import Engine
from gateway_agent.rtpengine.words import HERE, THERE, Described, because, described, port_of
from sip.wire.sdp import Direction, SdpError

AHEAD: Final = 64
"""Sessions kept in stock at each daemon."""


class Session:
    """One section of media of a call."""

    __slots__ = (
        "adopted",
        "changed",
        "counting",
        "described",
        "engine",
        "id",
        "pairs",
        "released",
        "steps",
        "working",
    )

    def __init__(self, engine: Engine | None, id_: str, pairs: tuple[Pair, Pair], now: float) -> None:
        self.engine = engine
        """None for one of a daemon that the site file no longer names."""
        self.id = id_
        self.pairs = pairs
        self.described: list[Described | None] = [None, None]
        self.changed: set[int] = set()
        """Sides whose description has changed since the daemon was told of it."""
        self.adopted = False
        """Whether the daemon knows descriptions from a former start of the agent."""
        self.steps: deque[tuple[str, int]] = deque()
        """Offers and answers that are to be sent yet, by side."""
        self.working = False
        """Whether a command of it is unanswered."""
        self.released = False
        self.counting = Counting(now)


class EngineSessions:
    """All sessions of one agent. Times are of the core's clock, in seconds."""

    def __init__(self, daemons: Sequence[tuple[str, int]], prefix: str, chance: Random, ahead: int = AHEAD) -> None:
        """``daemons``: host and port of each one's NG listener. ``prefix`` begins the Call-ID of each session; no
        other agent has it."""
        self._prefix = prefix
        self._notices: list[Notice] = []
        self._commands = Commands(chance.getrandbits(48), lambda number: self.engines[number].silent())
        self.engines = [
            Engine(
                number,
                address,
                self._commands,
                ahead,
                partial(_new_id, prefix, chance),
                self._returned,
                self._trouble,
            )
            for number, address in enumerate(daemons)
        ]
        self._sessions: dict[Pair, Session] = {}
        self._known: set[str] = set()
        self._counters = Counters(self._notices.append)
        self._audited = False

    # For the core.

    def take(self, six: tuple[bool, bool]) -> tuple[Pair, Pair] | None:
        """A session's pairs towards the device and the servers, in use until they are released; ``six``: which side
        is reached by IPv6. None where no daemon has one ready (see `shortage`)."""
        engine = min((each for each in self.engines if each.has(six)), key=lambda each: each.in_use, default=None)
        if engine is None:
            return None
        ready = engine.take(six)
        self._use(Session(engine, ready.id, ready.pairs, self._commands.now))
        return ready.pairs

    def adopt(self, here: Pair, there: Pair, cookie: str) -> None:
        """Go on with a session from before a restart of the agent; ``cookie`` is what `cookie` returned then."""
        if here in self._sessions:
            return
        name, _, id_ = cookie.partition(" ")
        engine = next((each for each in self.engines if each.name == name), None)
        if engine is None:
            self._trouble(
                f"the media of a call passes rtpengine at {name}, which the site file does not name for this agent"
            )
        session = Session(engine, id_, (here, there), self._commands.now)
        session.adopted = True
        self._use(session)
        if engine is not None and engine.up:
            self._look_for(session, engine)

    def cookie(self, pair: Pair) -> str:
        """What names the session of a pair in use to the next start of the agent."""
        session = self._sessions[pair]
        return f"{session.engine.name} {session.id}" if session.engine is not None else ""

    def shortage(self) -> str:
        """Why `take` returns None, as a sentence."""
        if not any(engine.up for engine in self.engines):
            return f"no rtpengine answers at {', '.join(engine.name for engine in self.engines)}"
        return next(filter(None, (engine.trouble for engine in self.engines)), "rtpengine has no session ready now")

    def place(self, six: bool) -> str:
        """An address at which a daemon receives media of that family. Raises `SdpError` where there is none."""
        for engine in self.engines:
            if six in engine.places:
                return engine.places[six]
        if any(engine.up for engine in self.engines):
            raise SdpError(f"rtpengine has no address of IPv{6 if six else 4}")
        raise SdpError(self.shortage())

    def set_remote(
        self,
        pair: Pair,
        remote: Remote | None,
        again: bool = False,
        keys: Keys | None = None,
        direction: Direction = "sendrecv",
    ) -> None:
        """Set where the media of ``pair`` is sent to; ``again``: even if it is what rtpengine was told. Raises
        `SdpError` for ``keys``: SRTP does not end here."""
        if keys is not None:
            raise SdpError("SRTP with keys in SDP ends at the agent's own relay only")
        session, side = self._found(pair)
        said = None if remote is None else Described(remote._replace(types=()), direction)
        if said is not None and (said != session.described[side] or again):
            session.described[side] = said
            session.changed.add(side)
            self._go_on(session)

    def watch(self, pair: Pair, seconds: float | None) -> None:
        """Ask for a `Silent` once no packet comes to the session of ``pair`` for so long; None asks for no more."""
        session, _ = self._found(pair)
        session.counting.limit, session.counting.reported = seconds, False

    def count(self, pairs: Iterable[Pair]) -> None:
        """Ask for `Counts` of these pairs. All in use are counted by and by anyway."""
        wanted = {id(one): one for pair in pairs if (one := self._sessions.get(pair)) is not None}
        self._counters.count(list(wanted.values()), self._commands.now)

    def release(self, pair: Pair) -> None:
        """The session of that pair ends; one that has ended is ignored."""
        session = self._sessions.get(pair)
        if session is None:
            return
        session.released = True
        for each in session.pairs:
            self._sessions.pop(each, None)
        self._known.discard(session.id)
        self._counters.leave(session)
        if session.engine is not None:
            session.engine.in_use -= 1
        self._go_on(session)

    def audit(self) -> None:
        """All sessions from before a restart that are still needed were adopted: others of this agent are deleted."""
        self._audited = True
        for engine in self.engines:
            if engine.up:
                engine.delete_others(self._prefix, self._known.__contains__)

    @property
    def in_use(self) -> int:
        """Pairs in use, as the relay counts them."""
        return len(self._sessions)

    @property
    def total(self) -> Total:
        """Sums over all sessions since the agent started, as far as they were looked at."""
        return self._counters.total(_distinct(self._sessions))

    # For the shell.

    def to_send(self, now: float) -> list[tuple[int, bytes]]:
        """Datagrams for the daemons, by number; returned once."""
        return self._commands.to_send(now)

    def receive(self, number: int, data: bytes, now: float) -> None:
        """A datagram of a daemon."""
        self._commands.receive(number, data, now)

    def refused(self, number: int, now: float) -> None:
        """Nobody listens where a daemon should (ICMP): it need not be asked again and again."""
        self._commands.give_up(number, now)

    def handle_timer(self, now: float) -> None:
        """To be called several times a second."""
        self._commands.handle_timer(now)
        for engine in self.engines:
            engine.handle_timer(now)
        self._counters.handle_timer(now)

    def notices(self) -> list[Notice]:
        """What the core is to be told; returned once."""
        found = self._notices.copy()
        self._notices.clear()
        return found

    # Sessions in use.

    def _use(self, session: Session) -> None:
        self._known.add(session.id)
        if session.engine is not None:
            session.engine.in_use += 1
        for pair in session.pairs:
            self._sessions[pair] = session
        self._counters.enter(session)

    def _found(self, pair: Pair) -> tuple[Session, int]:
        session = self._sessions[pair]
        return session, session.pairs.index(pair)

    def _returned(self, engine: Engine) -> None:
        """A daemon answers, for the first time or again: does it still have the sessions that are in use?"""
        for session in _distinct(self._sessions):
            if session.engine is engine:
                self._look_for(session, engine)
        if self._audited:
            engine.delete_others(self._prefix, self._known.__contains__)

    def _look_for(self, session: Session, engine: Engine) -> None:
        def answered(answer: Answer, now: float) -> None:
            if answer is None or session.released:
                return
            if answer.get("result") != "ok":
                self._trouble(f"rtpengine at {engine.name} no longer has the media of a call ({session.id})")
            else:
                self._go_on(session)

        engine.ask({"command": "query", "call-id": session.id}, answered)

    def _go_on(self, session: Session) -> None:
        """Send its next command, if there is one and none is under way."""
        engine = session.engine
        if session.working or engine is None:
            return
        if session.released:
            session.working = True
            engine.delete(session.id)
            return
        whole = all(session.described)
        if not session.steps and session.changed and (whole or session.adopted):
            first = min(session.changed)
            session.steps.append(("offer", first))
            if whole:
                session.steps.append(("answer", 1 - first))
            session.changed.clear()
        if session.steps:
            self._tell(session, engine, *session.steps.popleft())

    def _tell(self, session: Session, engine: Engine, verb: str, side: int) -> None:
        said, expected = session.described[side], session.pairs[1 - side].port
        assert said is not None
        six = (":" in session.pairs[HERE].address, ":" in session.pairs[THERE].address)
        session.working = True

        def answered(answer: Answer, now: float) -> None:
            session.working = False
            if answer is None and not session.released:  # told again when the daemon is back
                session.steps.clear()
                session.changed.update(place for place in (HERE, THERE) if session.described[place] is not None)
                return
            if answer is not None and not session.released and (port := port_of(answer)) != expected:
                why = because(answer) if port is None else "it has deleted the call; is its timeout too short?"
                self._trouble(f"rtpengine at {engine.name} does not pass the media of {session.id}: {why}")
            self._go_on(session)

        engine.ask(described(verb, session.id, side, six, said), answered)

    def _trouble(self, sentence: str) -> None:
        self._notices.append(Trouble(sentence))


def _new_id(prefix: str, chance: Random) -> str:
    return f"{prefix}{chance.getrandbits(64):016x}"


def _distinct(sessions: Mapping[Pair, Session]) -> Iterable[Session]:
    return {id(session): session for session in sessions.values()}.values()
