"""The state token: round trip, signatures, keys, limits."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2bua.call_state import changed
from b2bua.device_leg_state import JUMP, DeviceLegState, PickupState, Timer, described, sections_of
from b2bua.state_token import (
    LONGEST,
    LONGEST_BRANCH,
    LONGEST_WITH_DEVICE_LEG,
    MOST_EPOCHS,
    CallState,
    TokenError,
    call_id_of,
    named,
    origin_of,
    read,
    sign,
)
from heartbeat.mac import mac_of
from sip.dialog import UAC, DialogState
from sip.wire import sdp

KEY = b"k" * 16


def device_leg(host: str = "192.0.2.77", routes: int = 0) -> DeviceLegState:
    """The leg with a trunk, as a carrier has it."""
    route = f"<sip:{'proxy-' * 12}{host};transport=udp;lr>"
    dialog = DialogState(
        "f3a1c2d4e5b60718293a4b5c6d7e8f90",
        "9f547972c70d9b1b",
        "as6f1b2c3d",
        f"<sip:+331405060{70}@{host}>",
        f"<sip:+14085551234@{host};user=phone>",
        2,
        17,
        f"sip:+14085551234@{host}:5080;transport=udp",
        (route,) * routes,
        UAC,
    )
    origin = f"- 1545994562 1545994563 IN IP4 {host}"
    return DeviceLegState(dialog, "udp", host, 5060, "198.51.100.9:5060", 2, True, origin, Timer(1800, 90, True))


STATE = CallState(
    call_id_of("gw1", "c1@gw1"),
    7,
    "gw1;z9hG4bK1",
    2,
    "1,alice,1001,,0,0;bob,,,180,,f",
    "alice",
    "1001",
    "alice/1",
    "bob",
    "gw1",
    "c1@gw1",
    "gw2",
    "c2",
    1.5,
    2.25,
    3.125,
    "ab" * 16,
    (1, 2),
)


def test_a_state_comes_back_from_its_token() -> None:
    token = sign(STATE, KEY)
    assert read(token, [KEY]) == STATE
    assert token.startswith(f"1.7.{STATE.call_id}.") and token.isascii() and not set(token) & set(" ;,\"'<>\\")


@given(
    st.builds(
        STATE._replace,
        call_id=st.from_regex(r"[0-9a-f]{24}", fullmatch=True),
        counter=st.integers(0, 10**9 - 1),
        caller=st.text(st.characters(max_codepoint=255), max_size=20),
        callee=st.text(max_size=20),
        plan=st.text(st.characters(max_codepoint=126), max_size=60),
        started=st.integers(0, 2**31).map(float),
        epochs=st.lists(st.integers(0, 2**40), max_size=MOST_EPOCHS).map(tuple),
    )
)
def test_any_state_comes_back(state: CallState) -> None:
    assert read(sign(state, KEY), [KEY]) == state


def test_another_key_and_a_change_of_key() -> None:
    token = sign(STATE, KEY)
    with pytest.raises(TokenError, match="not signed"):
        read(token, [b"x" * 16])
    assert read(token, [b"new" * 8, KEY]) == STATE
    with pytest.raises(TokenError):
        read(token, [])


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_any_changed_character_is_noticed(at: int) -> None:
    token = sign(STATE, KEY)
    at %= len(token)
    other = "A" if token[at] != "A" else "B"
    with pytest.raises(TokenError):
        read(token[:at] + other + token[at + 1 :], [KEY])


@pytest.mark.parametrize("text", ["", ".", "1.2.3.4.5", "1.1.x..", "é" * 10, "1." * 600, "\0", "1.-1.x.e30.mac"])
def test_what_is_no_token_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(TokenError, match="the state token"):
        read(text, [KEY])


def test_another_format_is_refused() -> None:
    token = sign(STATE, KEY)

    text = "2" + token.rpartition(".")[0][1:]
    with pytest.raises(TokenError, match="format 2"):
        read(f"{text}.{mac_of(text, KEY)}", [KEY])


def test_a_payload_that_is_not_ours_although_signed_is_refused() -> None:

    for payload in ("", "e30=", "W10=", "!!!", "WzFd"):
        text = f"1.1.abc.{payload}"
        with pytest.raises(TokenError):
            read(f"{text}.{mac_of(text, KEY)}", [KEY])


def test_the_longest_state_makes_a_token_of_at_most_a_kilobyte() -> None:
    target = ";" + ",".join(("l" * 32, "9" * 64, "8" * 64, "180", "l" * 32, "f"))
    state = CallState(
        "f" * 24,
        999_999_999,
        origin_of("a" * 32, "z9hG4bK" + "b" * 57),
        16,
        "1," + "l" * 32 + "," + "9" * 64 + target,
        "é" * 65,
        "é" * 65,
        "l" * 65,
        "l" * 65,
        "a" * 32,
        "c" * 65,
        "a" * 32,
        "d" * 32,
        1e9 + 0.123,
        1e9 + 0.123,
        1e9 + 0.123,
        "s" * 32,
        tuple(range(10**6, 10**6 + 50)),
    )
    token = sign(state, KEY)
    assert len(token) <= LONGEST
    back = read(token, [KEY])
    assert back.call_id == state.call_id and back.caller_dialog == state.caller_dialog
    assert back.epochs == state.epochs[-MOST_EPOCHS:] and state.plan.startswith(back.plan)


def test_of_a_plan_too_long_the_last_targets_are_left_out() -> None:
    plan = "1,alice,1001,,0,0" + ";bob,,,180,,f" * 60
    token = sign(STATE._replace(plan=plan), KEY)
    back = read(token, [KEY])
    assert LONGEST - 40 < len(token) <= LONGEST
    assert plan.startswith(back.plan) and back.plan.endswith(",f")


def test_origins() -> None:
    assert origin_of("gw1", "z9hG4bKx") == "gw1;z9hG4bKx"
    long = origin_of("m1", "z9hG4bK" + "x" * 5000)
    assert len(long) <= len("m1;") + LONGEST_BRANCH and ";" not in long[3:]
    assert long == origin_of("m1", "z9hG4bK" + "x" * 5000) != origin_of("m1", "z9hG4bK" + "x" * 5001)


def test_call_ids_are_the_same_everywhere_and_different_for_each() -> None:
    assert call_id_of("gw1", "c1") == call_id_of("gw1", "c1")
    ids = {call_id_of(agent, dialog) for agent in ("gw1", "gw2") for dialog in ("a", "b", "a b")}
    assert len(ids) == 6 and all(len(each) == 24 for each in ids)


@pytest.mark.parametrize("token", ["", "nonsense", "2.4.abc.p.m", "1.x.abc.p.m", "1.4.abc.p", "1.4.abc.p.m.x"])
def test_what_a_token_shows_unread(token: str) -> None:
    assert named(sign(STATE, KEY)) == (STATE.call_id, STATE.counter)
    assert named(token) == ("", 0)


def test_a_change_counts_one_higher() -> None:
    after = changed(STATE, answered=9.0, plan="")
    assert (after.counter, after.answered, after.plan, after.caller) == (8, 9.0, "", "alice")
    assert STATE.counter == 7


def test_a_branch_of_the_longest_length_stands_as_it_is_and_a_longer_one_as_its_hash() -> None:
    longest = "z" * LONGEST_BRANCH
    assert origin_of("gw1", longest) == f"gw1;{longest}"
    hashed = origin_of("gw1", longest + "z")
    assert hashed.startswith("gw1;") and len(hashed) == 4 + 32
    assert hashed == origin_of("gw1", longest + "z") != origin_of("gw1", longest + "y")


def test_a_token_of_the_longest_length_is_whole() -> None:
    for more in range(200):
        plan = "1,alice,1001,,0,0;" + "x" * (LONGEST // 2 + 4 * more)
        token = sign(STATE._replace(plan=plan), KEY)
        if len(token) == LONGEST:
            assert read(token, [KEY]).plan == plan
            return
        for one in range(1, 4):
            token = sign(STATE._replace(plan=plan + "y" * one), KEY)
            if len(token) == LONGEST:
                assert read(token, [KEY]).plan == plan + "y" * one
                return
    raise AssertionError("no plan makes a token of that length")


def test_instants_are_kept_to_the_millisecond() -> None:
    state = STATE._replace(started=1700000000.12345, ringing=1700000001.9996, answered=1700000002.0004)
    found = read(sign(state, KEY), [KEY])
    assert (found.started, found.ringing, found.answered) == (1700000000.123, 1700000002.0, 1700000002.0)


def test_what_was_dialled_is_in_a_token_where_it_is_another_number() -> None:
    dialled = STATE._replace(dialled="2000")
    assert read(sign(dialled, KEY), [KEY]) == dialled
    assert len(sign(STATE, KEY)) < len(sign(dialled, KEY))


def test_what_a_later_version_adds_to_a_token_is_passed_over() -> None:
    dialled = STATE._replace(dialled="2000", part="c2", transferred_by="vera/1", forwarded_by="vera")
    dialled = dialled._replace(device_leg=device_leg())
    head, _, payload = sign(dialled, KEY).rpartition(".")[0].rpartition(".")
    values = [*json.loads(urlsafe_b64decode(payload)), "more", 1]
    text = f"{head}.{urlsafe_b64encode(json.dumps(values).encode()).decode()}"
    assert read(f"{text}.{mac_of(text, KEY)}", [KEY]) == dialled


def test_the_leg_of_a_trunk_is_in_the_token_and_costs_what_wire_md_says() -> None:
    answered = STATE._replace(plan="")
    assert len(sign(answered._replace(device_leg=device_leg()), KEY)) - len(sign(answered, KEY)) < 560
    for routes in (0, 1, 4):
        token = sign(answered._replace(device_leg=device_leg(routes=routes)), KEY)
        assert len(token) <= LONGEST_WITH_DEVICE_LEG and read(token, [KEY]).device_leg == device_leg(routes=routes)


def test_who_is_picking_the_call_up_behind_a_trunk_is_in_the_token_where_there_is_room() -> None:
    picked = STATE._replace(pickup=PickupState("hall/1", "660", device_leg()))
    assert read(sign(picked, KEY), [KEY]) == picked
    both = picked._replace(device_leg=device_leg("192.0.2.78"))
    assert read(sign(both, KEY), [KEY]) == both
    token = sign(both._replace(pickup=PickupState("hall/1", "660", device_leg(routes=20))), KEY)
    assert len(token) <= LONGEST_WITH_DEVICE_LEG and read(token, [KEY]) == both._replace(pickup=None)


@pytest.mark.parametrize("called", ["", "CANCEL sip:x SIP/2.0"])
def test_the_sections_that_a_trunk_knows_are_in_the_token_where_there_are_several(called: str) -> None:
    known = device_leg()._replace(called=called, sections="m=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 96\n")
    assert read(sign(STATE._replace(device_leg=known), KEY), [KEY]).device_leg == known
    assert known.moved_from(device_leg()._replace(called=called))
    assert not device_leg()._replace(called=called).moved_from(known)


@pytest.mark.parametrize(
    ("description", "told"),
    [
        (b"", ""),
        (b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n", ""),
        (
            b"v=0\r\nm=audio 4000 RTP/AVP 0 8\r\nm=video 0 RTP/AVP 96\r\na=mid:1\r\n",
            "m=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 96\n",
        ),
        (b"v=0\r\nm=audio 4000 RTP/AVP 0\r\nm=x\r\n", ""),
        (b"v=0\r\n" + b"m=audio 4000 RTP/AVP 0\r\n" * 30, ""),
    ],
)
def test_one_section_says_it_all(description: bytes, told: str) -> None:
    assert sections_of(description) == told


@pytest.mark.parametrize("local", [b"", b"v=0\r\no=- 9 4 IN IP4 192.0.2.7\r\nm=audio 4000 RTP/AVP 0\r\n"])
def test_whoever_goes_on_counts_on_from_where_the_one_before_may_have_got(local: bytes) -> None:
    """Each describes less often than once a second, and the token is told at the answer alone."""
    seen = [sdp.origin_of(described(device_leg(), local, b"", lasted).newest) for lasted in (-1.0, 0.0, 7.9, 60.0)]
    assert [one.version - 1545994563 for one in seen] == [JUMP, JUMP, JUMP + 7, JUMP + 60]
    assert len({one._replace(version=0) for one in seen}) == 1


def test_the_leg_of_a_trunk_that_is_too_long_is_left_out() -> None:
    long = sign(STATE._replace(device_leg=device_leg(routes=30)), KEY)
    assert len(long) <= LONGEST and read(long, [KEY]) == STATE


def test_a_token_of_any_length_beyond_is_not_believed() -> None:
    with pytest.raises(TokenError, match="longer than any"):
        read("1" * (LONGEST_WITH_DEVICE_LEG + 1), [KEY])


@pytest.mark.parametrize("said", ["more", None, [1, 2], ["a"] * 18, {}])
def test_of_a_leg_that_cannot_be_read_the_rest_of_the_token_is_believed(said: object) -> None:
    plain = STATE._replace(forwarded_by="vera")
    head, _, payload = sign(plain, KEY).rpartition(".")[0].rpartition(".")
    text = (
        f"{head}.{urlsafe_b64encode(json.dumps([*json.loads(urlsafe_b64decode(payload)), said]).encode()).decode()}"
    )
    assert read(f"{text}.{mac_of(text, KEY)}", [KEY]) == plain
