"""The side of a program that meets devices: carriers, PBXs and phones that we did not write.

Agents use it for their lines and servers for the trunks that they own, each given a plain
:class:`~sip.device.policy.LinePolicy`.
"""
