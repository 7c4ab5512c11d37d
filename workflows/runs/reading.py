"""Reads a YAML file of settings and validates it into frozen dataclasses.

Invariant: an unknown key, a missing field or a value out of bounds is one line that names the key
and says what to change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from storage.errors import ConfigurationError, first_line
from storage.runs.layout import DEFAULT_STORE
from storage.secrecy import shown_url

Config = TypeVar("Config")


class _TwiceGiven(yaml.YAMLError):
    """One mapping has a key twice."""

    def __init__(self, key: object, where: yaml.Mark) -> None:
        super().__init__(f"the key `{key}` is given twice: remove one")
        self.problem_mark = where


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; plain YAML would silently take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping before other mappings are merged into it (`<<`): it may override those.

        Raises YAMLError with the line of the second key.
        """
        node = super().compose_mapping_node(anchor)
        seen: set[object] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise _TwiceGiven(key.value, key.start_mark)
            seen.add(name)
        return node


def read(path: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read the settings of a file, unvalidated; an override replaces its key, unless it is None.

    Raises ConfigurationError for a file that can't be read or is no mapping.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {_said(error)}") from None
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{path}: must be a mapping of settings")
    raw.update({key: value for key, value in (overrides or {}).items() if value is not None})
    raw.setdefault("store", usual_store())
    return raw


def _said(error: yaml.YAMLError) -> str:
    """What the parser found, and in which line."""
    where = getattr(error, "problem_mark", None)
    line = f" (line {where.line + 1})" if where else ""
    if isinstance(error, _TwiceGiven):
        return f"{error}{line}"
    problem = first_line(getattr(error, "problem", None) or error)
    tab = ": indent with spaces" if r"'\t'" in problem else ""
    return f"not valid YAML{line}: {problem}{tab}"


def validated(adapter: TypeAdapter[Config], raw: dict[str, Any], source: str) -> Config:
    """Validate plain data; raises ConfigurationError that names the wrong keys of `source`."""
    try:
        config = adapter.validate_python(raw)
    except ValidationError as error:
        lines = [_explain(e["loc"], e["type"], e["msg"]) for e in error.errors()]
        raise ConfigurationError(f"{source}: " + "; ".join(lines)) from None
    if wrong := list(_truths_for_numbers(raw, config)):
        raise ConfigurationError(f"{source}: {'; '.join(wrong)}")
    return config


def _truths_for_numbers(raw: Any, value: Any, key: str = "") -> Iterator[str]:
    """Yield an error for each `true` or `false` that the validation made a number of."""
    if isinstance(raw, bool) and isinstance(value, int | float) and not isinstance(value, bool):
        yield f"`{key}`: must be a number, not {str(raw).lower()}"
    elif isinstance(raw, dict):
        for name, inner in raw.items():
            where = f"{key}.{name}" if key else str(name)
            within = isinstance(value, Mapping)
            member = value.get(name) if within else getattr(value, str(name), None)
            yield from _truths_for_numbers(inner, member, where)


def _explain(location: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "unexpected_keyword_argument" or kind == "extra_forbidden":
        return f"unknown key `{key}`: remove it or correct its name"
    if kind in ("missing", "missing_argument"):
        return f"`{key}` is missing: add it"
    message = message.removeprefix("Value error, ")
    return f"`{key}`: {message[0].lower()}{message[1:]}"


def local_model(folder: Path, model: str) -> str:
    """Make a model's path absolute (from `folder`, or the home for `~`); keep a hub's name."""
    if model.startswith("~"):
        return str(Path(model).expanduser())
    return str((folder / model).resolve()) if model.startswith((".", "/")) else model


def usual_store() -> str:
    """The store where neither a command nor a configuration names one."""
    return os.environ.get("STEPMILL_STORE") or DEFAULT_STORE


def store_url(text: str) -> str:
    """Turn `file:FOLDER` or a bare folder into a `file:///…` URL; keep any other URL.

    Raises ConfigurationError for what is meant as a URL and is none.
    """
    scheme, colon, rest = text.partition(":")
    if scheme == "file" and colon and not rest.startswith("//"):
        text, colon = rest, ""
    if "://" in text:
        return text
    if colon and scheme in ("s3", "http", "https", "gs", "memory"):
        meant = f"{scheme}://{rest.lstrip('/')}"
        raise ConfigurationError(
            f"store: did you mean {shown_url(meant)}? (a folder of that name: ./{scheme}:…)"
        )
    if not text.strip():
        raise ConfigurationError("store: empty; name a folder, file:FOLDER or s3://BUCKET/PREFIX")
    return Path(os.path.abspath(Path(text).expanduser())).as_uri()
