"""Rows of a table: JSON lines, JSON, CSV, TSV and Parquet, plain or compressed, one at a time.

What a file is, its first bytes say, and where those say nothing, its name.

Invariant: text is UTF-8, with or without a byte-order mark, and any other encoding is refused with
the line and what to do. A row that is none (a line that is not JSON, too many cells) is yielded as
`NotARow`, so that a caller may go on behind it.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputError
from storage.rows.kinds import PROBLEMS
from workflows.inputs.places import File, files_of

_BATCH = 1024
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_LONGEST_CELL = _LONGEST_LINE = 1 << 28
_LONGEST_VALUE = 1 << 30
"""Characters of one JSON value over many lines."""
_LISTS = ("data", "rows", PROBLEMS.stage, "questions", "examples", "train", "test")
"""Keys of a JSON object whose list of rows is the table."""


@dataclass(frozen=True, slots=True)
class NotARow:
    """A place of a table where a row should be, and why there is none."""

    said: str


Rows = Iterator[tuple[str, Any]]
"""(`line 3` or `row 3`, a row, or `NotARow`)."""


def table_rows(path: Path) -> Rows:
    """The rows of one file, all of them. Raises InputError at the first that is none."""
    for file in files_of(str(path)):
        for place, row in file_rows(file):
            if isinstance(row, NotARow):
                raise InputError(f"{file.name}, {place}: {row.said}")
            yield place, row


def file_rows(file: File) -> Rows:
    """The rows of a file. Raises InputError for one that can't be read."""
    try:
        with file.open() as opened:
            yield from _rows(file, _unpacked(opened, file.name))
    except (OSError, pa.ArrowException) as error:
        kind = "as Parquet" if file.suffix == ".parquet" else "to its end"
        said = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(f"{file.name}: can't be read {kind}: {said}") from None


def _unpacked(opened: io.BufferedReader, name: str) -> io.BufferedReader:
    """The file, decompressed where its first bytes say that it is compressed."""
    start = opened.read(4)
    opened.seek(0)
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            packed = pa.CompressedInputStream(pa.PythonFile(opened, "r"), kind)
            return io.BufferedReader(packed)
    if start.startswith(b"PK"):
        raise InputError(f"{name}: is a zip or Excel file: unpack it, or export it as CSV")
    return opened


def _rows(file: File, opened: io.BufferedReader) -> Rows:
    start = opened.peek(4)[:4]
    if file.suffix == ".parquet" or start == b"PAR1":
        return _parquet(opened)
    if start.startswith(_WIDE) or b"\0" in start:
        raise InputError(
            f"{file.name}: is UTF-16 or UTF-32: save it as UTF-8, or: "
            f"iconv -f UTF-16 -t UTF-8 {file.name} > utf8{file.suffix}"
        )
    text = io.TextIOWrapper(opened, "utf-8-sig", "surrogateescape")
    lines = _lines(iter(partial(text.readline, _LONGEST_LINE + 1), ""), file)
    if file.suffix in (".csv", ".tsv"):
        return _cells(file, lines)
    return _json(file, lines)


def _lines(text: Iterable[str], file: File) -> Iterator[str]:
    for number, line in enumerate(text, start=1):
        if len(line) > _LONGEST_LINE:
            raise InputError(
                f"{file.name}, line {number}: has more than {_LONGEST_LINE:,} characters: write "
                "one row a line"
            )
        if not line.isascii() and (wrong := _NOT_UTF8.search(line)):
            raise InputError(
                f"{file.name}, line {number}: byte 0x{ord(wrong[0]) - 0xDC00:02x} is not UTF-8: "
                "save the file as UTF-8, or, if it is Latin-1: "
                f"iconv -f WINDOWS-1252 -t UTF-8 {file.name} > utf8{file.suffix}"
            )
        yield line


def _json(file: File, lines: Iterator[str]) -> Rows:
    """JSON lines, or one JSON value: a list of objects, an object with one, or an object."""
    blank: list[str] = []
    first = next(lines, "")
    while first and not first.strip():
        blank.append(first)
        first = next(lines, "")
    if not first:
        return
    if first.lstrip().startswith("[") or not _is_json(first):
        whole = io.StringIO()
        for line in itertools.chain(blank, [first], lines):
            if whole.tell() > _LONGEST_VALUE:
                raise InputError(
                    f"{file.name}, line {len(blank) + 1}: not JSON, nor is the file as far as it "
                    f"was read ({_LONGEST_VALUE:,} characters): write one row a line"
                )
            whole.write(line)
        try:
            yield from _of_value(file, _loaded(whole.getvalue()))
            return
        except _Twice as error:
            raise InputError(f"{file.name}: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            if first.strip() in ("[", "{") and isinstance(error, json.JSONDecodeError):
                said = f"line {error.lineno}: not JSON ({error.msg})"
                raise InputError(f"{file.name}, {said}") from None
        whole.seek(0)
        yield from _json_lines(whole)
    elif second := next(lines, ""):
        yield from _json_lines(itertools.chain(blank, [first, second], lines))
    else:
        try:
            yield from _of_value(file, _loaded(first), f"line {len(blank) + 1}")
        except _Twice as error:
            raise InputError(f"{file.name}, line {len(blank) + 1}: {error.msg}") from None


class _Twice(ValueError):
    """An object that says two things under one name: which is meant nobody can tell."""

    def __init__(self, name: str) -> None:
        self.msg = f"names `{name}` twice, for two values: leave one of them"
        super().__init__(self.msg)


def _loaded(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, RecursionError."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        for name, value in pairs:
            if row[name] != value:
                raise _Twice(name)
    return row


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(lines: Iterable[str]) -> Rows:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _loaded(line)
        except (ValueError, RecursionError) as error:
            row = NotARow(_why(line, error))
        yield f"line {number}", row


def _why(line: str, error: Exception) -> str:
    text = line.strip()
    deep = isinstance(error, RecursionError)
    said = getattr(error, "msg", "nested too deeply" if deep else "a number of too many digits")
    if isinstance(error, _Twice):
        return said
    if text.startswith("{") and text.endswith(","):
        return f"not JSON ({said}): remove the comma at its end"
    if text[:1] not in "{[":
        return f"not JSON ({said}): a table of commas or tabs must end in .csv or .tsv"
    return f"not JSON ({said})"


def _of_value(file: File, value: Any, place: str = "row 1") -> Rows:
    """The rows that one JSON value holds."""
    if isinstance(value, dict):
        lists = [key for key in _LISTS if _of_objects(value.get(key))]
        if len(lists) > 1:
            raise InputError(
                f"{file.name}: holds the lists {', '.join(lists)}: write one of them to a file"
            )
        if not lists:
            yield place, value
            return
        value = value[lists[0]]
        if all(isinstance(row, dict) and isinstance(row.get("row"), dict) for row in value):
            value = [row["row"] for row in value]  # as the hub's viewer sends them
    elif not _of_objects(value) and value != []:
        yield "line 1", value
        return
    yield from ((f"row {number}", row) for number, row in enumerate(value, start=1))


def _of_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(row, dict) for row in value)


def _cells(file: File, lines: Iterator[str]) -> Rows:
    """CSV or TSV with a header; an empty cell says nothing."""
    csv.field_size_limit(_LONGEST_CELL)
    first = next(lines, "")
    # Excel writes semicolons where a comma is the decimal point.
    between = "\t" if file.suffix == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(itertools.chain([first], lines), delimiter=between)
    try:
        header = [name.strip() for name in next(reader, [])]
        if name := _doubled(header):
            raise InputError(
                f"{file.name}, line 1: names `{name}` twice: rename one of the columns"
            )
        line = reader.line_num + 1
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                yield (
                    place,
                    NotARow(
                        f"has {len(cells)} cells and the header {len(header)}: put a cell that "
                        "holds a comma, a tab, a quote or a line's end into double quotes"
                    ),
                )
                continue
            yield place, dict(zip(header, (cell or None for cell in cells), strict=True))
    except csv.Error as error:
        raise InputError(f"{file.name}, line {reader.line_num}: {error}") from None


def _doubled(names: list[str]) -> str | None:
    """The first name, by the alphabet, that stands twice."""
    return min((name for name, times in Counter(names).items() if times > 1), default=None)


def _parquet(opened: io.BufferedReader) -> Rows:
    source = opened if opened.seekable() else pa.BufferReader(opened.read())
    table = pq.ParquetFile(source)
    if name := _doubled(table.schema_arrow.names):
        raise pa.ArrowInvalid(f"it names `{name}` twice: rename one of the columns")
    number = 0
    for batch in table.iter_batches(batch_size=_BATCH):
        batch.validate(full=True)  # texts are UTF-8: reading does not look
        try:
            rows = batch.to_pylist()
        except (ArithmeticError, ValueError) as error:  # a date that Python has not
            raise pa.ArrowInvalid(f"rows from {number + 1} on: {error}") from None
        for row in rows:
            number += 1
            yield f"row {number}", row
