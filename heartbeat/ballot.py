"""The answers of a node to pre-votes and vote requests: by the rules of its voter (``voter``), and only while its
disk can keep what it grants."""

from __future__ import annotations

from heartbeat.decision import What
from heartbeat.header import NO_DISK, Beat
from heartbeat.participant import Participant
from heartbeat.voter import Vote


def judge(node: Participant, ask: Beat, now: float) -> Vote:
    """Whether ``node`` would grant ``ask.for_epoch``. Changes nothing."""
    vote = node.voter.judge(ask, now)
    return _without_disk(node) if vote and node.has_no_disk else vote


def grant(node: Participant, request: Beat, now: float) -> Vote:
    """Grant ``request.for_epoch`` if the rules allow it; the caller sends the grant when it is on disk."""
    return _without_disk(node) if node.has_no_disk else node.voter.grant(request, now)


def answer_prevote(node: Participant, ask: Beat, now: float) -> None:
    """Answer a pre-vote: whether we would grant ``ask.for_epoch``."""
    _answer(node, ask, judge(node, ask, now), now)


def answer_request(node: Participant, request: Beat, now: float) -> None:
    """Answer a vote request: grant ``request.for_epoch``, or say why not."""
    before, epoch = node.voter.state, request.for_epoch
    vote = grant(node, request, now)
    if not vote:
        _answer(node, request, vote, now)
        return
    if node.voter.state is not before:
        said = f"{node.name} grants epoch {epoch} to {request.node}"
        node.outbox.decide(What.GRANTED, said, now, epoch=epoch, node=request.node)
    signature = node.voter.signature(request, node.membership.keys[0])
    node.answer(request, now, for_epoch=epoch, grant=signature)


def _without_disk(node: Participant) -> Vote:
    """Refuse because the disk cannot be written, and test it again, so that the next answer may be a yes."""
    node.test_disk()
    return Vote(NO_DISK)


def _answer(node: Participant, ask: Beat, vote: Vote, now: float) -> None:
    more = {"list": node.on_disk.voters.text} if vote.no == "voters" else {}
    node.answer(ask, now, for_epoch=ask.for_epoch, no=vote.no, wait=vote.wait, **more)
