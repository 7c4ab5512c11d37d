"""Follows the pages of an S3 listing to their end.

Invariant: it ends. A token that comes twice, none where there is more, or a thousand pages in a row
that begin with nothing new are no listing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

MOST_IDLE = 1_000
"""Pages in a row without anything new. A server may give a page, or a folder, for each 1,000 keys
that it skips."""

Page = dict[str, Any]


class NoEnd(Exception):
    """The pages lead nowhere."""


def pages(fetch: Callable[[dict[str, str]], Page]) -> Iterator[Page]:
    """The pages that `fetch` gets by the parameter that says where to go on. Raises NoEnd."""
    token: dict[str, str] = {}
    seen: set[int] = set()
    idle = 0
    while True:
        page = fetch(token)
        yield page
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page.get("NextContinuationToken", "")}
        first = [*page.get("Contents", [])[:1], *page.get("CommonPrefixes", [])[:1]]
        begins = {hash(("name", entry.get("Key"), entry.get("Prefix"))) for entry in first}
        goes_on = hash(("token", token["ContinuationToken"]))
        idle = 0 if begins - seen else idle + 1
        if not token["ContinuationToken"] or goes_on in seen or idle > MOST_IDLE:
            raise NoEnd
        seen |= {goes_on, *begins}
