"""What may be asked: a solution, or many, as JSON; and the question that a replica gets of each.

    {"problem": ..., "steps": [...] or "solution": ..., "n": 4, "mode": "full", "stream": false}
    {"items": [{"problem": ..., "steps": [...]}, ...], "n": 4}

Invariant: a question is valid, with at least one step, none of them empty; its name decides its
seeds, and is a digest of problem and steps where no `id` is given.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from storage.errors import InputError
from workflows.formats.verification import READ, Mode
from workflows.inputs.responses import steps_of
from workflows.inputs.shapes import required_text
from workflows.serving.settings import ServeSettings
from workflows.serving.troubles import Trouble, invalid, of_validation
from workflows.votes.rewards import Aggregate

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
MOST_SEED = (1 << 63) - 1


class Item(BaseModel):
    """One solution."""

    model_config = _STRICT

    problem: str
    steps: list[str] | None = None
    """Its steps, without headers."""
    solution: str | None = None
    """Or its whole text, cut at its step headers, without headers at its blank lines."""
    id: str | None = None
    """Its name, which its seeds derive from."""


class How(BaseModel):
    """How the solutions of a request are judged, and what is answered."""

    model_config = _STRICT

    n: Annotated[int, Field(ge=1)] | None = None
    """Histories (Maj@N); None: the server's."""
    mode: Mode | None = None
    """None: the server's."""
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] | None = None
    """None: the server's."""
    aggregate: Aggregate = "min"
    """How `score` is made of the rewards."""
    details: bool = True
    """Whether each history is answered too, with analyses, code and outputs."""
    stream: bool = False
    """Whether each step is answered once it is judged."""


class One(Item, How):
    """A request for one solution."""


class Many(How):
    """A request for many."""

    items: Annotated[list[Item], Field(min_length=1)]


_ONE: TypeAdapter[One] = TypeAdapter(One)
_MANY: TypeAdapter[Many] = TypeAdapter(Many)


@dataclass(frozen=True, slots=True)
class Question:
    """One solution for a replica."""

    name: str
    problem: str
    steps: tuple[str, ...]
    mode: str
    n: int
    seed: int


@dataclass(frozen=True, slots=True)
class Unasked:
    """One of many solutions that no replica can be asked about."""

    name: str
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is answered, at least with why a solution of many has no score."""

    questions: tuple[Question | Unasked, ...]
    how: How
    many: bool
    """Whether the answer is a list."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What holds where a request says nothing, and what it may say."""

    mode: Mode
    n: int
    seed: int
    modes: tuple[Mode, ...]
    limits: ServeSettings


def asked(body: bytes, usual: Usual) -> Asked:
    """Read a request. Raises Trouble, of a solution only where it is the one."""
    raw = parsed(body)
    many = "items" in raw
    try:
        how: One | Many = _MANY.validate_python(raw) if many else _ONE.validate_python(raw)
    except ValidationError as error:
        raise of_validation(error) from None
    items = how.items if isinstance(how, Many) else [how]
    check_many(len(items), usual)
    mode, n = how.mode or usual.mode, how.n or usual.n
    seed = usual.seed if how.seed is None else how.seed
    if mode not in usual.modes:
        raise invalid(f"mode {mode!r} is not served", f"ask for one of {', '.join(usual.modes)}")
    if n > usual.limits.most_histories:
        change = f"ask for n up to {usual.limits.most_histories} (serve.most_histories)"
        raise invalid(f"n is {n}", change, "too_many")
    if mode == READ:
        n = 1  # all histories would be equal

    def read(at: int, item: Item) -> Question | Unasked:
        try:
            return question(item, f"items.{at}" if many else "the body", mode, n, seed)
        except Trouble as trouble:
            if not many:
                raise
            return Unasked(_name_of_unasked(item), trouble)

    return Asked(tuple(read(at, item) for at, item in enumerate(items)), how, many)


def check_many(items: int, usual: Usual) -> None:
    """Raise Trouble for a request of too many solutions."""
    if items > usual.limits.most_items:
        change = f"send at most {usual.limits.most_items} in a request (serve.most_items)"
        raise invalid(f"{items} solutions", change, "too_many")


def question(item: Item, where: str, mode: str, n: int, seed: int) -> Question:
    """The question that a solution makes. Raises Trouble."""
    row = {"problem": item.problem, "steps": item.steps, "solution": item.solution}
    try:
        problem, steps = required_text(row, "problem", where), steps_of(row, where, "blank_lines")
        "".join((item.id or "", *steps)).encode()
    except UnicodeEncodeError:
        change = "write the character, not half of a surrogate pair"
        raise invalid(f"{where}: `steps` or `id` is no Unicode text", change) from None
    except InputError as error:
        raise invalid(str(error), "give a problem, and a solution as a list of steps") from None
    return Question(item.id or name_of(problem, steps), problem, tuple(steps), mode, n, seed)


def valid(each: Question | Unasked) -> Question:
    """What a replica is asked. Raises Trouble for what it can't be asked."""
    if isinstance(each, Unasked):
        raise each.trouble
    return each


def _name_of_unasked(item: Item) -> str:
    if item.id is None:
        return name_of(item.problem, item.steps or [item.solution or ""])
    return item.id.encode(errors="replace").decode()  # it may be what was no Unicode text


def name_of(problem: str, steps: list[str]) -> str:
    """The name of a solution that has none: a digest."""
    text = json.dumps([problem, steps])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Trouble."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raise Trouble(400, "not_json", "the body is no JSON", "send a JSON object") from None
    if not isinstance(raw, dict):
        raise Trouble(400, "not_json", "the body is no JSON object", "send a JSON object")
    return raw
