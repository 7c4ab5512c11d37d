"""The verb `problems`: how a build would read a file of problems.

Invariant: only the file of `--out` is written, whole or not at all.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
from rich.console import Console

from launch.shown.text import json_line, plain, say
from storage.errors import ConfigurationError, InputError
from storage.rows.records import Problem
from storage.rows.schemas import to_table
from workflows.answers import check_reference
from workflows.inputs.places import is_url
from workflows.inputs.problems import Found, LeftOut, Looked, look
from workflows.inputs.shapes import Columns, Field

_FIRST = 3
_CUT = 300
_TELL_EVERY = 500
_LOG_EVERY_S = 10.0
_KINDS = (".jsonl", ".parquet")

_TITLES = {
    LeftOut.WRONG_ROW: "refused",
    LeftOut.UNUSUAL_ANSWER: "without an answer that others can be compared with",
    LeftOut.SENTENCE: "whose answer is a sentence, compared letter by letter",
    LeftOut.REPEATED: "repeated: an earlier one has the text",
    LeftOut.CONTAMINATED: "in a benchmark",
}


def look_at_problems(
    source: str,
    columns: Sequence[str],
    against: Sequence[str],
    out: Path | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Read a file and print its counts. Raises InputError where no problem of it can be used."""
    named = named_columns(columns)
    if out is not None:
        _check_out(out, source)
    with _telling(source) as tell:
        looked = look(
            source, check_reference, limit=limit, columns=named, against=against, on_row=tell
        )
    if not looked.problems:
        first = f" ({looked.refused[0]})" if looked.refused else ""
        raise InputError(f"{source}: no problems in it that can be used{first}")
    clean = looked.without(LeftOut)
    if out is not None:
        _write(clean, out)
    if as_json:
        report = _report(looked) | {"clean": len(clean), "out": None if out is None else str(out)}
        say(json_line(report))
    else:
        _show(looked)
        written = f", written to {out}" if out is not None else ""
        say(f"{len(clean):,} are clean{written}")


def named_columns(columns: Sequence[str]) -> Columns:
    """Field -> column, from texts `FIELD=COLUMN`. Raises ConfigurationError."""
    named: dict[Field, str] = {}
    for text in columns:
        field, _, column = text.partition("=")
        if field not in get_args(Field) or not column:
            raise ConfigurationError(
                f"--column {text}: write FIELD=COLUMN, with one of {', '.join(get_args(Field))}"
            )
        named[field] = column  # type: ignore[index]
    return named


def _check_out(out: Path, source: str) -> None:
    if out.suffix not in _KINDS:
        raise ConfigurationError(f"--out {out}: name a {' or '.join(_KINDS)} file")
    if not out.parent.is_dir():
        raise ConfigurationError(f"--out {out}: no such folder: {out.parent}")
    if not is_url(source) and out.resolve() == Path(source).resolve():
        raise ConfigurationError(f"--out {out}: is the file that is read: name another")


@contextmanager
def _telling(source: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the number of rows: on a terminal, or now and then in a log."""
    console = Console(stderr=True)
    last = time.monotonic()
    with console.status(plain(f"reading {source}")) as status:

        def tell(rows: int) -> None:
            nonlocal last
            if rows % _TELL_EVERY:
                return
            if console.is_terminal:
                status.update(plain(f"{rows:,} rows of {source}"))
            elif (now := time.monotonic()) - last > _LOG_EVERY_S:
                last = now
                say(f"{rows:,} rows of {source}", err=True)

        yield tell


def _write(problems: Sequence[Problem], out: Path) -> None:
    """Write the problems to a temporary file, then rename it to `out`."""
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
        if out.suffix == ".parquet":
            pq.write_table(to_table(Problem, problems), file)
        else:
            for problem in problems:
                row = {name: value for name, value in asdict(problem).items() if value is not None}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    os.chmod(file.name, 0o644)
    os.replace(file.name, out)


def _report(looked: Looked) -> dict[str, Any]:
    return {
        "source": looked.source,
        "rows": looked.rows,
        "problems": len(looked.problems),
        "read_as": looked.read_as,
        "counts": looked.counts(),
        "first": [asdict(problem) for problem in looked.problems[:_FIRST]],
        **{str(reason): [_row(row) for row in _of(looked, reason)] for reason in LeftOut},
    }


def _row(row: Found) -> dict[str, str]:
    return {"place": row.place, "item": row.item, "said": row.said}


def _of(looked: Looked, reason: LeftOut) -> list[Found]:
    return [row for row in (*looked.refused, *looked.doubtful) if row.reason == reason]


def _show(looked: Looked) -> None:
    refused = f", {len(looked.refused):,} are none" if looked.refused else ""
    say(f"{looked.source}: {looked.rows:,} rows, {len(looked.problems):,} problems{refused}")
    for line in looked.read_as:
        say(line)
    for problem in looked.problems[:_FIRST]:
        text = problem.problem if len(problem.problem) <= _CUT else f"{problem.problem[:_CUT]}…"
        say(f"\n{problem.problem_id}: {text}\n  answer: {problem.answer}")
    say("")
    for reason, title in _TITLES.items():
        if rows := _of(looked, reason):
            say(f"{len(rows):,} {title} ({reason}):")
            for row in rows:
                say(f"  {row}")
            say("")
