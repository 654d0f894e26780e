"""What a running process shows and does for its operator: the boundary between cores and the console.

A process (``b2bua.core``, ``gateway_agent.core``) offers two synchronous methods, called inside the event loop, so
that neither side needs a lock::

    view(name, params, now) -> dict        a read-only page, as JSON
    command(name, params, now) -> dict     a verb; what takes time returns ``Progress`` at once

The pages are the TypedDicts below, the whole of them: a page that has nothing to say in a member says ``None``,
``0``, ``""`` or ``[]``, it does not leave the member out.

* Instants are members named ``at`` or ending in ``_at``: seconds of the clock that the core is told (``now``), or
  ``None``. The API turns every one of them into wall-clock epoch seconds on its way out, so cores need no wall clock.
* Durations are plain seconds: ``_ago``, ``_left``, ``took``, ``lasted``.
* To every ``status`` the program adds a member ``process``, ``Vitals``; a core alone has none.
* A process refuses by raising ``Refused`` with one sentence; an unknown name of a page or verb is one of those.

Server pages: ``status health calls lines agents history explain report progress``.
Server verbs: ``switchover reset pause resume readmit``.
Agent pages: ``status health lines calls history progress``. Agent verbs: ``drain resume``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypedDict


class Refused(Exception):
    """The process will not, or cannot, answer; its text is the sentence that the operator reads."""

    def __init__(self, sentence: str, status: int = 409) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        """HTTP status: 400 a parameter is wrong, 404 no such page, call, line or agent, 409 not in this state."""


class Process(Protocol):
    """What the API asks of a process. Both methods return at once, without waiting for anything."""

    def view(self, name: str, params: Mapping[str, str], now: float) -> Mapping[str, Any]: ...

    def command(self, name: str, params: Mapping[str, str], now: float) -> Mapping[str, Any]: ...


ServerState = Literal["active", "standby", "holding", "taking-over"]
CallState = Literal["dialing", "ringing", "talking", "held", "transferring", "ending"]
LineState = Literal["idle", "dialing", "ringing", "active", "held", "transferring", "out of service"]


class CallCounts(TypedDict):
    """Calls by state; ``total`` is their sum."""

    total: int
    talking: int
    held: int
    ringing: int
    dialing: int
    """In set-up, nothing ringing yet."""
    ending: int


class LineCounts(TypedDict):
    """Channels and phones, each counted as one line."""

    total: int
    in_service: int
    out_of_service: int
    busy: int
    """Lines in service with a call on them."""


class Rates(TypedDict):
    """Averages over about the last ten seconds."""

    calls_per_s: float
    messages_per_s: float
    """SIP messages received."""


class Vitals(TypedDict):
    """``process``: what the program that runs a core adds to its status."""

    cpu: float
    """Share of a processor, 0.0 to 1.0 and above; like the rate an average over about ten seconds."""
    messages_per_s: float
    """SIP messages received."""
    stall_last_minute: float
    """Longest time that the loop stood still, in seconds; what is shorter than 0.02 s is not seen reliably."""
    stall_since_start: float


class Peer(TypedDict):
    """Another server or an agent of the site, as this process knows it."""

    name: str
    kind: Literal["server", "agent"]
    role: str
    """``main`` or ``standby`` for a server, ``""`` for an agent."""
    state: str
    """What it last said of itself: a ``ServerState``; for an agent ``serving``, ``draining``; ``""`` unknown."""
    reached: bool
    """True while it answers us within the detector's bounds."""
    heard_ago: float | None
    """Seconds since its last valid word, None when it was never heard."""
    judged: str
    """The detector's word: ``alive``, ``suspect``, ``dead``, ``left``, ``unknown``."""
    boot: int
    epoch: int
    """The epoch it last named; for an agent the epoch it obeys."""
    obeys: str
    """Agents: the server it obeys; ``""`` unknown, none, or a server."""
    config: str
    """Short hash of its site file, ``""`` unknown."""
    drift: bool
    """True when that hash is known and is not ours."""
    voter: bool
    calls: int
    capacity: int
    address: str


class Voters(TypedDict):
    names: list[str]
    generation: int
    quorum: int
    answering: int
    """Voters whose answer counts for the lease, or for a grant, at this moment."""


class TakeoverSummary(TypedDict):
    """One change of the active server, in short."""

    at: float
    """When it was decided."""
    kind: Literal["takeover", "switchover", "failback", "restart", "force"]
    old: str
    """The active server before, ``""`` when none is known."""
    new: str
    epoch: int
    because: str
    took: float
    """Seconds from the decision until every reached agent's list was complete."""
    kept: int
    lost: int
    """Calls released by the takeover's verdicts."""


class ServerStatus(TypedDict):
    """``GET /v1/status`` of a server."""

    kind: Literal["server"]
    version: str
    site: str
    node: str
    role: Literal["main", "standby"]
    """The preferred role, from the site file."""
    state: ServerState
    active: str
    """Which server is active as far as this one knows, ``""`` none."""
    epoch: int
    boot: int
    config: str
    since_at: float
    """Since when it is in this state."""
    started_at: float
    lease_left: float | None
    """Seconds of the lease left; None for a server that has none."""
    paused: bool
    """Automatic takeovers and failbacks are off (``b2bua pause``)."""
    voters: Voters
    peers: list[Peer]
    calls: CallCounts
    capacity: int
    load: float
    """0.0 to 1.0."""
    rates: Rates
    lines: LineCounts
    last_takeover: TakeoverSummary | None
    warnings: list[str]
    """One sentence for each thing an operator should know; empty means healthy."""


class Health(TypedDict):
    """``GET /health``: 200 when ``healthy``, otherwise 503. Cheap: load balancers ask every second."""

    healthy: bool
    """Servers: active. Agents: obeys a server and is not draining."""
    state: str


class Call(TypedDict):
    """A call at a server."""

    id: str
    """The call id that the server made."""
    session_id: str
    state: CallState
    caller: str
    """Number or user of the caller."""
    callee: str
    caller_line: str
    """``trunk1/7``; ``""`` not known yet."""
    callee_line: str
    caller_agent: str
    callee_agent: str
    started_at: float
    answered_at: float | None
    epochs: list[int]
    """The epochs it lived in, oldest first; more than one: it survived a takeover."""
    priority: int


class Calls(TypedDict):
    """``calls``: parameters ``limit`` (default 200), ``state``, ``number`` (part of caller or callee), ``line`` (a
    line or trunk), ``agent``, ``id`` (prefix). Newest first."""

    calls: list[Call]
    matched: int
    """How many calls match, listed or not."""


class Line(TypedDict):
    """A trunk with its channels, or a phone."""

    name: str
    agent: str
    """``""`` for a trunk of the server's own."""
    kind: Literal["trunk", "phone"]
    state: LineState
    """A trunk is ``active`` while any channel is busy."""
    in_service: bool
    why: str
    """Why it is out of service, one sentence; ``""`` in service."""
    channels: int
    busy: int
    address: str
    """The trunk's peer, or the phone's first contact; ``""`` none."""
    registered: bool | None
    """A registering trunk or a phone; None where nothing registers."""
    contacts: int
    forward: dict[str, str]
    """Any of ``always``, ``busy``, ``no_answer`` to a number; empty without forwarding."""
    priority: int
    recovery: Literal["hot", "cold"]


class Lines(TypedDict):
    """``lines``: parameters ``agent``, ``line``, ``state``."""

    lines: list[Line]


class AgentLine(Line):
    """What an agent knows beyond it."""

    guesses: int
    """Wrong passwords for a phone since the agent started."""
    guessed_from: str
    """The address of the last one; ``""`` none."""


class AgentLines(TypedDict):
    """``lines`` of an agent: the parameters of a server's ``lines``."""

    lines: list[AgentLine]


class Agents(TypedDict):
    """``agents`` of a server, in the order of the site file."""

    agents: list[Peer]


class DecisionRow(TypedDict):
    at: float
    what: str
    because: str
    code: str
    """The decision's enum word, for machines."""


class History(TypedDict):
    """``history``: parameter ``limit`` (default 50). Newest first."""

    decisions: list[DecisionRow]
    total: int


class Sentence(TypedDict):
    at: float | None
    text: str


class Explanation(TypedDict):
    """``explain``: parameter ``id``, a call id (or an unambiguous prefix), ``takeover`` (the last), or an epoch."""

    about: str
    """``call 4f2a..`` or ``takeover to epoch 8``."""
    sentences: list[Sentence]
    """In the order of time."""


class Evidence(TypedDict):
    at: float
    by: str
    """Who saw it: this node, or an agent."""
    text: str


class AgentReport(TypedDict):
    """How the hand-over of one agent went."""

    agent: str
    asked_at: float | None
    complete_at: float | None
    """None: its list is not complete (yet)."""
    parts: int
    size: int
    """Bytes of NOTIFY bodies."""
    calls: int


class Verdict(TypedDict):
    id: str
    verdict: Literal["kept", "replayed", "released", "waiting", "reset"]
    state: str
    because: str


class Report(TypedDict):
    """``report``: the takeover report; parameters ``epoch`` (default the last), ``limit`` of calls (default 200)."""

    epoch: int
    kind: str
    old: str
    new: str
    suspected_at: float | None
    decided_at: float
    granted_at: float | None
    active_at: float | None
    """When it could serve: every reached agent complete."""
    because: str
    evidence: list[Evidence]
    grants: list[str]
    """Who granted."""
    agents: list[AgentReport]
    not_reached: list[str]
    messages: int
    """SIP messages between servers and agents for this takeover."""
    replayed: int
    verdicts: dict[str, int]
    """Number of calls by verdict."""
    calls: list[Verdict]


class Progress(TypedDict):
    """What ``command`` returns, and the page ``progress`` (parameter ``id``) until ``state`` is not ``running``."""

    id: str
    verb: str
    state: Literal["running", "done", "failed"]
    sentence: str
    """What is being waited for, what came true, or why it failed."""
    done: int
    total: int
    """For a bar: agents moved of agents to move, calls left...; 0 of 0 when there is nothing to count."""


class Relay(TypedDict):
    """The agent's RTP relay. The sums are of all streams since the agent started, as of some seconds ago."""

    streams: int
    """At present."""
    packets: int
    """RTP packets that came."""
    size: int
    """Their bytes."""
    dropped: int
    """Packets not relayed: from a foreign source, beyond the rate, or while nobody was there to take them."""
    silent: int
    """Answered calls, not on hold, for which no RTP has come either way for 30 s."""


class Passwords(TypedDict):
    """Wrong passwords of phones and of strangers since the agent started."""

    wrong: int
    held_back: int
    """Tries that were not looked at because too many before were wrong."""
    user: str
    """For whom the last wrong one was; ``""`` none yet."""
    host: str
    """From where."""
    last_at: float | None


class AgentStatus(TypedDict):
    """``GET /v1/status`` of an agent."""

    kind: Literal["agent"]
    version: str
    site: str
    agent: str
    state: Literal["serving", "waiting", "draining", "drained"]
    """``waiting``: obeys no server that is reached."""
    obeys: str
    """The server it obeys, ``""`` none yet."""
    epoch: int
    """The epoch that it obeys."""
    since_at: float | None
    """Since when it obeys that server."""
    promised: int
    """The highest epoch that it granted; 0 none or no voter."""
    voter: bool
    boot: int
    config: str
    started_at: float
    servers: list[Peer]
    calls: CallCounts
    held_attempts: int
    """Requests of devices that wait for a server."""
    lines: LineCounts
    relay: Relay | None
    passwords: Passwords
    warnings: list[str]


class AgentCall(TypedDict):
    """A call at an agent: one device dialog and one server dialog."""

    id: str
    """The call id in the agent's own words."""
    line: str
    direction: Literal["in", "out"]
    """``in``: the device called."""
    state: CallState
    number: str
    """The far end's number."""
    started_at: float
    answered_at: float | None
    server: str
    """The server that has the other side, ``""`` while none is obeyed."""
    epochs: list[int]
    kept_requests: int
    """Requests sent to a server without a final answer yet."""
    media: str
    """``direct`` or ``relay``."""
    silent_s: float | None
    """Seconds for which the relay has seen no RTP of an answered call; None: on hold, or not relayed."""
    session_id: str


class AgentCalls(TypedDict):
    """``calls`` of an agent: the parameters of a server's ``calls``."""

    calls: list[AgentCall]
    matched: int


# Parameters of the verbs, all strings:
#   switchover  to: node (default: the other server); force: "yes". Without force it is sent to the active server,
#               which releases; with force to the server that shall be active. A Progress that ends when the new
#               server is active and every reached agent obeys it.
#   reset       lines: names with commas, or "all" (trunk, trunk/channel or phone); state: "idle" (default) or
#               "out of service". Sent to the active server. Calls on these lines end in good order.
#   pause       no automatic takeover or failback at this server until resume.
#   resume      ends a pause; at an agent ends a drain.
#   readmit     agent: a voter (agent or server) that lost its epoch file. Sent to the active server: a new
#               generation. force: "yes" where none is active.
#   drain       agent: refuses new calls; done when its last call has ended.
