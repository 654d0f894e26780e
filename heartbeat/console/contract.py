"""What a running process shows and does for its operator: the boundary between cores and the console.

A process offers two synchronous methods, called inside the event loop, so that neither side needs a lock::

    view(name, params, now)       a read-only view, a dataclass of ``heartbeat.console.views``
    command(name, params, now)    a verb; what takes time returns ``Progress`` at once

Each view is described here once: its members as JSON, the columns of its table, and its metrics stand at its fields
(:mod:`heartbeat.console.schema`).

* Instants are members named ``at`` or ending in ``_at``: seconds of the clock that the core is told (``now``), or
  ``None``. The API turns every one of them into wall-clock epoch seconds on its way out, so cores need no wall clock.
* Durations are plain seconds: ``_ago``, ``_left``, ``took``, ``lasted``.
* Members with a default are younger than the others: a process of an older version does not say them.
* A process refuses by raising ``Refused`` with one sentence; an unknown name of a view or verb is one of those.

Server views: ``status health calls lines agents history explain call-ids trace report rehearsal audit audit-log route
bans cdrs trend ladder provisioned test progress``.
Server verbs: ``switchover reset hangup busyout pause resume readmit init rehearse audit reload log-level unban
provision test``.
Agent views: ``status health lines calls call-ids trace history bans audit-log test progress``.
Agent verbs: ``drain resume stop reload log-level unban test``.

Parameters of the verbs, all strings::

    switchover  to: node (default: the other server); force: "yes". Without force it is sent to the active server,
                which releases; with force to the server that shall be active. A Progress that ends when the new
                server is active and every reached agent obeys it.
    reset       lines: names with commas, or "all" (trunk, trunk/channel or phone); state: "idle" (default) or
                "out of service". Sent to the active server. Calls on these lines end in good order.
    hangup      call: its id, or enough of the beginning. Sent to the active server: BYE to both sides, or 480 to the
                caller of one that is not answered.
    busyout     line: a trunk or phone; end: "yes". No new calls on it, in neither direction, and no harm to those
                that stand; or new ones again. Sent to the active server, or to each for a line of the servers' own.
    pause       no automatic takeover or failback at this server until resume.
    resume      ends a pause; at an agent ends a drain.
    readmit     agent: a voter (agent or server) that lost its epoch file. Sent to the active server: a new
                generation. force: "yes" where none is active.
    init        the first start of a site, said to a server that runs already.
    rehearse    asks all agents what they have, which changes nothing; the view ``rehearsal`` has what came of it.
    audit       the same, at the active server; the view ``audit``.
    reload      reads the site file again, as SIGHUP does; the sentences of its Progress are what is new, or all that
                keeps the file from being taken, a line each.
    log-level   package: ``sip heartbeat b2bua gateway_agent``, a part of one, or ``all``; level: ``debug info warning
                error``, or ``default``.
    unban       host: an address that is banned, or "all". Done at once.
    provision   change: what is put or deleted, as JSON. Sent to the active server.
    test        line: its name; call: a number to call by it; from: who calls; ring: seconds. What it answers has the
                id of the view ``test``.
    drain       agent: refuses new calls; done when its last call has ended.
    stop        agent: the same, and the process ends for good then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Refused(Exception):
    """The process will not, or cannot, answer; its text is the sentence that the operator reads."""

    def __init__(self, sentence: str, status: int = 409) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        """HTTP status: 400 a parameter is wrong, 404 no such view, call, line or agent, 409 not in this state."""

    @property
    def answer(self) -> dict[str, Any]:
        """As the API says it."""
        return {"error": self.sentence}


class RefusedChange(Refused):
    """What was to be provisioned is wrong: all that is, a sentence each."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__("\n".join(complaints), 422)
        self._complaints = tuple(complaints)

    @property
    def answer(self) -> dict[str, Any]:
        return {"error": self.sentence, "errors": list(self._complaints)}


class Later(NamedTuple):
    """A view that is made in a thread, since it reads the disk."""

    work: Callable[[], Any]


class ConsoleProcess(Protocol):
    """What the API asks of a process. Both methods return at once, without waiting for anything; what a view cannot
    say at once it returns as :class:`Later`."""

    def view(self, name: str, params: Mapping[str, str], now: float) -> Any: ...

    def command(self, name: str, params: Mapping[str, str], now: float) -> Any: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What ``command`` returns, and the view ``progress`` (parameter ``id``) until ``state`` is not ``running``."""

    id: str
    verb: str
    state: str
    """``running``, ``done`` or ``failed``."""
    sentence: str
    """What is being waited for, what came true, or why it failed."""
    done: int
    total: int
    """For a bar: agents moved of agents to move, calls left...; 0 of 0 when there is nothing to count."""


HowFar = Callable[[float], tuple[str, str, int, int]]
"""Tells of an order, as of now, the ``state``, ``sentence``, ``done`` and ``total`` of its :class:`Progress`."""
