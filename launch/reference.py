"""`python -m launch.reference` writes docs/configuration.md from the classes of the settings.

Invariant: the page is a pure function of the settings' annotations, defaults and docstrings. A test
fails for a field without a docstring.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import typing
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from textwrap import dedent
from typing import Any

from actors.sandbox.contract import MOST_SESSIONS
from workflows.builds.configuration import BuildConfig
from workflows.formats.verification import VerifySettings
from workflows.runs.settling import (
    IN_FLIGHT_ON_CPU,
    IN_FLIGHT_ON_GPU,
    LONGEST_CONTEXT,
    SESSIONS_ON_CPU,
)
from workflows.training.settings import TrainConfig

INTRODUCTION = """\
# Configuration

A build is one YAML file. `configs/demo.yaml` is the embedded default, `configs/genprm.yaml` has
the paper's models and numbers. An unknown key, a missing field or a value out of bounds is refused
before anything starts. Written by `python -m launch.reference > docs/configuration.md`.
"""

TRAINING = """
# Training

A training (`stepmill train`) is another file: `configs/train_demo.yaml` runs on a CPU,
`configs/train_1.5b.yaml`, `train_7b.yaml` and `train_32b.yaml` have the paper's bases.
"""

SCORING = """
# Scoring

`stepmill score MODEL FILE` takes these from its options and from `--config FILE.yaml`, which also
has `floor` and the keys of `sandbox`, `cluster` and, as `models.verifier`, of an engine. Where the
engine runs decides what is left open: `models.verifier.max_in_flight` and `sandbox.sessions` are
{gpu[0]} and {gpu[1]} on GPUs, {cpu[0]} and {cpu[1]} elsewhere; `models.verifier.max_model_len` is
the model's own context, at most {context}.
"""


def page() -> str:
    """The whole page."""
    build, training, verify = (
        "".join(_section(prefix, kind))
        for prefix, kind in (("", BuildConfig), ("", TrainConfig), ("verify.", VerifySettings))
    )
    scoring = SCORING.format(
        gpu=(IN_FLIGHT_ON_GPU["verifier"], min(2 * IN_FLIGHT_ON_GPU["verifier"], MOST_SESSIONS)),
        cpu=(IN_FLIGHT_ON_CPU["verifier"], SESSIONS_ON_CPU),
        context=LONGEST_CONTEXT,
    )
    return INTRODUCTION + build + TRAINING + training + scoring + verify.rstrip() + "\n"


def _section(prefix: str, settings: type[Any]) -> Iterator[str]:
    """A table of the plain fields of a settings class, then a section for each nested class."""
    says = field_docs(settings)
    hints = typing.get_type_hints(settings)
    rows, nested = [], []
    for field in dataclasses.fields(settings):
        kind = _present(hints[field.name])
        if dataclasses.is_dataclass(kind):
            nested.append((f"{prefix}{field.name}", kind))
            continue
        name = f"`{prefix}{field.name}`"
        rows.append(f"| {name} | {default_of(field)} | {says[field.name]} |\n")
    title = f"`{prefix.rstrip('.')}`" if prefix else "Top level"
    if rows:
        yield f"\n## {title}\n\n{inspect.getdoc(settings) or ''}\n\n"
        yield "| key | default | meaning |\n|---|---|---|\n"
        yield from rows
    for name, kind in nested:
        yield from _section(f"{name}.", typing.cast("type[Any]", kind))


def _present(hint: Any) -> Any:
    """`X | None` -> X; any other hint stays as it is."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return parts[0] if len(parts) == 1 and type(None) in typing.get_args(hint) else hint


def field_docs(settings: type[Any]) -> dict[str, str]:
    """Field -> the docstring under it, or its name in words where there is none."""
    says: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        if dataclasses.is_dataclass(base):
            says |= _own_docs(base)
    return says


def _own_docs(settings: type[Any]) -> dict[str, str]:
    body = ast.parse(inspect.cleandoc(inspect.getsource(settings))).body[0]
    assert isinstance(body, ast.ClassDef)
    says: dict[str, str] = {}
    last = ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
            says[last] = last.replace("_", " ")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            says[last] = " ".join(str(node.value.value).split()).replace("|", "\\|")
            last = ""
        else:
            last = ""
    return says


def member_docs(kind: type[Enum]) -> dict[str, str]:
    """Value of a member -> the docstring under it. Raises ValueError for a member without one."""
    body = ast.parse(dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    says: dict[str, str] = {}
    for node, under in pairwise(body.body):
        if isinstance(node, ast.Assign) and isinstance(under, ast.Expr):
            (name,) = (target.id for target in node.targets if isinstance(target, ast.Name))
            assert isinstance(under.value, ast.Constant)
            says[kind[name].value] = " ".join(str(under.value.value).split())
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


if __name__ == "__main__":
    print(page(), end="")
