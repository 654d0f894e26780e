"""A back-to-back user agent: the legs of a call joined, by one table (RFC 7092 section 3.1; docs/state-machines.md).

A :class:`~sip.b2b.bridge.Bridge` is a call between the leg that offered it, the *origin*, and one *target* after
the other, or several at once, until one has answered. Each leg is an INVITE usage (``sip.invite``), which keeps the
rules of its hop and tells the bridge what happened there in words that are the same for all legs: provisional,
answered, failed, requested, responded, ended ... The bridge steps through its table and says the like on the other
leg. It passes on first and answers after: what a request is answered is what the far end said to it.

What differs between programs is a :class:`~sip.b2b.policy.Policy`, an object a call: what becomes of it; and a
:class:`~sip.b2b.policy.Passage`, an object a program: what crosses, and what a hop does by itself. All their methods
have a default; the defaults are a plain back-to-back user agent that passes all it may and tries nobody by itself.
The contract:

* **Set-up.** ``Bridge(deadlines, discarded, policy)`` stands in *routing*; ``offer`` gives it the origin. The policy
  makes the legs of targets and calls ``Bridge.invite`` for each, at once or whenever it knows one, or
  ``Bridge.refuse``. When a target has failed, or did not answer in the time that ``invite`` was given,
  ``Policy.failed`` is asked to go on: further ``invite``, ``refuse``, or nothing while others still ring or one is
  waited for. ``step(HELD_BACK, leg, ...)`` puts the call back to *routing* where the hop of a target refused its
  INVITE for the moment.
* **An attempt is over when its CANCEL is due**, not when that is answered. Targets given up belong to
  :class:`~sip.b2b.discarded.Discarded`, of which a program has one: it ends what they answer all the same with ACK
  and BYE, and no record tells of it. Only a leg that the passage *keeps* (an agent's towards the servers) stays the
  call's until it has answered.
* **The phase is a function of what records hold** (docs/decisions.md 1): ``Bridge(..., phase_of(answered),
  restored=True)`` is a call taken over, its legs *absent* until ``attach`` names them. What is asked of an absent
  leg waits, ``MOST_QUEUED`` events at the most, and goes on by the same table when ``step(JOINED, ...)`` says that
  both are there, or ``release`` that one never will be. ``step(CAUGHT_UP, ...)``: a record that came later tells of
  the answer. ``step(OFFERED_AGAIN, ...)``: the origin, absent so far, offers the call anew although its target has
  answered; the policy repeats the attempt, and what the target asked meanwhile goes on once that is answered. There
  is no other way to make a call.
* **Messages cross** by ``Passage.pass_on``, which gives the header lines and the body of what goes out on the other
  leg, and go out by ``Passage.send`` and ``Passage.reply`` (an agent notes there what is under way). The context of a
  request that is passed on is the server transaction asked, whose own context is the leg that it came to.
* **The end.** ``Policy.ended`` is told once, with status, party and Reason, as soon as the call is over for people;
  ``Policy.over`` once, when nothing is under way any more. Then the bridge lets go of its legs and of its policy,
  so that nothing of a call refers to itself and all is freed by reference counts.
* **More legs.** Which leg stands across from another is ``Bridge.other`` alone; legs are a set with two roles, so
  that transfers can make and join legs by further events of the same table.
"""
