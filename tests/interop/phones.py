"""The project's softphones, each in a thread of its own: their audio flows while a test waits for other things."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from examples.rtp import RtpReport
from examples.softphone import SocketPhone
from examples.softphone_call import ENDED, TALKING, Call, Event, Line, Policy
from heartbeat.site.lines import KEEP_ALIVE
from sip.wire.message import Message
from tests.interop.heard import Logged, multiset
from tests.interop.programs import until

T = TypeVar("T")


class Phone:
    """One softphone at ``host:port``; calls of one that does not speak have no audio."""

    def __init__(self, listen: str, speaks: bool = True) -> None:
        self.events: list[Event] = []
        self.log: list[Logged] = []
        """Every message received."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"phone {listen}", daemon=True)
        self._thread.start()
        self.socket: SocketPhone = self.run(
            lambda: SocketPhone(listen, speaks=lambda line: speaks, on_event=self.events.append)
        )
        note = self.core.note

        def note_whole(message: Message, repeated: bool, now: float) -> None:
            self.log.append(Logged(now, True, message.to_bytes().decode("latin-1")))
            note(message, repeated, now)

        self.core.note = note_whole
        self.run(self.socket.start)

    def run(self, function: Callable[[], T]) -> T:
        """Call it in the phone's own thread."""

        async def there() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(10)

    def ask(self, verb: Callable[..., T], *arguments: Any) -> T:
        """A verb of the softphone: ``phone.ask(phone.core.bye, call)``."""
        return self.run(lambda: self.socket.pump.ask(verb, *arguments))

    @property
    def core(self) -> Any:
        return self.socket.core

    def line(
        self,
        user: str,
        agent: str,
        password: str | None = None,
        policy: Policy | None = None,
        domain: str = "interop.test",
    ) -> Line:
        """A line behind the agent at that ``host:port``; with a password it is registered when this returns."""
        host, _, port = agent.rpartition(":")
        line: Line = self.run(
            lambda: self.core.add_line(
                user, (host.strip("[]"), int(port)), domain=domain, policy=policy, password=password
            )
        )
        if password is not None:
            self.ask(self.core.register, line)
            until(lambda: self.told("registered", line), 10, lambda: f"{user} does not register: {self.events}")
        return line

    def call(self, line: Line, number: str) -> Call:
        call: Call = self.ask(self.core.call, line, number)
        return call

    def told(self, kind: str, line: Line) -> list[Event]:
        return [event for event in list(self.events) if event.kind == kind and event.line is line]

    def all_audio(self, call: Call) -> int:
        """Packets of RTP that came in it, of whatever sound: a peer of others need not keep to ours."""
        end = self.socket.end_of(call)
        return end.watch.received + end.watch.foreign + end.watch.corrupted if end is not None else 0

    def hears(self, call: Call, words: Callable[[], str]) -> None:
        """Twenty packets more come within some seconds; else ``words`` are said."""
        before = self.all_audio(call)
        until(lambda: self.all_audio(call) > before + 20, 8, lambda: f"no audio\n{words()}")

    def heard_audio(self, call: Call) -> int:
        """Good packets so far."""
        end = self.socket.end_of(call)
        return end.watch.received if end is not None else 0

    @property
    def reports(self) -> list[RtpReport]:
        return self.socket.reports

    def heard(self) -> Counter[str]:
        """What it has received, see ``heard``, but for answers to registrations, and OPTIONS that the agent's timer
        explains, by which it keeps a NAT open: one in three quarters of the interval."""
        kept: dict[str, float] = {}
        unexplained = []
        for each in self.log:
            if each.first.startswith("OPTIONS "):
                last, kept[each.first] = kept.get(each.first, float("-inf")), each.at
                if each.at - last >= KEEP_ALIVE * 0.7:
                    continue
            elif each.header("CSeq").endswith("REGISTER"):
                continue
            unexplained.append(each)
        return multiset(unexplained)

    def close(self) -> None:
        self.run(self.socket.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def talking(call: Call) -> bool:
    return call.state is TALKING


def ended(call: Call) -> bool:
    return call.state is ENDED
