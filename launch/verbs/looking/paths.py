"""The verbs `why` and `show`: one path, or the first of a list, in the terminal.

Invariant: they print what the page of `browse` shows, from the same functions. With `--json` each
path is one object on one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.console import Console

from launch.browse.server import to_json
from launch.shown import paths as shown
from launch.shown.text import say
from launch.verbs.looking.reasons import meanings
from storage.errors import ConfigurationError, NothingFound
from storage.runs.marks import marks_of
from storage.runs.run import Run
from workflows.browsing.filters import BY_NAME
from workflows.browsing.index import Index, cache_folder
from workflows.browsing.listing import first_rows
from workflows.browsing.path_page import path_page, path_pages
from workflows.browsing.reviewing import Reviews
from workflows.browsing.rows import check_browsable
from workflows.looking.run import OpenRun


def show_why(run: Run, path_id: str, as_json: bool) -> None:
    """Print the fate of a path, and all that is stored of it. Raises NothingFound."""
    check_browsable(run)
    page = path_page(OpenRun(run), path_id)
    page["marks"] = [asdict(mark) for mark in marks_of(run) if mark.path_id == path_id]
    if as_json:
        say(to_json(page).decode())
    else:
        Console(highlight=False).print(shown.whole(page, meanings().get(page["reason"], "")))


def show_paths(
    run: Run, asked: Mapping[str, Sequence[str]], text: str, limit: int, as_json: bool
) -> None:
    """Print the first paths that pass the filters `asked`.

    Raises ConfigurationError, and NothingFound where no path does.
    """
    index, reviews = Index(run, cache_folder()), Reviews(run, "")
    reviews.read()
    console, meaning, given = Console(highlight=False), meanings(), 0
    rows = first_rows(index, reviews.frame(), asked, text, limit)
    for shard, of_shard in groupby(rows, itemgetter("shard")):
        for page in path_pages(run, shard, [row["path_id"] for row in of_shard]):
            page["marks"] = [asdict(mark) for mark in reviews.of(page["path_id"])]
            given += 1
            if as_json:
                say(to_json(page).decode())
            else:
                console.print(shown.short(page, meaning.get(page["reason"], "")))
    if not given and not as_json:
        raise NothingFound(f"run {run.name!r} has no such path{_offered(index, asked)}")


def asked_for(given: Sequence[str], **named: Sequence[str]) -> dict[str, list[str]]:
    """Name -> values to filter by, from `--where NAME=VALUE` and the options with own names.

    Raises ConfigurationError for a `--where` of another form or an unknown name.
    """
    filters = {name: list(values) for name, values in named.items() if values}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in BY_NAME:
            names = ", ".join(sorted(BY_NAME))
            raise ConfigurationError(f"--where {text}: write NAME=VALUE; names are {names}")
        filters.setdefault(name, []).append(value)
    return filters


def _offered(index: Index, asked: Mapping[str, Any]) -> str:
    """A hint with the run's reasons, where the user filtered by reason."""
    if "reason" not in asked:
        return ""
    reasons = sorted({reason for part in index.parts() for reason in part["reason"].drop_nulls()})
    return f"; its reasons are {', '.join(reasons)}" if reasons else "; nothing was dropped"
