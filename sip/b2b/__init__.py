"""A back-to-back user agent: the legs of a call joined, by one table (RFC 7092 section 3.1; docs/state-machines.md).

A :class:`~sip.b2b.bridge.Bridge` is a call between the leg that offered it, the *origin*, and one *target* after
the other, or several at once, until one has answered. Each leg is an INVITE usage (``sip.invite``), which keeps the
rules of its hop and reports what happened there as events that are the same for all legs: provisional, answered,
failed, requested, responded, ended ... The bridge steps through its table and does the corresponding thing on the
other leg. A request is passed on first and answered afterwards, with the response of the far end.

Programs differ in two objects. A :class:`~sip.b2b.policy.Policy`, one for each call, decides what becomes of the
call. A :class:`~sip.b2b.policy.Passage`, one for each program, decides what is passed from leg to leg and what a hop
does by itself. All their methods have defaults, which make a plain back-to-back user agent that passes on all it may
and calls no target by itself. The contract:

* **Set-up.** ``Bridge(deadlines, discarded, policy)`` stands in *routing*; ``offer`` gives it the origin. The policy
  makes the legs of targets and calls ``Bridge.invite`` for each, at once or whenever it knows one, or
  ``Bridge.refuse``. When a target has failed, or did not answer in the time that ``invite`` was given,
  ``Policy.failed`` is called and decides how to go on: a further ``invite``, ``refuse``, or nothing while others
  still ring or a target is still to be found. ``step(HELD_BACK, leg, ...)`` puts the call back to *routing* where
  the hop of a target refused its INVITE for the moment.
* **An attempt is over when its CANCEL is due**, not when that is answered. Targets given up belong to
  :class:`~sip.b2b.discarded.Discarded`, of which a program has one: if such a target answers all the same, it gets
  ACK and BYE, and no record mentions it. Only a leg that the passage *keeps* (an agent's towards the servers)
  remains part of the call until it has answered.
* **The phase is a function of what records hold** (docs/decisions.md 1): ``Bridge(..., phase_of(answered),
  restored=True)`` is a call taken over, whose legs are *absent* until ``attach`` adds them. Requests for an absent
  leg are queued, ``MOST_QUEUED`` events at most, and processed by the same table after ``step(JOINED, ...)`` (both
  legs are there) or ``release`` (one never will be). ``step(CAUGHT_UP, ...)``: a record that came later shows that
  the call was answered. ``step(OFFERED_AGAIN, ...)``: the origin, absent so far, sends its INVITE again although the
  target has answered; the policy repeats the attempt, and requests that the target sent meanwhile go on once the
  repeat is answered. There is no other way to make a call.
* **Messages cross** by ``Passage.pass_on``, which gives the header lines and the body of what goes out on the other
  leg, and are sent by ``Passage.send`` and ``Passage.reply`` (where an agent records what is pending). The context of
  a request that is passed on is the server transaction of the original request, whose own context is the leg on
  which that came.
* **The end.** ``Policy.ended`` is called once, with status, party and Reason, as soon as the call is over for the
  people who talked; ``Policy.over`` once, when nothing is pending any more. Then the bridge drops its references to
  its legs and its policy, so that a call has no reference cycles and is freed by reference counting.
* **More legs.** ``Bridge.other`` alone says which leg is on the other side of a leg; legs are a set with two roles,
  so that transfers can make and join legs by further events of the same table.
"""
