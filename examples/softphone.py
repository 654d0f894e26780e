"""python -m examples.softphone --listen 127.0.0.31:5060 --line 1001 --agent 127.0.0.11:5060 --call 1002 --seconds 5

A softphone on sockets: SIP over UDP and TCP by the project's own pump, audio that can be checked on loopback.
Without ``--call`` it answers what comes. The password of the line is read from the variable SOFTPHONE_PASSWORD.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
from collections.abc import Callable
from itertools import count
from random import SystemRandom
from typing import Final

from examples.rtp import RtpClock, RtpEnd, RtpReport
from examples.softphone_call import ENDED, Call, Event, Line, Policy
from examples.softphone_core import Softphone
from sip.actions import Address
from sip.io.loop import run
from sip.io.pump import Pump

_MEDIA: Final = ("progress", "answered", "acknowledged", "changed", "incoming")


class SocketPhone:
    """A :class:`~examples.softphone_core.Softphone` with its pump, and an RTP end for each call that wants one."""

    def __init__(
        self,
        listen: str,
        *,
        speaks: Callable[[Line], bool] = lambda line: True,
        on_event: Callable[[Event], None] | None = None,
        logs: bool = False,
    ) -> None:
        """``listen`` is a loopback ``host:port``, for UDP and TCP. ``speaks`` says whether the next call of a line
        gets audio; calls without it name a port at which nobody listens."""
        self.core = Softphone(listen, secrets.token_bytes(16), SystemRandom(), place=self._place, logs=logs)
        loop = asyncio.get_running_loop()
        self.pump = Pump(self.core, [f"udp:{listen}", f"tcp:{listen}"], loop, on_event=self._happened)
        self.clock = RtpClock()
        self.ends: dict[Address, RtpEnd] = {}
        """By the address that stands in the call's description (``Call.place``)."""
        self.reports: list[RtpReport] = []
        """Of the calls that have ended."""
        self._host = listen.rpartition(":")[0].strip("[]")
        self._speaks = speaks
        self._on_event = on_event
        self._senders = count(secrets.randbits(31))

    def start(self) -> None:
        """Open the sockets. Raises ``TransportError``."""
        self.pump.start()

    def close(self) -> None:
        """Close all sockets; calls are not ended."""
        self.pump.close()
        for end in self.ends.values():
            end.close()
        self.ends.clear()

    def end_of(self, call: Call) -> RtpEnd | None:
        """The audio of a call."""
        return self.ends.get(call.place)

    def _place(self, line: Line) -> Address:
        if not self._speaks(line):
            return (self._host, 9)
        end = RtpEnd(self.clock, next(self._senders) & 0xFFFF_FFFF, None, self._host)
        self.ends[end.address] = end
        return end.address

    def _happened(self, event: Event) -> None:
        call = event.call
        if call is not None and (end := self.ends.get(call.place)) is not None:
            if call.state is ENDED:
                self.reports.append(end.watch.report())
                end.close()
                del self.ends[call.place]
            elif event.kind in _MEDIA:
                _steer(call, end)
        if self._on_event is not None:
            self._on_event(event)


def _steer(call: Call, end: RtpEnd) -> None:
    """Send when both descriptions are there and ours says so; silence on hold is no gap."""
    remote = call.remote_place
    ours = call.media_direction if call.sent_sdp else "inactive"
    if remote is not None and ours in ("sendrecv", "sendonly"):
        end.send_to(*remote)
    else:
        end.pause()
    if ours in ("sendonly", "inactive"):
        end.watch.quiet()


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def _main(options: argparse.Namespace) -> int:
    done, registered = asyncio.Event(), asyncio.Event()

    def show(event: Event) -> None:
        print(f"{event.line.user} {event.kind} {event.detail}".rstrip(), flush=True)
        if event.kind in ("ended", "failed", "cancelled") and options.call:
            done.set()
        elif event.kind == "registered":
            registered.set()

    phone = SocketPhone(options.listen, on_event=show)
    policy = Policy(answer_after=options.answer_after)
    line = phone.core.add_line(
        options.line,
        options.agent,
        domain=options.domain,
        policy=policy,
        password=os.environ.get("SOFTPHONE_PASSWORD"),
        transport=options.transport,
    )
    phone.start()
    if options.register:
        phone.pump.ask(phone.core.register, line)
    if options.call and options.register:
        try:
            await asyncio.wait_for(registered.wait(), 40)
        except TimeoutError:
            print(f"{options.line} is not registered, so it does not call")
            phone.close()
            return 1
    if options.call:
        hang_up = Policy(hang_up_after=options.seconds)
        phone.pump.ask(lambda now: phone.core.call(line, options.call, now, policy=hang_up))
        try:
            await asyncio.wait_for(done.wait(), options.seconds + 60)
        except TimeoutError:
            pass
    else:
        await asyncio.sleep(options.seconds)
    for call in phone.core.calls:
        phone.pump.ask(phone.core.hang_up, call)
    await asyncio.sleep(0.2)
    phone.close()
    for report in phone.reports:
        print(f"audio: {report.received} packets, {report.lost} lost, longest gap {report.longest_gap_ms} ms")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="softphone", description="a softphone for tests on one machine")
    parser.add_argument("--listen", default="127.0.0.1:5070", help="loopback host:port of the phone")
    parser.add_argument("--line", default="1001", help="user name")
    parser.add_argument("--domain", default="", help="domain of the line; the agent's host when left out")
    parser.add_argument("--agent", type=_address, required=True, help="host:port to call through")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--register", action="store_true", help="register with the agent")
    parser.add_argument("--call", default="", help="number to call")
    parser.add_argument("--answer-after", type=float, default=1.0, help="seconds until an incoming call is answered")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to talk, or to wait for calls")
    return run(_main(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
