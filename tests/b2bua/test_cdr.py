"""Call records as values, and the merge of what several servers wrote about one call."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2bua.cdr import RESULTS, Cdr, heard, merge, merge_by_call, sentence

CALL = Cdr(
    call_id="m1-7-1",
    site="paris",
    node="m1",
    epoch=7,
    caller="100",
    callee="200",
    caller_line="carrier/1",
    callee_line="p200",
    attempts=1,
    started=100.0,
    ringing=101.0,
    answered=105.0,
    ended=165.5,
    result="answered",
    status=200,
    ended_by="callee",
)

instants = st.none() | st.floats(0, 2e9)
words = st.sampled_from(["", "a", "b", "cc"])
counts = st.none() | st.integers(0, 3)
scores = st.none() | st.sampled_from([0.0, 1.5, 4.4])
records = st.builds(
    Cdr,
    call_id=st.just("one"),
    session_id=words,
    node=st.sampled_from(["", "m1", "m2", "m1+m2"]),
    epoch=st.integers(0, 9),
    caller=words,
    callee=words,
    caller_line=words,
    callee_line=words,
    attempts=st.integers(0, 3),
    started=instants,
    ringing=instants,
    answered=instants,
    ended=instants,
    result=st.sampled_from(["", *RESULTS]),
    status=st.sampled_from([0, 200, 486]),
    ended_by=st.sampled_from(["caller", "callee", "server", ""]),
    reason=words,
    far_status=st.sampled_from([0, 200, 404]),
    caller_media=words,
    caller_packets=counts,
    caller_lost=counts,
    caller_jitter_ms=scores,
    caller_mos=scores,
    callee_packets=counts,
    callee_lost=counts,
    callee_jitter_ms=scores,
    callee_mos=scores,
)


def test_the_id_comes_from_the_call_id_alone():
    assert CALL.id == CALL._replace(node="m2", epoch=8, ended=1.0).id == "3ce9d47e1f709d3267ca47a2b6f1493f"
    assert CALL.id != CALL._replace(call_id="m1-7-2").id


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Q.850;cause=17", 17),
        ('q.850 ; cause = 41 ;text="x"', 41),
        ('SIP;cause=200;text="Call completed elsewhere"', 0),
        ("Q.850;cause=1234", 0),
        ("", 0),
    ],
)
def test_the_cause_is_that_of_q850_in_the_reason(reason, cause):
    assert CALL._replace(reason=reason).cause == CALL._replace(reason=reason).to_json()["cause"] == cause


def test_duration_is_from_answer_to_end():
    assert CALL.duration == 60.5
    assert CALL._replace(answered=None).duration is None
    assert CALL._replace(ended=None).duration is None
    assert CALL._replace(ended=104.0).duration == 0.0


def test_json_comes_back_and_newer_members_are_ignored():
    value = CALL.to_json()
    assert next(iter(value)) == "id"
    assert value["duration"] == 60.5
    names = list(value)
    assert names[names.index("ended") + 1] == "duration" and names[names.index("duration") + 1] == "result"
    assert CALL._replace(answered=104.0, ended=105.23456749).to_json()["duration"] == 1.234567, "to the microsecond"
    assert Cdr.from_json({**value, "colour": "blue"}) == CALL
    assert Cdr.from_json({"call_id": "x", "started": None}) == Cdr("x")


@pytest.mark.parametrize(
    "bad", [{}, [], {"call_id": 1}, {"call_id": "x", "started": "noon"}, {"call_id": "x", "epoch": True}]
)
def test_what_is_no_record_is_refused(bad):
    with pytest.raises(ValueError, match="not a call record"):
        Cdr.from_json(bad)


def test_a_seen_answer_and_the_parties_end_win():
    guess = CALL._replace(
        node="m2",
        epoch=8,
        answered=None,
        ended=170.0,
        result="failed",
        status=503,
        ended_by="server",
        reason="x",
    )
    assert merge([guess, CALL]) == CALL._replace(node="m1+m2", epoch=8)


@pytest.mark.parametrize("result", [result for result in RESULTS if result != "answered"])
def test_an_answer_wins_over_every_other_result(result):
    """Who saw the answer was there; what another server wrote, it concluded."""
    other = CALL._replace(node="m2", answered=None, ended=150.0, result=result, status=699, ended_by="server")
    for records_of_it in ([CALL, other], [other, CALL]):
        merged = merge(records_of_it)
        assert (merged.result, merged.status, merged.answered) == ("answered", 200, 105.0)


@pytest.mark.parametrize("result", [result for result in RESULTS if result not in ("answered", "failed")])
def test_what_a_target_said_wins_over_a_failure(result):
    said = CALL._replace(answered=None, result=result, status=486)
    failed = CALL._replace(node="m2", answered=None, result="failed", status=503)
    for records_of_it in ([said, failed], [failed, said]):
        merged = merge(records_of_it)
        assert (merged.result, merged.status) == (result, 486)


@pytest.mark.parametrize(
    ("one", "other", "end"),
    [
        # an end that a party made, against one that a server concluded, whichever is earlier
        ((170.0, "caller"), (160.0, "server"), (170.0, "caller")),
        ((160.0, "callee"), (170.0, "server"), (160.0, "callee")),
        # of two ends of a kind the earlier one
        ((160.0, "caller"), (161.0, "callee"), (160.0, "caller")),
        ((161.0, "caller"), (160.0, "callee"), (160.0, "callee")),
        ((160.0, "server"), (161.0, "server"), (160.0, "server")),
        # any that is known, against none
        ((None, "caller"), (170.0, "server"), (170.0, "server")),
        ((170.0, ""), (None, "caller"), (170.0, "")),
    ],
)
def test_which_end_counts(one, other, end):
    pair = [CALL._replace(ended=ended, ended_by=by, reason=f"of {by}") for ended, by in (one, other)]
    for records_of_it in (pair, pair[::-1]):
        merged = merge(records_of_it)
        assert (merged.ended, merged.ended_by, merged.reason) == (*end, f"of {end[1]}")


def test_unknown_members_are_filled():
    half = CALL._replace(node="m2", caller="", callee_line="", started=None, ringing=None)
    assert merge([half, CALL]) == CALL._replace(node="m1+m2")


@pytest.mark.parametrize("result", ["failed", "busy", "answered"])
def test_a_result_wins_over_none(result):
    told, none = CALL._replace(result=result, status=503), CALL._replace(result="", status=0)
    for pair in ((told, none), (none, told)):
        assert (merge(pair).result, merge(pair).status) == (result, 503)


def test_an_answer_without_an_end_takes_the_end_of_the_other():
    no_end = CALL._replace(ended=None, ended_by="")
    concluded = CALL._replace(answered=None, result="failed", status=0, ended=170.0, ended_by="server")
    merged = merge([no_end, concluded])
    assert (merged.result, merged.answered, merged.ended, merged.ended_by) == ("answered", 105.0, 170.0, "server")


@settings(max_examples=200)
@given(st.lists(records, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_order_repetition_and_steps_do_not_matter(some, random):
    whole = merge(some)
    shuffled = [*some, random.choice(some)]
    random.shuffle(shuffled)
    assert merge(shuffled) == whole
    cut = random.randrange(len(some) + 1)
    parts = [merge(part) for part in (some[:cut], some[cut:]) if part]
    assert merge(parts) == whole


def test_merging_needs_one_call():
    with pytest.raises(ValueError, match="different calls"):
        merge([CALL, Cdr("other")])
    with pytest.raises(ValueError, match="nothing"):
        merge([])


def test_calls_come_in_the_order_of_their_start():
    late = Cdr("late", node="m2", started=300.0)
    assert merge_by_call([late, CALL, Cdr("never"), CALL._replace(node="m2")]) == [
        Cdr("never"),
        CALL._replace(node="m1+m2"),
        late,
    ]
    assert merge_by_call([Cdr("b", started=0.5), Cdr("a")]) == [Cdr("a"), Cdr("b", started=0.5)]


@pytest.mark.parametrize(
    "name", ["session_id", "site", "caller", "callee", "dialled", "caller_line", "callee_line", "codec"]
)
def test_of_two_texts_the_fuller_one_is_kept(name):
    empty, short, long = (Cdr("c", **{name: text}) for text in ("", "zz", "aaa"))
    for pair, kept in (((empty, short), "zz"), ((short, long), "aaa"), ((long, empty), "aaa")):
        assert getattr(merge(pair), name) == getattr(merge(reversed(pair)), name) == kept
    other = Cdr("c", **{name: "zza"})
    assert getattr(merge((long, other)), name) == "zza", "of the same length the later one"


def test_counts_are_the_highest_and_instants_of_the_call_the_first():
    one = Cdr("c", node="m1", epoch=3, attempts=2, started=1.0, ringing=5.0, answered=None)
    two = Cdr("c", node="m2", epoch=4, attempts=1, started=2.0, ringing=4.0, answered=7.0)
    for merged in (merge((one, two)), merge((two, one))):
        assert (merged.node, merged.epoch, merged.attempts) == ("m1+m2", 4, 2)
        assert (merged.started, merged.ringing, merged.answered) == (1.0, 4.0, 7.0)


def test_of_two_ends_of_one_kind_the_first_counts_and_a_record_without_one_tells_nothing():
    early = Cdr("c", ended=5.0, ended_by="callee", reason="x")
    late = Cdr("c", ended=6.0, ended_by="caller", reason="longer")
    none = Cdr("c", reason="of no end")
    for records in ((early, late, none), (none, late, early)):
        merged = merge(records)
        assert (merged.ended, merged.ended_by, merged.reason) == (5.0, "callee", "x")


def test_the_whole_call_in_one_line() -> None:
    call = Cdr("c1", caller="+331", callee="1001", caller_line="carrier/7", callee_line="alice", status=200)
    done = call._replace(result="answered", answered=10.0, ended=75.4, ended_by="caller")
    assert sentence(done) == "+331 (carrier/7) to 1001 (alice): answered 65 s, 200, ended by caller"
    failed = Cdr("c2", caller="+331", dialled="1001", callee="1002", result="failed", status=404, reason="no route")
    assert sentence(failed) == "+331 (?) to 1001, then 1002 (no line): failed, 404, no route"
    assert sentence(Cdr("c3")) == "? (?) to ? (no line): its result is not known, 0"


def test_the_figures_of_a_stream_stay_together():
    one = CALL._replace(caller_packets=100, caller_lost=5, caller_jitter_ms=9.0, caller_mos=3.9)
    two = CALL._replace(node="m2", caller_packets=90, caller_lost=50, callee_packets=7, callee_lost=0)
    for pair in ((one, two), (two, one)):
        merged = merge(pair)
        assert (merged.caller_packets, merged.caller_lost, merged.caller_mos) == (100, 5, 3.9)
        assert (merged.callee_packets, merged.callee_mos) == (7, None)
    assert Cdr.from_json(one.to_json()) == one


def test_how_it_sounded_is_a_sentence():
    assert list(heard(CALL)) == []
    one = CALL._replace(caller_packets=95, caller_lost=5, caller_jitter_ms=9.0, caller_mos=3.94, callee_packets=0)
    assert list(heard(one)) == [
        "the caller was heard with a score (MOS) of 3.9: 5.0% of the RTP was lost, jitter 9.0 ms",
        "nothing was heard of the callee: no RTP came",
    ]
