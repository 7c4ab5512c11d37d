"""Who may ask the local page: whoever has its address, from that page.

Login nodes are shared, and a page that somebody else has open in a browser can send requests to
127.0.0.1. The address holds a token that no other user of the machine knows. A request must name a
local host (against names that are made to point at 127.0.0.1), and one that comes from a page must
come from this one.

Invariant: nothing of a run is answered to a request that lacks the token, and nothing is written
for one that does not come from the page itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def new_token() -> str:
    """What nobody guesses."""
    return secrets.token_urlsafe(24)


def same_token(given: str, token: str) -> bool:
    """Whether they are equal, in a time that does not say where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def refusal(method: str, headers: Mapping[str, str]) -> str | None:
    """Why a request is refused by its headers; None: it is not."""
    host = headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in LOCAL:
        return "the Host header names no local address"
    origin = headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        return "the request comes from another page"
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "the request comes from another site"
    if method not in ("GET", "HEAD"):
        if origin is None:
            return "a request that writes must say its Origin"
        if headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            return "a request that writes must be application/json"
    return None
