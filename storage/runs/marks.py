"""Marks: people's judgements of a run's paths, each one create-only object beside the stages.

    runs/{run}/marks/{digest of path and person}-{number}.json

A person who changes their mind adds a mark with the next number. The mark with the greatest number
counts. The time of a mark is for people only.

Invariant: a mark is never changed or removed. Two marks of one person on one path have different
numbers, even if both are written at once.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from storage.errors import InputError, NothingFound, StoreUnavailable
from storage.runs.commits import canonical_json
from storage.runs.documents import MOST_BYTES, parsed, read_as
from storage.runs.layout import run_prefix
from storage.runs.removal import obeyed
from storage.runs.run import READERS, Run

MOST_NOTE = 4_000
"""Most characters of a note."""
_NAME = re.compile(r"([0-9a-f]{32})-(\d{6})\.json")


@dataclass(frozen=True, slots=True)
class Mark:
    """One person's judgement of one path."""

    path_id: str
    person: str
    right: bool
    """Whether the path's labels and its written verification are right."""
    first_error: int | None
    """0-based index of the first wrong step as this person sees it; None: no step is wrong."""
    note: str
    at: str
    """Time in ISO 8601, by the writer's clock; for people only."""
    token: str = ""
    """Unique to one call of `put_mark`; it distinguishes our object from another writer's."""


def check_mark(mark: Mark) -> Mark:
    """Return the mark. Raises InputError if its fields are impossible."""
    if not mark.person.strip():
        raise InputError("a mark needs the name of a person")
    if len(mark.person) > 100 or len(mark.note) > MOST_NOTE:
        raise InputError(f"a name has 100 characters at most, a note {MOST_NOTE:,}: shorten it")
    if mark.first_error is not None and mark.first_error < 0:
        raise InputError("first_error counts from 0; leave it empty where no step is wrong")
    return mark


def put_mark(run: Run, mark: Mark) -> Mark:
    """Store a mark under the next number of its person and path, and return it.

    Raises InputError, Removed, StoreUnavailable.
    """
    mine = Mark(**asdict(check_mark(mark)) | {"token": uuid.uuid4().hex})
    data, place = canonical_json(asdict(mine)), _place(mark.path_id, mark.person)
    with obeyed(run.store, run_prefix(run.name)):
        return _put_next(run, mine, data, f"{marks_prefix(run.name)}{place}-")


def _put_next(run: Run, mine: Mark, data: bytes, prefix: str) -> Mark:
    """Store a mark under the next number that is free."""
    number = max((n for _, n in _names(run, prefix)), default=-1) + 1
    trouble = "no answer"
    for _ in run.patience.attempts():
        key = f"{prefix}{number:06d}.json"
        try:
            run.store.put_new(key, data)
            if _read(run, key).token == mine.token:
                return mine
            number += 1  # another writer had this number
        except NothingFound:
            trouble = "not stored"
        except StoreUnavailable as error:
            trouble = str(error)
    raise StoreUnavailable(f"the mark of {mine.path_id} could not be stored: {trouble}")


def marks_of(run: Run) -> list[Mark]:
    """The mark that counts for each person and path, in the order of their keys."""
    latest: dict[str, int] = {}
    for place, number in _names(run, marks_prefix(run.name)):
        latest[place] = max(number, latest.get(place, 0))
    keys = [f"{marks_prefix(run.name)}{p}-{n:06d}.json" for p, n in sorted(latest.items())]
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(lambda key: _read(run, key), keys))


def truth_of(marks: Iterable[Mark]) -> dict[str, int | None]:
    """path_id -> first error by the marks; None: no error. Disputed paths are left out."""
    marked: dict[str, set[int | None]] = {}
    for mark in marks:
        marked.setdefault(mark.path_id, set()).add(mark.first_error)
    return {path_id: next(iter(firsts)) for path_id, firsts in marked.items() if len(firsts) == 1}


def wrong_paths(marks: Iterable[Mark]) -> frozenset[str]:
    """The paths that at least one person calls wrong."""
    return frozenset(mark.path_id for mark in marks if not mark.right)


def marks_prefix(run: str) -> str:
    """The prefix of the keys of a run's marks."""
    return f"runs/{run}/marks/"


def _place(path_id: str, person: str) -> str:
    return hashlib.sha256(f"{path_id}\x1f{person}".encode("utf-8", "replace")).hexdigest()[:32]


def _names(run: Run, prefix: str) -> list[tuple[str, int]]:
    names = (_NAME.fullmatch(key.rpartition("/")[2]) for key, _ in run.store.list(prefix))
    return [(match[1], int(match[2])) for match in names if match]


def _read(run: Run, key: str) -> Mark:
    return read_as(Mark, key, parsed(key, run.store.get(key, MOST_BYTES)))
