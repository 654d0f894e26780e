"""Who is banned, for what and for how long, and who never is."""

from __future__ import annotations

import pytest

from sip.actions import Close, Flow, Send
from sip.layer import Stack
from sip.overload.bans import EXEMPT_FOR, KNOWN_FOR, MOST, WEIGHTS, Ban, BanPolicy, Bans, Offence
from sip.transaction import ServerTransaction
from sip.wire.message import Message, parse
from tests.sip.two_stacks import End

LOCAL = "127.0.0.1:5060"


def at(host: str, transport: str = "udp") -> Flow:
    return Flow(transport, LOCAL, (host, 5060))


def offend(bans: Bans, host: str, offence: Offence = "refused", times: int = 1, now: float = 0.0) -> None:
    for _ in range(times):
        bans.offend(at(host), offence, now)


@pytest.mark.parametrize(
    ("offence", "borne"),
    [("unreadable", 200), ("unknown dialog", 200), ("refused", 200), ("challenged", 1000), ("wrong password", 40)],
)
def test_so_many_are_borne_and_the_next_bans(offence: Offence, borne: int) -> None:
    assert borne * WEIGHTS[offence] == BanPolicy().after
    bans = Bans()
    told: list[Ban] = []
    bans.told = lambda ban, now: told.append(ban)
    offend(bans, "192.0.2.1", offence, borne)
    assert not bans.banned and not told
    offend(bans, "192.0.2.1", offence)
    assert [(ban.host, ban.at, ban.until) for ban in told] == [("192.0.2.1", 0.0, 600.0)]
    assert told[0].because == f"{borne + 1:,} {offence}"
    assert bans.stops(at("192.0.2.1"), 599.0) and not bans.stops(at("192.0.2.2"), 599.0)
    assert bans.lasting(599.0)[0].dropped == 1 and bans.lasting(600.0) == []
    assert not bans.stops(at("192.0.2.1"), 600.0) and not bans.banned


def test_what_is_forgiven_is_not_counted_for_ever() -> None:
    bans = Bans()
    for second in range(3600):
        offend(bans, "192.0.2.1", times=3, now=float(second))  # 200 in 60 s are forgiven
    assert not bans.banned
    offend(bans, "192.0.2.1", times=201, now=10_000.0)
    assert bans.banned["192.0.2.1"].because == "201 refused", "of what was before nothing is said"


def test_an_ipv6_subscriber_is_one_host() -> None:
    bans = Bans()
    for n in range(201):
        offend(bans, f"2001:db8::{n:x}")
    assert bans.stops(at("2001:db8::ffff:1"), 1.0) and not bans.stops(at("2001:db8:0:1::1"), 1.0)
    assert bans.lift("2001:db8::42") and not bans.stops(at("2001:db8::1"), 1.0)


def test_peers_and_who_has_proved_himself_are_never_banned() -> None:
    bans = Bans()
    bans.exempt = "192.0.2.1".__eq__
    bans.know("192.0.2.2", 0.0)
    for host in ("192.0.2.1", "192.0.2.2"):
        offend(bans, host, times=10_000)
    assert not bans.banned
    bans.exempt = lambda host: False
    offend(bans, "192.0.2.1", times=10_000, now=EXEMPT_FOR - 1)
    assert not bans.banned
    offend(bans, "192.0.2.1", times=10_000, now=EXEMPT_FOR + 1)
    assert bans.lift("192.0.2.1")
    offend(bans, "192.0.2.2", times=10_000, now=KNOWN_FOR + 1)
    assert list(bans.banned) == ["192.0.2.2"]


def test_a_new_policy_frees_whom_it_would_not_ban() -> None:
    bans = Bans()
    for host in ("192.0.2.1", "192.0.2.2"):
        offend(bans, host, times=201)
    bans.exempt = "192.0.2.1".__eq__
    bans.apply(BanPolicy(10.0, 60.0, 5.0))
    assert list(bans.banned) == ["192.0.2.2"]
    offend(bans, "192.0.2.3", times=11)
    assert bans.banned["192.0.2.3"].until == 5.0
    bans.apply(BanPolicy(after=0.0))
    offend(bans, "192.0.2.4", times=10_000)
    assert not bans.banned


def test_what_is_remembered_is_bounded() -> None:
    bans = Bans()
    for n in range(MOST + 10):
        host = f"10.0.{n >> 8}.{n & 255}"
        offend(bans, host, times=201)
        offend(bans, f"11.0.{n >> 8}.{n & 255}")
        bans.know(f"12.0.{n >> 8}.{n & 255}", 0.0)
    assert len(bans.banned) == MOST and bans.total == MOST + 10
    assert len(bans._records) <= MOST and len(bans._known) == MOST


# -- in a stack -----------------------------------------------------------------------------------------------------

REFUSED = (
    b"BYE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK%d;rport\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:x@127.0.0.1>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Refusing(End):
    """Answers all that belongs to no dialog with 481, and believes whoever connects."""

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        return True

    def requested(self, *args: object) -> None:
        (transaction, _, _) = args
        assert isinstance(transaction, ServerTransaction)
        self.stack.respond_stateless(transaction, 481)


def stack() -> Stack:
    return Refusing("b", 5060).stack


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(("data", "of"), [(REFUSED, "unknown dialog"), (b"garbage %d\r\n\r\n", "unreadable")])
def test_a_stack_drops_unread_what_comes_from_a_banned_host(transport: str, data: bytes, of: str) -> None:
    side, flow = stack(), at("192.0.2.9", transport)
    for n in range(201):
        if transport == "udp" or of == "unknown dialog":
            side.receive(data % n, flow, 1.0)
        else:
            side.receive_message(data % n, flow, 1.0)
    assert side.bans.banned["192.0.2.9"].because == f"201 {of}"
    side.to_do()
    before = side.receiver.received
    side.receive(REFUSED % 999, flow, 2.0)
    assert side.receiver.received == before, "it is not even read"
    assert side.to_do() == ([] if transport == "udp" else [Close(flow, True)])
    side.receive(REFUSED % 1000, at("192.0.2.10"), 2.0)
    (answer,) = side.to_do()
    assert isinstance(answer, Send) and b"481" in answer.data[:12] and parse(answer.data)


def test_servers_and_agents_are_heard_whatever_comes_from_their_hosts() -> None:
    side, ours, fresh = stack(), at("192.0.2.9", "tcp"), Flow("tcp", LOCAL, ("192.0.2.9", 9))
    side.site_flows.add(ours)
    for n in range(1000):
        side.receive(REFUSED % n, ours, 1.0)
    assert not side.bans.banned
    for n in range(1000):
        side.receive(REFUSED % n, at("192.0.2.9"), 1.0)
    assert side.bans.banned
    side.to_do()
    before = side.receiver.received
    side.receive(REFUSED % 1000, ours, 2.0)
    side.unauthenticated_flows.add(fresh)  # an agent that connects anew
    side.receive(REFUSED % 1001, fresh, 2.0)
    assert side.receiver.received == before + 2
