"""The side of a program towards devices: carriers, PBXs and phones.

Agents use it for their lines and servers for their own trunks and telephones, each with a
:class:`~sip.device.policy.LinePolicy`.
"""
