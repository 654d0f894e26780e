"""The flows of the crash matrix: each sets up who reacts how, dials, and comes to its end in good order.

Everything that a user does follows from something that a device saw, so a flow plays alike with a crash and without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from examples.softphone_call import Call, Policy
from tests.stories.site_simulation import MEMBER, SERVED, SiteSimulation


class Flow(NamedTuple):
    """One flow."""

    name: str
    who: tuple[str, ...]
    """The devices that take part."""
    play: Callable[[SiteSimulation], None]
    others: tuple[Callable[[SiteSimulation], None], ...] = ()
    """For races: the same with other instants. What any of these brings without a crash may come of a crash too,
    which moves the instants itself."""
    apart: frozenset[str] = frozenset()
    """Messages of which any number may come: how often 491 is met depends on when the other side's answer comes."""
    starts_at: float = 4.0
    prepare: Callable[[SiteSimulation], None] | None = None
    """What is done, and waited for, before the first crash may happen."""
    more: str = ""
    """Further lines of the site."""
    cold: bool = False
    """A takeover ends the call, by the line's own ``recovery``."""
    timed: bool = False
    """Its session has a timer."""
    calls: int = 1
    """How many calls its devices have, each side counted, when all has happened."""


def _bye(sim: SiteSimulation, one: str, other: str) -> None:
    """Both ends prove that the call works, then ``one`` hangs up."""
    sim.when(one, "changed", "info", "1", after=0.5)
    sim.when(other, "info", "info", "2", after=0.5)
    sim.when(one, "info", "bye", after=0.5)


def plain(sim: SiteSimulation) -> None:
    """Ring, answer, a digit each way, BYE from the caller."""
    sim.policy("east", Policy(answer_after=1.0))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("east", "info", "info", "2", after=0.5)
    sim.when("west", "info", "bye", after=0.5)
    sim.call("west", "200")


def callee_hangs_up(sim: SiteSimulation) -> None:
    """The same with BYE from the called side."""
    sim.policy("east", Policy(answer_after=1.0))
    sim.when("east", "acknowledged", "info", "1", after=0.5)
    sim.when("west", "info", "info", "2", after=0.5)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("west", "200")


def _early(sim: SiteSimulation, reliable: bool = False, **call: Any) -> None:
    """183 with a description, then the answer."""
    sim.policy("east", Policy(early=True, reliable=reliable, answer_after=1.5))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("west", "200", **call)


def early_media(sim: SiteSimulation) -> None:
    """183 with a description before the answer."""
    _early(sim)


def reliable(sim: SiteSimulation) -> None:
    """183 with the answer, acknowledged on both hops; the 200 has none."""
    _early(sim, reliable=True, lines=["Supported: 100rel"])


def required(sim: SiteSimulation) -> None:
    """The caller requires what the called side does not have."""
    _early(sim, lines=["Require: 100rel"])


def unknown(sim: SiteSimulation) -> None:
    """The called side sends reliably what its caller does not know."""
    _early(sim, reliable=True)


def early_offer(sim: SiteSimulation) -> None:
    """The offer in the 183, the answer in the PRACK."""
    _early(sim, reliable=True, delayed=True, lines=["Supported: 100rel"])


def early_updates(sim: SiteSimulation) -> None:
    """The caller changes the session twice before the answer."""
    sim.policy("east", Policy(early=True, reliable=True))
    sim.when("west", "agreed", "update", True, after=0.7)
    sim.when("west", "updated", "update", False, after=0.5)
    sim.then("east", "update", _nothing)
    sim.when("east", "update", "answer", after=1.0)
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("west", "200", lines=["Supported: 100rel"])


def updates(sim: SiteSimulation) -> None:
    """UPDATE from either side in the call."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("west", "answered", "update", True, after=0.5)
    sim.when("west", "updated", "info", "1", after=0.5)
    sim.when("east", "info", "update", False, after=0.5)
    sim.when("east", "updated", "info", "2", after=0.5)
    sim.when("west", "info", "bye", after=0.5)
    sim.call("west", "200")


def _referred(sim: SiteSimulation) -> None:
    """The called side does what it is asked to; who asked hangs up when it hears that they talk."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.policy("carl", Policy(answer_after=0.5))
    sim.when("east", "refer", "follow", after=0.3)
    sim.then("west", "notify", _nothing)
    sim.when("west", "notify", "bye", after=0.3)
    sim.when("east", "answered", "info", "1", after=1.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("west", "200")


def transferred(sim: SiteSimulation) -> None:
    """The caller refers the called side to a phone, which that calls, and hangs up when it hears that it talks."""
    sim.when("west", "answered", "transfer", "1003", None, after=0.5)
    _referred(sim)


def transferred_to_a_call(sim: SiteSimulation) -> None:
    """The caller of two refers one to the other, in place of itself."""

    def refer(to: Call) -> None:
        first = next(call for call in sim.line("west").calls.values() if call is not to)
        sim.do("west", "transfer", first, "1003", to)

    sim.then("west", "answered", _dials(sim, "west", "1003"), after=0.5)
    sim.then("west", "answered", refer, after=0.5)
    _referred(sim)


def _nothing(_: Call) -> None:
    pass


def _served(sim: SiteSimulation, heard: str = "concluded", after: float = 0.3) -> None:
    """The target rings and answers; the referrer hangs up when it hears so, and the two others talk."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.policy("carl", Policy(answer_after=0.5))
    sim.when("vera", heard, "bye", after=after)
    sim.when("carl", "acknowledged", "info", "1", after=1.5)
    sim.when("east", "info", "info", "2", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)


def served(sim: SiteSimulation) -> None:
    """The caller has the server transfer the called side."""
    _served(sim)
    sim.when("vera", "answered", "transfer", "1003", None, after=0.5)
    sim.call("vera", "200")


def served_held(sim: SiteSimulation) -> None:
    """The called side has the server transfer the caller, whom it has put on hold."""
    _served(sim)
    sim.policy("vera", Policy(answer_after=0.5))
    sim.when("vera", "acknowledged", "hold", after=0.5)
    sim.when("vera", "changed", "transfer", "1003", None, after=0.5)
    sim.call("east", "6500")


def served_and_left(sim: SiteSimulation, after: float = 0.3, ring_after: float = 0.0) -> None:
    """The referrer hangs up while the target rings, or before it does, or when it has answered."""
    _served(sim, "notify", after)
    sim.policy("carl", Policy(ring_after=ring_after, answer_after=0.5))
    sim.when("vera", "answered", "transfer", "1003", None, after=0.5)
    sim.call("vera", "200")


def served_in_vain(sim: SiteSimulation) -> None:
    """The target is busy: the call is as before."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.policy("carl", Policy(refuse=486))
    sim.when("vera", "answered", "transfer", "1003", None, after=0.5)
    sim.when("vera", "concluded", "info", "1", after=0.5)
    sim.when("east", "info", "info", "2", after=0.5)
    sim.when("vera", "info", "bye", after=0.5)
    sim.call("vera", "200")


def served_to_a_call(sim: SiteSimulation) -> None:
    """The caller of two has the server join the other sides."""

    def refer(to: Call) -> None:
        first = next(call for call in sim.line("vera").calls.values() if call is not to)
        sim.do("vera", "transfer", first, "1003", to)

    sim.policy("east", Policy(answer_after=0.5))
    sim.policy("carl", Policy(answer_after=0.5))
    sim.then("vera", "answered", _dials(sim, "vera", "1003"), after=0.5)
    sim.then("vera", "answered", refer, after=0.5)
    sim.when("vera", "concluded", "bye", after=0.3)
    sim.then("carl", "acknowledged", _nothing)
    sim.when("carl", "acknowledged", "info", "1", after=1.5)
    sim.when("east", "info", "info", "2", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("vera", "200")


def delayed_offer(sim: SiteSimulation) -> None:
    """The offer in the 200, the answer in the ACK."""
    sim.policy("east", Policy(answer_after=1.0))
    sim.when("east", "acknowledged", "info", "1", after=0.5)
    sim.when("west", "info", "bye", after=0.5)
    sim.call("west", "200", delayed=True)


def hold(sim: SiteSimulation) -> None:
    """Hold and resume by the caller, digits, BYE."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("west", "answered", "hold", after=0.5)
    sim.when("west", "changed", "resume", after=0.5)
    _bye(sim, "west", "east")
    sim.call("west", "200")


def callee_holds(sim: SiteSimulation) -> None:
    """Hold and resume by the called side, who hangs up."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("east", "acknowledged", "hold", after=0.5)
    sim.when("east", "changed", "resume", after=0.5)
    _bye(sim, "east", "west")
    sim.call("west", "200")


def delayed_change(sim: SiteSimulation) -> None:
    """A re-INVITE without an offer."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("west", "answered", "reoffer", after=0.5)
    _bye(sim, "west", "east")
    sim.call("west", "200")


def glare(sim: SiteSimulation, earlier: float = 0.001) -> None:
    """Both hold at the same instant: 491, and again."""

    def begin(call: Call) -> None:
        sim.world.later(1.0, sim.do, "west", "hold", call)
        sim.world.later(14.0, sim.do, "west", "info", call, "1")

    sim.policy("east", Policy(answer_after=0.5))
    sim.then("west", "answered", begin)
    sim.when("east", "acknowledged", "hold", after=1.0 - earlier)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("west", "200")


def both_hang_up(sim: SiteSimulation, earlier: float = 0.001) -> None:
    """BYE from both sides at once."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("west", "answered", "bye", after=1.0)
    sim.when("east", "acknowledged", "bye", after=1.0 - earlier)
    sim.call("west", "200")


def cancel(sim: SiteSimulation) -> None:
    """CANCEL while it rings."""
    sim.when("west", "ringing", "cancel", after=1.0)
    sim.call("west", "200")


def cancel_race(sim: SiteSimulation, earlier: float = 0.0035) -> None:
    """CANCEL when the other side is about to answer."""
    sim.when("east", "incoming", "answer", after=1.0)
    sim.when("west", "ringing", "cancel", after=1.0 - earlier)
    sim.when("west", "answered", "bye", after=0.5)
    sim.call("west", "200")


def busy(sim: SiteSimulation) -> None:
    """486 from the called side."""
    sim.policy("east", Policy(refuse=486))
    sim.call("west", "200")


def phones(sim: SiteSimulation) -> None:
    """From a phone to a phone, both registered."""
    sim.policy("bert", Policy(answer_after=1.0))
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("bert", "info", "bye", after=0.5)
    sim.call("anna", "1002")


def hunting(sim: SiteSimulation) -> None:
    """The first phone of the group fails, the second answers."""
    sim.policy("bert", Policy(refuse=503))
    sim.policy("carl", Policy(answer_after=1.0))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("west", "600")


def no_answer(sim: SiteSimulation) -> None:
    """The first phone rings in vain and is given up, the second answers."""
    sim.policy("bert", Policy(answer_after=60.0))
    sim.policy("carl", Policy(answer_after=0.3))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("west", "603")


def redirected(sim: SiteSimulation) -> None:
    """The phone that is called sends the caller on to another one."""
    sim.policy("bert", Policy(refuse=302, moved_to="sip:1003@127.0.0.12"))
    sim.policy("carl", Policy(answer_after=1.0))
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("anna", "1002")


def _dials(sim: SiteSimulation, name: str, number: str) -> Callable[[Call], None]:
    def dial(_: Call) -> None:
        sim.call(name, number)

    return dial


def third_target(sim: SiteSimulation) -> None:
    """The first phone fails, the second rings in vain, the trunk answers."""
    sim.policy("bert", Policy(refuse=503))
    sim.policy("carl", Policy(answer_after=60.0))
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("west", "602")


def forwarded(sim: SiteSimulation) -> None:
    """The phone that is called is busy, and forwarded."""
    sim.policy("dora", Policy(refuse=486))
    sim.policy("carl", Policy(answer_after=1.0))
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("anna", "1004")


def passed_on(sim: SiteSimulation) -> None:
    """The trunk that is called redirects: the caller is told where to, and calls there."""
    sim.policy("east", Policy(refuse=302, moved_to="sip:1003@127.0.0.22"))
    sim.policy("carl", Policy(answer_after=1.0))
    sim.then("west", "failed", _dials(sim, "west", "1003"), after=0.5)
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("west", "200")


def forked(sim: SiteSimulation) -> None:
    """Two devices of a phone ring; one answers, the other is given up."""
    sim.policy("bert", Policy(answer_after=60.0))
    sim.policy("bob", Policy(answer_after=1.0))
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("bob", "info", "bye", after=0.5)
    sim.call("anna", "1002")


def _fork_with_early_media(sim: SiteSimulation) -> None:
    """The first device has a voice, the second answers."""
    sim.policy("bert", Policy(early=True, answer_after=60.0))
    sim.policy("bob", Policy(ring_after=0.3, answer_after=1.5))
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("bob", "info", "bye", after=0.5)
    sim.call("anna", "1002")


def info(sim: SiteSimulation) -> None:
    """A digit in the early dialog, which lets the far end answer; a digit and a BYE at once."""

    def early(call: Call) -> None:
        body = b"Signal=1\r\nDuration=160\r\n"
        lines = ("Content-Type: application/dtmf-relay",)
        sim.world.ask("west", lambda now: call.leg.send("INFO", lines, body, now))

    def late(call: Call) -> None:
        sim.do("west", "info", call, "9")
        sim.world.later(0.002, sim.do, "west", "bye", call)

    sim.policy("east", Policy(early=True))
    sim.then("west", "progress", early, after=0.5)
    sim.when("east", "info", "answer", after=0.5)
    sim.then("west", "answered", late, after=0.5)
    sim.call("west", "200")


def relayed(sim: SiteSimulation) -> None:
    """Media through the agent's relay: hold, resume, BYE."""
    sim.policy("relayed", Policy(answer_after=0.5))
    sim.when("west", "answered", "hold", after=0.5)
    sim.when("west", "changed", "resume", after=0.5)
    _bye(sim, "west", "relayed")
    sim.call("west", "700")


def cold(sim: SiteSimulation) -> None:
    """A call on a line that is reset when the server changes."""
    sim.policy("cold", Policy(answer_after=1.0))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("cold", "info", "bye", after=0.5)
    sim.call("west", "400")


def phone_registers(sim: SiteSimulation) -> None:
    """A phone registers, and is called when it is told that it has."""
    sim.policy("emil", Policy(answer_after=1.0))
    sim.then_registered("emil", lambda: sim.call("anna", "1005"), after=0.5)
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("emil", "info", "bye", after=0.5)
    sim.world.ask("emil", sim.phone("emil").register, sim.line("emil"))


def trunk_registers(sim: SiteSimulation) -> None:
    """An agent renews its registration with a trunk, which then calls and is called."""
    sim.policy("member", Policy(answer_after=1.0))
    sim.policy("east", Policy(answer_after=1.0))
    sim.when("east", "answered", "bye", after=0.5)
    sim.then("east", "ended", _dials(sim, "member", "200"), after=3.0)
    sim.when("member", "answered", "info", "1", after=0.5)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("east", "800")


def _timed_call(sim: SiteSimulation) -> None:
    """A call with a session timer, shortly before its agent refreshes it."""
    sim.policy("timed", Policy(answer_after=0.5))
    sim.call("west", "500")
    sim.world.run(sim.world.now + 43.0)


def refreshed(sim: SiteSimulation) -> None:
    """The agent refreshes the session at the device."""
    call = next(iter(sim.line("west").calls.values()))
    sim.world.later(5.0, sim.do, "west", "info", call, "1")
    sim.when("timed", "info", "bye", after=0.5)


def device_refreshes(sim: SiteSimulation) -> None:
    """The device does, which is answered at its hop."""
    other = next(iter(sim.line("timed").calls.values()))
    sim.world.later(0.5, sim.do, "timed", "resume", other)
    sim.when("timed", "changed", "info", "1", after=0.5)
    sim.when("west", "info", "bye", after=0.5)


def _moved(play: Callable[..., None]) -> tuple[Callable[[SiteSimulation], None], ...]:
    """A race, won by either side or by nobody."""
    return tuple(partial(play, earlier=step * 0.001) for step in (-500, *range(-6, 16), 500))


_GLARE: Final = frozenset({"491 INVITE", "100 INVITE", "ACK"})

FLOWS: Final = (
    Flow("plain call, BYE from the caller", ("west", "east"), plain),
    Flow("plain call, BYE from the called side", ("west", "east"), callee_hangs_up),
    Flow("early media", ("west", "east"), early_media),
    Flow("reliable early media", ("west", "east"), reliable),
    Flow("reliable responses required by the caller", ("west", "east"), required),
    Flow("reliable responses unknown to the caller", ("west", "east"), unknown),
    Flow("offer in a reliable response", ("west", "east"), early_offer),
    Flow("UPDATE before the answer", ("west", "east"), early_updates),
    Flow("UPDATE from either side", ("west", "east"), updates),
    Flow("blind transfer", ("west", "east", "carl"), transferred, calls=4),
    Flow("attended transfer", ("west", "east", "carl"), transferred_to_a_call, calls=5),
    Flow("delayed offer", ("west", "east"), delayed_offer),
    Flow("hold and resume by the caller", ("west", "east"), hold),
    Flow("hold and resume by the called side", ("west", "east"), callee_holds),
    Flow("re-INVITE without offer", ("west", "east"), delayed_change),
    Flow("re-INVITE from both sides at once", ("west", "east"), glare, _moved(glare), _GLARE),
    Flow("BYE from both sides at once", ("west", "east"), both_hang_up, _moved(both_hang_up)),
    Flow("CANCEL while ringing", ("west", "east"), cancel),
    Flow("CANCEL crossing the answer", ("west", "east"), cancel_race, _moved(cancel_race)),
    Flow("busy", ("west", "east"), busy),
    Flow("phone to phone", ("anna", "bert"), phones),
    Flow("hunting on after 503", ("west", "bert", "carl"), hunting),
    Flow("hunting on after no answer", ("west", "bert", "carl"), no_answer),
    Flow("redirected by 302", ("anna", "bert", "carl"), redirected),
    Flow("hunting to the third target", ("west", "bert", "carl", "east"), third_target),
    Flow("forwarded when busy", ("anna", "dora", "carl"), forwarded),
    Flow("redirection of a trunk passed on", ("west", "east", "carl"), passed_on, calls=4),
    Flow("fork, one answers", ("anna", "bert", "bob"), forked),
    Flow("fork, early media and an answer", ("anna", "bert", "bob"), _fork_with_early_media),
    Flow("INFO early and late", ("west", "east"), info),
    Flow("relay, hold and resume", ("west", "relayed"), relayed),
    Flow("cold line", ("west", "cold"), cold, cold=True),
    Flow("a phone registers and is called", ("anna", "emil"), phone_registers),
    Flow("a trunk renews its registration", ("member", "east"), trunk_registers, more=MEMBER, calls=4),
    Flow("session refreshed by the agent", ("west", "timed"), refreshed, prepare=_timed_call, timed=True),
    Flow("session refreshed by the device", ("west", "timed"), device_refreshes, prepare=_timed_call, timed=True),
)

SERVED_FLOWS: Final = (
    Flow("transfer by the server", ("vera", "east", "carl"), served, more=SERVED, calls=3),
    Flow("transfer by the server of who is held", ("vera", "east", "carl"), served_held, more=SERVED, calls=3),
    Flow(
        "transfer by the server, the referrer gone",
        ("vera", "east", "carl"),
        served_and_left,
        (partial(served_and_left, after=0.8), partial(served_and_left, ring_after=0.4)),
        more=SERVED,
        calls=3,
    ),
    Flow("transfer by the server to who is busy", ("vera", "east", "carl"), served_in_vain, more=SERVED, calls=3),
    Flow("attended transfer by the server", ("vera", "east", "carl"), served_to_a_call, more=SERVED, calls=4),
)
"""Of transfers that the server makes. They are apart so that a seed of two failures, and a share of the cells
elsewhere, means the same of `FLOWS` as before.
"""
