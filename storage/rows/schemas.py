"""The Arrow schema of each record kind, derived from its annotations, and the conversion both ways.

A kind is the snake_case name of a record class. Rows are converted column by column. A nested
dataclass is a struct; a list is its offsets and one flat child column. This costs a few list
operations per row and builds no dictionary.

Invariant: `from_table(kind, to_table(kind, rows)) == rows`. A table of a newer schema version is
refused. An older table can be read if every field added since has a default.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, TypeVar

import pyarrow as pa

from storage.errors import InputError
from storage.rows.versions import kind_of

Record = TypeVar("Record")

SCALARS: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def schema_of(row_type: type[Any]) -> pa.Schema:
    """The Arrow schema of a record kind, without metadata."""
    return pa.schema([_arrow_field(name, hint) for name, hint in _hints(row_type).items()])


def to_table(row_type: type[Record], rows: Sequence[Record]) -> pa.Table:
    """Rows as an Arrow table of `schema_of(row_type)`.

    A column named in the record's `UNSAID` is left out where no row has a value for it.
    """
    unsaid = getattr(row_type, "UNSAID", ())
    columns, fields = [], []
    for name, hint in _hints(row_type).items():
        values = [getattr(row, name) for row in rows]
        if name not in unsaid or any(value is not None for value in values):
            columns.append(_column(values, hint))
            fields.append(_arrow_field(name, hint))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def from_table(row_type: type[Record], table: pa.Table) -> list[Record]:
    """The rows of a table. Raises InputError if it lacks a field without a default."""
    hints = _hints(row_type)
    names = [name for name in hints if name in table.column_names]
    for name in hints.keys() - set(names):
        _default(row_type, name)
    if not names:
        return [row_type() for _ in range(table.num_rows)]
    columns = [_values(table.column(name), hints[name]) for name in names]
    if len(names) == len(hints):
        return list(map(row_type, *columns))
    return [row_type(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def completed(row_type: type[Any], table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The columns `names` of a table; a column that it lacks is filled with the default."""
    whole = schema_of(row_type)
    for name in names:
        if name not in table.column_names:
            field = whole.field(name)
            filled = [_default(row_type, name)] * table.num_rows
            table = table.append_column(field, pa.array(filled, type=field.type))
    return table.select(names)


def other_types(row_type: type[Any], schema: pa.Schema) -> list[str]:
    """The columns of a stored schema that are there twice, or not of their field's type."""

    def fits(field: pa.Field) -> bool:
        found = [schema.field(at).type for at in schema.get_all_field_indices(field.name)]
        return found in ([], [field.type])

    return [field.name for field in schema_of(row_type) if not fits(field)]


def without_values(row_type: type[Any], table: pa.Table) -> list[str]:
    """The columns of a table that lack values which the record's fields must have."""
    return [
        field.name
        for field in schema_of(row_type)
        if not field.nullable
        and field.name in table.column_names
        and table.column(field.name).null_count
    ]


_known_hints: dict[type[Any], dict[str, Any]] = {}


def _hints(row_type: type[Any]) -> dict[str, Any]:
    if row_type not in _known_hints:  # resolving annotations costs more than a shard's conversion
        hints = typing.get_type_hints(row_type)
        names = [item.name for item in dataclasses.fields(row_type)]
        _known_hints[row_type] = {name: hints[name] for name in names}
    return _known_hints[row_type]


def _said(row_type: type[Any]) -> dict[str, Any]:
    """The fields of a row within another one: all but those in `UNSAID`, which are the last."""
    unsaid = getattr(row_type, "UNSAID", ())
    return {name: hint for name, hint in _hints(row_type).items() if name not in unsaid}


def _defaults(row_type: type[Any]) -> dict[str, Any]:
    """Field -> its default, for rows written before the field existed."""
    unset = dataclasses.MISSING
    defaults = {}
    for item in dataclasses.fields(row_type):
        if item.default is not unset:
            defaults[item.name] = item.default
        elif item.default_factory is not unset:
            defaults[item.name] = item.default_factory()
    return defaults


def _default(row_type: type[Any], name: str) -> Any:
    """The default of a field. Raises InputError if it has none."""
    defaults = _defaults(row_type)
    if name not in defaults:
        raise InputError(f"a {kind_of(row_type)} table lacks the column {name!r}")
    return defaults[name]


def _optional(hint: Any) -> tuple[Any, bool]:
    """`X | None` -> (X, True); anything else -> (itself, False)."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (inner,) = [part for part in typing.get_args(hint) if part is not type(None)]
        return inner, True
    return hint, False


def _element(hint: Any) -> Any:
    """`list[X]` -> X; anything else -> None."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is list else None


def _arrow_field(name: str, hint: Any) -> pa.Field:
    inner, nullable = _optional(hint)
    return pa.field(name, _arrow_type(inner), nullable=nullable)


def _arrow_type(hint: Any) -> pa.DataType:
    element = _element(hint)
    if element is not None:
        return pa.list_(_arrow_field("element", element))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return pa.struct([_arrow_field(name, part) for name, part in _said(hint).items()])
    return SCALARS[hint]


def _column(values: list[Any], hint: Any) -> pa.Array:
    inner, nullable = _optional(hint)
    element = _element(inner)
    nested = dataclasses.is_dataclass(element if element is not None else inner)
    absent = pa.array([value is None for value in values]) if nested and nullable else None
    if nested and element is not None:
        whole = values if absent is None else [value or () for value in values]
        offsets = pa.array(_running_sum([0, *map(len, whole)]), type=pa.int32())
        child = _column(list(chain.from_iterable(whole)), element)
        return pa.ListArray.from_arrays(offsets, child, type=_arrow_type(inner), mask=absent)
    if nested:
        hints = _said(inner)
        there = [value for value in values if value is not None]
        if absent is not None and there:
            values = [there[0] if value is None else value for value in values]
        elif absent is not None:
            return pa.nulls(len(values), _arrow_type(inner))
        for name in getattr(inner, "UNSAID", ()):
            if any(getattr(value, name) is not None for value in values):
                raise TypeError(f"{name} of a {kind_of(inner)} within another row has no column")
        arrays = [
            _column([getattr(value, name) for value in values], part)
            for name, part in hints.items()
        ]
        fields = [_arrow_field(name, part) for name, part in hints.items()]
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=absent)
    arrow_type = _arrow_type(inner)
    try:
        array = pa.array(values, type=arrow_type)
    except UnicodeEncodeError:  # a lone surrogate in a model's text: marked, and the shard lives
        array = pa.array(_without_surrogates(values), type=arrow_type)
    if array.null_count and not nullable:
        raise TypeError(f"None where {hint} is due")
    return array


def _running_sum(lengths: list[int]) -> Iterator[int]:
    total = 0
    for length in lengths:
        total += length
        yield total


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    return value


def _values(column: pa.ChunkedArray | pa.Array, hint: Any) -> list[Any]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # a column without chunks stays chunked
        return []
    inner, _ = _optional(hint)
    element = _element(inner)
    if element is not None:
        child = _values(array.values, element)
        offsets = array.offsets.to_pylist()
        lists: list[Any] = [child[start:end] for start, end in pairwise(offsets)]
        if array.null_count:
            absent = array.is_null().to_pylist()
            lists = [None if gone else part for part, gone in zip(lists, absent, strict=True)]
        return lists
    if dataclasses.is_dataclass(inner) and isinstance(inner, type):
        parts = [
            _values(array.field(position), part)
            for position, part in enumerate(_said(inner).values())
        ]
        made: list[Any] = list(map(inner, *parts))
        if array.null_count:
            absent = array.is_null().to_pylist()
            made = [None if gone else part for part, gone in zip(made, absent, strict=True)]
        return made
    if array.null_count == 0 and inner in (int, float):
        plain: list[Any] = array.to_numpy().tolist()
        return plain
    values: list[Any] = array.to_pylist()
    return values
