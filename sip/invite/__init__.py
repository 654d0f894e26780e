"""The INVITE usage of a dialog (RFC 3261 sections 12 to 15, RFC 5057): one leg of a back-to-back user agent.

:class:`InviteUsage` steps through what comes and what is asked of it, and is composed of what each rule needs:

* ``dialogs``: the dialog, those of further forks until one has answered, and the tags by which requests find them;
* ``client_invite``: our INVITE, pending or given up; ``ack``: our ACK for its 2xx;
* ``server_invite``: their INVITE, pending, then our 2xx until its ACK;
* requests: what sends them, and sends them again after a challenge or a transport error.
"""

from sip.invite.usage import InviteUsage, UsageOwner

__all__ = ["InviteUsage", "UsageOwner"]
