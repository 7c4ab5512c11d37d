"""The configuration of a training as a frozen value, and which part of it the model depends on.

Invariant: `binding` is what the trained model depends on beside base model and dataset: it is
frozen into the training's spec and may never differ on continuing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.engines.contract import EngineSettings
from actors.models.rewards import SEPARATOR, RewardModel
from actors.reporters import Tracker
from actors.training.settings import LearningSettings, RhythmSettings, SpreadSettings
from storage.bounds import STRICT, Name, Plain, Positive
from storage.errors import ConfigurationError
from storage.runs.layout import DEFAULT_STORE
from workflows.runs.several import check_names


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """What is made of the dataset."""

    __pydantic_config__ = STRICT

    max_length: Positive | None = None
    """Most tokens of a conversation (and of a packed row); longer ones lose steps, and are counted.
    None: the base model's context, at most 8192."""
    too_long: Literal["last", "first_error_kept"] = "last"
    """What is learnt of a longer one. `last`: its steps up to the last one that fits.
    `first_error_kept`: where that loses the first wrong step, turns before it are shortened to
    their verdict, which is not learnt, until it fits."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the problems whose conversations are never trained on."""
    train_on_code_output: bool = False
    """Learn the `[Code Output]` blocks too, as the paper does; they are the interpreter's, and a
    model that learns them makes results up where its code is not executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BetweenRuns:
    """What is made of what several runs have in common; it is counted either way."""

    __pydantic_config__ = STRICT

    repeated: Literal["drop", "keep"] = "drop"
    """Conversations on a solution (the same problem and steps) that an earlier run has too."""
    contaminated: Literal["drop", "keep"] = "drop"
    """Conversations to be trained on whose problem shares 13 words in a row with a problem that
    another run holds out. A problem that another run holds out as it is is held out either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """How a model that reads is taught; generative verifiers have none."""

    __pydantic_config__ = STRICT

    targets: Literal["hard", "soft", "binomial"] = "hard"
    """Of kind `discriminative`: `hard`: each step's label; `soft`: MC behind the step; `binomial`:
    the same, weighed by the number of its rollouts, which is the likelihood of their counts."""
    beta: Annotated[float, Field(gt=0)] = 0.05
    """Of kind `implicit`: log-odds are beta times the log-ratio to the base."""
    separator: str = SEPARATOR
    """Stands behind each step; its last token is where a head is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything a training needs."""

    __pydantic_config__ = STRICT

    run: Name | None = None
    """The finished run that is trained on."""
    runs: tuple[Name, ...] = ()
    """In place of one run: several finished runs of the store, trained on together."""
    between_runs: BetweenRuns = field(default_factory=BetweenRuns)
    conversations: Plain | None = None
    """In place of runs: a file of conversations in GenPRM's form, as GenPRM-MATH-Data's: Parquet
    or JSON lines with a column `conversations`; relative to this file, copied into the store."""
    kind: Literal["generative", "direct", "discriminative", "value", "orm", "implicit"] = (
        "generative"
    )
    """What is trained: `generative` writes as `view` shows, `direct` writes its verdict alone;
    `discriminative` has a head that says of each step whether it is right, `value` one for the
    values that the label rule compared, `orm` one for a solution's outcome; `implicit` learns
    outcomes by its log-ratio to the base. See docs/training.md."""
    head: HeadSettings = field(default_factory=HeadSettings)
    view: Literal["genprm", "cot", "code", "direct"] = "genprm"
    """Shape of the conversations: analysis and code, one of them, or nothing but the verdict."""
    base: Plain
    """Base model: a folder, relative to this file where it begins with a dot, a hub's name, or
    training:NAME for what was trained before."""
    revision: str | None = None
    """Branch, tag or commit of a hub's base; None: its main branch. Resolved to a commit once, when
    the training is created."""
    name: Name | None = None
    """Name of the training in the store; None: RUN-VIEW or RUN-KIND, or RUN-RUN-VIEW."""
    store: Plain = DEFAULT_STORE
    """Object store of the run and of the training: file:FOLDER (relative to the working folder),
    s3://BUCKET/PREFIX. Left out: $STEPMILL_STORE, else the default; --store wins over all."""
    chat_template: str | None = None
    """File with another chat template (Jinja) than the base model's; relative to this file."""
    data: DataSettings = field(default_factory=DataSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    spread: SpreadSettings = field(default_factory=SpreadSettings)
    rhythm: RhythmSettings = field(default_factory=RhythmSettings)
    report_to: tuple[Tracker, ...] = ()
    """Trackers that get the curve while it is drawn: `[wandb]`, `[mlflow]`, `[trackio]`, or
    several."""
    format: Literal[1] = 1
    """Version of this file's format."""

    @property
    def base_model(self) -> EngineSettings:
        """The base as a model that could be opened."""
        return EngineSettings(model=self.base, revision=self.revision)

    @property
    def shape(self) -> str:
        """What is made of the rows: a view of conversations, or the kind of a model that reads."""
        if self.kind == "generative":
            return self.view
        return self.kind

    @property
    def reward(self) -> RewardModel:
        """What the trained folder is to say of itself."""
        if self.kind in ("generative", "direct"):
            return RewardModel(view=self.shape)
        kind: Any = self.kind
        implicit = kind == "implicit"
        return RewardModel(
            kind,
            separator=self.head.separator,
            beta=self.head.beta if implicit else 1.0,
            reference=self.base if implicit else None,
            reference_revision=self.revision if implicit else None,
        )

    @property
    def training(self) -> str:
        """The training's name."""
        return self.name or f"{self.dataset}-{self.shape}"

    @property
    def dataset(self) -> str:
        """The run's name, those of all runs, or the file's."""
        return "-".join(self.names) or Path(self.conversations or "").stem

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all runs that are trained on."""
        return (self.run,) if self.run else self.runs

    def check_source(self) -> None:
        """Raise ConfigurationError unless there is just one thing to train on."""
        if sum(map(bool, (self.run, self.runs, self.conversations))) != 1:
            raise ConfigurationError("name one of `run`, `runs` and `conversations`")
        check_names(self.names)
        if self.kind != "generative" and self.view not in ("genprm", self.shape):
            raise ConfigurationError(f"kind {self.kind} has no view {self.view}: leave `view` out")
        if self.reward.reads and self.conversations:
            raise ConfigurationError(
                f"kind {self.kind} learns from a run's rows: name `run` in place of `conversations`"
            )

    @property
    def is_mixed(self) -> bool:
        """Whether several runs are trained on."""
        return len(self.names) > 1


def binding(config: TrainConfig, template: str | None) -> dict[str, Any]:
    """The settings that the trained model depends on, as plain values.

    `template` is the text of another chat template.
    """
    mixed = {"between_runs": asdict(config.between_runs)} if config.is_mixed else {}
    if config.reward.reads:
        mixed["head"] = asdict(config.head)
    data = asdict(config.data)
    if config.data.too_long == "last":  # as specs were before there was another way
        del data["too_long"]
    return mixed | {
        "view": config.shape,
        "chat_template": template,
        "data": data,
        "learning": asdict(config.learning),
    }
