"""The flows of the crash matrix: each sets up who reacts how, dials, and comes to its end in good order.

Everything that a user does follows from something that a device saw, so a flow plays alike with a crash and without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from examples.softphone_call import Call, Policy
from tests.stories.site_simulation import SiteSimulation


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


def _parting(sim: SiteSimulation, one: str, other: str) -> None:
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


def early_media(sim: SiteSimulation) -> None:
    """183 with a description before the answer."""
    sim.policy("east", Policy(early=True, answer_after=1.5))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("east", "info", "bye", after=0.5)
    sim.call("west", "200")


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
    _parting(sim, "west", "east")
    sim.call("west", "200")


def callee_holds(sim: SiteSimulation) -> None:
    """Hold and resume by the called side, who hangs up."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("east", "acknowledged", "hold", after=0.5)
    sim.when("east", "changed", "resume", after=0.5)
    _parting(sim, "east", "west")
    sim.call("west", "200")


def delayed_change(sim: SiteSimulation) -> None:
    """A re-INVITE without an offer."""
    sim.policy("east", Policy(answer_after=0.5))
    sim.when("west", "answered", "reoffer", after=0.5)
    _parting(sim, "west", "east")
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
    sim.policy("carl", Policy(answer_after=1.0))
    sim.when("west", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("west", "601")


def redirected(sim: SiteSimulation) -> None:
    """The phone that is called sends the caller on to another one."""
    sim.policy("bert", Policy(refuse=302, moved_to="sip:1003@127.0.0.12"))
    sim.policy("carl", Policy(answer_after=1.0))
    sim.when("anna", "answered", "info", "1", after=0.5)
    sim.when("carl", "info", "bye", after=0.5)
    sim.call("anna", "1002")


def _moved(play: Callable[..., None]) -> tuple[Callable[[SiteSimulation], None], ...]:
    """A race, won by either side or by nobody."""
    return tuple(partial(play, earlier=step * 0.001) for step in (-500, *range(-6, 16), 500))


_GLARE: Final = frozenset({"491 INVITE", "100 INVITE", "ACK"})

FLOWS: Final = (
    Flow("plain call, BYE from the caller", ("west", "east"), plain),
    Flow("plain call, BYE from the called side", ("west", "east"), callee_hangs_up),
    Flow("early media", ("west", "east"), early_media),
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
)
