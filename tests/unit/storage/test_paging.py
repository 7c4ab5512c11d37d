"""The pages of a listing are followed to their end, and one that has none is given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from storage.objects import paging
from storage.objects.paging import NoEnd, pages

Page = dict[str, Any]


def page(token: str | None, *keys: str, folders: tuple[str, ...] = ()) -> Page:
    """A page that says where it goes on; None: it is the last."""
    more = {} if token is None else {"NextContinuationToken": token}
    contents = [{"Key": key} for key in keys]
    common = [{"Prefix": folder} for folder in folders]
    return {"IsTruncated": token is not None, "Contents": contents, "CommonPrefixes": common} | more


def played(answers: Iterator[Page]) -> tuple[Callable[[dict[str, str]], Page], list[str]]:
    """A server that gives these pages, and the tokens that it was asked for."""
    asked: list[str] = []

    def fetch(token: dict[str, str]) -> Page:
        asked.append(token.get("ContinuationToken", ""))
        return next(answers)

    return fetch, asked


WHOLE = {
    "one page": [page(None, "a")],
    "none": [page(None)],
    "tokens that are the next page's first key": [page("b", "a"), page("c", "b"), page(None, "c")],
    "tokens that are the page's last key": [page("b", "a", "b"), page("d", "c", "d"), page(None)],
    "empty pages between": [page("1", "a"), *(page(f"x{n}") for n in range(99)), page(None, "b")],
    "a folder for each thousand keys that are skipped": [
        *(page(f"x{n}", folders=("a/",)) for n in range(99)), page(None, folders=("a/", "b/")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_all_pages_come_in_their_order(kind: str) -> None:
    answers = WHOLE[kind]
    fetch, asked = played(iter(answers))
    assert list(pages(fetch)) == answers
    assert asked == ["", *(each["NextContinuationToken"] for each in answers[:-1])]


ENDLESS: dict[str, Callable[[], Iterator[Page]]] = {
    "the same token": lambda: (page("t", f"k{n}") for n in count()),
    "tokens that go round": lambda: (page(f"t{n % 7}", f"k{n}") for n in count()),
    "new tokens for the same page": lambda: (page(f"t{n}", "a", "b") for n in count()),
    "new tokens for pages that go round": lambda: (page(f"t{n}", f"k{n % 7}") for n in count()),
    "new tokens for nothing": lambda: (page(f"t{n}") for n in count()),
    "no token": lambda: (page("", f"k{n}") for n in count()),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_pages_that_lead_nowhere_are_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MOST_IDLE", 30)
    fetch, asked = played(ENDLESS[kind]())
    with pytest.raises(NoEnd):
        for _ in pages(fetch):
            assert len(asked) < 100, "it is followed for ever"
