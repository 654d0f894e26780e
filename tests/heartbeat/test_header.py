"""The header: what is written can be read, and nothing else can."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.header import KINDS, MOST_LENGTH, STATES, Beat, BeatError, ReplayWindow, mac, parse, read, serialize

KEY, OLD_KEY = b"n" * 32, b"o" * 32
BEAT = Beat("paris", "m1", 41, 7, "active", 1841, "beat", "gw1", 812, 5000, 0.31, "9c41d0aa", 3)

names = st.text("abcdefghijkmz0189-._+", min_size=1, max_size=64)
numbers = st.integers(0, 2**53)
seconds = st.none() | st.integers(0, 10**9).map(lambda n: n / 1000)
words = st.text("0123456789abcdef", max_size=64)
beats = st.builds(
    Beat,
    site=names,
    node=names,
    incarnation=numbers,
    epoch=numbers,
    state=st.sampled_from(sorted(STATES)),
    seq=numbers,
    kind=st.sampled_from(sorted(KINDS)),
    to=names,
    calls=numbers,
    capacity=numbers,
    load=st.integers(0, 500).map(lambda n: n / 100),
    config=words,
    voters=numbers,
    heard=seconds,
    leader=names,
    promised_epoch=numbers,
    promised_to_others=numbers,
    for_epoch=numbers,
    wait=seconds,
    no=names,
    grant=words,
    list=st.just("701:2:gw1,gw2,m2"),
    proof=st.just("8|m2|13|701:2:gw1,gw2,m2|gw1:00,m2:ff"),
    reach=words,
    flags=st.lists(st.sampled_from(["first", "mute", "gw1"]), max_size=3, unique=True).map(tuple),
    re=st.none() | st.tuples(numbers, numbers),
    nonce=words,
    echo=words,
    commitment=words,
    deaths=st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=4).map(tuple),
    interval=seconds,
    version=st.sampled_from(["", "0.1.0", "0.2.0rc1+debian"]),
    warns=st.lists(st.sampled_from(["disk", "key-file"]), max_size=2, unique=True).map(tuple),
)


def signed(text: str, key: bytes = KEY) -> str:
    return f"{text}; mac={mac(text, key, 'OPTIONS', 'c1@m1', 12)}"


def understood(value: str, *keys: bytes) -> Beat:
    return parse(value, keys or (KEY,), "OPTIONS", "c1@m1", 12)


def test_the_example_of_the_design_reads_as_it_is_written() -> None:
    value = serialize(BEAT, KEY, "OPTIONS", "c1@m1", 12)
    assert value.startswith("site=paris; node=m1; boot=41; epoch=7; state=active; seq=1841; kind=beat; to=gw1; ")
    assert value.rpartition("; mac=")[2] == mac(value.rpartition("; mac=")[0], KEY, "OPTIONS", "c1@m1", 12)
    assert understood(value) == BEAT


@settings(max_examples=150)
@given(beats)
def test_what_is_written_is_read_again(beat: Beat) -> None:
    expected = (
        beat
        if beat.promised_epoch or beat.promised_to_others or beat.for_epoch
        else replace(beat, promised_epoch=0, promised_to_others=0, for_epoch=0)
    )
    try:
        found = understood(serialize(beat, KEY, "OPTIONS", "c1@m1", 12))
    except BeatError as error:
        assert "characters" in str(error)
        return
    nonce_alone = {} if beat.nonce or beat.echo else {"nonce": "", "echo": ""}
    assert found == replace(expected, **nonce_alone)


@pytest.mark.parametrize(
    "method, call_id, cseq", [("INFO", "c1@m1", 12), ("OPTIONS", "c2@m1", 12), ("OPTIONS", "c1@m1", 13)]
)
def test_a_beat_moved_to_another_message_is_refused(method: str, call_id: str, cseq: int) -> None:
    with pytest.raises(BeatError, match="mac"):
        parse(serialize(BEAT, KEY, "OPTIONS", "c1@m1", 12), (KEY,), method, call_id, cseq)


def test_during_a_key_change_both_keys_verify_and_afterwards_one() -> None:
    value = serialize(BEAT, OLD_KEY, "OPTIONS", "c1@m1", 12)
    assert understood(value, KEY, OLD_KEY) == BEAT
    with pytest.raises(BeatError, match="not that of this site's key"):
        understood(value, KEY)


def test_every_changed_character_is_noticed() -> None:
    value = serialize(BEAT, KEY, "OPTIONS", "c1@m1", 12)
    for at in range(len(value)):
        with pytest.raises(BeatError):
            understood(value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :])


def test_parameters_of_a_later_version_are_passed_over() -> None:
    beat = understood(signed("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; mood=fine; novelty"))
    assert (beat.node, beat.epoch, beat.kind) == ("m1", 2, "beat")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("site=paris; node=m1; boot=1; epoch=2; state=active", "lacks seq"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; seq=4", "seq twice"),
        ("site=paris; node=m1; boot=1; epoch=-2; state=active; seq=3", "epoch .* is not a whole number"),
        ("site=paris; node=m1; boot=1; epoch=99999999999999999; state=active; seq=3", "epoch"),
        ("site=paris; node=m1; boot=1; epoch=2; state=asleep; seq=3", "state .* is none of"),
        ("site=paris; node=m 1; boot=1; epoch=2; state=active; seq=3", "node"),
        ("site=paris; node=m1|x; boot=1; epoch=2; state=active; seq=3", "node"),
        ("site=paris; node=gw1; boot=1; epoch=2; state=agent; seq=3; warns=disk+", "warns .* is no list of codes"),
        ("site=paris; node=gw1; boot=1; epoch=2; state=agent; seq=3; warns=a b", "warns .* is no list of codes"),
        (f"site=paris; node={'m' * 65}; boot=1; epoch=2; state=active; seq=3", "node"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; heard=nan", "heard"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; load=1e999", "load"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; wait=soon", "wait"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; re=7", "re .* names no request"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3; flags=a+b+c+d+e+f+g+h+i", "flags"),
        ("site=paris; node=m1; boot=1; epoch=2; state=active; seq=3" + "; x" * 64, "67|70|parameters"),
    ],
)
def test_one_clear_error_for_a_signed_mistake(text: str, sentence: str) -> None:
    with pytest.raises(BeatError, match=sentence):
        understood(signed(text))


@pytest.mark.parametrize(
    "value", ["", "mac=", "; mac=00", "mac", "site=é; mac=00", "x" * (MOST_LENGTH + 1), "mac=\ud800"]
)
def test_garbage_is_one_kind_of_error(value: str) -> None:
    with pytest.raises(BeatError):
        understood(value)


@settings(max_examples=200)
@given(st.text(max_size=300))
def test_nothing_but_beat_error_is_ever_raised(text: str) -> None:
    for attempt in (lambda: understood(text), lambda: read(text)):
        try:
            attempt()
        except BeatError:
            pass


def test_the_key_is_in_no_error_and_no_header() -> None:
    value = serialize(BEAT, b"secret-secret", "OPTIONS", "c1@m1", 12)
    assert "secret" not in value


def test_nothing_is_heard_twice_or_too_late() -> None:
    order = ReplayWindow()
    assert order.fresh(BEAT)
    assert not order.fresh(BEAT)
    assert not order.fresh(replace(BEAT, seq=1840))
    assert order.fresh(replace(BEAT, seq=1, epoch=8))
    assert not order.fresh(replace(BEAT, seq=5000))
    assert order.fresh(replace(BEAT, seq=1, incarnation=42, epoch=0)), "it lost its file, but its counter went on"
    assert order.fresh(replace(BEAT, node="m2"))


def test_statements_may_overtake_each_other_but_not_come_twice() -> None:
    order = ReplayWindow()
    assert order.fresh(replace(BEAT, seq=10))
    assert not order.fresh(replace(BEAT, seq=9)), "what came before the first one heard may be a replay"
    assert order.fresh(replace(BEAT, seq=15))
    assert [order.fresh(replace(BEAT, seq=seq)) for seq in (13, 13, 11, 15, 10)] == [True, False, True, False, False]
    assert order.fresh(replace(BEAT, seq=500))
    assert [order.fresh(replace(BEAT, seq=seq)) for seq in (436, 437, 437, 12)] == [False, True, False, False]
    assert order.fresh(replace(BEAT, seq=501, epoch=8))
    assert not order.fresh(replace(BEAT, seq=502, epoch=7)), "said before the epoch rose"


def test_who_answered_our_challenge_is_heard_whatever_it_counts() -> None:
    order = ReplayWindow()
    order.fresh(BEAT)
    restarted = replace(BEAT, incarnation=1, epoch=0, seq=1)
    assert not order.fresh(restarted)
    order.start_anew(restarted)
    assert order.fresh(replace(restarted, seq=2))
