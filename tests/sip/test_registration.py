"""Registering: the client half, the registrar half, and one against the other."""

from __future__ import annotations

from random import Random

import pytest

from sip.actions import Flow
from sip.digest import DigestClient, DigestServer
from sip.header_policy import unsupported
from sip.registrar import Binding, Outcome, Registrar, RegistrarLimits
from sip.registration import BROKEN_WAIT, Account, Registration, refresh_after, retry_wait
from sip.requests import OutgoingRequest
from sip.wire.message import Request, Response
from sip.wire.uri import Uri

CONTACT = "<sip:alice@192.0.2.9:5070>"
FLOW = Flow("udp", "192.0.2.1:5060", ("198.51.100.7", 40000))
OTHER = Flow("tcp", "c1", ("198.51.100.8", 40001))


def lines_of(lines: tuple[str, ...]) -> tuple[list[str], list[str]]:
    return [line.partition(":")[0].lower() for line in lines], list(lines)


def answer(ask: OutgoingRequest, status: int, *lines: str) -> Response:
    cseq = next(line for line in ask.lines if line.startswith("CSeq:"))
    return Response(status, "Some Reason", *lines_of((cseq, *lines)))


def ok(ask: OutgoingRequest, expires: int = 3600) -> Response:
    return answer(ask, 200, f"Contact: {CONTACT};expires={expires}")


def header(ask: OutgoingRequest, name: str) -> str:
    return next(line.partition(": ")[2] for line in ask.lines if line.startswith(name + ":"))


def registration(*registrars: str, password: str | None = None, **more: object) -> Registration:
    account = Account(registrars or ("sip:one.example",), "sip:alice@one.example", CONTACT, **more)  # type: ignore[arg-type]
    digest = DigestClient("alice", password, Random(2)) if password is not None else None
    return Registration(account, digest, Random(1), "call-1", "tag-1")


def only(r: Registration) -> OutgoingRequest:
    (ask,) = r.to_do()
    return ask


def changes(r: Registration) -> list[bool]:
    found = []
    while (event := r.next_event()) is not None:
        found.append(event.registered)
    return found


def timer(r: Registration) -> float:
    at = r.get_timer()
    assert at is not None
    return at


# -- the client -----------------------------------------------------------------------------------------------


def test_arithmetic_of_waits() -> None:
    for failures, most in ((0, 30.0), (1, 60.0), (5, 960.0), (6, 1800.0), (10_000, 1800.0)):
        waits = [retry_wait(failures, 30.0, 1800.0, Random(n)) for n in range(50)]
        assert most / 2 <= min(waits) and max(waits) <= most
    for granted in (10, 60, 120, 600, 3600):
        left = [granted - refresh_after(granted, Random(n)) for n in range(50)]
        assert min(left) >= min(40.0, granted / 2) and max(left) < granted * 0.6


def test_a_registration_is_refreshed_before_it_ends() -> None:
    r = registration()
    r.start(0.0)
    ask = only(r)
    assert (ask.method, ask.uri) == ("REGISTER", "sip:one.example")
    assert header(ask, "To") == "<sip:alice@one.example>" and header(ask, "From").endswith(";tag=tag-1")
    assert header(ask, "Contact") == CONTACT and header(ask, "Expires") == "3600"
    r.answered(answer(ask, 100), 0.1)
    assert not r.registered
    r.answered(ok(ask, 600), 0.2)
    assert r.registered and r.expires_at == 600.2 and changes(r) == [True]
    due = timer(r)
    assert 450 < due < 565
    r.handle_timer(due)
    again = only(r)
    assert header(again, "CSeq") == "2 REGISTER" and header(again, "Call-ID") == header(ask, "Call-ID")
    r.answered(ok(ask, 600), due)
    assert r.state == "refreshing"
    r.answered(ok(again, 600), due)
    assert r.state == "registered" and changes(r) == []


def test_challenges_are_answered_and_a_wrong_password_is_not_sent_twice() -> None:
    server = DigestServer("ours", b"k" * 32, {"alice": "wonderland"}.get)
    r = registration(password="looking-glass")
    r.start(0.0)
    r.answered(answer(only(r), 401, *server.challenge(0.0)), 0.1)
    second = only(r)
    assert header(second, "Authorization").startswith('Digest username="alice"')
    r.answered(answer(second, 401, *server.challenge(0.2)), 0.2)
    assert r.to_do() == [] and changes(r) == [False]
    assert "alice or its password is refused" in r.because and "looking-glass" not in r.because
    assert timer(r) >= 300.0


def test_a_nonce_that_is_not_taken_twice_is_asked_for_anew() -> None:
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n{}", qop="auth"'
    r = registration(password="secret")
    r.start(0.0)
    r.answered(answer(only(r), 401, challenge.format(1)), 0.0)
    r.answered(ok(only(r), 60), 0.0)
    r.handle_timer(timer(r))
    ask = only(r)
    assert 'nonce="n1"' in header(ask, "Authorization")
    r.answered(answer(ask, 403), 30.0)
    plain = only(r)
    assert not any(line.startswith("Authorization") for line in plain.lines) and r.registered
    r.answered(answer(plain, 401, challenge.format(2)), 30.0)
    r.answered(answer(only(r), 403), 30.0)  # that one is about the user
    assert r.state == "waiting" and not r.registered and not r.to_do()


def test_a_registration_whose_connection_broke_is_renewed_soon_but_not_all_the_time() -> None:
    r = registration(base_wait=0.1)
    r.start(0.0)
    r.renew(0.0)  # it is under way
    r.answered(ok(only(r)), 0.0)
    r.renew(100.0)
    assert 100.5 <= timer(r) <= 102.0 and r.registered
    r.handle_timer(102.0)
    r.answered(ok(only(r)), 102.0)
    r.renew(102.1)
    assert timer(r) == 102.0 + BROKEN_WAIT
    r.stop(103.0)
    r.renew(103.0)
    assert header(only(r), "Expires") == "0"


def test_endless_stale_nonces_come_to_an_end() -> None:
    server = DigestServer("ours", b"k" * 32, {"alice": "wonderland"}.get)
    r = registration(password="wonderland")
    r.start(0.0)
    count = 0
    while asks := r.to_do():
        count += 1
        r.answered(answer(asks[0], 401, *server.challenge(count, stale=True)), float(count))
    assert count == 3 and r.state == "waiting"


def test_a_423_is_obeyed_and_remembered() -> None:
    r = registration(expires=60)
    r.start(0.0)
    r.answered(answer(only(r), 423, "Min-Expires: 900"), 0.1)
    ask = only(r)
    assert header(ask, "Expires") == "900"
    r.answered(answer(ask, 423, "Min-Expires: 900"), 0.2)
    assert r.state == "waiting"


def test_a_423_behind_a_challenge_with_a_nonce_of_its_own_is_met() -> None:
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n{}", qop="auth"'
    r = registration(password="secret")
    r.start(0.0)
    r.answered(answer(only(r), 401, challenge.format(1)), 0.0)
    r.answered(answer(only(r), 423, "Min-Expires: 7200"), 0.0)
    r.answered(answer(only(r), 401, challenge.format(2)), 0.0)
    ask = only(r)
    assert header(ask, "Expires") == "7200" and 'nonce="n2"' in header(ask, "Authorization")


def test_what_is_asked_for_does_not_shrink_with_what_is_granted() -> None:
    r = registration()
    r.start(0.0)
    for _ in range(3):
        ask = only(r)
        assert header(ask, "Expires") == "3600"
        r.answered(ok(ask, 60), 0.0)
        r.handle_timer(timer(r))


def test_failures_back_off_and_retry_after_is_honoured() -> None:
    r = registration()
    r.start(0.0)
    now, waits = 0.0, []
    for _ in range(8):
        only(r)
        r.failed("no answer", now)
        waits.append(timer(r) - now)
        now = timer(r)
        r.handle_timer(now)
    assert all(wait <= min(30.0 * 2**n, 1800.0) for n, wait in enumerate(waits))
    assert waits[0] < 30.0 and waits[-1] > 900.0
    r.answered(answer(only(r), 503, "Retry-After: 1750 (soon)"), now)
    assert timer(r) - now >= 1750.0
    r.handle_timer(timer(r))
    r.answered(ok(only(r)), now)
    assert changes(r)[-1] is True


def test_the_next_registrar_is_tried() -> None:
    r = registration("sip:one.example", "sip:two.example")
    r.start(0.0)
    assert only(r).uri == "sip:one.example"
    r.failed("the name cannot be resolved", 0.0)
    assert timer(r) == 0.5
    r.handle_timer(0.5)
    ask = only(r)
    assert ask.uri == "sip:two.example"
    r.answered(ok(ask), 0.6)
    assert r.registrar == "sip:two.example" and changes(r) == [False, True]
    r.handle_timer(timer(r))
    assert only(r).uri == "sip:two.example"


def test_a_refresh_that_fails_leaves_the_binding_until_it_runs_out() -> None:
    r = registration(base_wait=1000.0)
    r.start(0.0)
    r.answered(ok(only(r), 600), 0.0)
    due = timer(r)
    r.handle_timer(due)
    r.failed("no answer", due + 32.0)
    assert r.registered and changes(r) == [True]
    assert timer(r) == 600.0
    r.handle_timer(600.0)
    assert not r.registered and changes(r) == [False]


def test_a_refusal_takes_it_away_at_once() -> None:
    r = registration()
    r.start(0.0)
    r.answered(ok(only(r)), 0.0)
    r.handle_timer(timer(r))
    r.answered(answer(only(r), 403), 3000.0)
    assert not r.registered and changes(r) == [True, False]


def test_no_word_at_all_counts_as_failure() -> None:
    r = registration()
    r.start(0.0)
    only(r)
    r.handle_timer(timer(r))
    assert r.state == "waiting" and "no answer" in r.because


def test_taking_it_back() -> None:
    r = registration()
    r.start(0.0)
    r.answered(ok(only(r)), 0.0)
    r.stop(10.0)
    ask = only(r)
    assert header(ask, "Expires") == "0" and header(ask, "Contact").startswith(CONTACT)
    r.answered(answer(ask, 200), 10.1)
    assert not r.registered and changes(r) == [True, False] and r.get_timer() is None
    r.start(20.0)
    assert header(only(r), "Expires") == "3600"


def test_stopping_while_registering_waits_for_the_answer() -> None:
    r = registration()
    r.start(0.0)
    ask = only(r)
    r.stop(0.1)
    assert r.to_do() == []
    r.answered(ok(ask), 0.2)
    assert header(only(r), "Expires") == "0"
    r.start(0.3)
    r.failed("timed out", 32.0)
    assert header(only(r), "Expires") == "3600"


def test_stopping_while_waiting() -> None:
    r = registration()
    r.start(0.0)
    r.failed("no answer", 0.0)
    r.stop(1.0)
    assert r.state == "idle" and r.get_timer() is None


@pytest.mark.parametrize(
    ("lines", "granted"),
    [
        (("Contact: <sip:alice@192.0.2.9:5070>;expires=120", "Expires: 60"), 120),
        (("Contact: <sip:alice@192.0.2.9:5070>", "Expires: 60"), 60),
        (("Contact: <sip:alice@192.0.2.9:5070>",), 3600),
        (("Contact: <sip:bob@192.0.2.8>;expires=9, <sip:%61lice@192.0.2.9:5070;ob>;expires=120",), 120),
        (("Contact: <sip:alice@203.0.113.1:33>;expires=90",), 90),
        ((), 3600),
        (("Contact: <sip:x@203.0.113.1>;expires=90, <sip:y@203.0.113.1>;expires=90",), None),
        (("Contact: <sip:bob@192.0.2.8>;expires=9, <sip:alice@203.0.113.1:33>;expires=90",), 90),
        (("Contact: <sip:alice@203.0.113.1:33>;expires=90", "Contact: <sip:alice@203.0.113.2>;expires=60"), 60),
        (("Contact: <sip:alice@192.0.2.9:5070;transport=udp>, <sip:bob@192.0.2.8>;expires=9", "Expires: 90"), 90),
        (('Contact: <sip:alice@192.0.2.9:5070>;expires="90"',), 90),
        (("Contact: <<<;expires=90",), None),
    ],
)
def test_what_a_200_grants(lines: tuple[str, ...], granted: int | None) -> None:
    r = registration()
    r.start(0.0)
    r.answered(answer(only(r), 200, *lines), 0.0)
    assert r.expires_at == granted


# -- the registrar --------------------------------------------------------------------------------------------


def registrar(digest: DigestServer | None = None, **limits: int) -> Registrar:
    def name_of(uri: Uri) -> str | None:
        return uri.dialled if uri.dialled in ("alice", "bob") else None

    return Registrar(name_of, digest, RegistrarLimits(**limits))


def register(*contacts: str, cseq: int = 1, call_id: str = "c1", user: str = "alice", expires: str = "") -> Request:
    lines = [f"To: <sip:{user}@one.example>", f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER", "User-Agent: x"]
    lines += [f"Contact: {contact}" for contact in contacts] + ([f"Expires: {expires}"] if expires else [])
    return Request("REGISTER", "sip:one.example", *lines_of(tuple(lines)))


def kinds(outcome: Outcome) -> list[str]:
    return [change.kind for change in outcome.changes]


def uris(found: list[Binding]) -> list[str]:
    return [binding.contact.uri for binding in found]


def test_a_binding_is_added_refreshed_told_removed_and_runs_out() -> None:
    r = registrar()
    outcome = r.register(register(CONTACT), FLOW, 0.0)
    assert outcome.reply.status == 200 and kinds(outcome) == ["added"]
    assert outcome.reply.lines == (f"Contact: {CONTACT};expires=3600",)
    (binding,) = r.bindings("alice", 1.0)
    assert binding.flow == FLOW and binding.user_agent == "x" and r.users(FLOW) == {"alice"}
    outcome = r.register(register(CONTACT + ";expires=100", cseq=2), OTHER, 10.0)
    assert kinds(outcome) == ["refreshed"] and r.users(FLOW) == frozenset() and r.users(OTHER) == {"alice"}
    assert r.register(register(cseq=3), FLOW, 20.5).reply.lines == (f"Contact: {CONTACT};expires=90",)
    assert r.get_timer() is not None and r.names() == ["alice"]
    assert kinds(r.register(register(CONTACT + ";expires=0", cseq=4), FLOW, 21.0)) == ["removed"]
    assert r.bindings("alice", 21.0) == [] and r.names() == [] and r.users(OTHER) == frozenset()
    r.register(register(CONTACT, cseq=5, expires="60"), FLOW, 30.0)
    assert r.bindings("alice", 90.0) == []
    assert [change.kind for change in r.handle_timer(90.0)] == ["expired"]
    assert r.names() == []


def test_a_binding_that_ran_out_unnoticed_is_told_with_the_next_register() -> None:
    r = registrar()
    r.register(register(CONTACT, expires="60"), FLOW, 0.0)
    assert kinds(r.register(register(CONTACT, call_id="c2"), FLOW, 100.0)) == ["expired", "added"]


def test_a_contact_is_told_as_it_came_and_for_as_long_as_was_asked() -> None:
    r, contact = registrar(), '"A, B" <sip:alice@192.0.2.9:5070;transport=TCP;ob>;+sip.ice;+x="a,b"'
    for cseq in (1, 2, 3):
        outcome = r.register(register(f"{contact};expires=180", cseq=cseq), FLOW, 100.0 * cseq)
        assert outcome.reply is not None and outcome.reply.lines == (f"Contact: {contact};expires=180",)


def test_several_contacts_come_by_q_and_then_by_age() -> None:
    r = registrar()
    r.register(register("<sip:a@h>;q=0.5, <sip:b@h>", "<sip:c@h>;q=7"), FLOW, 0.0)
    r.register(register("<sip:d@h>", call_id="c2"), FLOW, 10.0)
    assert uris(r.bindings("alice", 20.0)) == ["sip:d@h", "sip:b@h", "sip:c@h", "sip:a@h"]
    assert any(line.endswith(";q=0.5") for line in r.register(register(cseq=3), FLOW, 20.0).reply.lines)


def test_one_contact_too_many_takes_the_place_of_the_oldest() -> None:
    r = registrar(contacts=2)
    for n in range(3):
        outcome = r.register(register(f"<sip:c{n}@h>", call_id=f"c{n}"), FLOW, float(n))
    assert kinds(outcome) == ["added", "removed"]
    assert uris(r.bindings("alice", 5.0)) == ["sip:c2@h", "sip:c1@h"]
    assert r.register(register("<sip:a@h>", "<sip:b@h>", "<sip:c@h>"), FLOW, 6.0).reply.status == 403


def test_an_old_cseq_changes_nothing() -> None:
    r = registrar()
    r.register(register(CONTACT, cseq=5), FLOW, 0.0)
    assert r.register(register("<sip:new@h>", CONTACT + ";expires=0", cseq=5), FLOW, 1.0).reply.status == 500
    assert uris(r.bindings("alice", 1.0)) == ["sip:alice@192.0.2.9:5070"]
    assert r.register(register("*", cseq=4, expires="0"), FLOW, 1.0).reply.status == 500
    assert r.register(register(CONTACT, cseq=1, call_id="reboot"), FLOW, 2.0).reply.status == 200


def test_the_same_contact_twice_in_a_request_is_one() -> None:
    r = registrar()
    assert r.register(register(CONTACT, CONTACT), FLOW, 0.0).reply.status == 200
    assert len(r.bindings("alice", 0.0)) == 1


def test_star_removes_all_and_only_rightly_used() -> None:
    r = registrar()
    r.register(register("<sip:a@h>", "<sip:b@h>"), FLOW, 0.0)
    assert r.register(register("*", cseq=2), FLOW, 1.0).reply.status == 400
    assert r.register(register("*", cseq=2, expires="60"), FLOW, 1.0).reply.status == 400
    assert r.register(register("*", "<sip:a@h>", cseq=2, expires="0"), FLOW, 1.0).reply.status == 400
    assert kinds(r.register(register("*", cseq=3, expires="0"), FLOW, 1.0)) == ["removed", "removed"]
    assert r.bindings("alice", 1.0) == []


def test_times_are_kept_within_limits() -> None:
    r = registrar(min_expires=60, max_expires=300)
    brief = r.register(register(CONTACT, expires="59"), FLOW, 0.0)
    assert brief.reply.status == 423 and brief.reply.lines == ("Min-Expires: 60",)
    assert r.register(register(CONTACT, expires="99999999999999999999"), FLOW, 0.0).reply.lines[0].endswith("=300")
    assert r.register(register(CONTACT, cseq=2, expires="soon"), FLOW, 0.0).reply.lines[0].endswith("=300")


@pytest.mark.parametrize(
    "contact",
    [
        *("sip:", "<mailto:a@b>", "<tel:+123>", "<sips:a@b>", "<sip:a b@h>", "<sip:a@b", '"x <sip:a@b>'),
        *("<sip:a@b?X=y>", "<sip:" + "a" * 1100 + "@b>", ";"),
    ],
)
def test_bad_contacts_are_refused(contact: str) -> None:
    r = registrar()
    assert r.register(register(contact), FLOW, 0.0).reply.status == (403 if "?" in contact else 400)
    assert r.names() == []


def test_strangers_are_not_found() -> None:
    r = registrar()
    assert r.register(register(CONTACT, user="mallory"), FLOW, 0.0).reply.status == 404
    bad = Request("REGISTER", "sip:one.example", ["to"], ["To: <>"])
    assert r.register(bad, FLOW, 0.0).reply.status == 400


def test_an_instance_with_a_reg_id_is_one_binding_whatever_its_address() -> None:
    r = registrar()
    instance = ';+sip.instance="<urn:uuid:0>";reg-id=1'
    r.register(register("<sip:a@10.0.0.1:1111;transport=tcp>" + instance), FLOW, 0.0)
    assert kinds(r.register(register("<sip:a@10.0.0.1:2222>" + instance, call_id="c2"), OTHER, 1.0)) == ["refreshed"]
    (binding,) = r.bindings("alice", 1.0)
    assert binding.flow == OTHER and binding.contact.get("reg-id") == "1"


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_a_device_may_take_its_former_address_back_where_it_names_its_new_one(places: tuple[int, int]) -> None:
    r, instance = registrar(), ';+sip.instance="<urn:uuid:0>"'
    r.register(register(f"<sip:alice@10.0.0.1:1111>{instance}"), FLOW, 0.0)
    both = f"<sip:alice@10.0.0.2:2222>{instance}", f"<sip:alice@10.0.0.1:1111>{instance};expires=0"
    r.register(register(*(both[place] for place in places), cseq=2), OTHER, 1.0)
    assert uris(r.bindings("alice", 2.0)) == ["sip:alice@10.0.0.2:2222"]
    r.register(register(f"{both[0]};expires=60", f"{both[0]};expires=0", cseq=3), OTHER, 3.0)
    assert r.bindings("alice", 4.0) == [], "of one address the last word counts"


def test_two_instances_with_one_private_address_are_two_devices() -> None:
    r, there = registrar(), "<sip:alice@192.168.1.2:5060>"
    for cseq, number in enumerate((1, 2, 1), 1):
        flow = Flow("udp", FLOW.local, (f"198.51.100.{number}", 40000))
        contact = f'{there};+sip.instance="<urn:uuid:{number}>"'
        r.register(register(contact, call_id=f"c{number}", cseq=cseq), flow, 0.0)
    assert {one.flow.remote[0] for one in r.bindings("alice", 1.0)} == {"198.51.100.1", "198.51.100.2"}


def test_a_device_that_starts_again_counts_anew_under_another_call_id() -> None:
    r = registrar()
    r.register(register(CONTACT, cseq=900), FLOW, 0.0)
    again = r.register(register(CONTACT, cseq=2, call_id="c2"), FLOW, 1.0)
    assert again.reply is not None and again.reply.status == 200 and len(r.bindings("alice", 2.0)) == 1


def test_a_lost_connection_takes_its_bindings_along() -> None:
    r = registrar()
    r.register(register("<sip:a@h>"), OTHER, 0.0)
    r.register(register("<sip:b@h>", cseq=2), FLOW, 0.0)
    r.register(register("<sip:c@h>", user="bob"), OTHER, 0.0)
    assert sorted(change.binding.name for change in r.flow_lost(OTHER)) == ["alice", "bob"]
    assert uris(r.bindings("alice", 0.0)) == ["sip:b@h"] and r.flow_lost(OTHER) == []
    assert [change.because for change in r.remove("alice", "no such line any more")] == ["no such line any more"]


def test_many_refreshes_leave_few_deadlines() -> None:
    r = registrar()
    for n in range(1, 1000):
        r.register(register(CONTACT, cseq=n), FLOW, float(n))
    assert len(r._deadlines) < 100
    assert len(r.handle_timer(10_000.0)) == 1 and r.get_timer() is None


def test_digest_is_demanded_and_only_the_owner_may_register() -> None:
    server = DigestServer("ours", b"k" * 32, {"alice": "wonderland", "bob": "builder"}.get)
    r = registrar(server)
    first = r.register(register(CONTACT), FLOW, 0.0)
    assert first.reply.status == 401 and first.reply.lines[0].startswith("WWW-Authenticate: Digest ")
    challenge = Response(401, "", *lines_of(first.reply.lines))
    for user, password, status in (("alice", "wonderland", 200), ("bob", "builder", 403), ("alice", "x", 401)):
        signed = DigestClient(user, password, Random(1)).answer(challenge, "REGISTER", "sip:one.example")
        request = register(CONTACT, cseq=2)
        request.set("authorization", signed[0].line)  # type: ignore[union-attr]
        assert r.register(request, FLOW, 1.0).reply.status == status


def test_both_halves_together() -> None:
    server = DigestServer("ours", b"k" * 32, {"alice": "wonderland"}.get)
    theirs = registrar(server, max_expires=600)
    ours = registration(password="wonderland")
    ours.start(0.0)
    now, sent = 0.0, 0
    while now < 7200.0:
        while asks := ours.to_do():
            sent += 1
            (ask,) = asks
            outcome = theirs.register(Request(ask.method, ask.uri, *lines_of(ask.lines)), FLOW, now)
            ours.answered(answer(ask, outcome.reply.status, *outcome.reply.lines), now)
        assert theirs.handle_timer(now) == []
        now = timer(ours)
        ours.handle_timer(now)
    assert changes(ours) == [True] and 20 <= sent <= 40


PATHS = ["Path: <sip:edge2.example;lr>", "Path: <sip:edge1.example;lr;ob>, <sip:127.0.0.9;lr>"]


def by(*paths: str, expires: int = 600) -> Request:
    """A REGISTER that came through proxies (RFC 3327)."""
    found = register("<sip:a@h1>", expires=str(expires))
    names, lines = [*found.names, *("path" for _ in paths)], [*found.lines, *paths]
    return Request("REGISTER", found.uri, names, lines)


def test_the_path_of_a_registration_is_kept_and_told() -> None:
    r = registrar()
    invite = Request("INVITE", "sip:a@b", ["require"], ["Require: path"])
    outcome = r.register(by(*PATHS), FLOW, 0.0)
    assert outcome.reply is not None and outcome.reply.status == 200
    assert [line for line in outcome.reply.lines if line.startswith("Path")] == PATHS
    (binding,) = r.bindings("alice", 1.0)
    assert binding.path == ("<sip:edge2.example;lr>", "<sip:edge1.example;lr;ob>", "<sip:127.0.0.9;lr>")
    required = by()
    required.names.append("require")
    required.lines.append("Require: path")
    assert not unsupported(required) and unsupported(invite)


@pytest.mark.parametrize("path", ["<http://edge.example>", "<sip:>", f"<sip:{'x' * 1024}.example;lr>", "nothing"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    r = registrar()
    outcome = r.register(by(f"Path: {path}"), FLOW, 0.0)
    assert outcome.reply is not None and outcome.reply.status == 400
    assert not r.bindings("alice", 1.0)
