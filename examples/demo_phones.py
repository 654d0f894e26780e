"""The devices of the demo, in a process of their own: python -m examples.demo_phones, told what to do by the demo.

It reads orders from stdin and writes what came of them to stdout, both as lines of JSON. The orders come in this
order: ``learn``, ``set up``, ``attempt``, ``crash``, ``finish``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from examples.demo_plan import PASSWORD, PHONES, Layout, Plan, Script
from examples.demo_steps import (
    Pair,
    Step,
    attempt_step,
    ending_step,
    heard,
    sample_step,
    standing_step,
    where,
)
from examples.rtp import RtpReport
from examples.softphone import SocketPhone
from examples.softphone_call import TALKING, Event, Policy
from sip.io.clock import boottime
from sip.io.loop import run

WINDOW: Final = 48
"""Calls that are set up, or ended, at the same time."""
PATIENCE: Final = 40.0
"""Seconds without any progress after which a phase is over: longer than any timer of SIP; in the small demo a
quarter of it."""
SETTLING: Final = 1.5
"""Seconds to wait for messages that nobody expects."""
EVERY: Final = 0.25
"""Seconds between two words of progress."""
MOST_PROBLEMS: Final = 20


class Devices:
    """All devices of one kind: with audio, or without."""

    def __init__(self, plan: Plan, layout: Layout, audio: bool, say: Callable[[dict[str, Any]], None]) -> None:
        self.plan = plan
        self.audio = audio
        self.phone = SocketPhone(layout.devices(audio), speaks=lambda line: audio, on_event=self._happened)
        self.core = self.phone.core
        self.pairs: dict[str, Pair] = {}
        """By the id of the script."""
        self.expected: dict[tuple[str, str], Counter[str]] = {}
        """What a device of a sort of call hears when nothing dies, by sort and side."""
        self.attempts: list[Pair] = []
        self._patience = PATIENCE / 4 if plan.small else PATIENCE
        self._say = say
        self._pending: dict[str, Pair] = {}
        self._moved = asyncio.Event()
        self._attempting: asyncio.Task[None] | None = None
        self._add_lines(layout)

    def _add_lines(self, layout: Layout) -> None:
        ring = Policy(ring_after=0.0)
        if self.plan.small:
            for index, name in enumerate(PHONES):
                agent = (layout.agent(index % 2), 5060)
                self.core.add_line(name, agent, domain="demo", policy=ring, password=PASSWORD)
            return
        for index in range(self.plan.agents):
            name = f"{'a' if self.audio else 'd'}{index}"
            self.core.add_line(name, (layout.agent(index), 5060), policy=ring)
        self.core.add_line("*", (layout.agent(0), 5060), policy=ring)

    # -- the orders ----------------------------------------------------------------------------------------------

    async def learn(self) -> dict[str, Any]:
        """Register, and place one call of each sort, to its end, to see what it brings to each device."""
        if self.plan.small:
            lines = list(self.core.lines.values())
            for line in lines:
                self.phone.pump.ask(self.core.register, line)
            await self._until(lambda: all(line.registration and line.registration.registered for line in lines), 10.0)
        await self._learn()
        return {}

    async def set_up(self) -> dict[str, Any]:
        """Place all calls that are to stand."""
        scripts = [script for script in self.plan.standing() if script.audio == self.audio]
        await self._through(map(self._pair, scripts), self._place, standing_step, "set up", len(scripts))
        standing = sum(pair.stands for pair in self.pairs.values())
        return {"standing": standing, "problems": self._problems()}

    async def _learn(self) -> None:
        pairs = [self._pair(script, "r") for script in self.plan.references(self.audio)]
        if not pairs:
            return
        await self._through(iter(pairs), self._place, standing_step, "", len(pairs))
        self._ask(pairs)
        await self._until(lambda: all(p.served_at for p in pairs if p.script.sampled), 5.0)
        await asyncio.sleep(0.5)  # the ACK of what was answered is still under way
        await self._through(iter(pairs), self._begin_end, ending_step, "", len(pairs))
        await asyncio.sleep(SETTLING)
        for pair in pairs:
            if pair.failed or not pair.over:
                raise SystemExit(
                    f"{pair.script.sort}: {pair.failed or where(pair)}, although nothing had been killed"
                )
            for side in ("caller", "callee"):
                call = pair.side(side)
                assert call is not None
                self.expected[pair.script.sort, side] = heard(call)
            del self.pairs["r" + pair.script.id]
        self.phone.reports.clear()

    def attempt(self, rate: float) -> dict[str, Any]:
        """Place new calls from now on, so many a second."""
        if rate:
            self._attempting = asyncio.get_running_loop().create_task(self._attempt(rate))
        return {}

    async def _attempt(self, rate: float) -> None:
        began_at = boottime()
        while True:
            due = int((boottime() - began_at) * rate)
            while len(self.attempts) < due:
                self._attempt_one()
            await asyncio.sleep(max(0.005, 0.5 / rate))

    def _attempt_one(self) -> None:
        pair = self._pair(self.plan.attempt(len(self.attempts)))
        pair.step = attempt_step
        self.attempts.append(pair)
        self.phone.pump.ask(lambda now: self._place(pair, now))

    async def crash(self) -> dict[str, Any]:
        """The server was killed: send a request of each call of the sample, and wait until all have come out."""
        sample = [pair for pair in self.pairs.values() if pair.script.sampled and pair.stands]
        self._ask(sample)
        if self.plan.small:
            self._attempt_one()
        waiting, told_at = {pair.script.id: pair for pair in sample}, 0.0
        self._pending = waiting
        while waiting and await self._until(self._fewer(waiting), self._patience):
            if boottime() - told_at > EVERY or not waiting:
                told_at = boottime()
                self._say({"progress": "served", "done": len(sample) - len(waiting), "of": len(sample)})
        served = [
            (pair.script.kind, pair.served_at - pair.asked_at, pair.served_at) for pair in sample if pair.served_at
        ]
        missing = [pair.script.id for pair in sample if not pair.served_at]
        return {"sample": len(sample), "served": served, "missing": missing}

    def _ask(self, pairs: Iterable[Pair]) -> None:
        """INFO from the caller of each sampled call; a ringing one is answered."""

        def ask(now: float) -> None:
            for pair in pairs:
                script = pair.script
                if not script.sampled or pair.caller is None or pair.callee is None:
                    continue
                pair.asked_at = now
                pair.step = sample_step
                if script.kind == "ringing":
                    self.core.answer(pair.callee, now)
                else:
                    self.core.info(pair.caller, "5", now)

        self.phone.pump.ask(ask)

    async def finish(self) -> dict[str, Any]:
        """Attempts end; what is held is resumed, what rings is answered, and all are hung up, from both sides."""
        if self._attempting is not None:
            self._attempting.cancel()
        await self._until(lambda: all(pair.over or pair.failed for pair in self.attempts), 15.0)
        pairs = [pair for pair in self.pairs.values() if pair.script.kind != "attempt"]
        living = [pair for pair in pairs if pair.stands]
        await self._through(iter(living), self._begin_end, ending_step, "ended", len(living))
        await asyncio.sleep(SETTLING)
        return self._tally(pairs)

    # -- phases --------------------------------------------------------------------------------------------------

    def _pair(self, script: Script, prefix: str = "") -> Pair:
        pair = self.pairs[prefix + script.id] = Pair(script)
        return pair

    async def _through(
        self, pairs: Iterator[Pair], begin: Callable[[Pair, float], bool], step: Step, word: str, count: int
    ) -> None:
        """Take each call through a phase, some at a time; those that stand still for too long are left behind."""
        self._pending = {}
        done, told_at = 0, 0.0
        while True:
            while len(self._pending) < WINDOW and (pair := next(pairs, None)) is not None:
                pair.step = step
                self._pending[pair.script.id] = pair
                if self.phone.pump.ask(lambda now, pair=pair: begin(pair, now)):
                    self._pending.pop(pair.script.id, None)
                    done += 1
            if not self._pending:
                break
            before = len(self._pending)
            if not await self._until(self._fewer(self._pending), self._patience):
                for pair in self._pending.values():
                    pair.failed = pair.failed or f"nothing more came ({word or 'learning'}): {where(pair)}"
                break
            done += before - len(self._pending)
            if word and boottime() - told_at > EVERY:
                told_at = boottime()
                self._say({"progress": word, "done": done, "of": count})
        if word:
            self._say({"progress": word, "done": done, "of": count})

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds, looked at after each event; false when ``seconds`` pass."""
        end_at = boottime() + seconds
        while not holds():
            self._moved.clear()
            left = end_at - boottime()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self._moved.wait(), left)
            except TimeoutError:
                return holds()
        return True

    @staticmethod
    def _fewer(pending: dict[str, Pair]) -> Callable[[], bool]:
        """Whether fewer are pending than now."""
        before = len(pending)
        return lambda: len(pending) < before

    def _place(self, pair: Pair, now: float) -> bool:
        """Begin a call. Its Subject tells the other end which one it is."""
        script = pair.script
        name = next(name for name in ("r" + script.id, script.id) if self.pairs.get(name) is pair)
        pair.caller = self.core.call(self.core.lines[script.caller], script.number, now, subject=name)
        return False

    def _begin_end(self, pair: Pair, now: float) -> bool:
        """The first step towards the end of a call."""
        if pair.over:
            return True
        script = pair.script
        holder, hangs = pair.side(script.holder), pair.side(script.ends)
        assert pair.callee is not None and holder is not None and hangs is not None
        if script.kind == "held":
            self.core.resume(holder, now)
        elif script.kind == "ringing" and pair.callee.state is not TALKING:
            self.core.answer(pair.callee, now)
        else:
            self.core.bye(hangs, now)
        return False

    # -- events --------------------------------------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        call = event.call
        if call is None or not call.subject:
            self._moved.set()
            return
        pair = self.pairs.get(call.subject)
        if pair is None:
            return
        if event.kind == "incoming":
            pair.callee = call
        elif event.kind == "failed":
            pair.failed = pair.failed or f"failed with {event.detail}"
        if pair.step(pair, event, event.at) or pair.failed:
            self._pending.pop(pair.script.id, None)
            self._moved.set()

    # -- the reckoning -------------------------------------------------------------------------------------------

    def _tally(self, pairs: list[Pair]) -> dict[str, Any]:
        kept = sum(self._good(pair) for pair in pairs)
        failed = sum(not self._good(pair) for pair in self.attempts)
        more: Counter[str] = Counter()
        for pair in (*pairs, *self.attempts):
            for side in ("caller", "callee"):
                for word, count in self._unexpected(pair, side).items():
                    more[f"{word} to the {side} of one {pair.script.sort}"] += count
        ends = [end.watch.report() for end in self.phone.ends.values()]
        audio: list[RtpReport] = [*self.phone.reports, *ends]
        return {
            "kept": kept,
            "attempts": len(self.attempts),
            "attempts_failed": failed,
            "device_messages": sum(more.values()),
            "unexpected": dict(more.most_common(MOST_PROBLEMS)),
            "rtp_received": sum(report.received for report in audio),
            "rtp_lost": sum(report.lost + report.foreign + report.corrupted for report in audio),
            "rtp_longest_gap_ms": max((report.longest_gap_ms for report in audio), default=0.0),
            "streams": len(audio),
            "sender_gap_ms": round(self.phone.clock.longest_tick_s * 1000, 3),
            "counters": {name: count for name, count in self.core.counters.items() if count},
            "problems": self._problems(),
        }

    def _good(self, pair: Pair) -> bool:
        """It ended as its script says, and each end was told all that it would have been told without a crash."""
        if pair.failed or not pair.over or (pair.script.sampled and not pair.served_at):
            return False
        for side in ("caller", "callee"):
            call = pair.side(side)
            if call is None or self.expected[pair.script.sort, side] - heard(call):
                return False
        return True

    def _unexpected(self, pair: Pair, side: str) -> Counter[str]:
        call = pair.side(side)
        return Counter() if call is None else heard(call) - self.expected[pair.script.sort, side]

    def _problems(self) -> list[str]:
        """What went wrong with calls, alike ones told once."""
        alike: dict[str, list[str]] = {}
        for pair in self.pairs.values():
            if because := self._fault(pair):
                alike.setdefault(f"{pair.script.sort}: {because}; {where(pair)}", []).append(pair.script.id)
        found = [f"{len(ids)} times, first {ids[0]}: {what}" for what, ids in alike.items()]
        return found[:MOST_PROBLEMS]

    def _fault(self, pair: Pair) -> str:
        """Why a call is not as its script wants it, ``""`` when nothing is known against it."""
        if pair.failed:
            return pair.failed
        for side in ("caller", "callee"):
            call = pair.side(side)
            missing = self.expected.get((pair.script.sort, side), Counter()) - (heard(call) if call else Counter())
            if missing and pair.over:
                return f"the {side} did not hear {', '.join(missing)}"
        return "not over" if pair.script.kind == "attempt" and not pair.over else ""


# The process.


async def _main(options: argparse.Namespace) -> int:
    from pathlib import Path

    orders: deque[dict[str, Any]] = deque()
    came = asyncio.Event()
    rest = b""

    def readable() -> None:
        nonlocal rest
        data = os.read(0, 65536)
        if not data:
            orders.append({"do": "quit"})
            asyncio.get_running_loop().remove_reader(0)
        *lines, rest = (rest + data).split(b"\n")
        orders.extend(json.loads(line) for line in lines)
        came.set()

    def say(value: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    plan = Plan(options.calls, options.agents)
    devices = Devices(plan, Layout(options.net, Path("."), options.agents), options.audio, say)
    devices.phone.start()
    asyncio.get_running_loop().add_reader(0, readable)
    say({"did": "start"})
    while True:
        await came.wait()
        came.clear()
        while orders:
            order = orders.popleft()
            what = order["do"]
            if what == "learn":
                result = await devices.learn()
            elif what == "set up":
                result = await devices.set_up()
            elif what == "attempt":
                result = devices.attempt(order["rate"])
            elif what == "crash":
                result = await devices.crash()
            elif what == "finish":
                result = await devices.finish()
            else:
                devices.phone.close()
                return 0
            say({"did": what, **result})


def main() -> int:
    """The command line; for the demo, not for people."""
    parser = argparse.ArgumentParser(prog="demo_phones")
    parser.add_argument("--net", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--audio", action="store_true")
    return run(_main(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
