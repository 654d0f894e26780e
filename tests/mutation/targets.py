"""The modules on which safety rests, and the tests that belong to each."""

from __future__ import annotations

from typing import Final, NamedTuple


class Target(NamedTuple):
    """Modules with the tests that must notice what is changed in them."""

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    """Quick ones, of the modules themselves."""
    stories: tuple[str, ...] = ()
    """Those of whole programs, for what the quick ones do not notice."""


def _of(package: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{package}/test_{name}.py" for name in names)


TARGETS: Final = (
    Target(
        "vote",
        ("heartbeat/voter.py", "heartbeat/ballot.py", "heartbeat/proof.py"),
        _of(
            "heartbeat",
            "voter",
            "ballot",
            "voters",
            "full_disks",
            "proof_renewal",
            "reconfiguration",
            "persistence",
            "agent_statements",
        ),
        _of("heartbeat", "deaths", "starts", "first_start", "switchover", "member_simulation"),
    ),
    Target(
        "keys",
        ("heartbeat/agent_key.py", "heartbeat/keyring.py", "heartbeat/agent_statements.py"),
        _of("heartbeat", "agent_key", "keyring", "agent_statements", "site_reload"),
        (*_of("stories", "agent_keys"), *_of("security", "stolen_agent")),
    ),
    Target(
        "lease", ("heartbeat/lease.py",), _of("heartbeat", "lease", "lease_drift", "voter", "member_edges", "voters")
    ),
    Target(
        "detector", ("heartbeat/detector.py",), _of("heartbeat", "detector", "standby", "timing", "member", "deaths")
    ),
    Target(
        "election",
        ("heartbeat/election.py",),
        _of("heartbeat", "votes", "election", "standby"),
        _of("heartbeat", "voters", "deaths", "starts", "switchover", "member", "member_simulation"),
    ),
    Target(
        "candidate",
        ("heartbeat/candidate.py",),
        _of("heartbeat", "candidate"),
        _of("heartbeat", "standby", "voters", "deaths", "starts", "switchover", "member", "member_simulation"),
    ),
    Target(
        "deduplication",
        ("gateway_agent/deduplication.py",),
        _of("gateway_agent", "deduplication"),
        _of("gateway_agent", "core", "takeover", "failover", "disorder", "handover"),
    ),
    Target(
        "replay",
        ("b2bua/takeover/replay.py",),
        _of("b2bua", "replay", "invite_replay", "recovery"),
        (*_of("b2bua", "restoration", "crossing", "disorder"), *_of("stories", "stories")),
    ),
    Target(
        "reconcile",
        ("b2bua/takeover/reconciliation.py",),
        _of("b2bua", "reconciliation", "report", "adopted"),
        (*_of("b2bua", "restoration", "recovery"), *_of("stories", "stories", "clocks")),
    ),
    Target("state token", ("b2bua/state_token.py",), _of("b2bua", "state_token"), _of("b2bua", "records")),
    Target(
        "line state",
        (
            "gateway_agent/line_state.py",
            "gateway_agent/seal.py",
            "gateway_agent/line_snapshot.py",
            "b2bua/line_states.py",
        ),
        (
            *_of("gateway_agent", "seal", "line_state", "line_snapshot", "registration_state"),
            *_of("b2bua", "line_states", "line_return"),
        ),
        (*_of("gateway_agent", "derivation", "handover"), *_of("stories", "agent_deaths")),
    ),
    Target(
        "record merge",
        ("b2bua/cdr.py",),
        _of("b2bua", "cdr", "cdr_store"),
        (*_of("b2bua", "call_records"), *_of("stories", "call_records")),
    ),
)
