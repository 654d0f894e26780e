"""What the demo prints: what happens as it happens, the site's status, and the figures at the end."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from b2bua.cli_screens import site_screen
from b2bua.cli_site import find
from examples.demo_plan import PHONES
from examples.demo_run import Run
from heartbeat.console import render
from heartbeat.console.errors import ConsoleError
from heartbeat.site.load import load

_POLL: Final = 0.05
"""Seconds between two looks at what the stand-by decided."""


class Shown:
    """The demo's face. As a context it keeps the live status on a terminal."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent
        self.console = render.console()
        self.began_at = time.time()
        self.run: Run | None = None
        self._live: AbstractContextManager[Any] = nullcontext()
        self._watching: Thread | None = None
        self._enough = Event()
        self._progress: dict[str, str] = {}

    def __enter__(self) -> Shown:
        if self.console.is_terminal and not self.silent:
            self._live = Live(console=self.console, get_renderable=self._screen, refresh_per_second=3, transient=True)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._live.__exit__(kind, error, trace)

    def say(self, text: str, style: str = "") -> None:
        """One line, with the time since the start."""
        if not self.silent:
            self.console.put(Text.assemble((f"{time.time() - self.began_at:6.2f} s  ", "dim"), (text, style)))

    def __call__(self, what: str, value: Any) -> None:
        """For :class:`~examples.demo_run.Run`."""
        if self.silent or self.run is None:
            return
        tell = getattr(self, f"_{what}", None)
        if tell is not None:
            tell(self.run, value)

    # -- what happens -----------------------------------------------------------------------------------------------

    def _ready(self, run: Run, status: Any) -> None:
        names = run.layout.names
        agents = ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]}"
        self.say(
            f"the site is up on {run.layout.net}*: servers m1, m2; agents {agents}. "
            f"m1 is active under epoch {status.get('epoch')}"
        )

    def _standing(self, run: Run, status: Any) -> None:
        self._progress.clear()
        if run.plan.small:
            talking, held, ringing = (f"{PHONES[i]} and {PHONES[i + 1]}" for i in (0, 2, 4))
            self.say(f"{talking} talk, {held} hold, at {ringing} it rings; audio goes through the agents' relays")
        else:
            counts = status.get("calls", {})
            words = ", ".join(f"{counts.get(word, 0):,} {word}" for word in ("talking", "held", "ringing"))
            self.say(f"{run.plan.calls:,} calls stand: {words}")
        self.status()

    def _moving(self, run: Run, value: Any) -> None:
        name, said = value
        self._progress[name] = f"{name}: {said['done']:,} of {said['of']:,} {said['progress']}"

    def _killed(self, run: Run, how: str) -> None:
        words = {"kill": "SIGKILL to m1", "machine": "SIGKILL to m1 and its supervisor", "pause": "SIGSTOP to m1"}
        words["agent"] = f"SIGKILL to {run.layout.names[0]}, which is started again at once"
        self.say(f"{words[how]}; a request in each call of the sample, and new calls, meet nobody", "bold red")
        self._watching = Thread(target=self._watch, args=(run, run.killed_at), daemon=True)
        self._watching.start()

    def _watch(self, run: Run, since: float) -> None:
        """Tell what the stand-by decides, while it decides."""
        told = since
        while not self._enough.is_set():
            for row in run.history("m2"):
                if row["at"] > told:
                    told = row["at"]
                    self.say(f"m2, {row['at'] - since:5.2f} s after: {row['because']}", "yellow")
            self._enough.wait(_POLL if run.plan.small else 10 * _POLL)

    def _served(self, run: Run, status: Any) -> None:
        self._enough.set()
        if self._watching is not None:
            self._watching.join()
        self._progress.clear()
        result = run.results["crash"]
        count = sum(len(each["served"]) for each in result)
        self.say(f"{count} of {sum(each['sample'] for each in result)} calls of the sample were served", "green")
        self.status()

    def _finished(self, run: Run, status: Any) -> None:
        self._progress.clear()
        self.say("held calls were resumed, ringing ones answered, and all were hung up, from both sides")

    # -- screens ----------------------------------------------------------------------------------------------------

    def status(self) -> None:
        """``b2bua status``, where it is not live on the screen anyway."""
        if not self.silent and not self.console.is_terminal:
            for part in (Text(""), self._screen(), Text("")):
                self.console.put(part)

    def _screen(self) -> RenderableType:
        if self.run is None or not self.run.layout.site.exists():
            return Text("starting", "dim")
        try:
            shown: RenderableType = site_screen(find(load(Path(self.run.layout.site))))
        except ConsoleError as error:
            shown = Text(error.sentence, "yellow")
        doing = "   ".join(self._progress.values())
        return render.stack(shown, Text(doing, "cyan") if doing else None)

    def figures(self, run: Run, measured: dict[str, Any]) -> None:
        """What was measured, for people."""
        if self.silent:
            return
        report = measured["report"]
        rows = [
            ("Calls that stood, and ended in good order", f"{measured['kept']:,} of {measured['calls']:,}"),
            ("New calls attempted, and failed", f"{measured['attempts']:,}, {measured['attempts_failed']:,}"),
            ("From the crash to the decision", render.span(measured["decision_s"])),
            ("From the decision until the whole sample was served", _fine(measured["served_s"])),
            ("SIP messages between servers and agents for it", f"{measured['messages']}"),
            ("Messages at devices that the crash caused", f"{measured['device_messages']:,}"),
            ("RTP packets lost", f"{measured['rtp_lost']:,}"),
            ("Longest gap between two RTP packets (20 ms is right)", f"{measured['rtp_longest_gap_ms']:.0f} ms"),
            ("Call records, after the merge", f"{measured['cdrs']:,}"),
            ("Granted by", ", ".join(report.get("grants", ())) or render.NOTHING),
        ]
        self.console.put(Text(""))
        self.console.put(render.grid(("Measured", ""), [list(row) for row in rows]))


def _fine(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.3f} s"


def complain(text: str) -> None:
    """To standard error."""
    print(text, file=sys.stderr)
