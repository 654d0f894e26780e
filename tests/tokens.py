"""Tokens as a web application makes them (RFC 7515, RFC 7519)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

KEY = b"a key of the web application, 32+"


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    claims: Mapping[str, Any] | bytes,
    key: bytes = KEY,
    header: Mapping[str, Any] | None = None,
    hashed: str = "sha256",
) -> str:
    head = json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    said = f"{text(head)}.{text(body)}"
    return f"{said}.{text(hmac.new(key, said.encode(), getattr(hashlib, hashed)).digest())}"
