"""A line with ``srtp = "sdes"``: what its device is told and tells of keys, what the relay gets, what nobody sees."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Any

import pytest

from gateway_agent.media.ports import Keys, Pair, RelayPorts
from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.media_relay import AgentRelay
from gateway_agent.sdes import DeviceKeys
from sip.rate_limited_logger import RateLimitedLogger
from sip.wire import sdes, sdp
from sip.wire.sdes import SUITES

HEAD = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
PLAIN = HEAD + "m=audio 4000 RTP/AVP 0 101\r\n"
THEIRS = b64encode(bytes(range(30))).decode()
OFFER = HEAD + f"m=audio 4000 RTP/SAVP 0 101\r\na=crypto:3 {SUITES[1]} inline:{THEIRS}\r\n"
HOST = "192.0.2.7"


def secret(what: str) -> bytes:
    return blake2b(what.encode(), digest_size=32).digest()


class Anchored:
    def __init__(self, ready: str = '{"is": "ready", "srtp": true}', name: str = "one") -> None:
        self.ports = RelayPorts()
        self.ports.receive(ready)
        self.ports.offer(Pair("127.0.0.11", 20000 + 2 * number) for number in range(8))
        self.relay = AgentRelay(self.ports, "127.0.0.11")
        self.anchor = MediaAnchor(self.relay, 1, False, RateLimitedLogger(), 0.0, keys=DeviceKeys(secret, name))

    def from_device(self, text: str) -> str:
        return self.anchor.from_device(text.encode(), HOST, 0.0).decode()

    def from_server(self, text: str, answered: str = "") -> str:
        return self.anchor.from_server(text.encode(), 0.0, answered.encode()).decode()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ports.to_send()]


def keys_in(text: str) -> list[tuple[str, str, str]]:
    return re.findall(r"a=crypto:(\S+) (\S+) inline:(\S+)\r\n", text)


def test_a_device_that_offers_is_answered_by_the_line_that_it_chose() -> None:
    anchored = Anchored()
    passed = anchored.from_device(OFFER)
    assert "RTP/AVP 0 101" in passed and "crypto" not in passed
    answer = anchored.from_server(PLAIN, OFFER)
    assert "RTP/SAVP 0 101" in answer
    ((tag, suite, ours),) = keys_in(answer)
    assert (tag, suite) == ("3", SUITES[1]) and len(b64decode(ours)) == sdes.KEY_OCTETS
    told = anchored.told()
    (said,) = [one for one in told if one["do"] == "secure"]
    assert said["keys"] == [SUITES[1], ours, THEIRS]
    dos = [one["do"] for one in told if one.get("pair") == said["pair"]]
    assert dos.index("secure") < dos.index("remote"), "nothing may leave before it is secured"


def test_a_device_that_is_offered_has_both_suites_to_choose_from() -> None:
    anchored = Anchored()
    offered = keys_in(anchored.from_server(PLAIN))
    assert [(tag, suite) for tag, suite, _ in offered] == [("1", SUITES[0]), ("2", SUITES[1])]
    assert offered[0][2] != offered[1][2]
    assert not [one for one in anchored.told() if one["do"] == "secure"]
    anchored.from_device(OFFER.replace(":3 ", ":2 "))
    (said,) = [one for one in anchored.told() if one["do"] == "secure"]
    assert said["keys"] == [SUITES[1], offered[1][2], THEIRS]


def test_keys_stay_over_a_change_and_over_the_death_of_the_agent() -> None:
    anchored = Anchored()
    anchored.from_device(OFFER)
    first = keys_in(anchored.from_server(PLAIN, OFFER))
    known = anchored.anchor.export(0.0)
    assert known is not None and known.keys == "one"
    assert first[0][2] not in repr(known)
    again = Anchored(name="two")
    again.anchor.resume(known, 0.0)
    assert keys_in(again.from_server(PLAIN, OFFER)) == first
    anchored.told()
    anchored.from_device(OFFER.replace("4000", "4002"))
    assert [one["do"] for one in anchored.told()] == ["remote"]


@pytest.mark.parametrize(
    "said, because",
    [(PLAIN, "is described"), (OFFER.replace(SUITES[1], "F8_128_HMAC_SHA1_80"), "no a=crypto line")],
)
def test_a_device_that_secures_nothing_is_refused(said: str, because: str) -> None:
    with pytest.raises(sdp.SdpError, match=because):
        Anchored().from_device(said)


@pytest.mark.parametrize("proto", ["RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
def test_what_the_other_side_has_secured_by_itself_is_refused(proto: str) -> None:
    with pytest.raises(sdp.SdpError, match="SRTP ends at this line"):
        Anchored().from_server(PLAIN.replace("RTP/AVP", proto))


def test_a_relay_without_srtp_gets_no_media_at_all() -> None:
    anchored = Anchored('{"is": "ready"}')
    with pytest.raises(sdp.SdpError, match="has no SRTP"):
        anchored.from_device(OFFER)
    assert not [one for one in anchored.told() if one["do"] == "remote"]


def test_fax_passes_beside_what_is_secured() -> None:
    anchored = Anchored()
    passed = anchored.from_device(HEAD + "m=image 4002 udptl t38\r\n")
    assert "udptl" in passed and "crypto" not in anchored.from_server(passed, HEAD + "m=image 4002 udptl t38\r\n")


def test_a_relay_that_starts_anew_is_told_again() -> None:
    anchored = Anchored()
    anchored.from_device(OFFER)
    anchored.told()
    anchored.ports.lost()
    anchored.ports.receive('{"is": "ready", "srtp": true}')
    told = [one["do"] for one in anchored.told()]
    assert told.index("secure") < told.index("remote")


def test_keys_are_not_shown() -> None:
    assert repr(Keys(SUITES[0], THEIRS, THEIRS)) == f"Keys({SUITES[0]})"
