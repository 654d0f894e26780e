"""Requests inside calls after a takeover: kept by agents, or come before their dialogs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from b2bua.call_records import End
from b2bua.state_token import call_id_of
from b2bua.takeover import replay as module
from b2bua.takeover.replay import LOOK, LOOK_EVERY, MOST_OF_ONE, OWN_LINE, PROGRESSED, Replay
from b2bua.takeover.verdicts import REPLAYED, Verdicts
from sip.actions import Flow
from sip.dialog import dialog_key
from sip.invite import InviteUsage
from sip.packages.line_dialog import Ended
from sip.transaction import cancel_of
from sip.wire.message import Request, parse

GW1 = Flow("tcp", "s1#1", ("127.0.0.11", 40001))
KEY = dialog_key("c1", "local")


def request(method: str = "INFO", to_tag: str = "local", call_id: str = "c1", more: str = "") -> Request:
    tag = f";tag={to_tag}" if to_tag else ""
    message = parse(
        (
            f"{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.11;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\n"
            f"To: <sip:b@x>{tag}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
        ).encode()
    )
    assert isinstance(message, Request)
    return message


class Transaction:
    """A request that came; it notes whether it was given up."""

    def __init__(self) -> None:
        self.flow = GW1
        self.context: Any = None
        self.terminated = False

    def terminate(self) -> None:
        self.terminated = True


class Leg(InviteUsage):
    """A restored leg; it notes what it is handed."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def receive(self, transaction: Any, request: Request, now: float) -> None:
        self.got.append(request.method)

    def receive_ack(self, ack: Request, now: float) -> None:
        self.got.append("ACK")


class Told:
    """What an agent told of the dialog, with the requests that it keeps."""

    agent = "gw1"
    call = "call-1"
    call_id = "c1"
    key = KEY
    ended_at = 5.0
    told_at = 2.5
    opened_by_server = False
    live = False
    talks = False
    ended = Ended(2.0, "device", "Q.850;cause=16")

    def __init__(self, *kept: tuple[Request, bool]) -> None:
        self.kept = kept

    def sent(self) -> list[tuple[Request, bytes, bool]]:
        return [(each, each.to_bytes(), cancelled) for each, cancelled in self.kept]


class Fixture:
    """A replay amid parts that note what it asks of them, in order."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.leg = Leg()
        self.restorable = True
        self.told: dict[str, Any] = {}
        self.verdicts = Verdicts()
        self.ends: dict[str, End] = {}
        self.records = SimpleNamespace(ended={}, ends=self.ends, quality=None)
        self.connection = SimpleNamespace(name="gw1", flow=GW1, complete=False, fetch=self._fetch)
        self.stack = SimpleNamespace(
            legs={},
            reply=lambda transaction, status, now: self.asked.append((transaction, status)),
            respond_stateless=lambda transaction, status, lines: self.asked.append((transaction, status, *lines)),
            receive_message=self._receive,
            deadlines=SimpleNamespace(set=lambda at, who, cause: self.alarms.append((at, cause))),
        )
        self.replaying: list[bool] = []
        """Whether calls were told so, at each request that was replayed."""
        self.alarms: list[tuple[float, str]] = []
        """When it wants to be called, and why."""
        self.known: bool | None = True
        """Whether who sends on a line of the servers' own may have dialogs."""
        self.cookie = False
        """The request brings its call along."""
        senders = SimpleNamespace(has_dialogs=lambda flow: self.known)
        self.calls: dict[str, Any] = {}
        """By id, with their states: as far as they are made again."""
        self.unrestored = True
        """Calls may be told still, or restored."""
        self.restorations: Any = SimpleNamespace(
            index=SimpleNamespace(get=self.told.get, by_key=self.told),
            services=SimpleNamespace(
                stack=self.stack,
                records=self.records,
                calls=self.calls,
                progressed=None,
                own_lines=SimpleNamespace(senders=senders),
            ),
            agents=SimpleNamespace(connections={"gw1": self.connection}, all_complete=False),
            verdicts=self.verdicts,
            replaying=False,
            restore=self._restore,
            cancel=lambda call_id, cancel, now: self.asked.append(("cancel", call_id, cancel.method)),
        )
        self.cookies: Any = SimpleNamespace(requested=lambda transaction, request, now: self.cookie)
        self.replay = Replay(
            self.restorations,
            self.cookies,
            lambda transaction, cancel, now: self.asked.append((transaction, cancel.method)),
            lambda now: self.unrestored,
        )

    def _receive(self, data: bytes, flow: Flow, now: float) -> None:
        message = parse(data)
        assert isinstance(message, Request)
        self.asked.append(("replay", message.method, flow))
        self.replaying.append(self.restorations.replaying)

    def _fetch(self, call_id: str, now: float) -> None:
        self.asked.append(("fetch", call_id))

    def _restore(self, call_id: str, now: float, told: Any) -> None:
        self.asked.append(("restore", call_id))
        if self.restorable:
            self.stack.legs[KEY] = self.leg

    def take(self) -> list[Any]:
        found, self.asked[:] = self.asked[:], []
        return found

    def wait(self, made: Request | None = None) -> Any:
        """A request comes whose dialog is not told yet."""
        transaction: Any = Transaction()
        assert self.replay.unknown_dialog("gw1", transaction, made or request(), 1.0)
        return transaction

    def device(self, made: Request | None = None, now: float = 1.0) -> tuple[bool, Any]:
        """A request comes on a line of the servers' own; whether it is dealt with, and its transaction."""
        transaction: Any = Transaction()
        return self.replay.unknown_dialog("", transaction, made or request(), now), transaction

    def tell(self) -> None:
        told: Any = Told()
        self.told[KEY] = told
        self.replay.dialog_told(told, 2.0)


# -- requests that come -------------------------------------------------------------------------------------------


def test_a_request_in_a_dialog_that_is_told_restores_it_and_goes_on() -> None:
    fixture = Fixture()
    fixture.told[KEY] = Told()
    fixture.wait()
    assert fixture.take() == [("restore", "call-1")] and fixture.leg.got == ["INFO"]
    fixture.replay.stray_ack(request("ACK"), 1.0)
    assert fixture.leg.got == ["INFO", "ACK"]


def test_what_cannot_be_restored_is_not_there() -> None:
    fixture = Fixture()
    fixture.told[KEY], fixture.restorable = Told(), False
    fixture.connection.complete = True
    transaction: Any = Transaction()
    assert not fixture.replay.unknown_dialog("gw1", transaction, request(), 1.0)
    fixture.replay.stray_ack(request("ACK"), 1.0)
    fixture.replay.stray_ack(request("ACK", "unknown"), 1.0)
    assert not fixture.leg.got and not fixture.replay.waits_for(KEY)


@pytest.mark.parametrize("why", ["complete", "no such agent"])
def test_a_dialog_that_a_whole_list_has_not_does_not_exist(why: str) -> None:
    fixture, transaction = Fixture(), Transaction()
    waiting: Any = transaction
    fixture.connection.complete = why == "complete"
    assert not fixture.replay.unknown_dialog("gw2" if why != "complete" else "gw1", waiting, request(), 1.0)
    assert not fixture.take() and not transaction.terminated


def test_a_request_waits_for_its_dialog_which_is_fetched() -> None:
    fixture = Fixture()
    first = fixture.wait()
    fixture.wait(request("BYE"))
    assert fixture.replay.waits_for(KEY) and first.context == "gw1"
    assert fixture.take() == [("fetch", "c1"), ("fetch", "c1")] and not fixture.leg.got
    fixture.tell()
    assert fixture.leg.got == ["INFO", "BYE"], "in the order in which they came"
    assert not fixture.replay.waits_for(KEY) and fixture.restorations.services.progressed is None


def test_a_dialog_that_is_told_and_cannot_be_restored_is_answered() -> None:
    fixture = Fixture()
    transaction, fixture.restorable = fixture.wait(), False
    fixture.connection.complete = True
    fixture.take()
    fixture.tell()
    assert fixture.take() == [("restore", "call-1"), (transaction, 481)]


@pytest.mark.parametrize(
    ("known", "complete", "all_complete", "waits"),
    [
        ("nothing", False, False, True),  # its agent may tell it still
        ("told", False, False, True),
        ("told", True, False, True),  # the other agents may tell what its call is made again from
        ("told", True, True, False),
        ("talking", True, False, False),  # it would have been restored
        ("ended", True, False, False),
        ("set up", True, True, True),  # the INVITE is made again, and its dialogs with it
        ("answered", True, True, False),
    ],
)
def test_a_request_waits_as_long_as_its_dialog_may_come(
    known: str, complete: bool, all_complete: bool, waits: bool
) -> None:
    fixture, transaction = Fixture(), Transaction()
    waiting: Any = transaction
    fixture.restorable = False
    fixture.connection.complete = complete
    fixture.restorations.agents.all_complete = all_complete
    if known != "nothing":
        told = fixture.told[KEY] = Told()
        told.live, told.talks = known != "ended", known == "talking"
    if known in ("set up", "answered"):
        fixture.calls["call-1"] = SimpleNamespace(state=SimpleNamespace(answered=known == "answered"))
    assert fixture.replay.unknown_dialog("gw1", waiting, request(), 1.0) is waits
    assert fixture.replay.waits_for(KEY) is waits


def test_an_early_dialog_is_looked_for_when_the_set_up_of_its_call_went_on() -> None:
    fixture = Fixture()
    fixture.connection.complete, fixture.calls["call-1"] = (
        True,
        SimpleNamespace(state=SimpleNamespace(answered=False)),
    )
    fixture.told[KEY], fixture.restorable = Told(), False
    transaction = fixture.wait()
    fixture.replay.due(module.PROGRESSED, 2.0)
    assert fixture.replay.waits_for(KEY), "it may come still"
    fixture.stack.legs[KEY] = fixture.leg
    fixture.replay.due(module.PROGRESSED, 2.0)
    assert fixture.leg.got == ["INFO"] and not fixture.replay.waits_for(KEY) and not transaction.terminated


def test_a_cancel_waits_with_its_invite() -> None:
    fixture = Fixture()
    invite, other = fixture.wait(request("INVITE")), fixture.wait(request("INVITE", "other"))
    fixture.replay.cancelled(invite, request("CANCEL"))
    fixture.take()
    fixture.tell()
    assert fixture.leg.got == ["INVITE"] and fixture.take()[1:] == [(invite, "CANCEL")]
    assert not other.terminated and fixture.replay.waits_for(dialog_key("c1", "other"))


@pytest.mark.parametrize(("of_one", "dialogs"), [(MOST_OF_ONE, 1), (1, 3)])
def test_there_are_bounds_to_waiting(of_one: int, dialogs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    fixture = Fixture()
    for dialog in range(dialogs):
        for _ in range(of_one):
            fixture.wait(request(to_tag=f"t{dialog}"))
    fixture.take()
    refused = fixture.wait(request(to_tag=f"t{dialogs - 1}"))
    assert fixture.take() == [(refused, 500, "Retry-After: 5")] and refused.context is None


def test_a_complete_list_answers_what_waits_for_its_agent() -> None:
    fixture = Fixture()
    transaction, ours = fixture.wait(), fixture.wait(request(to_tag="other"))
    ours.context = "gw2"
    fixture.take()
    fixture.connection.complete = True
    fixture.replay.list_complete("gw1", 3.0)
    assert fixture.take() == [(transaction, 481)]
    assert not fixture.replay.waits_for(KEY) and fixture.replay.waits_for(dialog_key("c1", "other"))


@pytest.mark.parametrize(("how", "left"), [("agent_gone", True), ("clear", False)])
def test_what_waits_is_given_up_without_a_word(how: str, left: bool) -> None:
    """An agent that went is not there to be answered; of another server's calls we say nothing. A repeat must not be
    taken for one that is being dealt with."""
    fixture = Fixture()
    transaction, other = fixture.wait(), fixture.wait(request(to_tag="other"))
    other.context = "gw2"
    fixture.take()
    if how == "clear":
        fixture.replay.clear()
    else:
        fixture.replay.agent_gone("gw1")
    assert transaction.terminated and other.terminated is not left and not fixture.take()
    assert fixture.replay.waits_for(dialog_key("c1", "other")) is left


def test_an_early_dialog_that_is_told_waits_for_its_invite() -> None:
    fixture = Fixture()
    fixture.wait()
    fixture.restorable = False
    fixture.tell()
    assert fixture.replay.waits_for(KEY), "its agent has not told all it has"
    fixture.replay.dialog_told(_told("another"), 2.0)
    assert fixture.replay.waits_for(KEY), "for which nobody waits"


def _told(tag: str) -> Any:
    told = Told()
    told.key = dialog_key("c1", tag)
    return told


def test_what_waits_for_an_agent_that_is_no_part_of_the_site_any_more_is_answered() -> None:
    fixture = Fixture()
    transaction = fixture.wait()
    fixture.take()
    fixture.restorations.agents.connections.clear()
    fixture.replay.due(PROGRESSED, 2.0)
    assert fixture.take() == [(transaction, 481)]


def test_a_cancel_finds_its_invite_behind_others() -> None:
    fixture = Fixture()
    fixture.wait()
    invite = fixture.wait(request("INVITE"))
    fixture.replay.cancelled(invite, request("CANCEL"))
    fixture.take()
    fixture.tell()
    assert fixture.leg.got == ["INFO", "INVITE"] and fixture.take()[1:] == [(invite, "CANCEL")]


@pytest.mark.parametrize("how", ["told", "gone"])
def test_the_set_up_of_calls_is_followed_as_long_as_something_waits(how: str) -> None:
    fixture = Fixture()
    services = fixture.restorations.services
    fixture.wait()
    other = fixture.wait(request(to_tag="other"))
    other.context = "gw2"
    services.progressed(1.5)
    assert fixture.alarms == [(1.5, PROGRESSED)]
    if how == "told":
        fixture.tell()
    else:
        fixture.replay.agent_gone("gw1")
    assert services.progressed is not None
    fixture.replay.agent_gone("gw2")
    assert services.progressed is None


# -- requests of devices on lines of the servers' own -------------------------------------------------------------


def test_a_device_s_request_waits_until_all_calls_are_restored() -> None:
    fixture = Fixture()
    handled, transaction = fixture.device()
    assert handled and transaction.context is OWN_LINE and fixture.replay.waits_for(KEY)
    assert fixture.alarms == [(1.0 + LOOK_EVERY, LOOK)]
    assert fixture.device(request("BYE"))[0] and len(fixture.alarms) == 1, "it looks already"
    fixture.replay.due(LOOK, 1.5)
    assert fixture.alarms == [(1.0 + LOOK_EVERY, LOOK), (1.5 + LOOK_EVERY, LOOK)] and not fixture.take()
    fixture.replay.due(PROGRESSED, 1.5)
    assert not fixture.take(), "something else went on"
    fixture.unrestored = False
    fixture.replay.due(LOOK, 2.0)
    assert [status for _, status in fixture.take()] == [481, 481] and len(fixture.alarms) == 2
    fixture.unrestored = True
    fixture.device()
    assert len(fixture.alarms) == 3, "the next one is looked after as the first"


def test_a_device_s_request_goes_on_when_its_leg_is_made() -> None:
    fixture = Fixture()
    fixture.device()
    fixture.alarms.clear()
    leg: Any = SimpleNamespace(dialog=SimpleNamespace(key=dialog_key("c1", "other")))
    fixture.replay.device_leg_made(leg, 2.0)
    assert not fixture.alarms
    leg.dialog.key = KEY
    fixture.restorations.device_leg_made(leg, 2.0)
    assert fixture.alarms == [(2.0, PROGRESSED)]
    fixture.stack.legs[KEY] = fixture.leg
    fixture.replay.due(PROGRESSED, 2.0)
    assert fixture.leg.got == ["INFO"]
    fixture.replay.due(LOOK, 2.1)
    assert len(fixture.alarms) == 1, "nothing waits any more"


def test_beside_a_device_s_request_one_of_an_agent_waits_for_its_own() -> None:
    fixture = Fixture()
    agents = fixture.wait(request(to_tag="other"))
    _, device = fixture.device()
    fixture.take()
    fixture.replay.due(LOOK, 2.0)
    assert len(fixture.alarms) == 2, "a device waits"
    fixture.unrestored = False
    fixture.replay.due(LOOK, 3.0)
    assert fixture.take() == [(device, 481)] and not agents.terminated
    fixture.unrestored = True
    fixture.replay.due(LOOK, 3.1)
    assert len(fixture.alarms) == 2, "no device waits"


@pytest.mark.parametrize(
    ("known", "unrestored", "waiting", "waits"),
    [
        (True, True, 0, True),
        (False, True, 0, False),
        (True, False, 0, False),
        (None, True, 1, True),
        (None, True, 2, False),  # who cannot be told from a stranger has less room
        (True, True, 2, True),
    ],
)
def test_who_may_have_dialogs_waits(
    known: bool | None, unrestored: bool, waiting: int, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_UNAUTHENTICATED", 2)
    fixture = Fixture()
    for number in range(waiting):
        fixture.device(request(to_tag=f"t{number}"))
    fixture.known, fixture.unrestored = known, unrestored
    assert fixture.device()[0] is waits and fixture.replay.waits_for(KEY) is waits


def test_a_request_that_brings_its_call_along_does_not_wait() -> None:
    fixture = Fixture()
    fixture.cookie = True
    assert fixture.device()[0] and not fixture.replay.waits_for(KEY)
    fixture.unrestored = False
    assert fixture.device()[0]


@pytest.mark.parametrize(("of_one", "dialogs"), [(MOST_OF_ONE, 1), (1, 3)])
def test_there_are_bounds_for_devices_too(of_one: int, dialogs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    fixture = Fixture()
    for dialog in range(dialogs):
        for _ in range(of_one):
            assert fixture.device(request(to_tag=f"t{dialog}"))[1].context is OWN_LINE
    assert not fixture.take()
    handled, refused = fixture.device(request(to_tag=f"t{dialogs - 1}"))
    assert handled and fixture.take() == [(refused, 500, "Retry-After: 5")] and refused.context is None


def test_after_another_server_has_led_all_begins_anew() -> None:
    fixture = Fixture()
    assert fixture.restorations.unrestored(1.0)
    fixture.device()
    before = fixture.replay.generation
    fixture.replay.clear()
    assert fixture.replay.generation != before, "alarms that were set do not count"
    fixture.alarms.clear()
    fixture.device()
    assert fixture.alarms == [(1.0 + LOOK_EVERY, LOOK)]


# -- requests that an agent kept ----------------------------------------------------------------------------------


def replayed(*kept: tuple[Request, bool], told: bool = True) -> tuple[Fixture, list[Any]]:
    fixture, dialog = Fixture(), Told(*kept)
    if told:
        fixture.told[KEY] = dialog
    connection: Any = fixture.connection
    record: Any = dialog
    fixture.replay.replay(connection, record, 3.0)
    return fixture, fixture.take()


def test_what_an_agent_kept_is_taken_as_just_arrived() -> None:
    fixture, asked = replayed((request("INFO"), False))
    assert asked == [("restore", "call-1"), ("replay", "INFO", GW1)], "its dialog is there before it"
    assert fixture.verdicts.details == {"call-1": (REPLAYED, "INFO was kept")} and not fixture.ends
    assert fixture.replaying == [True] and not fixture.restorations.replaying


def test_a_new_invite_needs_no_dialog_and_its_call_is_named_after_it() -> None:
    fixture, dialog = Fixture(), Told((request("INVITE", ""), False))
    dialog.call = ""
    record: Any = dialog
    connection: Any = fixture.connection
    fixture.replay.replay(connection, record, 3.0)
    assert fixture.take() == [("replay", "INVITE", GW1)]
    assert list(fixture.verdicts.details) == [call_id_of("gw1", "c1")] and not fixture.ends


def test_a_dialog_that_is_not_told_is_not_restored() -> None:
    _, asked = replayed((request("INFO"), False), told=False)
    assert asked == [("replay", "INFO", GW1)]


def test_of_an_agent_that_is_gone_nothing_is_replayed() -> None:
    fixture, dialog = Fixture(), Told((request(), False))
    fixture.connection.flow = None  # type: ignore[assignment]
    record: Any = dialog
    connection: Any = fixture.connection
    fixture.replay.replay(connection, record, 3.0)
    assert not fixture.take() and not fixture.verdicts.details


def test_a_cancelled_reinvite_goes_to_the_other_side_before_its_cancel() -> None:
    """A former server may have sent it there."""
    fixture, asked = replayed((request("INVITE"), True))
    assert asked[1:] == [("replay", "INVITE", GW1), ("replay", "CANCEL", GW1)] and not fixture.ends
    assert cancel_of(request("INVITE").to_bytes()).startswith(b"CANCEL ")


def test_a_cancelled_call_is_cancelled_where_it_waits_and_its_end_is_noted() -> None:
    fixture, asked = replayed((request("INVITE", ""), True))
    assert asked == [("replay", "INVITE", GW1), ("cancel", call_id_of("gw1", "c1"), "CANCEL")]
    assert fixture.ends == {"call-1": End(5.0, "caller", 487, "Q.850;cause=16")}


def test_a_cancelled_invite_that_takes_the_place_of_another_is_cancelled_behind_its_replay() -> None:
    """It is dealt with at once, so nothing of it waits."""
    _, asked = replayed((request("INVITE", "", more="Replaces: x;to-tag=a;from-tag=b\r\n"), True))
    assert asked == [("replay", "INVITE", GW1), ("replay", "CANCEL", GW1)]


def test_the_quality_of_a_call_that_has_ended_is_noted() -> None:
    fixture, dialog = Fixture(), Told((request("BYE"), False))
    noted: list[Any] = []
    fixture.records.quality = SimpleNamespace(note=lambda *what: noted.append(what))
    dialog.ended = Ended(2.0, "device", "", media="device;packets=98")
    record: Any = dialog
    connection: Any = fixture.connection
    fixture.replay.replay(connection, record, 3.0)
    assert noted == [("c1", "device;packets=98", 2.5)]


def test_of_two_ends_at_one_instant_the_one_that_was_told_first_counts() -> None:
    fixture, dialog = Fixture(), Told((request("BYE"), False))
    first = fixture.ends["call-1"] = End(5.0, "callee", 0, "")
    record: Any = dialog
    connection: Any = fixture.connection
    fixture.replay.replay(connection, record, 3.0)
    assert fixture.ends["call-1"] is first


@pytest.mark.parametrize(
    ("former", "live", "written", "at"),
    [
        (None, False, False, 5.0),
        (9.0, False, False, 5.0),  # of what both sides did the first counts
        (4.0, False, False, 4.0),
        (None, True, False, None),  # the device goes on: a BYE of the server's side
        (None, False, True, None),  # its record is made
    ],
)
def test_a_bye_tells_when_its_call_ended(former: float | None, live: bool, written: bool, at: float | None) -> None:
    fixture, dialog = Fixture(), Told((request("BYE"), False))
    dialog.live = live
    if former is not None:
        fixture.ends["call-1"] = End(former, "callee", 0, "")
    if written:
        fixture.records.ended["call-1"] = None
    record: Any = dialog
    connection: Any = fixture.connection
    fixture.replay.replay(connection, record, 3.0)
    assert (fixture.ends["call-1"].at if "call-1" in fixture.ends else None) == at
