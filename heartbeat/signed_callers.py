"""What programs need for lines with signed callers (STIR): the extra for signatures, and a web client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from heartbeat import program
from heartbeat.site.lines import LineSettings
from sip.actions import Fetch
from sip.device.stir import Crypto, Stir, faults
from sip.io.fetch import Fetcher
from sip.io.pump import Pump
from sip.layer import Stack


def fetching(pump: Pump, done: Callable[[Any, Any, float], None]) -> Fetcher:
    """The web client that fetches certificates for a core; ``done``: the core's method for results."""
    fetcher = Fetcher()
    pump.others[Fetch] = lambda ask: fetcher.fetch(ask.url, lambda found: pump.ask(done, ask, found))
    return fetcher


def signed(lines: Iterable[LineSettings]) -> list[LineSettings]:
    """The lines whose callers are signed or verified."""
    return [line for line in lines if line.stir_sign is not None or line.stir_verify is not None]


def take_up(
    stack: Stack, site: str, lines: Iterable[LineSettings], wall: Callable[[], float | None]
) -> tuple[Stir, Crypto] | None:
    """The objects that such lines need; None: there is no such line. ``wall``: see `Stir`. Raises
    `heartbeat.program.StartError` where the extra is not installed, or a key is unusable."""
    wanted = signed(lines)
    if not wanted:
        return None
    found = crypto()
    if wrong := faults(wanted, found):
        raise program.StartError("\n".join(wrong))
    stir = Stir(stack, site, wall, found)
    stir.load(wanted)
    return stir, found


def unmet(lines: Iterable[LineSettings], known: Crypto | None) -> Iterator[str]:
    """What lines of a reloaded site file need and is missing, one sentence each; ``known``: the extra, if it was
    loaded at the start."""
    wanted = signed(lines)
    if wanted and known is None:
        yield "the first line with stir_sign or stir_verify needs a restart"
    elif known is not None:
        yield from faults(wanted, known)


def crypto() -> Crypto:
    """The extra for signatures. Raises `heartbeat.program.StartError` where it is not installed."""
    try:
        es256 = import_module("sip.stir.es256")
    except ImportError:
        missing = "stir_sign and stir_verify need cryptography, which is not installed here"
        raise program.StartError(f"{missing}: it comes with the extra stir (docs/deploy.md#extras)") from None
    return Crypto(es256.Signer, es256.Authorities, Path.read_bytes)
