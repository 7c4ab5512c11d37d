"""Stored JSON documents as the records that wrote them.

Invariant: whatever bytes a store holds, what comes of them is a record whose fields have the types
that it declares, or ObjectCorrupt; however deep they are nested, no stack runs over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.errors import ObjectCorrupt

Document = TypeVar("Document")
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def parsed(key: str, data: bytes) -> dict[str, Any]:
    """The JSON object of a document."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ObjectCorrupt(f"{key} is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise ObjectCorrupt(f"{key} is no JSON object")
    return body


def read_as(kind: type[Document], key: str, body: Mapping[str, Any]) -> Document:
    """The record that a JSON object holds; fields of a newer version are left aside."""
    try:
        made: Any = _adapter(kind).validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ObjectCorrupt(f"{key}: {where}: {first['msg']}") from None
    for name, value in asdict(made).items():
        if name in body and _plain(value) != body[name]:
            raise ObjectCorrupt(f"{key}: {name} is {body[name]!r:.60}, of another type")
    document: Document = made
    return document


def _plain(value: Any) -> Any:
    """As JSON has it: without tuples."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
