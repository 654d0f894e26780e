"""Transfers that the server makes itself (``transfer = "serve"``): what becomes of them, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from examples.softphone_call import ENDED, TALKING, Call, Policy
from sip.references import DialogId
from sip.wire.message import Request, parse
from tests.stories.site_simulation import SERVED, SiteSimulation, site_of
from tests.stories.test_stories import begun, serve
from tests.wires import Delivery

WHO = ("vera", "east", "carl")


class Heard:
    """What devices receive of a method or status, whole."""

    def __init__(self, town: SiteSimulation, *names: str) -> None:
        self._names = names
        self.messages: list[tuple[str, bytes]] = []
        town.world.listeners.append(self._note)

    def _note(self, delivery: Delivery) -> None:
        if delivery.target in self._names:
            self.messages.append((delivery.target, delivery.data))

    def of(self, name: str, start: str) -> Iterator[bytes]:
        return (data for target, data in self.messages if target == name and data.startswith(start.encode()))


def site(more: str = "", transfer: str = "serve") -> SiteSimulation:
    text = SERVED.replace('transfer = "serve"', f'transfer = "{transfer}"')
    return begun(who=WHO, site=site_of(more=text + more))


def refer(town: SiteSimulation, call: Call, to: str, *lines: str) -> None:
    """The caller has the called side transferred."""
    more = (f"Refer-To: {to}", *lines)
    town.world.ask("vera", lambda now: call.leg.send("REFER", more, b"", now))


def run(town: SiteSimulation, seconds: float = 1.0) -> None:
    town.world.run(town.world.now + seconds)


def told(heard: Heard) -> list[str]:
    """What the referrer was told, in order."""
    return [data.partition(b"\r\n\r\n")[2].decode().strip()[8:11] for data in heard.of("vera", "NOTIFY")]


def named(call: Call) -> str:
    dialog = call.leg.dialog
    return quote(str(DialogId(dialog.call_id, dialog.remote_tag, dialog.local_tag)), safe="")


def test_the_target_is_called_for_who_stays_and_hears_who_referred() -> None:
    town = site()
    heard = Heard(town, *WHO)
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town)
    invite = parse(next(heard.of("carl", "INVITE ")))
    assert isinstance(invite, Request) and not invite.body
    assert "200@" in invite.from_untagged and (invite.get("referred-by") or "").startswith("<sip:")
    assert told(heard) == ["100", "180", "200"] and first.state is TALKING
    target = next(iter(town.line("carl").calls.values()))
    town.do("vera", "bye", first)
    run(town)
    assert (first.state, other.state, target.state) == (ENDED, TALKING, TALKING)
    serve(town, other, target, ("east", "carl"))
    town.do("carl", "bye", target)
    run(town)
    before, after = town.cdrs
    assert (before.caller_line, before.callee_line, before.result) == ("vera/1", "east/1", "answered")
    assert (after.caller_line, after.callee_line, after.result) == ("east/1", "carl", "answered")
    assert (after.transferred_by, after.transferred_from) == ("vera/1", before.call_id)
    assert (before.transferred_by, before.reason) == ("", "transferred")
    assert not town.calls_of("m1")


def test_a_referrer_that_does_not_hang_up_is_hung_up() -> None:
    town = site()
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town, 3.0)
    assert first.state is TALKING
    run(town, 3.0)
    assert (first.state, other.state) == (ENDED, TALKING)


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        (("Refer-Sub: false", "Require: norefersub"), b"202 Accepted\r\n"),
        (("Require: nosub",), b"200 OK\r\n"),
        (("Refer-Sub: false", "Require: NoSub, norefersub"), b"200 OK\r\n"),
    ],
    ids=["RFC 4488", "RFC 7614", "both"],
)
def test_a_referrer_that_wants_to_hear_nothing_hears_nothing(asked: tuple[str, ...], accepted: bytes) -> None:
    town = site()
    heard = Heard(town, *WHO)
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>", *asked)
    run(town)
    answer = next(one for one in heard.of("vera", "SIP/2.0 2") if b" REFER\r\n" in one)
    assert answer.startswith(b"SIP/2.0 " + accepted) and told(heard) == []
    assert (b"\r\nRefer-Sub: false\r\n" in answer) == ("Refer-Sub: false" in asked)
    town.do("vera", "bye", first)
    run(town)
    assert other.state is TALKING and len(town.line("carl").calls) == 1


@pytest.mark.parametrize("transfer", ["serve", "pass"])
def test_a_referrer_that_wants_to_subscribe_by_itself_is_told_to_do_without(transfer: str) -> None:
    town = site(transfer=transfer)
    heard = Heard(town, *WHO)
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>", "Require: explicitsub")
    run(town)
    answer = next(one for one in heard.of("vera", "SIP/2.0 ") if b" REFER\r\n" in one)
    assert answer.startswith(b"SIP/2.0 420 ") and b"\r\nUnsupported: explicitsub\r\n" in answer
    assert (first.state, other.state) == (TALKING, TALKING) and not list(heard.of("east", "REFER"))
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town)
    assert any(b" REFER\r\n" in one for one in heard.of("vera", "SIP/2.0 202"))


@pytest.mark.parametrize(
    ("policy", "to", "status"),
    [
        (Policy(refuse=486), "<sip:1003@127.0.0.11>", "486"),
        (Policy(), "<sip:9999@127.0.0.11>", "404"),
        (Policy(), "<sip:1003@127.0.0.11?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2>", "481"),
    ],
)
def test_a_target_that_fails_leaves_the_call_as_it_was(policy: Policy, to: str, status: str) -> None:
    town = site()
    heard = Heard(town, *WHO)
    town.policy("carl", policy)
    first, other = town.talk("vera", "200", "east")
    for _ in range(2):  # and the next one is as good as the first
        refer(town, first, to)
        run(town, 3.0)
        assert told(heard)[-1] == status
    assert (first.state, other.state) == (TALKING, TALKING)
    serve(town, first, other, ("vera", "east"))


@pytest.mark.parametrize(
    ("transfer", "to", "status"),
    [
        ("refuse", "<sip:1003@127.0.0.11>", 603),
        ("serve", "<sip:1003@127.0.0.11;method=BYE>", 403),
        ("serve", "<http://somewhere>", 416),
        ("serve", "<sip:1003@127.0.0.11?Replaces=x>", 400),
    ],
)
def test_what_is_not_taken(transfer: str, to: str, status: int) -> None:
    town = site(transfer=transfer)
    heard = Heard(town, *WHO)
    first, other = town.talk("vera", "200", "east")
    refer(town, first, to)
    run(town)
    assert len(list(heard.of("vera", f"SIP/2.0 {status} "))) == 1 and told(heard) == []
    serve(town, first, other, ("vera", "east"))


def test_one_at_a_time() -> None:
    town = site()
    heard = Heard(town, *WHO)
    first, _ = town.talk("vera", "200", "east")
    for _ in range(2):
        refer(town, first, "<sip:1003@127.0.0.11>")
        run(town, 0.3)
    assert len(list(heard.of("vera", "SIP/2.0 491 "))) == 1
    assert len(town.line("carl").calls) == 1


def test_who_stays_hangs_up_while_the_target_rings() -> None:
    town = site()
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town, 0.5)
    target = next(iter(town.line("carl").calls.values()))
    assert target.state is not ENDED
    town.do("east", "bye", other)
    run(town)
    assert (first.state, target.state) == (ENDED, ENDED)
    assert sorted(record.result for record in town.cdrs) == ["answered", "cancelled"]
    assert not any(town.calls_of(node) for node in ("m1", "gw1", "gw2"))


def test_who_hung_up_before_a_target_that_fails_leaves_nobody_behind() -> None:
    town = site()
    town.policy("carl", Policy())
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town, 0.5)
    town.do("vera", "bye", first)
    run(town, 0.5)
    assert other.state is TALKING
    town.do("carl", "reject", next(iter(town.line("carl").calls.values())), 480)
    run(town)
    assert (first.state, other.state) == (ENDED, ENDED)
    assert not any(town.calls_of(node) for node in ("m1", "gw1", "gw2"))


def test_the_line_of_the_other_side_has_them_served_too() -> None:
    """A device of a line that passes transfers on refers one of a line whose transfers are served."""
    town = begun(who=("west", "vera", "carl"), site=site_of(more=SERVED))
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("west", "6500", "vera")
    town.do("west", "transfer", first, "1003", None)
    run(town)
    assert not town.heard("vera")["REFER"]
    target = next(iter(town.line("carl").calls.values()))
    town.do("west", "bye", first)
    run(town)
    assert (first.state, other.state, target.state) == (ENDED, TALKING, TALKING)


def test_two_calls_of_the_referrer_are_joined() -> None:
    town = site()
    heard = Heard(town, *WHO)
    first, other = town.talk("vera", "200", "east")
    second, target = town.talk("vera", "1003", "carl")
    refer(town, first, f"<sip:1003@127.0.0.11?Replaces={named(second)}>")
    run(town)
    assert (first.state, second.state, other.state, target.state) == (TALKING, ENDED, TALKING, TALKING)
    assert told(heard) == ["100", "200"]
    town.do("vera", "bye", first)
    run(town)
    serve(town, other, target, ("east", "carl"))
    town.do("east", "bye", other)
    run(town)
    assert target.state is ENDED and len(town.cdrs) == 3
    assert not any(town.calls_of(node) for node in ("m1", "gw1", "gw2"))


def test_a_call_is_not_joined_with_itself() -> None:
    town = site()
    heard = Heard(town, *WHO)
    first, other = town.talk("vera", "200", "east")
    refer(town, first, f"<sip:1003@127.0.0.11?Replaces={named(first)}>")
    run(town, 0.5)
    assert told(heard) == ["100", "481"]
    serve(town, first, other, ("vera", "east"))


def test_a_transfer_of_who_was_transferred() -> None:
    """The target of one has who was transferred to it transferred on."""
    town = site()
    town.policy("vera", Policy(answer_after=0.2))
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    town.do("vera", "transfer", first, "6500", None)
    run(town)
    town.do("vera", "bye", first)
    run(town)
    again = [call for call in town.line("vera").calls.values() if call.state is TALKING]
    assert len(again) == 1 and other.state is TALKING
    town.do("vera", "transfer", again[0], "1003", None)
    run(town)
    town.do("vera", "bye", again[0])
    run(town)
    target = next(iter(town.line("carl").calls.values()))
    serve(town, other, target, ("east", "carl"))
    town.do("carl", "bye", target)
    run(town)
    assert [record.result for record in town.cdrs] == ["answered"] * 3
    assert not any(town.calls_of(node) for node in ("m1", "gw1", "gw2"))


@pytest.mark.parametrize("after_ms", range(196, 222, 3))
def test_who_stays_changes_the_session_as_the_target_answers(after_ms: int) -> None:
    town = site()
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town, after_ms / 1000)
    town.do("east", "hold", other)
    run(town, 4.0)
    town.do("vera", "bye", first)
    run(town, 4.0)
    target = next(iter(town.line("carl").calls.values()))
    assert (other.state, target.state) == (TALKING, TALKING)
    assert other.media_direction == "sendonly" and b"a=sendonly" in target.received_sdp
    town.do("east", "resume", other)
    run(town)
    serve(town, other, target, ("east", "carl"))


@pytest.mark.parametrize("after_ms", range(206, 224, 2))
def test_the_target_hangs_up_as_soon_as_it_has_answered(after_ms: int) -> None:
    """The call is as before, or all of it is over."""
    town = site()
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town, after_ms / 1000)
    target = next(iter(town.line("carl").calls.values()))
    town.do("carl", "bye", target)
    run(town, 6.0)
    assert target.state is ENDED and first.state is other.state
    if first.state is TALKING:
        serve(town, first, other, ("vera", "east"))
    else:
        assert not any(town.calls_of(node) for node in ("m1", "gw1", "gw2"))


@pytest.mark.parametrize("ends", ["carl", "east"])
@pytest.mark.parametrize("after_ms", [0, 1, 2, 5, 7])  # at 7 two BYE cross; from 10 on the server's is there first
def test_the_referrer_hangs_up_as_the_new_call_ends(ends: str, after_ms: int) -> None:
    """Its BYE is answered, and its agent is left with nothing."""
    town = site()
    heard = Heard(town, *WHO)
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town)
    target = next(iter(town.line("carl").calls.values()))
    town.do(ends, "bye", target if ends == "carl" else other)
    run(town, after_ms / 1000)
    town.do("vera", "bye", first)
    run(town, 3.0)
    assert list(heard.of("vera", "SIP/2.0 200 "))[-1].count(b" BYE\r\n") == 1
    assert [each.state for each in (first, other, target)] == [ENDED] * 3
    assert not town.calls_of("m1") and not town.calls_of("gw1") and not town.calls_of("gw2")


@pytest.mark.parametrize("ends", ["carl", "east"])
def test_a_referrer_that_stays_on_the_line_is_hung_up_when_the_new_call_ends(ends: str) -> None:
    town = site()
    town.policy("carl", Policy(answer_after=0.2))
    first, other = town.talk("vera", "200", "east")
    refer(town, first, "<sip:1003@127.0.0.11>")
    run(town)
    target = next(iter(town.line("carl").calls.values()))
    town.do(ends, "bye", target if ends == "carl" else other)
    run(town, 8.0)
    assert [each.state for each in (first, other, target)] == [ENDED] * 3
    assert not town.calls_of("m1") and not town.calls_of("gw1") and not town.calls_of("gw2")
