"""The requests of one usage, and how they are sent once more (RFC 3261 section 22, RFC 3263 section 4.3)."""

from __future__ import annotations

from random import Random

import pytest

from sip.actions import Flow, Send
from sip.dialog import Dialog, DialogState
from sip.dialog_sender import Acknowledgement, DialogSender
from sip.digest import DigestClient
from sip.invite.client_invite import IgnoredResponses
from sip.invite.dialogs import Dialogs
from sip.invite.local_tags import LocalTags
from sip.invite.requests import Requests
from sip.next_hop import DialogPath
from sip.transaction import ClientTransaction
from sip.wire.message import Request, Response, parse
from tests.sip.two_stacks import End

UDP = Flow("udp", "127.0.0.1:5001", ("127.0.0.1", 5002))


class Bed:
    """Requests of a caller whose INVITE has made the early dialogs ``t1`` and ``t2``."""

    def __init__(self, digest: bool = True, no_timeout: bool = False, on_site: bool = False) -> None:
        self.end = End("a", 5001)
        stack = self.end.stack
        if on_site:
            stack.site_flows.add(UDP)
        sender = DialogSender(stack, Dialog(DialogState("c", "ta", "", "<sip:a@x>", "<sip:b@x>")), DialogPath(UDP))
        self.dialogs = Dialogs(sender, LocalTags({}, self.end, "c", "ta"))
        self.ack = Acknowledgement(sender)
        client = DigestClient("a", "secret", Random(1)) if digest else None
        self.requests = Requests(stack, self.dialogs, self.ack, client, no_timeout)
        for tag in ("t1", "t2"):
            self.dialogs.meet(self.said(tag, 180, "INVITE"))

    def said(self, tag: str, status: int, method: str, *lines: str) -> Response:
        head = (f"SIP/2.0 {status} X", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "From: <sip:a@x>;tag=ta", *lines)
        more = (f"To: <sip:b@x>;tag={tag}", "Call-ID: c", f"CSeq: 1 {method}", f"Contact: <sip:{tag}@h>", "", "")
        message = parse("\r\n".join((*head, *more)).encode())
        assert isinstance(message, Response)
        return message

    def challenge(self, asked: ClientTransaction, tag: str, status: int = 401) -> ClientTransaction | None:
        line = 'WWW-Authenticate: Digest realm="x", nonce="n", qop="auth"'
        response = self.said(tag, status, asked.method, line)
        return self.requests.send_proved(IgnoredResponses(), asked, response, True, 0.0)

    def sent(self) -> list[Request]:
        found = [parse(action.data) for action in self.end.stack.to_do() if isinstance(action, Send)]
        return [one for one in found if isinstance(one, Request)]

    def send(self, method: str, tag: str = "", opening: bool = False) -> ClientTransaction:
        return self.requests.send(IgnoredResponses(), method, (), b"", 0.0, None, 70, tag=tag, opening=opening)


@pytest.mark.parametrize(("tag", "uri"), [("", "sip:t1@h"), ("t1", "sip:t1@h"), ("t2", "sip:t2@h")])
def test_a_challenged_request_goes_once_more_to_its_own_early_dialog(tag: str, uri: str) -> None:
    bed = Bed()
    again = bed.challenge(bed.send("INFO", tag), tag or "t1")
    first, second = bed.sent()
    assert again is not None and (first.uri, second.uri) == (uri, uri)
    assert f'uri="{uri}"' in (second.get("authorization") or "") and first.get("authorization") is None
    assert second.cseq == first.cseq + 1 and second.to_tag == first.to_tag == (tag or "t1")


def test_a_challenged_first_invite_begins_anew_and_its_ack_has_the_credentials() -> None:
    bed = Bed()
    bed.dialogs.uri = "sip:first@x"
    bed.dialogs.open_again()
    assert bed.challenge(bed.send("INVITE", opening=True), "t1") is not None
    first, second = bed.sent()
    assert second.to_tag == "" and second.uri == first.uri == "sip:first@x"
    assert bed.ack.credentials == (f"Authorization: {second.get('authorization')}",)


@pytest.mark.parametrize(("digest", "status"), [(False, 401), (True, 500), (True, 200)])
def test_what_is_no_challenge_or_cannot_be_answered_is_not_sent_again(digest: bool, status: int) -> None:
    bed = Bed(digest)
    asked = bed.send("INFO")
    assert bed.challenge(asked, "t1", status) is None
    assert bed.challenge(asked, "t1") is None  # it has had its final response
    assert len(bed.sent()) == 1


def test_one_without_an_answer_is_not_challenged_any_more() -> None:
    bed = Bed()
    asked = bed.send("INFO")
    bed.requests.gave_up(asked)
    assert bed.challenge(asked, "t1") is None


@pytest.mark.parametrize(
    ("no_timeout", "on_site", "numbers"),
    [(False, False, [1, 1, 2, 2]), (True, False, [1, 2, 3, 4]), (False, True, [1, 2, 3, 4])],
)
def test_on_a_site_all_early_dialogs_count_together(no_timeout: bool, on_site: bool, numbers: list[int]) -> None:
    bed = Bed(no_timeout=no_timeout, on_site=on_site)
    for tag in ("t1", "t2", "t1", "t2"):
        bed.send("INFO", tag)
    assert [one.cseq for one in bed.sent()] == numbers
    before = bed.dialogs.chosen.dialog
    bed.dialogs.choose(bed.said("t2", 200, "INVITE"))
    bed.requests.count_on(before)
    bed.send("INFO")
    assert bed.sent()[0].cseq == numbers[-1] + 1


def test_none_times_out_where_that_was_said() -> None:
    assert [Bed(no_timeout=given).send("INFO").no_timeout for given in (True, False)] == [True, False]


def test_without_another_place_nothing_goes_elsewhere() -> None:
    bed = Bed()
    assert bed.requests.send_elsewhere(IgnoredResponses(), bed.send("INFO"), False, 0.0) is None
