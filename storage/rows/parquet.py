"""A shard's rows as the bytes of one Parquet file, and back.

`encode_shard` closes the file, opens it again and compares it with its input before it returns.
`decode_shard` checks the digest first, then the kind and version written in the file.

Invariant: the bytes of `encode_shard` decode to its rows. Bytes with another digest than the
committed one never become rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputError, ObjectCorrupt, first_line
from storage.rows import schemas
from storage.rows.versions import kind_of, version_of

Record = TypeVar("Record")

MOST_ROWS = 10_000_000
"""More rows than any shard has."""
KIND = b"stepmill.kind"
VERSION = b"stepmill.version"


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """A verified Parquet file and what a commit says of it."""

    data: bytes
    sha256: str
    rows: int
    kind: str
    version: int


def sha256_of(data: bytes) -> str:
    """Hexadecimal digest, as commits and object keys spell it."""
    return hashlib.sha256(data).hexdigest()


def encode_shard(row_type: type[Record], rows: Sequence[Record]) -> EncodedShard:
    """Rows -> verified Parquet bytes. The same rows give the same bytes."""
    kind, version = kind_of(row_type), version_of(row_type)
    table = schemas.to_table(row_type, rows).replace_schema_metadata(
        {KIND: kind.encode(), VERSION: str(version).encode()}
    )
    data = write_parquet(table)
    stored = _table_of(data)
    same = stored.equals(table, check_metadata=True)
    if not same and write_parquet(stored) != data:  # a NaN equals itself only as bytes
        raise ObjectCorrupt(f"a {kind} shard of {len(rows)} rows differs once encoded")
    return EncodedShard(data, sha256_of(data), len(rows), kind, version)


def write_parquet(table: pa.Table) -> bytes:
    """A closed Parquet file in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def check_digest(key: str, data: bytes, sha256: str) -> None:
    """Raise ObjectCorrupt if the bytes have another digest than the committed one."""
    digest = sha256_of(data)
    if digest != sha256:
        raise ObjectCorrupt(
            f"{key} is damaged: committed as sha256 {sha256}, read {len(data)} bytes of {digest}"
        )


def decode_shard(row_type: type[Record], data: bytes, *, key: str, sha256: str) -> list[Record]:
    """Parquet bytes -> rows. Raises ObjectCorrupt by digest, InputError by kind or version."""
    check_digest(key, data, sha256)
    return schemas.from_table(row_type, read_parquet(row_type, data, key=key))


def read_parquet(
    row_type: type[Any], data: bytes, *, key: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """A shard file as a table, or some columns of it. Raises InputError by kind or version."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        metadata = file.schema_arrow.metadata or {}
        stored_kind = metadata.get(KIND, b"?").decode()
        version = int(metadata.get(VERSION, b"0"))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ObjectCorrupt(f"{key} is no Parquet file of ours: {first_line(error)}") from None
    kind, known = kind_of(row_type), version_of(row_type)
    if stored_kind != kind:
        raise InputError(f"{key} holds rows of kind {stored_kind!r:.60}, not {kind}")
    if not 1 <= version <= known:
        raise InputError(
            f"{key} has version {version} of {kind}, this program knows 1 to {known}: "
            "use the program that wrote it, or a newer one"
        )
    if file.metadata.num_rows > MOST_ROWS:
        raise ObjectCorrupt(f"{key} has {file.metadata.num_rows:,} rows, more than any shard")
    if wrong := schemas.other_types(row_type, file.schema_arrow):
        raise ObjectCorrupt(f"{key} is damaged: its column {wrong[0]!r} is of another type")
    try:
        table = file.read(columns, use_threads=False)
        table.validate(full=True)  # texts are UTF-8: reading does not look
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ObjectCorrupt(f"{key} is damaged: {first_line(error)}") from None
    if empty := schemas.without_values(row_type, table):
        raise ObjectCorrupt(f"{key} is damaged: its column {empty[0]!r} lacks values")
    return table


def _table_of(data: bytes) -> pa.Table:
    """Read in this thread: starting others costs more than decoding a shard."""
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
