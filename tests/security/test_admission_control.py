"""One sender cannot take the room for server transactions, nor calls, of the others."""

from __future__ import annotations

from dataclasses import replace

from gateway_agent.channels import REFUSALS
from sip.actions import Flow, Send
from sip.overload.admission import CENSUS
from sip.transaction import NonInviteServer
from sip.wire.message import Request, Response
from tests.b2bua.fake import Bench, Peer, site_of
from tests.gateway_agent.agent_fixture import CARRIER, AgentFixture
from tests.security.test_impostors import SITE, invite
from tests.security.test_strangers import asked
from tests.sip.two_stacks import End, TwoStacks

TOLD = Request("MESSAGE", "sip:x", [], [])


def come(end: End, host: str, count: int, now: float = 0.0, first: int = 0) -> int:
    """So many requests of one host, forged or not; how many got a transaction."""
    before = len(end.stack.servers)
    for index in range(first, first + count):
        data = asked("MESSAGE", index).replace(b"127.0.0.66:5060", f"{host}:5060".encode())
        end.stack.receive(data, Flow("udp", end.local, (host, 5060)), now)
    return len(end.stack.servers) - before


def crowded(most: int = 100) -> End:
    end = End("b", 5002)
    end.stack.receiver.most_servers = most
    return end


def refusals(end: End) -> int:
    return sum(isinstance(action, Send) and b" 503 " in action.data for action in end.stack.to_do())


def test_one_sender_gets_most_and_the_others_find_room() -> None:
    end = crowded()
    assert come(end, "127.0.0.20", 500) == 80
    assert end.stack.counters["overload"] == 420 == refusals(end)
    assert come(end, "127.0.0.21", 500) == 16
    assert come(end, "127.0.0.22", 1) == 1


def test_of_many_a_sample_is_counted() -> None:
    end = crowded(50_000)
    made = {
        f"{n}": NonInviteServer(end.stack, "", Flow("udp", "", (f"10.0.0.{n % 4}", 5060)), TOLD)
        for n in range(40_000)
    }
    end.stack.servers.update(made)
    assert come(end, "10.0.0.1", 1) == 1
    assert 9_000 < end.stack.admission._counts["10.0.0.1"] < 11_000
    assert end.stack.admission._counts.total() < 41_000


def test_who_can_forge_the_addresses_of_a_network_is_one_sender() -> None:
    end = crowded()
    end.stack.admission.name_of = lambda host: "trunk1" if host.startswith("127.1.") else host
    assert sum(come(end, f"127.1.0.{host}", 5) for host in range(1, 101)) == 80
    assert come(end, "127.0.0.21", 10) == 10


def test_room_that_was_given_back_is_seen_at_the_next_count() -> None:
    end = crowded()
    come(end, "127.0.0.20", 100)
    for transaction in list(end.stack.servers.values())[:50]:
        end.stack.transactions.remove(transaction)
    assert come(end, "127.0.0.20", 100, 0.1, 1000) == 44  # under the half nobody is counted
    assert come(end, "127.0.0.20", 100, CENSUS + 1, 2000) == 6


def test_a_full_house_goes_on_with_known_dialogs_but_for_who_filled_it() -> None:
    stacks = TwoStacks()
    stacks.talk()
    b, leg = stacks.b, stacks.b.leg
    b.stack.receiver.most_servers = len(b.stack.servers) + 20
    for host in range(1, 30):
        come(b, f"127.0.0.{host + 30}", 5, first=host * 10)
    flow = leg.flow
    state = leg.dialog

    def within(method: str, index: int) -> int:
        before = len(b.stack.servers)
        data = (
            f"{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP {flow.remote[0]}:5001;branch=z9hG4bKw{index}\r\n"
            f"From: <sip:a@x>;tag={state.remote_tag}\r\nTo: <sip:b@x>;tag={state.local_tag}\r\n"
            f"Call-ID: {state.call_id}\r\nCSeq: {100 + index} {method}\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        b.stack.receive(data, flow, 50.0)
        return len(b.stack.servers) - before

    taken = sum(within("INFO", index) for index in range(500))
    assert 0 < taken < 100
    assert within("BYE", 999) == 1


def test_calls_of_a_forged_trunk_beyond_its_rate_leave_nothing_at_an_agent() -> None:
    fixture = AgentFixture()
    line = fixture.core.lines["trunk1"]
    line.reload(replace(line.settings, cps=5.0, channels=1000), fixture.now)
    for index in range(300):
        fixture.say(invite(f"127.0.0.21:5060;branch=z9hG4bK{index};rport", f"c{index}"), CARRIER)
    assert (
        len(fixture.core.calls)
        == 5
        == len([one for one in fixture.core.stack.servers.values() if not one.on_site_flow])
    )


def test_calls_beyond_the_channels_are_remembered_for_a_while_only() -> None:
    fixture = AgentFixture()
    line = fixture.core.lines["trunk1"]
    line.reload(replace(line.settings, channels=3), fixture.now)
    for index in range(300):
        fixture.say(invite(f"127.0.0.21:5060;branch=z9hG4bK{index};rport", f"c{index}"), CARRIER)
    assert len(fixture.core.calls) == 3
    assert len([one for one in fixture.core.stack.servers.values() if not one.on_site_flow]) == 3 + 2 * REFUSALS
    refused = [one for one in fixture.inbox[CARRIER] if isinstance(one, Response) and one.status == 503]
    assert len(refused) == 297 and all(one.get("retry-after") for one in refused)


def test_a_trunk_of_a_server_has_its_channels_and_its_rate_for_calls_that_come_too() -> None:
    for limit in ("channels = 3", "channels = 100\ncps = 3"):
        made = Bench(site_of(SITE.replace("channels = 100", limit, 1))).serve()
        caller, out = Peer(made, "in", "127.0.0.20"), Peer(made, "out", "127.0.0.21")
        sides = [caller.call("123") for _ in range(50)]
        assert len(out.sides) == 3 == len(made.core.calls)
        assert sum(503 in side.statuses for side in sides) == 47
        assert len([one for one in made.core.stack.servers.values() if one.open]) == 3 == len(made.core.stack.servers)


def test_the_addresses_of_a_trunk_are_one_sender() -> None:
    assert AgentFixture().core.stack.admission.name_of("127.0.0.21") == "trunk1"
    made = Bench(site_of(SITE)).serve()
    assert [made.core.stack.admission.name_of(host) for host in ("127.0.0.20", "127.0.0.9")] == ["in", "127.0.0.9"]
