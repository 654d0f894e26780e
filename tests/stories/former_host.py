"""The process in which cores of the former version live (see ``former.py``).

It is run with that version's packages on its path and is written for their names, not for ours: what it imports is at
the commit that ``former`` names. It reads requests from standard input and answers each on standard output, pickled:
plain values only, since the classes of the two versions are not the same.
"""

import pickle
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from random import Random

from heartbeat.keeping import kept_of, text_of
from heartbeat.vote import Kept
from sip.rim import Close, Flow, Open, Resolve, Send, Store
from sip.targets import Target

from b2bua.core import CallEnded
from b2bua.core import Core as Server
from gateway_agent.core import Core as Agent
from heartbeat import site as sites
from heartbeat.proof import VoterList

ACTIONS = {each.__name__: each for each in (Close, Open, Resolve, Send, Store)}
CORES = {}


def plain(value):
    """An action or a flow as nested tuples; an action begins with its name."""
    if type(value).__name__ in ACTIONS:
        return (type(value).__name__, *(tuple(each) if isinstance(each, Flow) else each for each in value))
    return value


def drained(core):
    """All that a core wants and tells, and when to wake it."""
    actions, events, busy = [], [], True
    while busy:
        busy = False
        for action in core.to_do():
            busy = True
            actions.append(plain(action))
        while (event := core.next_event()) is not None:
            busy = True
            events.append(event.record.to_json() if isinstance(event, CallEnded) else str(event))
    return actions, events, core.get_timer(), len(core.calls)


def raised(disk, begun):
    """As a process of that version finds its disk."""
    found = kept_of(disk["votes"]) if "votes" in disk else begun
    found = replace(found, boot=found.boot + 1, serial=found.serial + 1)
    disk["votes"] = text_of(found)
    return found


def start(core_id, name, text, keys, disk, seed, secret, now, wall_offset):
    site = sites.parse(text, Path("town.toml"), keys)
    if name in site.agents:
        core = Agent(site, name, raised(disk, Kept(boot=0)), secret, Random(seed), now)
    else:
        members = site.membership()
        voters = VoterList(1, members.voters, members.generation)
        begun = Kept(boot=0, first=True, mute=False, voters=voters)
        core = Server(site, name, raised(disk, begun), secret, Random(seed), now, wall_offset)
    CORES[core_id] = core
    return disk, drained(core)


def tell(core_id, verb, args, now):
    core = CORES[core_id]
    if verb == "receive":
        core.receive(args[0], Flow(*args[1]), now)
    elif verb == "flow_changed":
        core.flow_changed(Flow(*args[0]), args[1], now)
    elif verb == "done":
        request, result = ACTIONS[args[0][0]](*args[0][1:]), args[1]
        core.done(request, [Target(*each) for each in result] if isinstance(request, Resolve) else result, now)
    elif verb == "handle_timer":
        core.handle_timer(now)
    else:
        core.member.switchover("", now)
    return drained(core)


def look(core_id, what, now):
    core = CORES[core_id]
    if what == "may act":
        return core.member.may_act(now)
    if what == "is told":
        return core.agents.all_complete and bool(core.agents.reached)
    return core.links.fence.obeyed.epoch


def clear():
    CORES.clear()


VERBS = {each.__name__: each for each in (start, tell, look, clear)}


def main():
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            verb, *args = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = True, VERBS[verb](*args)
        except Exception:
            answer = False, traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


main()
