"""The password with which a station registers: that of the site file, or one derived from the site key."""

from __future__ import annotations

from hashlib import blake2b

from heartbeat.site.lines import LineSettings


def password_of(settings: LineSettings, key: bytes) -> str | None:
    """The password of a phone or station; ``None`` if it is not known. ``key``: the present site key."""
    if settings.password is not None:
        given = settings.password.value
        return given.decode("utf-8", "replace") if given is not None else None
    if settings.kind != "station" or not key:
        return None
    return blake2b(f"station {settings.name}".encode(), key=key[:64], digest_size=16).hexdigest()
