"""The interface between a running process and the console: its views and its commands (verbs).

A process offers two synchronous methods, called inside the event loop, so that neither side needs a lock::

    view(name, params, now)       a read-only view, a dataclass of ``heartbeat.console.views``
    command(name, params, now)    a verb; one that takes time returns a running ``Progress`` at once

Each view is described here once: its members as JSON, the columns of its table, and its metrics stand at its fields
(:mod:`heartbeat.console.schema`).

* Instants are members named ``at`` or ending in ``_at``: seconds of the core's clock (``now``), or ``None``. The API
  converts them to epoch seconds, so that cores need no wall clock.
* Durations are plain seconds: ``_ago``, ``_left``, ``took``, ``lasted``.
* Members with a default were added later: a process of an older version leaves them out.
* A process refuses by raising ``Refused`` with one sentence, also for an unknown view or verb.

Server views: ``status health calls lines agents history explain call-ids trace report rehearsal audit audit-log route
bans cdrs trend ladder provisioned test progress``.
Server verbs: ``switchover reset hangup busyout pause resume readmit init rehearse audit reload log-level unban
provision test``.
Agent views: ``status health lines calls call-ids trace history bans audit-log test progress``.
Agent verbs: ``drain resume stop reload log-level unban test``.

Parameters of the verbs, all strings::

    switchover  to: node (default: the other server); force: "yes". Sent to the active server, which releases its
                lease; with force to the server that is to become active. Its Progress ends when that server is
                active and all reached agents obey it.
    reset       lines: names separated by commas, or "all" (trunk, trunk/channel or phone); state: "idle" (default) or
                "out of service". Sent to the active server. Calls on these lines are hung up.
    hangup      call: an unambiguous beginning of its id. Sent to the active server: BYE to both sides, or 480 to the
                caller if it is not answered.
    busyout     line: a trunk or phone; end: "yes". The line takes no new calls in either direction, its calls go on;
                with ``end`` it takes calls again. Sent to the active server, or to each for a line of servers' own.
    pause       no automatic takeover or failback at this server until resume.
    resume      ends a pause; at an agent ends a drain.
    readmit     agent: a voter (agent or server) that lost its epoch file. Sent to the active server, which makes a
                new generation of the list of voters. force: "yes" when no server is active.
    init        the first start of a site, sent to a running server.
    rehearse    asks all agents for their lists, which changes nothing; the view ``rehearsal`` has the result.
    audit       the same, at the active server; the view ``audit`` has the result.
    reload      reads the site file again, as SIGHUP does; the lines of its Progress's sentence are the changes, or
                the faults for which the file is not taken.
    log-level   package: ``sip heartbeat b2bua gateway_agent``, a module of one, or ``all``; level: ``debug info
                warning error``, or ``default``.
    unban       host: a banned address, or "all".
    provision   change: lines and routes to put or delete, as JSON. Sent to the active server.
    test        line: its name; call: a number to call by it; from: the caller; ring: seconds. The id in its answer is
                the parameter of the view ``test``.
    drain       agent: refuses new calls; done when its last call has ended.
    stop        agent: the same, then the process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Refused(Exception):
    """A view or command is refused; the text is a sentence for the operator."""

    def __init__(self, sentence: str, status: int = 409) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        """HTTP status: 400 a parameter is wrong, 404 no such view, call, line or agent, 409 not in this state."""

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON body of the API's answer."""
        return {"error": self.sentence}


class RefusedChange(Refused):
    """A change of provisioned lines and routes has faults; ``complaints`` has a sentence for each."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__("\n".join(complaints), 422)
        self._complaints = tuple(complaints)

    @property
    def answer(self) -> dict[str, Any]:
        return {"error": self.sentence, "errors": list(self._complaints)}


class Later(NamedTuple):
    """A view that ``work`` makes in a thread, since it reads from disk."""

    work: Callable[[], Any]


class ConsoleProcess(Protocol):
    """What the API needs of a process. Both methods return without waiting; a view that has to read from disk is
    returned as :class:`Later`."""

    def view(self, name: str, params: Mapping[str, str], now: float) -> Any: ...

    def command(self, name: str, params: Mapping[str, str], now: float) -> Any: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Result of a command; while ``state`` is ``running`` the view ``progress`` (parameter ``id``) has the latest."""

    id: str
    verb: str
    state: str
    """``running``, ``done`` or ``failed``."""
    sentence: str
    """What is waited for, the result, or why it failed."""
    done: int
    total: int
    """For a progress bar: ``done`` of ``total`` agents, calls, …; 0 of 0 when there is nothing to count."""


ProgressCheck = Callable[[float], tuple[str, str, int, int]]
"""Returns the ``state``, ``sentence``, ``done`` and ``total`` of a command's :class:`Progress` at a time."""
