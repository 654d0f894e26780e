"""What a relayed line tells the other side of its media: the relay's address, or that there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway_agent.media.ports import Pair, RelayPorts
from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.media_relay import AgentRelay
from sip.rate_limited_logger import RateLimitedLogger
from sip.wire import sdp

HEAD = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
AUDIO = "m=audio 4000 RTP/AVP 0 101\r\n"
HOST = "192.0.2.7"


class Anchored:
    def __init__(self, behind_nat: bool = False, pairs: int = 80, second: str = "") -> None:
        self.ports = RelayPorts()
        self.ports.receive('{"is": "ready"}')
        self.ports.offer(Pair("127.0.0.11", 20000 + 2 * number) for number in range(pairs))
        if second:
            self.ports.offer(Pair(second, 30000 + 2 * number) for number in range(pairs))
        self.relay = AgentRelay(self.ports, "127.0.0.11", "198.51.100.1", second)
        self.anchor = MediaAnchor(self.relay, 1, behind_nat, RateLimitedLogger(), 0.0)

    def device_says(self, text: str) -> str:
        return self.anchor.from_device(text.encode(), HOST, 0.0).decode()

    def remotes(self) -> list[list[Any]]:
        commands = [json.loads(line) for line in self.ports.to_send()]
        return [one["remote"] for one in commands if one["do"] == "remote"]


def media(text: str) -> list[str]:
    return [line for line in text.split("\r\n") if line[:2] in ("c=", "m=")]


@pytest.mark.parametrize(
    "said, told, remote",
    [
        (AUDIO, ["m=audio 20002 RTP/AVP 0 101"], ["10.0.0.1", 4000, 4001, HOST, True, "rtp", [0, 101]]),
        (
            "m=image 4002 udptl t38\r\n",
            ["m=image 20002 udptl t38"],
            ["10.0.0.1", 4002, 4003, HOST, True, "udptl", []],
        ),
        ("m=x 4002 UDP/BFCP *\r\n", ["m=x 20002 UDP/BFCP *"], ["10.0.0.1", 4002, 4003, HOST, True, "", []]),
    ],
)
def test_datagrams_of_any_kind_are_relayed(said: str, told: list[str], remote: list[Any]) -> None:
    anchored = Anchored()
    assert media(anchored.device_says(HEAD + said)) == ["c=IN IP4 198.51.100.1", *told]
    assert anchored.remotes() == [remote]


@pytest.mark.parametrize(
    "connection",
    ["c=IN IP4 10.0.0.1/127", "c=IN  IP4 10.0.0.1", "c=IN IP4 10.0.0.1\r\nc=IN IP4 10.0.0.1"],
)
def test_an_address_is_read_however_it_is_written(connection: str) -> None:
    anchored = Anchored()
    anchored.device_says(HEAD.replace("c=IN IP4 10.0.0.1", connection) + AUDIO)
    assert anchored.remotes()[0][0] == "10.0.0.1"


@pytest.mark.parametrize("connection", ["c=IN IP4 media.example\r\n", ""])
def test_where_no_address_is_said_media_goes_to_the_host_of_the_signalling(connection: str) -> None:
    anchored = Anchored()
    told = anchored.device_says(HEAD.replace("c=IN IP4 10.0.0.1\r\n", connection) + AUDIO)
    assert "c=IN IP4 198.51.100.1" in told and "media.example" not in told
    assert anchored.remotes()[0][:4] == [HOST, 4000, 4001, HOST]
    with pytest.raises(sdp.SdpError):  # a server says nothing of its devices' addresses
        anchored.anchor.from_server((HEAD.replace("c=IN IP4 10.0.0.1\r\n", connection) + AUDIO).encode(), 0.0)


def test_what_cannot_be_relayed_is_refused_beside_what_can() -> None:
    anchored = Anchored()
    more = (
        "m=message 2855 TCP/MSRP *\r\na=path:msrp://10.0.0.1:2855/x;tcp\r\n"
        "m=video 4010/2 RTP/AVP 99\r\n"
        "m=audio 4020 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n"
    )
    told = anchored.device_says(HEAD + AUDIO + more)
    assert media(told) == [
        "c=IN IP4 198.51.100.1",
        "m=audio 20002 RTP/AVP 0 101",
        "m=message 0 TCP/MSRP *",
        "m=video 0 RTP/AVP 99",
        "m=audio 0 RTP/AVP 0",
    ]
    assert "10.0.0.1" not in told.partition("s=-")[2] and "2001:db8" not in told


@pytest.mark.parametrize(
    "said",
    [
        "m=message 2855 TCP/MSRP *\r\n",
        "m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n",
        "m=audio 4000/2 RTP/AVP 0\r\n",
        "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 233.252.0.1/127\r\n",
        "m=audio x RTP/AVP 0\r\n",
    ],
)
def test_where_nothing_can_be_relayed_nothing_passes(said: str) -> None:
    with pytest.raises(sdp.SdpError):
        Anchored().device_says(HEAD + said)


def test_many_sections_are_relayed_and_too_many_refused() -> None:
    told = media(Anchored().device_says(HEAD + "m=video 4000 RTP/AVP 99\r\n" * 18))[1:]
    assert [line.split()[1] != "0" for line in told] == [True] * 16 + [False] * 2
    told = media(Anchored(pairs=5).device_says(HEAD + "m=video 4000 RTP/AVP 99\r\n" * 3))[1:]
    assert [line.split()[1] != "0" for line in told] == [True, True, False]


def test_a_section_that_was_refused_stays_so_and_the_other_side_s_types_are_known() -> None:
    anchored = Anchored(behind_nat=True)
    anchored.device_says(HEAD + AUDIO)
    assert anchored.remotes() == [["10.0.0.1", 4000, 4001, HOST, False, "rtp", [0, 101]]]
    answer = HEAD.replace("10.0.0.1", "192.0.2.9") + "m=audio 5000 RTP/AVP 0 96\r\n"
    told = anchored.anchor.from_server(answer.encode(), 0.0).decode()
    assert media(told) == ["c=IN IP4 198.51.100.1", "m=audio 20000 RTP/AVP 0 96"]
    assert anchored.remotes() == [
        ["192.0.2.9", 5000, 5001, "", False, "rtp", [0, 96]],
        ["192.0.2.9", 5000, 5001, "", False, "rtp", [0, 96, 101]],
        ["10.0.0.1", 4000, 4001, HOST, False, "rtp", [0, 96, 101]],
    ]
    refused = answer.replace("m=audio 5000", "m=audio 0")
    assert media(anchored.anchor.from_server(refused.encode(), 0.0).decode())[1] == "m=audio 0 RTP/AVP 0 96"


@pytest.mark.parametrize("end", ["\r\n", "\r\n\r\n", "\n", "a=sendrecv", "a=sendrecv "])
def test_lines_may_end_in_white_space_and_the_description_in_empty_lines(end: str) -> None:
    anchored = Anchored()
    said = HEAD.replace("10.0.0.1", "10.0.0.1 ") + AUDIO.replace("101", "101 ") + end
    assert media(anchored.device_says(said)) == ["c=IN IP4 198.51.100.1 ", "m=audio 20002 RTP/AVP 0 101 "]
    assert anchored.remotes()[0][:2] == ["10.0.0.1", 4000]


def test_an_answer_may_lack_a_section_or_take_one_that_was_not_offered() -> None:
    anchored = Anchored()
    anchored.device_says(HEAD + AUDIO + "m=video 4010 RTP/AVP 99\r\nm=image 0 udptl t38\r\n")
    answer = HEAD.replace("10.0.0.1", "192.0.2.9") + "m=audio 5000 RTP/AVP 0\r\n"
    told = anchored.anchor.from_server(answer.encode(), 0.0).decode()
    assert media(told) == ["c=IN IP4 198.51.100.1", "m=audio 20000 RTP/AVP 0"]
    more = "m=video 5010 RTP/AVP 99\r\nm=image 5020 udptl t38\r\n"
    told = anchored.anchor.from_server((answer + more).encode(), 0.0).decode()
    assert "192.0.2.9" not in told.partition("s=-")[2] and len(media(told)) == 4


def test_a_hold_by_zeros_stays_one() -> None:
    anchored = Anchored()
    anchored.device_says(HEAD + AUDIO)
    told = anchored.device_says(HEAD.replace("c=IN IP4 10.0.0.1", "c=IN IP4 0.0.0.0") + AUDIO)
    assert media(told) == ["c=IN IP4 0.0.0.0", "m=audio 20002 RTP/AVP 0 101"]
    assert [remote[0] for remote in anchored.remotes()] == ["10.0.0.1", "0.0.0.0"]


SIX = HEAD.replace("IP4 10.0.0.1", "IP6 2001:db8::1")


def test_a_device_on_ipv6_and_the_other_side_on_ipv4_are_joined() -> None:
    anchored = Anchored(second="2001:db8::11")
    assert anchored.anchor.reserve() == ""
    assert media(anchored.device_says(SIX + AUDIO)) == ["c=IN IP4 198.51.100.1", "m=audio 20002 RTP/AVP 0 101"]
    told = anchored.anchor.from_server((HEAD.replace("10.0.0.1", "192.0.2.9") + AUDIO).encode(), 0.0).decode()
    assert media(told) == ["c=IN IP6 2001:db8::11", "m=audio 30000 RTP/AVP 0 101"]
    assert anchored.ports.in_use == 2
    anchored.anchor.release()
    assert anchored.ports.in_use == 0 and not anchored.relay.owners


def test_a_device_that_is_called_on_ipv6_is_told_an_address_of_it() -> None:
    anchored = Anchored(second="2001:db8::11")
    anchored.anchor.reserve()
    anchored.anchor.device_at("2001:db8::1")
    told = anchored.anchor.from_server((HEAD + AUDIO).encode(), 0.0).decode()
    assert media(told) == ["c=IN IP6 2001:db8::11", "m=audio 30000 RTP/AVP 0 101"]
    assert media(anchored.device_says(SIX + AUDIO))[0] == "c=IN IP4 198.51.100.1"


def test_who_was_told_an_address_of_one_family_cannot_answer_with_the_other() -> None:
    anchored = Anchored(second="2001:db8::11")
    anchored.anchor.from_server((HEAD + AUDIO).encode(), 0.0)
    with pytest.raises(sdp.SdpError):
        anchored.device_says(SIX + AUDIO)
    alone = Anchored()
    alone.anchor.device_at("2001:db8::1")
    assert media(alone.anchor.from_server((HEAD + AUDIO).encode(), 0.0).decode())[0] == "c=IN IP4 198.51.100.1"
    with pytest.raises(sdp.SdpError):
        alone.device_says(SIX + AUDIO)


def test_two_relayed_legs_of_an_agent_behind_nat_meet_without_the_router() -> None:
    anchored = Anchored()
    other = MediaAnchor(anchored.relay, 2, False, RateLimitedLogger(), 0.0)
    told = anchored.device_says(HEAD + AUDIO)
    assert "c=IN IP4 198.51.100.1" in told, "others reach this agent at its public address"
    anchored.remotes()
    other.from_server(told.encode(), 0.0)
    ((_, there),) = anchored.anchor.export(0.0).pairs  # type: ignore[union-attr]
    assert [remote[:2] for remote in anchored.remotes()] == [["127.0.0.11", there.port]]
    foreign = told.replace(str(there.port), "29998")
    other.from_server(foreign.encode(), 0.0)
    assert [remote[:2] for remote in anchored.remotes()] == [["198.51.100.1", 29998]], "somebody else's port"
