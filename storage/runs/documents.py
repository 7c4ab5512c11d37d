"""Reads stored JSON documents as records, and stores small ones.

Invariant: any bytes give a record whose fields have their declared types, or raise ObjectCorrupt,
in bounded time and memory. JSON of any depth of nesting is safe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.errors import ConfigurationError, NothingFound, ObjectCorrupt, StoreUnavailable
from storage.objects.local import LocalStore
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore, Put
from storage.rows.parquet import sha256_of

Document = TypeVar("Document")
MOST_BYTES = 16 << 20
"""Most bytes of a document: what is larger is not read."""
MOST_COMMIT_BYTES = 64 << 20
"""Most bytes of a commit, which names each item that it drops."""
MOST_ENTRY_BYTES = 1_000
"""Most bytes of a commit's entry in a `_SUCCESS.json` that names all of them."""
MOST_DATA_BYTES = 4 << 30
"""Most bytes of an object of rows: far more than a shard should have."""
MOST_DEPTH = 64
"""Most objects and lists within each other."""
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def parsed(key: str, data: bytes) -> dict[str, Any]:
    """The JSON object in a document. Raises ObjectCorrupt for other bytes."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ObjectCorrupt(f"{key} is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise ObjectCorrupt(f"{key} is no JSON object")
    _check_depth(key, body)
    return body


def _check_depth(key: str, body: dict[str, Any]) -> None:
    level: list[Any] = [body]
    for _ in range(MOST_DEPTH):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [one for part in parts for one in part if isinstance(one, dict | list)]
        if not level:
            return
    raise ObjectCorrupt(f"{key} is nested more than {MOST_DEPTH} levels deep")


def read_as(kind: type[Document], key: str, body: Mapping[str, Any]) -> Document:
    """A JSON object as a record; unknown fields are ignored. Raises ObjectCorrupt by field."""
    try:
        checked: Any = _adapter(kind).validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ObjectCorrupt(f"{key}: {where}: {first['msg']}") from None
    for name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
        if name in body and not _same(getattr(checked, name), body[name]):
            raise ObjectCorrupt(f"{key}: {name} is {body[name]!r:.60}, of another type")
    document: Document = checked
    return document


def refuse_newer(kind: type[Any], key: str, body: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a field that the record does not have."""
    if newer := body.keys() - kind.__dataclass_fields__.keys():
        raise ConfigurationError(
            f"{key} was written by a newer version, which is needed to read it: "
            f"it has {min(newer)!r:.60}"
        )


def _same(value: Any, raw: Any) -> bool:
    """Whether a value equals the JSON, so that no type was converted."""
    if isinstance(value, tuple):
        return len(value) == len(raw) and all(map(_same, value, raw))
    if names := getattr(value, "__dataclass_fields__", None):
        return all(name not in raw or _same(getattr(value, name), raw[name]) for name in names)
    if isinstance(value, dict):
        return value.keys() == raw.keys() and all(_same(value[k], raw[k]) for k in value)
    return bool(value == raw)


def copy_settled(
    source: ObjectStore, keys: Mapping[str, str], store: ObjectStore, patience: Patience
) -> None:
    """Copy small objects: key in `source` -> key in `store`. What is there already stays.

    Raises StoreRefused for a link that leads out of its run's or training's folder.
    """
    for key, ours in keys.items():
        if isinstance(source, LocalStore):
            source.refuse_beyond(key)
        put_settled(store, ours, source.get(key, MOST_BYTES), patience)


def put_settled(store: ObjectStore, key: str, data: bytes, patience: Patience) -> bytes:
    """Create a small object; return what its key holds, these bytes or earlier ones."""
    trouble = "no answer"
    for _ in patience.attempts():
        try:
            if store.put_new(key, data) is Put.CREATED:
                return data
            return store.get(key, max(MOST_BYTES, 2 * len(data)))
        except NothingFound:
            trouble = "not stored"
        except StoreUnavailable as error:
            trouble = str(error)
    raise StoreUnavailable(
        f"{key} could not be stored, digest {sha256_of(data)[:12]}, in {patience.tries} tries: "
        f"{trouble}"
    )
