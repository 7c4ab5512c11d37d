"""What docstrings and defaults say of settings and of the members of enums, for people.

Invariant: only the classes that are given are read; no configuration is imported for it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import threading
from collections.abc import Mapping
from enum import Enum
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any

from storage.plain_text import cell, on_one_line

_ONE_AT_A_TIME = threading.Lock()
"""Held while a source is parsed: Python 3.11's parser fails at times with two threads in it."""


def field_docs(settings: type[Any]) -> dict[str, str]:
    """Field -> the docstring under it, or its name in words where there is none."""
    says: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        if dataclasses.is_dataclass(base):
            says |= _own_docs(base)
    return says


def _parsed(kind: type[Any]) -> ast.ClassDef:
    with _ONE_AT_A_TIME:
        body = ast.parse(dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    return body


def _own_docs(settings: type[Any]) -> dict[str, str]:
    body = _parsed(settings)
    says: dict[str, str] = {}
    last = ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
            says[last] = last.replace("_", " ")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            says[last] = cell(str(node.value.value))
            last = ""
        else:
            last = ""
    return says


@cache  # a class is looked for in its whole module
def member_docs(kind: type[Enum]) -> Mapping[str, str]:
    """Value of a member -> the docstring under it. Raises ValueError for a member without one."""
    body = _parsed(kind)
    says: dict[str, str] = {}
    for node, under in pairwise(body.body):
        if isinstance(node, ast.Assign) and isinstance(under, ast.Expr):
            (name,) = (target.id for target in node.targets if isinstance(target, ast.Name))
            assert isinstance(under.value, ast.Constant)
            says[kind[name].value] = on_one_line(str(under.value.value))
    if lacking := {str(member.value) for member in kind} - says.keys():
        raise ValueError(f"{kind.__name__}: no sentence under {', '.join(sorted(lacking))}")
    return says


def default_of(field: dataclasses.Field[Any]) -> str:
    """A field's default as Markdown code, or `required`."""
    if field.default is not dataclasses.MISSING:
        return f"`{json.dumps(field.default, ensure_ascii=False)}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{json.dumps(field.default_factory())}`"
    return "required"
