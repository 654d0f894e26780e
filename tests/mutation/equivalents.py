"""Changes after which a module does the same, or nothing that a rule asks for: by name, each with its reason."""

from __future__ import annotations

from typing import Final

_DETECTOR: Final = "heartbeat/detector.py"

_WATCHED: Final = "whoever is watched is told by `watch`, which sets it, before anything is judged"

_GENERATION: Final = "compared only with what it was when the alarm was set, wherever it began"

_CHOSEN: Final = "a limit that was chosen: one more breaks no rule"

_ONE_LIST: Final = "a generation names one list only"

_AS_LONG: Final = "the two are cut from one tuple, so they are as long as each other"

_ELECTION: Final = "heartbeat/election.py"

_CANDIDATE: Final = "heartbeat/candidate.py"

_STARTED: Final = "every election begins with `start`, which sets it before it is read"

_REPLAY: Final = "b2bua/takeover/replay.py"

_RECONCILIATION: Final = "b2bua/takeover/reconciliation.py"

_ROUND: Final = "every election begins with a round of the pre-vote, which sets it, before anybody answers"

EQUIVALENT: Final[dict[tuple[str, str], str]] = {
    (
        _DETECTOR,
        "Detector.__init__: self._suspect_at = now -> pass",
    ): "set by what makes it suspect, before it is read",
    (_DETECTOR, "Detector.__init__: self._said = '' -> pass"): _WATCHED,
    (_DETECTOR, "Detector.__init__: self._corroborated = False -> pass"): _WATCHED,
    (_DETECTOR, "Detector.__init__: False -> True (2)"): _WATCHED,
    (
        _DETECTOR,
        "Detector.witness: len(self._witnesses) < _MOST_WITNESSES -> len(self._witnesses) <= _MOST_WITNESSES",
    ): "a bound on memory, one more of 10,000",
    (_ELECTION, "Election.__init__: self.voters = VoterList() -> pass"): _ROUND,
    (_ELECTION, "Election.__init__: self.quorum = 1 -> pass"): _ROUND,
    (_ELECTION, "Election.__init__: 1 -> 2"): _ROUND,
    (_ELECTION, "Election.__init__: 0 -> 1"): _ROUND,
    (_ELECTION, "Election.__init__: self.retry_at = now -> pass"): _ROUND,
    (_ELECTION, "Election.__init__: self.round_at = now -> pass"): _ROUND,
    (
        _ELECTION,
        "Election.asked: len(self._asked) > _MOST_ASKED -> len(self._asked) >= _MOST_ASKED",
    ): "a bound on memory, one question less",
    (_ELECTION, "Election.answered: 1 -> 2 (2)"): "no question has a number below 0",
    (_CANDIDATE, "Candidate.__init__: self._leadership = Leadership() -> pass"): _STARTED,
    (_CANDIDATE, "Candidate.__init__: self._told = '' -> pass"): _STARTED,
    (_CANDIDATE, "Candidate.__init__: self._tell_at = now -> pass"): _STARTED,
    (
        _CANDIDATE,
        "Candidate.step: action is not None and self.election is not None -> action is not None",
    ): "where there is no election the table has one action, for its begin, and `start` makes it before",
    (
        _REPLAY,
        "Replay.unknown_dialog: connection is None or not self._may_come(agent, key, request) -> "
        "not self._may_come(agent, key, request)",
    ): "of an agent that is not there nothing may come",
    (_RECONCILIATION, "Reconciliation.__init__: 0 -> 1"): _GENERATION,
    (_RECONCILIATION, "Reconciliation.clear: 1 -> 2"): _GENERATION,
    (
        _RECONCILIATION,
        "Reconciliation._judge_unanswered: not records or any((told.has_sent and (not told.opened_by_server) "
        "for told in records)) -> any((told.has_sent and (not told.opened_by_server) for told in records))",
    ): "of no records nothing is concluded",
    (_REPLAY, "Replay.__init__: 0 -> 1"): _GENERATION,
    (_REPLAY, "Replay.clear: 1 -> 2"): _GENERATION,
    ("b2bua/cdr.py", "Cdr.to_json: True -> False"): _AS_LONG,
    ("b2bua/cdr.py", "Cdr.to_json: True -> False (2)"): _AS_LONG,
    (
        "b2bua/cdr.py",
        "_end: 0.0 -> 1.0",
    ): "of records without an end, all say this; none ends at the instant 0 of the wall clock",
    (
        "heartbeat/voter.py",
        "Voter.adopt: own.generation > proof.voters.generation -> own.generation >= proof.voters.generation",
    ): _ONE_LIST,
    (
        "heartbeat/voter.py",
        "Voter.adopt: own.generation > proof.voters.generation -> own.generation >= proof.voters.generation (2)",
    ): _ONE_LIST,
    ("heartbeat/voter.py", "Voter.admit: 0 -> 1"): "nobody has no incarnation, whatever is written there",
    (
        "heartbeat/voter.py",
        "Voter._note: old.epoch > granted.epoch -> old.epoch >= granted.epoch",
    ): "of the same start and epoch there is one value only",
    (
        "heartbeat/proof.py",
        "VoterList.next: self.generation and generation >= (epoch + 1) * _PER_EPOCH -> "
        "generation >= (epoch + 1) * _PER_EPOCH",
    ): "an epoch has room for the first list of all",
    (
        "heartbeat/proof.py",
        "Proof.fault: not self.voters.names or len(good) < self.voters.quorum -> len(good) < self.voters.quorum",
    ): "of no names one decides, and of its grants none counts",
    ("gateway_agent/line_state.py", "_parts: 1 -> 2"): "the number of no description: any that is negative",
    ("gateway_agent/deduplication.py", "Deduplication.__init__: 200000 -> 200001"): _CHOSEN,
    ("gateway_agent/deduplication.py", "Deduplication.__init__: 0 -> 1"): _GENERATION,
}
"""Module and name of the mutant."""
