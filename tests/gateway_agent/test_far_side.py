"""Where an INVITE for a line goes: by which flow a target is reached now."""

from __future__ import annotations

from typing import Any, cast

from gateway_agent.far_side import Target
from sip.actions import UNREACHABLE, Flow
from sip.device.trunk import TrunkDevice
from sip.location import Place

PHONE = Flow("tcp", "127.0.0.11:5060", ("127.0.0.31", 40000))
PEER = Place("udp", ("127.0.0.21", 5060), "pbx.example")


class Device:
    """A trunk's device; it notes for which places a flow was asked."""

    def __init__(self, flow: Flow | None) -> None:
        self.flow = flow
        self.asked: list[Place] = []

    def flow_to(self, place: Place) -> Flow | None:
        self.asked.append(place)
        return self.flow


def target(device: Device | None, **more: Any) -> Target:
    return Target("sip:127.0.0.21:5060", "127.0.0.21", True, trunk=cast("TrunkDevice | None", device), **more)


def test_a_phone_is_reached_by_the_flow_of_its_registration() -> None:
    device = Device(None)
    assert target(device, registered=PHONE, place=PEER).flow == PHONE and not device.asked


def test_a_place_of_a_trunk_is_reached_by_a_flow_that_is_asked_for_when_it_is_tried() -> None:
    there = Flow("udp", "127.0.0.11:5060", ("127.0.0.21", 5060))
    device = Device(there)
    made = target(device, place=PEER)
    assert not device.asked, "a stream is opened when its place is tried, not before"
    assert made.flow == there and device.asked == [PEER]
    device.flow = None
    assert made.flow == UNREACHABLE, "no listener leads there any more"


def test_without_a_place_or_a_trunk_it_is_reached_by_none() -> None:
    there = Device(Flow("udp", "127.0.0.11:5060", ("127.0.0.21", 5060)))
    assert target(there).flow == target(None, place=PEER).flow == UNREACHABLE and not there.asked
