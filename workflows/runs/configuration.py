"""What the configuration of any run has, and where and how fast its work is done.

Invariant: schedule, placement, checks and progress read these fields only, so that one code drives
runs of every kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from actors.engines.contract import EngineSettings
from actors.engines.served.capabilities import Need
from actors.reporters import Tracker
from actors.sandbox.contract import SandboxSettings
from actors.workers.yields import FloorSetting
from storage.bounds import STRICT, Name, Plain, Positive, Seconds, Share
from storage.errors import ConfigurationError
from storage.rows.kinds import Rows
from storage.rows.records import Drop, GivenSolutions, ReusedSolutions
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.road import StageSpec, model_roles, opened_by, worker_roles
from workflows.settings.spending import LimitSettings, PriceSettings
from workflows.stages.kit import Seeded, Stage

Kept = Literal["policy", "completer", "prover", "rationale", "judge", "verifier", "sandbox", "GPU"]
"""What a node can be kept for: a custom resource of that name, or its GPUs for any role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Where and how fast the work is done; never changes what is made."""

    __pydantic_config__ = STRICT

    engine_slots: Positive | None = None
    """Engines that may run at once, counted in GPUs, of which none takes more than there are; None:
    all GPUs of the cluster, or 1."""
    workers_per_role: Positive = 64
    """Most workers of one model role."""
    workers_per_server: Positive = 1
    """Most workers of a role whose model is a server elsewhere (`kind: endpoint` or `chat`); each
    keeps up to `max_in_flight` requests there."""
    cpu_workers: Positive | None = None
    """Most workers of the stages without a model (labels, consensus, export), each a process; None:
    one for every 500 shards of the run, and `workers_per_role` at most. Another one is opened only
    while shards wait for them."""
    parallel_shards: Positive = 4
    """Shards in flight on one worker, so that its engine never drains between shards."""
    most_parallel_shards: Positive = 64
    """Most shards in flight on one worker whose engine's queue runs empty all the same, as it does
    where rounds wait for their longest sample; what ends above `parallel_shards` is replaced only
    while it is empty. A shard of 16 problems takes some 15 MB of a worker, at most 103. A shard of
    32 responses with a history each fills 32 places of an engine at first, and one at last."""
    window: Positive = 32
    """Most shards that wait before a stage; a slow stage stops the one before it."""
    attempts: Positive = 3
    """Tries of a shard before the run stops, or before one that kills its worker is taken apart."""
    retry_pause_s: Annotated[float, Field(ge=0)] = 5.0
    """Pause before what failed is tried again; three times as long each time."""
    deadline_floor_s: Seconds = 600.0
    """No shard is late before so many seconds."""
    deadline_factor: Annotated[float, Field(ge=1)] = 5.0
    """A shard is late after so many medians of its stage, and gets a twin where there is room."""
    trouble_share: Share = 0.2
    """The run stops when more of a stage's items are dropped by trouble (not by a rule)."""
    trouble_after: Positive = 50
    """Items of a stage before that share means anything."""
    exception_share: Share = 0.01
    """The run stops when more of a stage's items, of at least 200, ended in an exception: a fault
    of the program, not of the items."""
    sandbox_actors: Positive | None = None
    """Actors that run code; each has `sandbox.slots` slots and `sandbox.sessions` sessions. None:
    as many as the cluster's `sandbox` resource counts, one where it has none."""
    ask: Mapping[Kept, Positive] = field(default_factory=dict)
    """What Ray's autoscaler is asked for until the work is done: GPUs (`GPU`), those kept for a
    role, or executors (`sandbox`). Empty: the cluster as it is."""
    place_patience_s: Seconds = 1800.0
    """How long engines wait for a place, and work for nodes that were asked for, before the run
    stops (resumable). An engine's start has as long as it needs, until for so long (ten
    minutes at least) nothing moved: no byte of its weights was read, its processes did not work."""
    cpu_model_gib: Annotated[float, Field(ge=0)] = 1.0
    """On a cluster that is joined, a model with more weights (in GiB) is never opened on a node
    without GPUs: the run waits for some."""
    ray_address: Plain | None = None
    """Ray cluster to join; None: $RAY_ADDRESS, or a private one on this machine."""


@dataclass(frozen=True, slots=True)
class Given:
    """The rows that a run starts from."""

    rows: Sequence[Any]
    drops: Sequence[Drop] = ()
    """Items of the input that the run leaves out, each with its reason."""
    said: Sequence[str] = ()
    """Lines about the input that the driver shows the user."""
    solutions: Sequence[GivenSolutions | ReusedSolutions] = ()
    """Solutions that a file has: the rows of stage `given` or `reused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The configuration that runs of every road have."""

    __pydantic_config__ = STRICT
    takes: ClassVar[Rows[Any]]
    """The rows of its input."""

    run: Name
    """Name of the run: letters, digits, dot, dash, underscore."""
    store: Plain = DEFAULT_STORE
    """Object store: file:FOLDER (relative to the working folder), s3://BUCKET/PREFIX, with
    ?endpoint=http://HOST:PORT&region=NAME&style=path for a server that is not Amazon's. Left out:
    $STEPMILL_STORE, else the default; --store wins over all."""
    shard_size: Positive = 32
    """Items in one shard: the unit of work, of commit and of what a crash can cost."""
    models: Any
    """A field for each role."""
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    floor: FloorSetting = 0.05
    """The run stops, with three texts that show why, where a stage can use less than this share of
    the texts that its model wrote (at least 48, of 16 requests): solutions without a box or without
    steps, verifications of another form, texts that don't end. What is merely wrong is of use.
    `off`: it goes on."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    prices: PriceSettings = field(default_factory=PriceSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    report_to: tuple[Tracker, ...] = ()
    """Trackers that get the run's figures while it works: `[wandb]`, `[mlflow]`, `[trackio]`, or
    several. What each needs: docs/training.md."""

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The stages after the input. Raises ConfigurationError."""
        raise NotImplementedError

    @property
    def makes(self) -> tuple[Stage, ...]:
        """The descriptions of the stages of the road, in its order."""
        raise NotImplementedError

    @property
    def settings(self) -> Seeded:
        """The settings that its stages read."""
        raise NotImplementedError

    @property
    def texts(self) -> Mapping[str, str]:
        """Name -> prompt that the user wrote to replace the project's."""
        return {}

    @property
    def binding(self) -> dict[str, Any]:
        """The settings that the result depends on, as JSON values; they go into the spec."""
        raise NotImplementedError

    @property
    def heal(self) -> bool:
        """Whether the model writes the last token of a forced beginning anew."""
        return False

    @property
    def reads(self) -> str | None:
        """The role whose model reads and writes nothing (`actors.engines.reading`)."""
        return None

    @property
    def reference(self) -> EngineSettings | None:
        """The reference of a model that reads, where it is not the one that its folder names."""
        return None

    def read_input(self) -> Given:
        """Read and check the input. Runs whose caller passes the rows don't have this.

        Raises InputError and ConfigurationError.
        """
        raise NotImplementedError

    def check_input(self, given: Given) -> None:
        """Refuse settings that contradict each other, the road or the input.

        Raises ConfigurationError.
        """

    def check_models(self) -> None:
        """Refuse models that can't be used for this. Raises InputError."""

    def with_pilot(self, begun: Run | None, source: Run | None = None) -> tuple[Self, Self | None]:
        """Return the configuration with its pilot named, and the pilot to finish first, if any.

        `begun`: this run, if it was started before. `source`: the run that it derives from, if any.
        """
        return self, None

    @property
    def engines(self) -> dict[str, EngineSettings]:
        """Role -> engine, for the roles of the road. Raises ConfigurationError."""
        return {role: self.engine(role) for role in model_roles(self.road)}

    @property
    def worker_roles(self) -> tuple[str, ...]:
        """The roles that have workers of their own. Raises ConfigurationError."""
        return worker_roles(self.road)

    @property
    def runs_code(self) -> bool:
        """Whether a stage of the road needs the sandbox."""
        return any(stage.runs_code for stage in self.road)

    def engine(self, role: str) -> EngineSettings:
        """The engine of a role. Raises ConfigurationError where it is not set."""
        settings: EngineSettings | None = getattr(self.models, role)
        if settings is None:
            stages = ", ".join(stage.name for stage in self.road if role in stage.roles)
            raise ConfigurationError(
                f"`models.{role}` is missing: add it, or leave {stages} out of `stages.road`"
            )
        return settings

    def place_of(self, role: str) -> EngineSettings:
        """An engine that takes as much of a machine as all models of one worker of a role.

        Two local ones share a GPU. Raises ConfigurationError.
        """
        engines = [self.engine(each) for each in opened_by(self.road, role)]
        local = [engine for engine in engines if engine.kind == "vllm"]
        if len(local) < 2:
            return (local or engines)[0]
        return replace(local[0], gpu_share=sum(engine.hundredths for engine in local) / 100)


def needs_of(config: RunConfig, role: str) -> dict[str, tuple[Need, ...]]:
    """Stage -> what it needs a role's model to be able to do, for the stages that ask it."""
    asked = {}
    for spec, stage in zip(config.road, config.makes, strict=True):
        own = {spec.role: stage.needs}
        if needs := {**stage.beside, **own}.get(role):  # type: ignore[call-overload]
            asked[spec.name] = needs
    return asked
