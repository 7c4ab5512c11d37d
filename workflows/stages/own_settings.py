"""Settings of stages that installed packages bring: each has the class in its description.

    stages:
      road: [sample, toy]
      toy: {threshold: 3}

Invariant: such settings are fields as those of the project's stages are. A spec and a stored
configuration have them under `stages.NAME`. A road without such stages has `StageSettings` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, make_dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from storage.rows.kinds import names_elsewhere
from workflows.settings import StageSettings
from workflows.stages import GROUPS, OURS, brought, stages_named


def validated_settings(given: Any, check: Any) -> Any:
    """Validate the settings of a road; `check` validates those that are all of `StageSettings`.

    Raises pydantic's ValidationError, and ConfigurationError for a stage that can't be loaded.
    """
    road = given.get("road") if isinstance(given, Mapping) else None
    named = road if isinstance(road, list | tuple) else ()
    names = tuple(name for name in named if isinstance(name, str))
    for name in names:
        if name in given and name not in (*GROUPS, *OURS):
            brought(name)  # who writes settings of a stage means it: say so if it is not here
    kind = settings_class(names)
    return check(given) if kind is StageSettings else TypeAdapter(kind).validate_python(given)


@cache
def settings_class(road: tuple[str, ...]) -> type[StageSettings]:
    """The class of the settings of a road. Raises ConfigurationError."""
    known = {*OURS, *names_elsewhere()}
    stages = stages_named([name for name in dict.fromkeys(road) if name in known])
    own = [
        (stage.name, stage.settings)
        for stage in stages
        if stage.settings and stage.name not in GROUPS
    ]
    if not own:
        return StageSettings
    return make_dataclass(
        "RoadSettings",
        [(name, kind, field(default_factory=kind)) for name, kind in own],
        bases=(StageSettings,),
        namespace={"__reduce__": _reduced},
        frozen=True,
        slots=True,
        kw_only=True,
    )


def _reduced(settings: StageSettings) -> tuple[Any, ...]:
    """Pickle the values alone: the process that unpickles them makes the class anew."""
    return _restored, ({item.name: getattr(settings, item.name) for item in fields(settings)},)


def _restored(values: dict[str, Any]) -> StageSettings:
    return settings_class(tuple(values["road"]))(**values)
