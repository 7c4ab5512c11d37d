"""Records survive Arrow and Parquet unchanged, and a schema says exactly what a record is."""

from __future__ import annotations

import dataclasses
import random
import typing
from typing import Any

import pyarrow as pa
import pytest

from storage.errors import InputError, ObjectCorrupt
from storage.rows import parquet, records, schemas
from storage.rows.kinds import OURS

KINDS = sorted({rows.record for rows in OURS.values()}, key=lambda kind: kind.__name__)
TEXTS = ["", "a", "two\nlines\r", "\0", "ä ∑ 数 😀", "x" * 10_000, "'\"\\", "$\\boxed{1}$"]


def value_of(hint: Any, chance: random.Random) -> Any:
    """A random value of an annotation."""
    args = typing.get_args(hint)
    if type(None) in args:
        (inner,) = [arg for arg in args if arg is not type(None)]
        return None if chance.random() < 0.3 else value_of(inner, chance)
    if typing.get_origin(hint) is list:
        return [value_of(args[0], chance) for _ in range(chance.choice([0, 1, 5]))]
    if dataclasses.is_dataclass(hint):
        row = row_of(typing.cast(type[Any], hint), chance)
        return dataclasses.replace(row, **dict.fromkeys(getattr(hint, "UNSAID", ())))
    values: dict[Any, list[Any]] = {
        str: TEXTS,
        int: [0, -1, 2**63 - 1, -(2**63), chance.randint(0, 99)],
        float: [0.0, -0.0, 1e-300, float("inf"), chance.random()],
        bool: [False, True],
    }
    return chance.choice(values[hint])


def row_of(kind: type[Any], chance: random.Random) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(
        **{field.name: value_of(hints[field.name], chance) for field in dataclasses.fields(kind)}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 50])
def test_rows_come_back_as_they_were(kind: type[Any], count: int) -> None:
    for seed in range(5):
        chance = random.Random(seed)
        rows = [row_of(kind, chance) for _ in range(count)]
        encoded = parquet.encode_shard(kind, rows)
        back = parquet.decode_shard(kind, encoded.data, key="k", sha256=encoded.sha256)
        assert back == rows, f"seed {seed}"
        assert repr(back) == repr(rows), f"seed {seed}: a value changed its type"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_bytes(kind: type[Any]) -> None:
    rows = [row_of(kind, random.Random(1)) for _ in range(20)]
    assert parquet.encode_shard(kind, rows) == parquet.encode_shard(kind, rows)


def test_a_row_within_another_has_no_column_for_what_is_unsaid() -> None:
    row = row_of(records.FirstPit, random.Random(0))
    inner = dataclasses.replace(row_of(records.StateRollouts, random.Random(0)), cut="censored")
    with pytest.raises(TypeError, match="cut of a state_rollouts within another row"):
        schemas.to_table(records.FirstPit, [dataclasses.replace(row, rollouts=[inner])])


def test_a_nan_is_kept() -> None:
    labels = records.PathLabels("p#1", "p", [float("nan")], [1], [], [], None, "soft", 0.0, 0.1)
    encoded = parquet.encode_shard(records.PathLabels, [labels])
    (back,) = parquet.decode_shard(records.PathLabels, encoded.data, key="k", sha256=encoded.sha256)
    assert repr(back) == repr(labels)


def test_a_lone_surrogate_is_marked_and_does_not_fail_the_shard() -> None:
    bad = "half \ud83d of 😀 and \ud83d\ude00"
    rows = [records.Rationale("p#1", "p", [bad], [bad], [], [], bad, 0, "stop", "m", 1, 2)]
    (back,) = schemas.from_table(records.Rationale, schemas.to_table(records.Rationale, rows))
    assert back.text == "half \ufffd of 😀 and 😀"
    assert back.analyses == [back.text]


def test_a_schema_says_which_fields_may_be_absent() -> None:
    schema = schemas.schema_of(records.StateRollouts)
    assert schema.field("n") == pa.field("n", pa.int64(), nullable=False)
    answers = schema.field("answers").type.value_type
    assert [(part.name, part.nullable) for part in answers] == [
        ("answer", True),
        ("count", False),
        ("correct", False),
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("problem_id", None), ("problem_id", 3), ("level", 3.5)],
)
def test_a_value_of_another_type_is_refused(field: str, value: Any) -> None:
    row = dataclasses.replace(records.Problem("p", "q", "1"), **{field: value})
    with pytest.raises((TypeError, pa.ArrowException)):
        schemas.to_table(records.Problem, [row])


def test_an_older_table_reads_with_the_defaults_of_the_fields_added_since() -> None:
    table = schemas.to_table(records.Problem, [records.Problem("p", "q", "1", "Level 2")])
    (old,) = schemas.from_table(records.Problem, table.drop_columns(["level", "source"]))
    assert old == records.Problem("p", "q", "1")
    with pytest.raises(InputError, match="lacks the column 'answer'"):
        schemas.from_table(records.Problem, table.drop_columns(["answer"]))


def test_a_table_that_was_cut_or_joined_reads_right() -> None:
    rows = [row_of(records.Rationale, random.Random(n)) for n in range(30)]
    table = schemas.to_table(records.Rationale, rows)
    joined = pa.concat_tables([table.slice(5, 10), table.slice(20)])
    assert schemas.from_table(records.Rationale, joined) == rows[5:15] + rows[20:]


def encoded_problem(**metadata: str) -> tuple[bytes, str]:
    table = schemas.to_table(records.Problem, [records.Problem("p", "q", "1")])
    marks = {f"stepmill.{name}": value for name, value in metadata.items()}
    data = parquet.write_parquet(table.replace_schema_metadata(marks))
    return data, parquet.sha256_of(data)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"kind": "problem", "version": "2"}, "version 2 of problem, this program knows 1 to 1"),
        ({"kind": "problem", "version": "0"}, "version 0"),
        ({"kind": "problem"}, "version 0"),
        ({"kind": "path", "version": "1"}, "kind 'path', not problem"),
        ({}, "kind '\\?', not problem"),
    ],
)
def test_a_shard_of_another_kind_or_a_newer_version_is_refused(
    metadata: dict[str, str], message: str
) -> None:
    data, digest = encoded_problem(**metadata)
    with pytest.raises(InputError, match=message):
        parquet.decode_shard(records.Problem, data, key="k", sha256=digest)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: b"?" + d[1:], lambda d: b""])
def test_damaged_bytes_name_the_key_and_both_digests(damage: Any) -> None:
    encoded = parquet.encode_shard(records.Problem, [records.Problem("p", "q", "1")])
    bad = damage(encoded.data)
    with pytest.raises(ObjectCorrupt) as caught:
        parquet.decode_shard(records.Problem, bad, key="runs/a/x", sha256=encoded.sha256)
    for part in ("runs/a/x", encoded.sha256, parquet.sha256_of(bad)):
        assert part in str(caught.value)
