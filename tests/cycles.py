"""Whether what is over is freed by reference counts alone: what only the garbage collector finds, by kind."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_for_the_collector() -> Iterator[None]:
    """Fails when what was done inside left objects that refer to each other and that nobody else refers to.

    Everything is to be over at the end of the block, the memories of transactions (64*T1) included.
    """
    gc.disable()
    gc.freeze()  # what was there before is none of its business, and takes long to look through
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
    assert not found, f"left in circles: {dict(found)}"
