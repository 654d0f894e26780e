"""Call detail records (CDR), and how several records of one call are merged.

A record is written when a call has ended, by the server that saw the end; after a takeover both servers may write
one. Its ``id`` is derived from the call id, so that all writers agree on it. :func:`merge` joins the records of a
call in any order, with any repetitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

Result = Literal["answered", "cancelled", "busy", "no-answer", "failed", "rejected", "reset", ""]
EndedBy = Literal["caller", "callee", "server", ""]

RESULTS: Final[tuple[Result, ...]] = ("answered", "cancelled", "busy", "no-answer", "failed", "rejected", "reset")

FAILURES: Final = frozenset[Result]({"no-answer", "failed", "rejected", "reset"})
"""Results of failed calls."""


class Cdr(NamedTuple):
    """One call. Instants are epoch seconds (UTC); ``None``, ``""`` and ``0`` mean unknown."""

    call_id: str
    """Call id that the server made; it is in the state tokens."""
    session_id: str = ""
    """Session-ID (RFC 7989)."""
    site: str = ""
    node: str = ""
    """The server that wrote it; after a merge all writers: ``m1+m2``."""
    epoch: int = 0
    """The epoch in which it ended; after a merge the highest."""
    caller: str = ""
    """Number or user of the caller, as routed."""
    callee: str = ""
    """Number or user that was called; of a forwarded call the last one."""
    dialled: str = ""
    """The number that was called first, if ``callee`` is another one by forwarding or a route."""
    caller_line: str = ""
    callee_line: str = ""
    """The line that answered, or the last one tried."""
    attempts: int = 0
    """Number of targets tried."""
    started: float | None = None
    """Time of the INVITE."""
    ringing: float | None = None
    """Time of the first 180 or 183."""
    answered: float | None = None
    """Time of the 200."""
    ended: float | None = None
    """Time of the BYE, CANCEL or final failure."""
    result: Result = ""
    status: int = 0
    """The final SIP status of the INVITE towards the caller."""
    ended_by: EndedBy = ""
    reason: str = ""
    """Value of the Reason header (RFC 3326), or a sentence of the server."""
    transferred_by: str = ""
    """The line whose device transferred the caller to this callee."""
    transferred_from: str = ""
    """Call id of the call before the transfer, which has a record of its own."""
    far_status: int = 0
    """Final SIP status of the INVITE from the callee's device, or the last one tried; 0: it sent none."""
    forwarded_by: str = ""
    """The line whose forwarding, or redirection, led to the callee."""
    codec: str = ""
    """The first codec of the answer, like ``PCMA``."""
    caller_media: str = ""
    """Media address of the caller when the call was answered: ``192.0.2.1:4000``."""
    callee_media: str = ""
    caller_packets: int | None = None
    """RTP packets of the caller received at the last relay of the site on their path; None: there was no relay, or it
    did not report."""
    caller_lost: int | None = None
    """Packets of the caller that were lost before it (RFC 3550 appendix A.3)."""
    caller_jitter_ms: float | None = None
    """Mean interarrival jitter of these packets (RFC 3550 section 6.4.1)."""
    caller_mos: float | None = None
    """Mean opinion score of the caller's audio, estimated by the E-model (ITU-T G.107)."""
    callee_packets: int | None = None
    """These four: the same of the callee's packets."""
    callee_lost: int | None = None
    callee_jitter_ms: float | None = None
    callee_mos: float | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits derived from the call id, the same for all writers."""
        return blake2b(self.call_id.encode(), digest_size=16, person=b"holdfast-cdr").hexdigest()

    @property
    def cause(self) -> int:
        """The Q.850 cause in ``reason`` (RFC 3326 section 2); 0: there is none."""
        found = _Q850.search(self.reason)
        return int(found[1]) if found is not None else 0

    @property
    def duration(self) -> float | None:
        """Seconds from answer to end; None for a call that was not answered, or whose end is unknown."""
        if self.answered is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.answered)

    def to_json(self) -> dict[str, Any]:
        """All fields, with ``id`` first, ``duration`` after ``ended``, ``cause`` last."""
        lasted = self.duration
        answer: dict[str, Any] = {"id": self.id}
        answer.update(zip(_TO_ENDED, self[: len(_TO_ENDED)], strict=True))
        answer["duration"] = None if lasted is None else round(lasted, 6)
        answer.update(zip(_AFTER_ENDED, self[len(_TO_ENDED) :], strict=True))
        answer["cause"] = self.cause
        return answer

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cdr:
        """Read the result of :meth:`to_json`. Unknown members are ignored; missing ones are unknown.

        Raises :class:`ValueError` for what is not a call record.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("call_id"), str):
            raise ValueError("not a call record: it has no call_id")
        known = {name: value[name] for name in cls._fields if value.get(name) is not None}
        for name, member in known.items():
            if not isinstance(member, _TYPES[name]) or isinstance(member, bool):
                raise ValueError(f"not a call record: {name} is {member!r}")
        return cls(**known)


_Q850: Final = re.compile(r"Q\.850\s*;\s*cause\s*=\s*([0-9]{1,3})(?![0-9])", re.IGNORECASE)
_TO_ENDED: Final = Cdr._fields[: Cdr._fields.index("ended") + 1]
_AFTER_ENDED: Final = Cdr._fields[len(_TO_ENDED) :]
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(Cdr._fields, str),
    **dict.fromkeys(("epoch", "attempts", "status", "far_status"), int),
    **dict.fromkeys(("started", "ringing", "answered", "ended"), (int, float)),
    **dict.fromkeys(("caller_packets", "caller_lost", "callee_packets", "callee_lost"), int),
    **dict.fromkeys(("caller_jitter_ms", "caller_mos", "callee_jitter_ms", "callee_mos"), (int, float)),
}


def sentence(record: Cdr) -> str:
    """The call in one line, for the log."""
    lasted = record.duration
    result = record.result or "its result is not known"
    for_so_long = f" {lasted:.0f} s" if lasted is not None else ""
    by = f", ended by {record.ended_by}" if record.ended_by else ""
    why = f", {record.reason}" if record.reason else ""
    to = f"{record.dialled}, then {record.callee}" if record.dialled else record.callee
    lines = f"({record.caller_line or '?'}) to {to or '?'} ({record.callee_line or 'no line'})"
    return f"{record.caller or '?'} {lines}: {result}{for_so_long}, {record.status}{by}{why}"


def heard(record: Cdr) -> Iterator[str]:
    """The media quality of each party in a sentence; none for one that was not measured."""
    for who, (packets, lost, jitter_ms, mos) in (
        ("caller", _caller_quality(record)),
        ("callee", _callee_quality(record)),
    ):
        if packets == 0:
            yield f"nothing was heard of the {who}: no RTP came"
        elif packets is not None:
            score = f" with a score (MOS) of {mos:.1f}" if mos is not None else ""
            share = (lost or 0) / (packets + (lost or 0))
            yield f"the {who} was heard{score}: {share:.1%} of the RTP was lost, jitter {jitter_ms or 0:.1f} ms"


def merge(records: Iterable[Cdr]) -> Cdr:
    """Merge the records of one call, of which there must be at least one.

    Unknown members are filled. A record with an answer prevails over one without, since its server saw the answer; an
    end by a party prevails over one that a server concluded. Order and repetition do not matter, so a merged record
    may be merged again. Raises :class:`ValueError` without records, or for records of different calls.
    """
    merged: Cdr | None = None
    for record in records:
        merged = record if merged is None else _pair(merged, record)
    if merged is None:
        raise ValueError("there is nothing to merge")
    return merged


def merge_by_call(records: Iterable[Cdr]) -> list[Cdr]:
    """One merged record for each call, by start; those with unknown start are first."""
    calls: dict[str, Cdr] = {}
    for record in records:
        known = calls.get(record.call_id)
        calls[record.call_id] = record if known is None else _pair(known, record)
    return sorted(calls.values(), key=lambda c: (c.started or 0.0, c.call_id))


def _pair(one: Cdr, two: Cdr) -> Cdr:
    if one == two:
        return one
    if one.call_id != two.call_id:
        raise ValueError(f"records of different calls: {one.call_id} and {two.call_id}")
    verdict = max(one, two, key=_verdict)
    end = max(one, two, key=_end)
    caller, callee = (
        max(quality(one), quality(two), key=_measured) for quality in (_caller_quality, _callee_quality)
    )
    return Cdr(
        call_id=one.call_id,
        session_id=max(one.session_id, two.session_id, key=_fuller),
        site=max(one.site, two.site, key=_fuller),
        node="+".join(sorted({*one.node.split("+"), *two.node.split("+")} - {""})),
        epoch=max(one.epoch, two.epoch),
        caller=max(one.caller, two.caller, key=_fuller),
        callee=max(one.callee, two.callee, key=_fuller),
        dialled=max(one.dialled, two.dialled, key=_fuller),
        caller_line=max(one.caller_line, two.caller_line, key=_fuller),
        callee_line=max(one.callee_line, two.callee_line, key=_fuller),
        attempts=max(one.attempts, two.attempts),
        started=_earlier(one.started, two.started),
        ringing=_earlier(one.ringing, two.ringing),
        answered=_earlier(one.answered, two.answered),
        ended=end.ended,
        result=verdict.result,
        status=verdict.status,
        ended_by=end.ended_by,
        reason=end.reason,
        transferred_by=max(one.transferred_by, two.transferred_by, key=_fuller),
        transferred_from=max(one.transferred_from, two.transferred_from, key=_fuller),
        far_status=verdict.far_status,
        forwarded_by=max(one.forwarded_by, two.forwarded_by, key=_fuller),
        codec=max(one.codec, two.codec, key=_fuller),
        caller_media=max(one.caller_media, two.caller_media, key=_fuller),
        callee_media=max(one.callee_media, two.callee_media, key=_fuller),
        caller_packets=caller[0],
        caller_lost=caller[1],
        caller_jitter_ms=caller[2],
        caller_mos=caller[3],
        callee_packets=callee[0],
        callee_lost=callee[1],
        callee_jitter_ms=callee[2],
        callee_mos=callee[3],
    )


_Quality = tuple[int | None, int | None, float | None, float | None]
_caller_quality: Callable[[Cdr], _Quality] = attrgetter(
    "caller_packets", "caller_lost", "caller_jitter_ms", "caller_mos"
)
_callee_quality: Callable[[Cdr], _Quality] = attrgetter(
    "callee_packets", "callee_lost", "callee_jitter_ms", "callee_mos"
)


def _measured(quality: _Quality) -> tuple[float, ...]:
    return tuple(-1.0 if each is None else float(each) for each in quality)


# Each choice is the maximum by a total order over exactly the members that it chooses, which makes the merge
# commutative, associative and idempotent.
def _verdict(record: Cdr) -> tuple[object, ...]:
    said = record.result != "", record.result == "answered", record.result != "failed", record.result, record.status
    return *said, record.far_status


def _end(record: Cdr) -> tuple[object, ...]:
    by_a_party = record.ended_by in ("caller", "callee")
    return record.ended is not None, by_a_party, -(record.ended or 0.0), record.ended_by, _fuller(record.reason)


def _fuller(text: str) -> tuple[int, str]:
    return len(text), text


def _earlier(one: float | None, two: float | None) -> float | None:
    if one is None or two is None:
        return two if one is None else one
    return min(one, two)
