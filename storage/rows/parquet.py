"""A shard's rows as the bytes of one Parquet file, and back.

Encoding closes the file, opens it again and compares it with what went in before anyone may store
it; decoding compares the digest first, then the kind and version written in the file.

Invariant: bytes that leave `encode_shard` decode to the rows that entered it, and bytes whose
digest is not the committed one never become rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputError, ObjectCorrupt
from storage.rows import schemas

Record = TypeVar("Record")

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
    kind, version = schemas.kind_of(row_type), schemas.version_of(row_type)
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
    """Raise ObjectCorrupt where the bytes are not those that were committed."""
    found = sha256_of(data)
    if found != sha256:
        raise ObjectCorrupt(
            f"{key} is damaged: committed as sha256 {sha256}, read {len(data)} bytes of {found}"
        )


def decode_shard(row_type: type[Record], data: bytes, *, key: str, sha256: str) -> list[Record]:
    """Parquet bytes -> rows, after checking digest, kind and version."""
    check_digest(key, data, sha256)
    return schemas.from_table(row_type, read_parquet(row_type, data, key=key))


def read_parquet(
    row_type: type[Any], data: bytes, *, key: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """The table, or some of its columns, of a shard file whose kind and version are understood."""
    table = _table_of(data, columns)
    metadata = table.schema.metadata or {}
    kind, known = schemas.kind_of(row_type), schemas.version_of(row_type)
    found = metadata.get(KIND, b"?").decode()
    if found != kind:
        raise InputError(f"{key} holds rows of kind {found}, not {kind}")
    version = int(metadata.get(VERSION, b"0"))
    if not 1 <= version <= known:
        raise InputError(
            f"{key} has version {version} of {kind}, this program knows 1 to {known}: "
            "use the program that wrote it, or a newer one"
        )
    return table


def _table_of(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Read by its own thread: starting others costs more than a shard's decoding."""
    return pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)
