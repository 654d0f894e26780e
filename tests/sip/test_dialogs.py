"""The dialogs of one INVITE usage, and the tags by which they are found (RFC 3261 sections 12.1, 13.2.2.4)."""

from __future__ import annotations

from sip.actions import Flow
from sip.dialog import UAC, UAS, Dialog, DialogState
from sip.dialog_sender import DialogSender
from sip.invite import InviteUsage
from sip.invite.dialogs import MAX_EARLY, Dialogs
from sip.invite.local_tags import LocalTags
from sip.next_hop import DialogPath
from sip.receiver import InDialog
from sip.wire.message import Response, parse
from tests.sip.two_stacks import End

UDP = Flow("udp", "127.0.0.1:5001", ("127.0.0.1", 5002))
ELSEWHERE = Flow("tcp", "127.0.0.1:7", ("127.0.0.1", 5002))


class Leg:
    """What is found; the test looks at its identity alone."""


def made(direction: str = UAC, remote_tag: str = "") -> tuple[Dialogs, dict[str, InDialog], InviteUsage]:
    end = End("a", 5001)
    state = DialogState("c", "ta", remote_tag, "<sip:a@x>", "<sip:b@x>", 3, 9, "sip:b@x", (), direction)
    leg = InviteUsage(end.stack, end, UDP, state)
    legs: dict[str, InDialog] = {}
    sender = DialogSender(end.stack, Dialog(state), DialogPath(UDP))
    return Dialogs(sender, LocalTags(legs, leg, "c", "ta")), legs, leg


def said(tag: str, status: int = 180, cseq: int = 1) -> Response:
    lines = (f"SIP/2.0 {status} X", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@x>;tag=ta")
    more = (f"To: <sip:b@x>;tag={tag}", "Call-ID: c", f"CSeq: {cseq} INVITE", f"Contact: <sip:{tag}@h>", "", "")
    message = parse("\r\n".join((*lines, *more)).encode())
    assert isinstance(message, Response)
    return message


def test_the_first_fork_has_the_dialog_that_is_there_and_each_further_one_its_own() -> None:
    dialogs, _, _ = made()
    for tag in ("t1", "t2", "t1", "t3"):
        dialogs.meet(said(tag))
    assert dialogs.find("t1") is dialogs.chosen
    targets = [one.dialog.target for tag in ("t1", "t2", "t3") if (one := dialogs.find(tag)) is not None]
    assert targets == ["sip:t1@h", "sip:t2@h", "sip:t3@h"] and dialogs.find("t4") is None
    assert [dialogs.has_fork(tag) for tag in ("t1", "t3", "t4")] == [True, True, False]
    assert [dialogs.find_passed(tag).dialog.remote_tag for tag in ("t2", "t1", "t9", "")] == ["t2", "t1", "t1", "t1"]


def test_there_is_no_end_of_forks_but_of_memory() -> None:
    dialogs, _, _ = made()
    for number in range(100):
        dialogs.meet(said(f"t{number}"))
    assert sum(dialogs.find(f"t{number}") is not None for number in range(100)) == MAX_EARLY + 1


def test_the_answer_chooses_one_also_of_a_fork_that_said_nothing_before() -> None:
    for known, answer in ((("t1", "t2"), "t2"), (("t1", "t2"), "t9"), ((), "t9"), (("t1",), "t1")):
        dialogs, _, _ = made()
        for tag in known:
            dialogs.meet(said(tag))
        chosen = dialogs.choose(said(answer, 200))
        assert dialogs.chosen is chosen and chosen.dialog.remote_tag == answer
        assert chosen.dialog.target == f"sip:{answer}@h" and chosen.dialog.local_cseq == 3
        assert [dialogs.find(tag) for tag in known if tag != answer] == [None] * len({*known} - {answer})


def test_an_invite_that_is_sent_once_more_begins_anew() -> None:
    dialogs, _, _ = made()
    dialogs.uri = "sip:first@x"
    for tag in ("t1", "t2"):
        dialogs.meet(said(tag))
    dialogs.open_again()
    dialog = dialogs.chosen.dialog
    assert (dialog.remote_tag, dialog.remote_cseq, dialog.target, dialog.local_cseq) == ("", 0, "sip:first@x", 3)
    assert dialogs.find("t2") is dialogs.chosen  # whoever speaks first


def test_all_move_to_another_connection() -> None:
    dialogs, _, _ = made()
    for tag in ("t1", "t2"):
        dialogs.meet(said(tag))
    dialogs.move(ELSEWHERE)
    assert {one.path.flow for tag in ("t1", "t2") if (one := dialogs.find(tag)) is not None} == {ELSEWHERE}


def test_we_are_found_by_the_tag_of_each_early_dialog_then_by_that_of_the_answer() -> None:
    dialogs, legs, leg = made(UAS, "tb")
    assert dialogs.open("t1", 180, leg) and dialogs.open("t2", 183, leg) and dialogs.open("t1", 180, leg)
    assert legs == {"c ta": leg, "c t1": leg, "c t2": leg}
    assert dialogs.find_passed("t2").dialog.local_tag == "t2" and dialogs.find_passed("t9") is dialogs.chosen
    dialogs.answered("t2")
    assert legs == {"c t2": leg} and dialogs.chosen.dialog.local_tag == "t2"
    dialogs.local_tags.keep("")
    assert legs == {}


def test_a_callee_cannot_make_early_dialogs_without_end_but_may_answer_in_one_more() -> None:
    dialogs, legs, leg = made(UAS, "tb")
    opened = [dialogs.open(f"t{number}", 180, leg) for number in range(100)]
    assert sum(opened) == MAX_EARLY == len(legs) - 1
    assert dialogs.open("late", 200, leg) and "c late" in legs


def test_an_answer_after_the_end_lets_nobody_find_us_again() -> None:
    dialogs, legs, leg = made(UAS, "tb")
    dialogs.local_tags.keep("")
    assert dialogs.open("ta", 487, leg) and legs == {}


def test_a_repeat_of_another_server_goes_on_under_its_call_id() -> None:
    dialogs, legs, leg = made(UAS, "tb")
    dialogs.open("t1", 180, leg)
    head = ("INVITE sip:a@x SIP/2.0", "Via: SIP/2.0/TCP h;branch=z9hG4bK2", "From: <sip:b@x>;tag=tn", "To: <sip:a@x>")
    data = "\r\n".join(
        (*head, "Call-ID: new", "CSeq: 4 INVITE", "Contact: <sip:n@h>", "Record-Route: <sip:r;lr>", "", "")
    )
    invite = parse(data.encode())
    assert not isinstance(invite, Response)
    dialogs.repeated(invite, ELSEWHERE, leg)
    dialog = dialogs.chosen.dialog
    assert legs == {"new ta": leg, "new t1": leg} and dialogs.chosen.path.flow == ELSEWHERE
    assert (dialog.call_id, dialog.remote_tag, dialog.remote_cseq, dialog.target) == ("new", "tn", 4, "sip:n@h")
    assert dialog.route_set == ("<sip:r;lr>",)


def test_a_dialog_without_a_tag_of_ours_goes_as_well() -> None:
    """A record may tell of one that no response gave a tag yet."""
    legs: dict[str, Leg] = {}
    tags = LocalTags(legs, Leg(), "c", "")
    assert list(legs) == ["c "]
    tags.keep("")
    assert legs == {}
