"""Checks of texts of the site file, by their kinds in the model: names, numbers, hosts, URLs. Pure.

Each check returns its text, or raises ValueError with the rest of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from heartbeat.site.values import figure, split_host_port
from sip.device.header_rules import PROTECTED, field_of

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}")
NAME_RULE: Final = "1 to 32 letters, digits, underscores, dots or hyphens, the first a letter or digit"
FIELD: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}")
ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
URL: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?(?:/[!-~]*)?")
HTTPS: Final = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%/?=&-]{1,500}")
NUMBER: Final = re.compile(r"[A-Za-z0-9+*#_.!\-]{1,64}")


def shown(value: object) -> str:
    """A value for an error text; the content of a table is not shown, since it may be a secret."""
    if isinstance(value, Mapping | list | tuple):
        return "a table" if isinstance(value, Mapping) else "a list"
    if isinstance(value, float) and value == value:
        return figure(value)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"must be {NAME_RULE}, is {text!r}")
    return text


def _number(text: str) -> str:
    if text and not NUMBER.fullmatch(text):
        raise ValueError(f"must be 1 to 64 letters, digits or any of + * # _ . ! -, is {text!r}")
    return text


def _host(text: str) -> str:
    try:
        if text:
            split_host_port(text)
    except ValueError:
        raise ValueError(f"must be a host, with or without a port, is {text!r}") from None
    return text


def _origin(text: str) -> str:
    if text != "*" and not ORIGIN.fullmatch(text):
        raise ValueError(f"must be like https://phone.example.com or https://phone.example.com:8443, is {text!r}")
    return text


def _url(text: str) -> str:
    if text and not URL.fullmatch(text):
        raise ValueError(f"must be like https://noc.example.com/holdfast, is {shown(text)}")
    return text


def _https(text: str) -> str:
    if text and not HTTPS.fullmatch(text):
        raise ValueError(f"must be like https://example.com/certificate.pem, is {text!r}")
    return text


def _field(text: str) -> str:
    if text and not FIELD.fullmatch(text):
        raise ValueError(f"must be the name of a header field, is {text!r}")
    if field_of(text) in PROTECTED:
        raise ValueError(f"no rule may touch {text}: it is the dialog's or the body's")
    return text


def _header_line(text: str) -> str:
    if text:
        name, colon, value = text.partition(":")
        if not colon:
            raise ValueError(f"must be like X-Site: paris, is {text!r}")
        _field(name)
        _header_text(value)
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression, is {text!r}: {error}") from None
    return text


def _header_text(text: str) -> str:
    if any(c < " " or c == "\x7f" for c in text) or len(text) > 1000:
        raise ValueError("must be at most 1000 characters without controls")
    return text


TEXTS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "name": _name,
        "number": _number,
        "host": _host,
        "origin": _origin,
        "URL": _url,
        "https URL": _https,
        "field": _field,
        "header line": _header_line,
        "regular expression": _regex,
        "header text": _header_text,
    }
)
"""The check of each kind of text, by its name in the model."""
