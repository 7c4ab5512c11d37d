"""The keys of a server, by the names of the environment variables that hold them.

Invariant: a key is read where a request is made and lies nowhere else: not in settings, a store, a
message or an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import ConfigurationError
from storage.secrecy import looks_like_key

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
WRONG_NAME = (
    "must be the name of an environment variable (capital letters, digits, underscores) that holds "
    "the key, never the key itself"
)


def named(value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    """`api_key_env` as it is. Raises ValueError, without the value, where it may be a key."""
    if not all(_NAME.fullmatch(name) and not _is_key(name) for name in names_of(value)):
        raise ValueError(WRONG_NAME)
    return value


def _is_key(name: str) -> bool:
    """Whether a name of capitals and digits is a key: by its form, or a long word with digits."""
    digits = sum(letter.isdigit() for letter in name)
    return looks_like_key(name) or (len(name) >= 16 and "_" not in name and digits >= 3)


def names_of(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The names in `api_key_env`."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


@dataclass(slots=True, repr=False)
class Key:
    """One key, and when it may be used again."""

    name: str
    """Of its environment variable; empty for a server without keys."""
    value: str
    in_flight: int = 0
    rests_until: float = 0.0
    """On the clock of whoever asks."""

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}


class Keys:
    """Gives the key that has the least to do; one that was refused for a while rests."""

    def __init__(self, names: Sequence[str]) -> None:
        """Read the variables. Raises ConfigurationError for one that is not set."""
        if missing := [name for name in names if not os.environ.get(name)]:
            raise ConfigurationError(
                f"environment variable {', '.join(missing)} is not set: export it, or correct "
                "`api_key_env`"
            )
        self._keys = [Key(name, os.environ[name]) for name in names] or [Key("", "")]

    def next(self, now: float) -> Key:
        """The key of the next request."""
        return min(self._keys, key=lambda key: (max(key.rests_until, now), key.in_flight))

    def rest(self, key: Key, now: float, seconds: float) -> float:
        """Let a key rest; returns the seconds until there is one that does not."""
        if len(self._keys) == 1:
            return seconds
        key.rests_until = now + seconds
        return max(0.0, min(one.rests_until for one in self._keys) - now)

    def hidden(self, text: str) -> str:
        """The text with the name of a variable in the place of each key."""
        for key in self._keys:
            if key.value:
                text = text.replace(key.value, f"${key.name}")
        return text
