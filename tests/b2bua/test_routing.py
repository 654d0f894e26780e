"""Routing: who is tried, in which order, with which numbers, and why not."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2bua.lines import LineLoad, Load
from b2bua.plan import LONGEST_TOKEN, Plan, Refusal, RouteTarget
from b2bua.routing import MOST_TARGETS, CallRequest, Router, goes_on
from heartbeat.site.load import parse
from heartbeat.site.model import Site
from sip.redirection import Redirect

HEAD = """
site = { name = "paris", key = { env = "KEY" } }
agents.gw = { sip = "udp:127.0.0.1:5060" }
agents.gw2 = { sip = "udp:127.0.0.2:5060" }
[servers.m1]
listen = "tcp:127.0.0.1:5161"
sip = "udp:127.0.0.1:5062"
[lines.carrier]
kind = "trunk"
agent = "gw"
channels = 2
peer = "sip:127.0.0.21"
[lines.pbx]
kind = "trunk"
agent = "gw"
channels = 4
peer = "sip:127.0.0.22"
cps = 2
[lines.own]
kind = "trunk"
channels = 1
peer = "sip:127.0.0.23"
to_device.called = [{ match = "+33*", strip = 3, prefix = "0" }, { match = "+*", strip = 1, prefix = "00" }]
to_device.caller = [{ match = "+33*", strip = 3, prefix = "0" }]
from_device.caller = [{ match = "0*", strip = 1, prefix = "+33" }]
from_device.called = [{ match = "0*", strip = 1, prefix = "+33" }]
"""
PHONE = """
[lines.{0}]
kind = "phone"
agent = "gw"
password = {{ env = "KEY" }}
numbers = ["{1}"]
"""
PHONES = "".join(
    PHONE.format(name, number) + extra + "\n"
    for name, number, extra in (
        ("alice", "1001", 'forward = { busy = "1003", no_answer = "1002", after = 15 }'),
        ("bob", "1002", ""),
        ("carol", "1003", ""),
        ("dave", "1004", 'forward = { always = "1005" }'),
        ("erin", "1005", 'forward = { busy = "1001" }'),
        ("vip", "1006", 'priority = 2\ntrust_priority = true\ncaller_number = "+33100"'),
    )
)
ROUTES = """
[groups]
office = { lines = ["alice", "bob", "carol"] }
spread = { lines = ["carrier", "pbx"], hunt = "weight", weights = { carrier = 3 } }
even = { lines = ["carrier", "pbx"], hunt = "least-loaded" }
[[routes]]
match = "112"
to = "carrier"
priority = 9
[[routes]]
match = "+33900*"
from = "office"
refuse = 403
[[routes]]
match = "+33*"
from = ["office", "vip"]
to = ["carrier", "pbx"]
ring = 40
[[routes]]
match = "8*"
to = "spread"
strip = 1
prefix = "+"
[[routes]]
match = "7*"
to = "even"
[[routes]]
match = "2?[0-4]"
to = "pbx"
[[routes]]
match = "20*"
to = "own"
[[routes]]
match = "3000"
to = "office"
"""


def make(extra: str = "") -> Site:
    return parse(HEAD + PHONES + extra + ROUTES, Path("site.toml"), {"KEY": "k" * 16})


SITE = make()


def router(site: Site = SITE, capacity: int = 100, reserve: float = 0.1) -> Router:
    return Router(site, random.Random(4), capacity, reserve)


def load(calls: int = 0, **lines: LineLoad) -> Load:
    return Load(calls, lines)


def planned(attempt: CallRequest, present: Load | None = None, site: Site = SITE) -> Plan:
    answer = router(site).plan(attempt, present or load(), 0.0)
    assert isinstance(answer, Plan), answer
    return answer


def refused(attempt: CallRequest, present: Load | None = None, site: Site = SITE) -> Refusal:
    answer = router(site).plan(attempt, present or load(), 0.0)
    assert isinstance(answer, Refusal), answer
    return answer


def names(plan: Plan | Refusal) -> list[str]:
    assert isinstance(plan, Plan), plan
    return [target.line for target in plan.targets]


def after(plan: Plan, status: int, present: Load | None = None, redirects: tuple[str, ...] = ()) -> Plan | Refusal:
    return router().after(plan, status, present or load(), 0.0, [Redirect(number, ";rn=9") for number in redirects])


def test_a_number_of_a_line_reaches_it():
    assert planned(CallRequest("bob", "1003", "1002")) == Plan(
        (RouteTarget("carol", "1003", 180.0, "it is a number of carol", "", True),), "bob", "1003", "1002"
    )


def test_numbers_have_the_site_s_form_whoever_owns_the_line():
    site = make('[[routes]]\nmatch = "+33123"\nto = ["own", "pbx"]\nring = 40\n')
    plan = planned(CallRequest("vip", "+33123", "whoever"), site=site)
    assert [(t.line, t.request_number, t.ring_for) for t in plan.targets] == [
        ("own", "+33123", 40.0),
        ("pbx", "+33123", 40.0),
    ]


def test_a_route_strips_and_prefixes():
    plan = planned(CallRequest("bob", "84420", "1002"))
    assert {t.line: t.request_number for t in plan.targets} == {"carrier": "+4420", "pbx": "+4420"}


@pytest.mark.parametrize(
    ("called", "line"),
    [("204", "pbx"), ("209", "own"), ("2049", "own"), ("112", "carrier")],
)
def test_the_first_route_of_the_file_that_matches_is_used(called: str, line: str):
    assert names(planned(CallRequest("bob", called)))[0] == line


def test_a_route_is_only_for_those_it_names():
    assert refused(CallRequest("pbx", "+33123")).because == "no route leads from pbx to +33123"
    assert refused(CallRequest("bob", "+339001")) == Refusal(403, "", "routes[2] (+33900*) refuses +339001")


def test_strangers_and_strange_numbers_are_refused():
    assert refused(CallRequest(None, "1001")).status == 403
    assert refused(CallRequest("nobody", "1001")).because == "nobody is no line of this site"
    assert refused(CallRequest("bob", "")).status == 404
    assert refused(CallRequest("bob", "9" * 65)).status == 404
    assert refused(CallRequest("bob", "é" * 30)).status == 404
    assert planned(CallRequest("bob", "1001", "9" * 65)).caller == ""


def test_capacity_keeps_a_reserve_for_priority():
    assert planned(CallRequest("bob", "1003"), load(89))
    answer = refused(CallRequest("bob", "1003"), load(90))
    assert answer.status == 503 and answer.retry_after > 0
    assert answer.because == "the server has 90 calls and takes 90, 10 more being kept for priority"
    assert names(planned(CallRequest("bob", "112"), load(99))) == ["carrier"]
    assert names(planned(CallRequest("vip", "1003"), load(99))) == ["carol"]
    assert refused(CallRequest("bob", "112"), load(100)).because == "the server has 100 calls and takes 100"


def test_the_priority_header_is_heeded_where_the_line_is_trusted():
    assert planned(CallRequest("vip", "1003", priority=9)).priority == 9
    assert planned(CallRequest("bob", "1003", priority=9)).priority == 0


def test_lines_that_cannot_take_the_call_are_passed_over():
    present = load(alice=LineLoad(1), bob=LineLoad(0, False))
    assert names(planned(CallRequest("pbx", "3000"), present)) == ["carol"]
    assert refused(CallRequest("bob", "1003"), load(carol=LineLoad(1))) == Refusal(486, "Busy Here", "carol is busy")
    assert refused(CallRequest("bob", "1003"), load(carol=LineLoad(0, False))).status == 480
    assert refused(CallRequest("bob", "1002")) == Refusal(486, "Busy Here", "bob is busy")
    answer = refused(CallRequest("alice", "+33123"), load(carrier=LineLoad(2), pbx=LineLoad(0, False)))
    assert (answer.status, answer.because) == (503, "carrier is busy; pbx is out of service")
    assert answer.retry_after > 0


def test_calls_a_second():
    pbx = LineLoad()
    for _ in range(2):
        assert not pbx.paced(2, 10.0)
        pbx.take(2, 10.0)
        pbx.give()
    # The first of a line has credit for one call, whatever the limit; a second later it has all of it.
    pbx = LineLoad()
    pbx.take(2, 10.0)
    pbx.take(2, 10.0)
    assert pbx.paced(2, 10.0)
    answer = refused(CallRequest("bob", "201"), Load(0, {"pbx": pbx}))
    assert answer.because == "pbx is at its limit of calls a second"
    assert not pbx.paced(2, 10.6)
    assert not pbx.paced(0, 10.0)
    assert pbx.busy == 2


def test_hunting_by_weight_follows_the_weights():
    first = [names(plan)[0] for plan in _many("81")]
    assert 0.70 < first.count("carrier") / len(first) < 0.80


def test_weight_nought_is_the_last_resort():
    extra = '[groups.rare]\nlines = ["carrier", "pbx"]\nhunt = "weight"\nweights = { carrier = 0 }\n'
    site = parse(HEAD + PHONES + extra + '[[routes]]\nmatch = "9"\nto = "rare"', Path("s"), {"KEY": "k" * 16})
    assert {tuple(names(plan)) for plan in _many("9", site)} == {("pbx", "carrier")}


def _many(called: str, site: Site = SITE) -> list[Plan | Refusal]:
    one = router(site)
    return [one.plan(CallRequest("bob", called), load(), 0.0) for _ in range(2000)]


def test_hunting_by_load_compares_shares_of_channels():
    present = load(carrier=LineLoad(1), pbx=LineLoad(1))
    assert names(planned(CallRequest("bob", "7"), present)) == ["pbx", "carrier"]
    assert names(planned(CallRequest("bob", "7"), load(pbx=LineLoad(1)))) == ["carrier", "pbx"]


def test_what_goes_on():
    assert [s for s in range(300, 700) if goes_on(s)] == [408, *range(500, 600)]
    assert goes_on(486, phone=True) and goes_on(480, phone=True) and not goes_on(600, phone=True)


def test_the_next_target_after_a_failure():
    plan = planned(CallRequest("alice", "+33123"))
    following = after(plan, 503)
    assert names(following) == ["pbx"]
    assert isinstance(following, Plan)
    assert after(plan, 486) == Refusal(486, "", "carrier answered 486, and it ends the hunt")
    assert after(following, 404) == Refusal(404, "", "pbx answered 404, and nothing is left to try")
    assert after(following, 503) == Refusal(
        500, "Server Internal Error", "pbx answered 503, and nothing is left to try"
    )
    assert after(plan, 500, load(pbx=LineLoad(4))) == Refusal(
        500, "", "carrier answered 500, and nothing is left to try"
    )
    assert after(plan, 302, redirects=("1001",)) == Refusal(
        302, "", "carrier redirected, and the caller is told where to"
    )
    assert after(plan, 305) == Refusal(480, "Temporarily Unavailable", "carrier answered 305, which leads nowhere")


def test_a_busy_phone_of_a_group_leaves_the_call_to_the_next():
    plan = planned(CallRequest("pbx", "3000"))
    assert names(plan) == ["alice", "bob", "carol"]
    following = after(plan, 486)
    assert names(following) == ["bob", "carol"]
    assert isinstance(following, Plan)
    assert isinstance(after(following, 603), Refusal)


def test_forwarding_always_and_when_the_line_is_known_to_be_busy():
    plan = planned(CallRequest("bob", "1004", "1002"))
    target = plan.target
    assert (target.line, target.request_number, target.forwarded_from) == ("erin", "1005", "dave")
    assert target.because == "dave is forwarded always"
    assert plan.forwards == 1
    plan = planned(CallRequest("bob", "1001"), load(alice=LineLoad(1)))
    assert (plan.target.line, plan.target.because) == ("carol", "alice is busy and forwarded")
    plan = planned(CallRequest("carol", "1001"), load(alice=LineLoad(0, False)))
    assert (plan.target.line, plan.target.because) == ("bob", "alice is out of service and forwarded")


def test_forwarding_after_an_answer_or_none():
    plan = planned(CallRequest("pbx", "1001", "77"))
    assert plan.target.ring_for == 15.0
    busy, silent = after(plan, 486), after(plan, 408)
    assert isinstance(busy, Plan) and isinstance(silent, Plan)
    assert (busy.target.line, busy.target.forwarded_from, busy.line) == ("carol", "alice", "alice")
    assert (silent.target.line, silent.caller) == ("bob", "77")
    moved = after(plan, 302, redirects=("1006",))
    assert isinstance(moved, Plan)
    assert (moved.target.line, moved.target.because) == ("vip", "alice redirected with 302")
    assert moved.target.params == ";rn=9" and busy.target.params == silent.target.params == ""
    again = Plan.from_token(SITE, moved.to_token())
    assert (again.target.params, again.target.follows) == (";rn=9", True)
    several = after(plan, 302, redirects=("4711", "1006", "1003"))
    assert names(several) == ["vip", "carol"] and isinstance(several, Plan) and several.forwards == 1
    assert isinstance(after(plan, 603), Refusal)


def test_forwarding_comes_to_an_end():
    present = load(alice=LineLoad(1), carol=LineLoad(1), erin=LineLoad(1))
    answer = refused(CallRequest("bob", "1004"), present)
    assert (answer.status, answer.because) == (486, "carol is busy")
    plan = planned(CallRequest("bob", "1001"))._replace(forwards=5)
    answer2 = after(plan, 486)
    assert isinstance(answer2, Refusal)
    assert answer2 == Refusal(482, "Loop Detected", "alice forwards to 1003, and the call was forwarded 5 times")
    assert after(planned(CallRequest("bob", "1001")), 302, redirects=("4711",)) == Refusal(
        404, "Not Found", "alice forwards to 4711, to which no route leads"
    )


def test_two_lines_that_forward_to_each_other_when_busy():
    extra = PHONE.format("x", "51") + 'forward = { busy = "52" }' + PHONE.format("y", "52")
    site = make(extra + 'forward = { busy = "51" }')
    answer = refused(CallRequest("bob", "51"), load(x=LineLoad(1), y=LineLoad(1)), site)
    assert answer.status == 482


def test_a_hunt_has_a_limit():
    many = "".join(PHONE.format(f"p{i}", f"6{i:03}") for i in range(40))
    lines = ", ".join(f'"p{i}"' for i in range(40))
    extra = f'{many}[[routes]]\nmatch = "6"\nto = [{lines}]\n'
    assert len(planned(CallRequest("bob", "6"), site=make(extra)).targets) == MOST_TARGETS


def test_a_number_that_grows_too_long_is_not_called():
    extra = f'[[routes]]\nmatch = "5*"\nto = "pbx"\nprefix = "{"1" * 64}"\n'
    assert refused(CallRequest("bob", "55"), site=make(extra)).status == 404


def test_a_plan_survives_as_a_token():
    for attempt in (
        CallRequest("alice", "+33123", "1001"),
        CallRequest("pbx", "3000", "a;b,c~é%"),
        CallRequest("bob", "1004"),
    ):
        plan = planned(attempt)
        again = Plan.from_token(SITE, plan.to_token())
        assert list(again.targets) == [
            t._replace(because=a.because, reason="unknown") for t, a in zip(plan.targets, again.targets, strict=True)
        ]
        assert again._replace(targets=()) == plan._replace(targets=())
    assert again.target.because == "erin was left to try when the server changed"


@given(st.text(max_size=70), st.text(max_size=70))
def test_tokens_are_short_and_true_for_any_number(called: str, caller: str):
    plan = router().plan(CallRequest("bob", "8" + called, caller), load(), 0.0)
    if isinstance(plan, Plan):
        text = plan.to_token()
        assert len(text) <= LONGEST_TOKEN and text.isascii()
        again = Plan.from_token(SITE, text)
        assert (again.called, again.caller) == (plan.called, plan.caller)
        assert again.target[:3] == plan.target[:3]


def test_a_long_plan_keeps_its_first_targets():
    number = "+" + string.digits * 6
    target = RouteTarget("carrier", number[::-1], 20.0, "because")
    plan = Plan((target,) * 9, "bob", number, "1", 3, 1)
    text = plan.to_token()
    assert LONGEST_TOKEN - 200 < len(text) <= LONGEST_TOKEN
    again = Plan.from_token(SITE, text)
    assert 1 <= len(again.targets) < 9 and again.target.request_number == number[::-1]


def test_a_token_of_other_lines_or_versions():
    assert Plan.from_token(SITE, "1,bob,1,2,0,0;gone,,,20,,").targets == ()
    assert (
        Plan.from_token(SITE, "1,bob,1,2,0,0;carrier,,7,20,,").target.request_number == "1"
    )  # of an earlier version
    for bad in ("", "2,bob,1,2,0,0", "1,bob", "1,bob,1,2,0,0;x"):
        with pytest.raises(ValueError):
            Plan.from_token(SITE, bad)


def test_a_line_may_say_what_becomes_of_its_redirections() -> None:
    site = make(PHONE.format("frank", "1007") + 'redirects = "pass"\n')
    plan = planned(CallRequest("bob", "1007"), site=site)
    kept = router(site).after(plan, 302, load(), 0.0, [Redirect("1001", "")])
    assert kept == Refusal(302, "", "frank redirected, and the caller is told where to")
    text = HEAD.replace("[lines.carrier]", '[lines.carrier]\nredirects = "follow"')
    site = parse(text + PHONES + ROUTES, Path("site.toml"), {"KEY": "k" * 16})
    plan = planned(CallRequest("bob", "+33123"), site=site)
    assert plan.target.line == "carrier"
    moved = router(site).after(plan, 302, load(), 0.0, [Redirect("1001", "")])
    assert isinstance(moved, Plan) and moved.target.line == "alice"
