"""The settings of a build's stages: names, defaults (the paper's), bounds and meanings.

The command line validates these frozen dataclasses with pydantic. Where the paper is silent or
contradicts itself, the setting says which reading is the default.

Invariant: a run's result depends on these settings, its input and its models alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from storage.bounds import STRICT
from storage.rows.kinds import ROAD
from workflows.settings.inputs import LeaveOutSettings
from workflows.settings.labelling import (
    ConsensusSettings,
    ExportSettings,
    JudgeSettings,
    LabelSettings,
    RationalizeSettings,
    WorkedRationale,
)
from workflows.settings.sampling import (
    SMOOTHED,
    EstimateSettings,
    RepairSettings,
    SampleSettings,
    SamplingSettings,
    SearchSettings,
    WorkedSolution,
    sampling_of,
)

__all__ = [
    "SMOOTHED",
    "AnswerSettings",
    "ConsensusSettings",
    "EstimateSettings",
    "ExportSettings",
    "JudgeSettings",
    "LabelSettings",
    "LeaveOutSettings",
    "RationalizeSettings",
    "RepairSettings",
    "SampleSettings",
    "SamplingSettings",
    "SearchSettings",
    "StageSettings",
    "WorkedRationale",
    "WorkedSolution",
    "sampling_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """How answers are compared."""

    __pydantic_config__ = STRICT

    timeout_s: Annotated[float, Field(gt=0)] = 3.0
    """Hard limit of one comparison; what takes longer is not equal."""
    percent_equals_fraction: bool = False
    """True: 50 % equals 0.5."""
    unusual: Literal["drop", "refuse"] = "drop"
    """What a problem becomes whose reference can't be compared with any answer (cases of a
    function, a list with dots): dropped as `unusual_answer`, or the whole file is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """The settings of all stages of a build."""

    __pydantic_config__ = STRICT

    seed: int = 0
    """Seed of the run: seeds of requests derive from (seed, item, sample index)."""
    heal: bool = True
    """Leave the end of a forced beginning ("Step 1: ") to the model, where its tokenizer joins it
    to what follows; False: force it to the letter, as runs before this setting did."""
    road: tuple[str, ...] = ROAD[1:]
    """The stages, in their order; others than the paper's make other strategies."""
    sample: SampleSettings = field(default_factory=SampleSettings)
    estimate: EstimateSettings = field(default_factory=EstimateSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    label: LabelSettings = field(default_factory=LabelSettings)
    rationalize: RationalizeSettings = field(default_factory=RationalizeSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    repair: RepairSettings = field(default_factory=RepairSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    answers: AnswerSettings = field(default_factory=AnswerSettings)

    @property
    def needs_chain(self) -> bool:
        """Whether budget or labels need the chain of a pilot."""
        return self.estimate.mc_budget in SMOOTHED or self.label.estimate == "posterior"
