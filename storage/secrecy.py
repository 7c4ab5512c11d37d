"""Keeps credentials out of what is stored and shown.

A credential belongs into the environment, or into a file of its service (`~/.aws`). One that stands
in a URL is refused before anything is written; a text that is shown or stored loses what could be
one.

Invariant: no error of this module holds the value that it refuses.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_KNOWN = (
    r"(?:sk|rk|pk)-(?=[\w-]*\d[\w-]*\d)[\w-]{16,}",
    r"(?:hf|gsk|r8|xai|ghp|gho|ghu|ghs|ghr|github_pat|npm|dop_v1)_\w{16,}",
    r"(?:glpat|nvapi|pplx|pypi|xox[a-z])-[\w-]{10,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"AIza[\w-]{30,}",
    r"ya29\.[\w-]{16,}",
    r"eyJ[\w-]{10,}\.[\w-]{4,}(?:\.[\w-]*)?",
)
_KEY = re.compile(rf"(?<![\w-])(?:{'|'.join(_KNOWN)})(?![\w-])")
"""Keys by the form that their makers gave them."""
_TOKEN = re.compile(r"(?=\w*[a-z])(?=\w*[A-Z])(?=(?:\w*?\d){3})[A-Za-z0-9_]{24,}")
"""A word that nobody has chosen: long, with capital and small letters and digits."""
_USERINFO = re.compile(r"(?<=://)(?:[^/\s@'\"]*|[^\s@'\":]*:[^\s@'\"]*)@")
"""User and password of a URL; a password may hold slashes."""
_BEHIND = re.compile(r"(?<=\w://)([^\s'\"?#]*)[?#][^\s'\"]*")
HIDDEN = "…"


def looks_like_key(text: str) -> bool:
    """Whether a word is probably a key, a token or a password made by a machine."""
    return _KEY.search(text) is not None or _TOKEN.fullmatch(text) is not None


def no_credentials(text: str) -> str:
    """A URL, path or name as it is. Raises ValueError, without it, where it holds credentials."""
    plain = unquote(text)
    if _USERINFO.search(plain):
        raise ValueError("must not hold a user or a password: they belong into the environment")
    if _KEY.search(plain):
        raise ValueError("must not hold a key: it belongs into the environment")
    return text


def plain_url(url: str) -> str:
    """A server's URL as it is. Raises ValueError, without it, where it may hold credentials."""
    no_credentials(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is no URL: write http://HOST:PORT/PATH") from None
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must end before `?` and `#`: write http://HOST:PORT/PATH")
    if any(map(looks_like_key, parts.path.split("/"))):
        raise ValueError("must not hold a key in its path: it belongs into the environment")
    return url


def shown_url(url: str) -> str:
    """A URL for people: without user, password, query and fragment, and without keys."""
    if "://" not in url and "@" in url:
        url = f"{HIDDEN}@{url.rpartition('@')[2]}"
    return hidden(_BEHIND.sub(rf"\1?{HIDDEN}", url))


def hidden(text: str) -> str:
    """A text for people or for the store, without what is known to be a credential."""
    return _KEY.sub(HIDDEN, _USERINFO.sub(f"{HIDDEN}@", text))
