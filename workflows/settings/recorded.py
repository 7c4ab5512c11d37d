"""How a stored spec is read by a version that has settings which the spec's own did not have.

Invariant: a setting that a spec lacks has the value that stood for it when the spec was made:
today's default, unless `OLDER` says otherwise. A stored setting that this version does not know is
a difference. What is stored is never written anew, so that no digest of it changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.runs.specs import Difference

Settings = TypeVar("Settings")

OLDER: Mapping[str, Any] = {
    "stages.heal": False,
    "refine.heal": False,
    "stages.sample.growth": 0.0,
}
"""Setting -> what runs did before they recorded it, where that is not today's default."""


def as_begun(settings: Settings, name: str, recorded: Mapping[str, Any]) -> Settings:
    """Settings with their older values, where `recorded` lacks them and no other is asked for.

    `name`: of the part of the configuration that they are.
    """
    for older, value in OLDER.items():
        part, *inner, last = older.split(".")
        if part == name:
            settings = _older(settings, inner, last, value, recorded)
    return settings


def _older(settings: Any, inner: list[str], last: str, value: Any, recorded: Any) -> Any:
    if not isinstance(recorded, Mapping):
        return settings
    if inner:
        first, *rest = inner
        part = _older(getattr(settings, first), rest, last, value, recorded.get(first))
        return replace(settings, **{first: part})
    usual = type(settings).__dataclass_fields__[last].default
    if last in recorded or getattr(settings, last) != usual:
        return settings
    return replace(settings, **{last: value})


def read(
    recorded: Mapping[str, Any], asked: Mapping[str, Any], kinds: Mapping[str, type[Any]]
) -> tuple[dict[str, Any], set[str]]:
    """A stored configuration with what it lacks of the one that is asked for; unknown settings.

    `kinds`: part -> its settings. A part with values that can't be stays as it is.
    """
    whole, unknown = dict(recorded), set[str]()
    for name in kinds.keys() & asked.keys():
        part = recorded.get(name, {})
        if isinstance(part, Mapping):
            today, strange = _as_today(name, part, kinds[name])
            whole[name] = _filled(part, today, asked[name])
            unknown |= strange
    return whole, unknown


def _as_today(
    name: str, part: Mapping[str, Any], kind: type[Any]
) -> tuple[Mapping[str, Any], set[str]]:
    """A stored part with all of today's settings, and those of its own that there are not today."""
    given = deepcopy(dict(part))
    for older, value in OLDER.items():
        at, *inner, last = older.split(".")
        within = _within(given, inner) if at == name else None
        if isinstance(within, dict):
            within.setdefault(last, value)
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return asdict(adapter.validate_python(given)), set()
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)
    unknown = [each["loc"] for each in wrong if each["type"] == "unexpected_keyword_argument"]
    for place in unknown:
        del _within(given, place[:-1])[place[-1]]
    names = {".".join(map(str, (name, *place))) for place in unknown}
    if len(unknown) < len(wrong):
        return {}, names
    return asdict(adapter.validate_python(given)), names


def named(found: Iterable[Difference], unknown: Collection[str]) -> list[Difference]:
    """The differences; those by unknown settings say so."""
    return [
        each._replace(asked="nothing: this version does not know it")
        if any(f"{each.name}.".partition(".")[2].startswith(f"{name}.") for name in unknown)
        else each
        for each in found
    ]


def _within(value: Any, names: Iterable[Any]) -> Any:
    """A part of nested dicts and lists; a dict that is missing is made."""
    for name in names:
        value = value.setdefault(name, {}) if isinstance(value, dict) else value[name]
    return value


def _filled(recorded: Any, whole: Any, asked: Any) -> Any:
    """What is recorded, with what it lacks of `asked`, taken from `whole`."""
    if isinstance(recorded, Mapping) and isinstance(whole, Mapping) and isinstance(asked, Mapping):
        lacking = {name: whole[name] for name in asked if name in whole and name not in recorded}
        return lacking | {
            name: _filled(part, whole.get(name), asked.get(name)) for name, part in recorded.items()
        }
    lists = (recorded, whole, asked)
    if all(isinstance(each, list | tuple) for each in lists) and len({*map(len, lists)}) == 1:
        return [_filled(*each) for each in zip(*lists, strict=True)]
    return recorded
