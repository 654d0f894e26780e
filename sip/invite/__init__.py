"""The INVITE usage of a dialog (RFC 3261 sections 12 to 15, RFC 5057): one leg of a back-to-back user agent.

:class:`InviteUsage` handles the messages of the leg and what its owner wants sent. It is composed of:

* ``dialogs``: the dialog, those of further forks until one has answered, and the tags by which requests find them;
* ``client_invite``: the INVITE that we sent, pending or given up; ``ack``: our ACK for its 2xx;
* ``server_invite``: the INVITE that we received, while it is pending, then our 2xx until its ACK;
* ``requests``: sends requests, and sends them again after a challenge or a transport error.
"""

from sip.invite.usage import InviteUsage, UsageOwner

__all__ = ["InviteUsage", "UsageOwner"]
