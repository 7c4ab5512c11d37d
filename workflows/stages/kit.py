"""`Stage`, the description of a stage, and `Kit`, what a worker gives to a stage.

A stage's module ends with its description: an object of `Stage`. A new stage is a module with a
description, and a record for its rows. `workflows.stages` lists the project's stages; installed
packages bring others (`storage.rows.kinds.STAGES_ELSEWHERE`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, is_dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, get_args

from actors.engines.contract import Engine
from actors.engines.healing import Spell
from actors.engines.reading import Reader
from actors.engines.served.capabilities import Need
from actors.grading.pool import Grader
from actors.sandbox.contract import Limits, Sandbox
from actors.workers.contract import Processor
from storage.bounds import STRICT
from storage.rows.kinds import Rows
from storage.rows.records import Problem
from storage.runs.specs import Difference, Spec
from storage.seeds import request_seed
from workflows.estimation.posterior import Chain
from workflows.formats.steps import Flaw
from workflows.formats.templates import Texts
from workflows.road import Role, StageSpec
from workflows.settings import StageSettings

HARD_STEPS_ARE_RARE = """\
- Only steps on which the sources of the consensus agree under its rule are kept: hard and unusual
  steps are rarer here than among the sampled solutions.
"""
"""What a dataset lacks if a model verified its paths."""
TEMPLATE = "compare its chat template with the one that it was trained with"
ENDLESS = (
    "the model does not come to an end: compare its chat template and its end-of-text tokens with "
    "those that it was trained with, or raise `{}`"
)
UNSTEPPED = (
    f"the model does not write `Step 2:` and so on: {TEMPLATE}, show it `stages.sample.examples`, "
    "or take a model that can"
)
UNSOLVED: Mapping[str, str] = {
    Flaw.NO_BOX: f"the model does not end with \\boxed{{}}: {TEMPLATE}, see what "
    "`stages.sample.system` asks of it, show it `stages.sample.examples`, or take a model that can",
    Flaw.ONE_STEP: UNSTEPPED,
    Flaw.STEP_GAP: UNSTEPPED,
    Flaw.EMPTY_STEP: UNSTEPPED,
}
"""Flaw of a solution -> what to change."""


class Seeded(Protocol):
    """The part of a run's settings that every stage reads."""

    @property
    def seed(self) -> int:
        """Seed of the run."""
        ...


Settings = TypeVar("Settings", bound=Seeded)


@dataclass(frozen=True, slots=True)
class Kit(Generic[Settings]):
    """What a worker gives to a stage: settings, engine, sandbox and grader."""

    run: str
    settings: Settings
    spec: StageSpec
    """The stage on the run's road."""
    models: Mapping[str, str]
    """Role -> identity of the model."""
    limits: Limits
    chain: Chain | None = None
    """The chain of the run's pilot, for budget and labels."""
    opened: Engine | Reader | None = None
    box: Sandbox | None = None
    graded_by: Grader | None = None
    texts: Texts = field(default_factory=dict)
    """Name -> prompt that the user wrote to replace the project's."""
    beside: Mapping[str, Engine | Reader] = field(default_factory=dict)
    """Role -> engine, of the roles beside the stage's own."""

    @property
    def engine(self) -> Engine:
        """The engine of the stage's role. Raises ValueError where none was opened."""
        if self.opened is None or isinstance(self.opened, Reader):
            raise ValueError(f"stage {self.spec.name} needs an engine")
        return self.opened

    @property
    def reader(self) -> Reader:
        """The model of the stage's role that reads. Raises ValueError where none was opened."""
        if not isinstance(self.opened, Reader):
            raise ValueError(f"stage {self.spec.name} needs a model that reads")
        return self.opened

    @property
    def sandbox(self) -> Sandbox:
        """Where code is run. Raises ValueError where none was opened."""
        if self.box is None:
            raise ValueError(f"stage {self.spec.name} needs a sandbox")
        return self.box

    @property
    def model(self) -> str:
        """Identity of the model of the stage's role."""
        return self.models[self.spec.role]

    @property
    def own(self) -> Any:
        """The stage's own settings: `stages.NAME`."""
        return getattr(self.settings, self.spec.name)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.settings.seed

    @property
    def spell(self) -> Spell | None:
        """The tokenizer of the engine; None for one that has none."""
        spell: Spell | None = getattr(self.engine, "spell", None)
        return spell

    @property
    def grader(self) -> Grader:
        """The grader of answers. Raises ValueError where the run has none."""
        if self.graded_by is None:
            raise ValueError(f"stage {self.spec.name} needs a grader")
        return self.graded_by

    def seed_of(self, item: str, start: int = 0) -> int:
        """Seed of sample `start` of an item, in this stage."""
        return request_seed(self.seed, self.spec.name, item, start)

    def reads(self, kind: Rows[Any]) -> bool:
        """Whether the stage reads these rows on the run's road."""
        return kind.stage in self.spec.reads

    async def close(self) -> None:
        """Stop the engine, the sandbox and the grader. Idempotent."""
        async with AsyncExitStack() as last_first:
            for part in (self.graded_by, self.box, *self.beside.values(), self.opened):
                if part is not None:
                    last_first.push_async_callback(part.close)


class KitStage(Generic[Settings]):
    """A stage that is made of a kit, and closes it."""

    def __init__(self, kit: Kit[Settings]) -> None:
        self.kit = kit

    async def close(self) -> None:
        """Close the kit."""
        await self.kit.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The description of a stage."""

    rows: Rows[Any]
    """The rows that it makes."""
    role: Role
    reads: tuple[Rows[Any], ...]
    says: str
    """What it does, in a sentence."""
    make: Callable[[Kit[Any]], Processor]
    drops: tuple[StrEnum, ...] = ()
    """Its reasons for dropping items, beside `storage.errors.Broken`: members of string enums."""
    passed: str = ""
    """The dataset card's name for paths with a row of it; empty: it doesn't filter paths."""
    passed_after: Mapping[str, str] = field(default_factory=dict)
    """Stage before it -> the card's name for them then."""
    caveat: str = ""
    """The card's warning about its rows: an item of a Markdown list."""
    lacks: str = ""
    """What the card says the dataset lacks because of it: an item of a Markdown list."""
    whole: tuple[str, str] | None = None
    """The name and value of its own setting with which the dataset lacks nothing."""
    settings: type[Any] | None = None
    """The class of its own settings, a strict dataclass: `stages.NAME` in a configuration."""
    also: tuple[str, ...] = ()
    """Other stages whose settings it reads too."""
    without: tuple[Rows[Any], ...] = ()
    """Those of `reads` that a road may leave out."""
    one_of: tuple[Rows[Any], ...] = ()
    """Exactly one of these must stand before it."""
    names_only: tuple[Rows[Any], ...] = ()
    """Those of `reads` of which it reads only which paths have rows."""
    solves: bool = False
    """Whether its texts are solutions."""
    remedy: str = TEMPLATE
    """What the user should change if its model doesn't write the form that the prompt asks for."""
    longest: str = ""
    """The setting of its longest text; empty: its own `max_tokens`."""
    runs_code: bool = False
    """Whether its workers need the sandbox."""
    asks: tuple[str, ...] = ()
    """Names of its prompts (`workflows.formats.prompt_files.PROMPTS`)."""
    needs: tuple[Need, ...] = ()
    """What it needs a chat server to be able to do."""
    beside: Mapping[Role, tuple[Need, ...]] = field(default_factory=dict)
    """Roles whose models its workers open too -> what it needs of each."""
    verifies: bool = False
    """Whether it writes verifications; a road has at most one such stage."""
    check: Callable[[StageSettings], None] = lambda settings: None
    """Refuses settings that contradict each other or the road. Raises ConfigurationError."""
    check_input: Callable[[StageSettings, Sequence[Problem]], None] = lambda settings, given: None
    """Refuses problems that lack what the settings need. Raises ConfigurationError."""
    redone: Callable[[str, Difference, Spec], bool | None] = lambda setting, difference, spec: None
    """Whether a derived run makes it anew if a setting (`GROUP.FIELD` of `stages`) differs. None:
    yes for settings of its `groups`, no for others."""

    def __post_init__(self) -> None:
        """Raise TypeError for an unknown role, or settings that are no strict dataclass."""
        if self.role not in get_args(Role):
            raise TypeError(f"role {self.role!r} is not one of {', '.join(get_args(Role))}")
        strict = getattr(self.settings, "__pydantic_config__", None) == STRICT
        if self.settings is not None and not (is_dataclass(self.settings) and strict):
            raise TypeError("its settings must be a dataclass with __pydantic_config__ = STRICT")

    @property
    def name(self) -> str:
        """Its name on roads, in stores and in settings."""
        return self.rows.stage

    def advice(self, flaw: str) -> str:
        """What the user should change where most of its texts have a flaw."""
        if flaw == Flaw.TRUNCATED:
            return ENDLESS.format(self.longest or f"stages.{self.name}.max_tokens")
        return UNSOLVED.get(flaw, self.remedy) if self.solves else self.remedy

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of settings that it reads, its own first."""
        return (*((self.name,) if self.settings else ()), *self.also)

    @property
    def spec(self) -> StageSpec:
        """The part of the description that the driver needs to move shards."""
        return StageSpec(
            self.name,
            self.role,
            _names(self.reads),
            _names(self.without),
            _names(self.one_of),
            self.runs_code,
            beside=tuple(self.beside),
        )


def _names(kinds: tuple[Rows[Any], ...]) -> tuple[str, ...]:
    return tuple(kind.stage for kind in kinds)
