"""The kind of rows that each stage makes, and how their readers must treat them.

A stage works on items: problems up to `sample`, paths after it, responses in a scoring run. A stage
may store rows of an item that it drops, because they were paid for. Such an item goes no further.

Invariant: each stage has one kind and each kind one stage. Audit, isolation, derivation, cards and
readers ask the kind; they never compare stage names.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, TypeVar

from storage.errors import ConfigurationError, first_line
from storage.rows import records
from storage.rows.tree_chains import grounded, unfolded
from storage.rows.tree_records import GroundedNode, TreeNode
from storage.rows.versions import kind_of

Record = TypeVar("Record")

STAGES_ELSEWHERE = "stepmill.stages"
"""Group of the entry points by which installed packages add stages, each with its `rows`."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows(Generic[Record]):
    """The kind of rows that one stage makes."""

    stage: str
    record: type[Record]
    of: Literal["problem_id", "path_id", "response_id"] = "path_id"
    """The field with the id of the item that a row is about."""
    key: tuple[str, ...] = ()
    """Fields that together identify a row within its stage; empty: `of`."""
    made_of: Callable[[Record], str | None] | None = None
    """Row -> id of the item that it was made of, None for a row of no item; unset: `of`."""
    on: Callable[[Record], str | None] | None = None
    """Row -> id of the item that enters the next stage, None if none does; unset: `of`."""
    shown: Callable[[Record], bool] = lambda row: True
    """Row -> whether the stages that read these rows get this one."""
    part: Literal["problem", "paths", "item"] = "paths"
    """The smallest part of a shard that its stage can work on alone. `problem`: one problem.
    `paths`: all paths of a problem. `item`: one path or response."""
    unfold: Callable[[ShardRows], ShardRows] | None = None
    """Rows of a shard -> rows that later stages read instead, e.g. a tree's paths."""
    needed: Callable[[Sequence[Record]], list[Record]] | None = None
    """Rows of a shard -> what stages that read `only_needed` get of them, which may be stored
    beside the rows (`storage.runs.needed`). Unset: all."""
    only_needed: bool = False
    """Whether its stage reads only what is `needed` of the rows of others."""

    def key_of(self, row: Record) -> Hashable:
        """The row's key, unique within its stage."""
        values = tuple(getattr(row, name) for name in self.key or (self.of,))
        return values if len(values) > 1 else values[0]

    def came(self, row: Record) -> str | None:
        """Id of the item that a row was made of; None: of no item."""
        name: str | None = getattr(row, self.of) if self.made_of is None else self.made_of(row)
        return name

    def goes_on(self, row: Record) -> str | None:
        """Id of the item that enters the next stage; None: the row ends here."""
        name: str | None = getattr(row, self.of) if self.on is None else self.on(row)
        return name


class ShardRows:
    """The committed rows of one shard that a stage reads; kinds it does not read are empty."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[Rows[Any], Iterable[Any]] | None = None) -> None:
        """`parts`: the rows of each kind."""
        self._parts = {kind: tuple(rows) for kind, rows in (parts or {}).items()}

    def __getitem__(self, kind: Rows[Record]) -> tuple[Record, ...]:
        """The rows of a kind."""
        return self._parts.get(kind, ())

    def but(self, parts: Mapping[Rows[Any], Iterable[Any]]) -> ShardRows:
        """A copy in which some kinds have the rows of `parts`."""
        return ShardRows({**self._parts, **parts})

    def only(self, of: Callable[[Rows[Any], Any], bool]) -> ShardRows:
        """A copy with the rows for which `of(kind, row)` is true."""
        return ShardRows(
            {kind: [row for row in rows if of(kind, row)] for kind, rows in self._parts.items()}
        )


def _leaf(node: TreeNode) -> str | None:
    return node.node_id if node.leaf else None


def _sampled_leaf(node: TreeNode) -> str | None:
    """Id of a leaf that is a sampled path, else None. After its `#` a rollout's id has an `r`."""
    return None if "r" in node.node_id.rpartition("#")[2] else _leaf(node)


def _selected(paths: Sequence[records.Path]) -> list[records.Path]:
    """The selected paths whole; of the first round the others too, without their texts."""
    return [
        path if path.selected else replace(path, text="", steps=[])
        for path in paths
        if path.selected or path.round == 0
    ]


def _tree_paths(rows: ShardRows) -> ShardRows:
    if not rows[TREE]:
        return rows
    paths, rollouts = unfolded(rows[PATHS], rows[TREE])
    return rows.but({PATHS: paths, ROLLOUTS: rollouts})


def _grounded_leaf(node: GroundedNode) -> str | None:
    return node.node_id if node.leaf else None


def _sampled_grounded(node: GroundedNode) -> str | None:
    """Id of a leaf that is a sampled path, else None."""
    return _grounded_leaf(node) if node.node_id.rpartition("#")[2].isdigit() else None


def _grounded_paths(rows: ShardRows) -> ShardRows:
    if not rows[GROUNDED]:
        return rows
    paths, written = grounded(rows[PATHS], rows[GROUNDED])
    return rows.but({PATHS: paths, RATIONALES: written})


def _injected_paths(rows: ShardRows) -> ShardRows:
    """Right solutions with what was made of them; those of which nothing was are not selected."""
    made = {row.path_id: row for row in (*rows[INJECTED], *rows[MISLED])}

    def path(of: records.Path) -> records.Path:
        now = made.get(of.path_id)
        if now is None:
            return replace(of, selected=False)
        return replace(
            of, steps=now.steps, text="\n\n".join(now.steps), answer=now.answer,
            correct=now.correct,
        )  # fmt: skip

    return rows.but({PATHS: map(path, rows[PATHS])})


PROBLEMS = Rows("problems", records.Problem, of="problem_id")
GIVEN = Rows("given", records.GivenSolutions, of="problem_id", part="problem")
REUSED = Rows("reused", records.ReusedSolutions, of="problem_id", part="problem")
PATHS = Rows(
    "sample",
    records.Path,
    made_of=lambda row: row.problem_id,
    on=lambda row: row.path_id if row.selected else None,
    part="problem",
    needed=_selected,
)
INJECTED = Rows("inject", records.Injection, part="item", unfold=_injected_paths, only_needed=True)
MISLED = Rows("mislead", records.Injection, part="item", unfold=_injected_paths, only_needed=True)
ALTERED = (INJECTED, MISLED)
"""Rows whose paths later stages read in the place of those of `sample`."""
ROLLOUTS = Rows(
    "estimate", records.StateRollouts, key=("path_id", "state", "round"), only_needed=True
)
PROVED = Rows("prover", records.StateRollouts, key=("path_id", "state", "round"), only_needed=True)
PITS = Rows("pit", records.FirstPit, only_needed=True)
TREE = Rows(
    "search",
    TreeNode,
    of="problem_id",
    key=("node_id",),
    made_of=_sampled_leaf,
    on=_leaf,
    unfold=_tree_paths,
    only_needed=True,
)
GROUNDED = Rows(
    "ground",
    GroundedNode,
    of="problem_id",
    key=("node_id",),
    made_of=_sampled_grounded,
    on=_grounded_leaf,
    unfold=_grounded_paths,
    only_needed=True,
)
LABELS = Rows("label", records.PathLabels, only_needed=True)
RATIONALES = Rows(
    "rationalize",
    records.Rationale,
    key=("path_id", "attempt"),
    on=lambda row: row.path_id if row.dropped is None else None,
    shown=lambda row: row.dropped is None,
    part="item",
    only_needed=True,
)
TRANSLATIONS = Rows(
    "translate",
    records.Translation,
    key=("path_id", "attempt"),
    on=lambda row: row.path_id if row.dropped is None else None,
    shown=lambda row: row.dropped is None,
    part="item",
    only_needed=True,
)
FORMALIZED = Rows("formalize", records.Rationale, part="item", only_needed=True)
JUDGEMENTS = Rows(
    "judge",
    records.Judgement,
    key=("path_id", "prompt", "sees", "number", "round", "steps"),
    part="item",
    only_needed=True,
)
REASONS = Rows("metaverify", records.Metaverified, part="item", only_needed=True)
AGREEMENTS = Rows(
    "consensus",
    records.Agreement,
    on=lambda row: row.path_id if row.kept else None,
    only_needed=True,
)
REWRITTEN = Rows("rewrite", records.Rationale, part="item", only_needed=True)
REPAIRED = Rows("repair", records.Intervention, part="item", only_needed=True)
RETRIED = Rows(
    "retry",
    records.Intervention,
    on=lambda row: row.path_id if row.kept else None,
    only_needed=True,
)
EXAMPLES = Rows("export", records.Example, only_needed=True)
RESPONSES = Rows("responses", records.Response, of="response_id")
VERIFICATIONS = Rows(
    "score",
    records.Verification,
    of="response_id",
    key=("response_id", "history"),
    part="item",
)
CRITIQUES = Rows("critiques", records.Critique, of="response_id")
REFINED = Rows("refine", records.Response, of="response_id", part="item")
SOLVED = Rows(
    "solve",
    records.Solved,
    of="problem_id",
    on=lambda row: row.problem_id if row.answer is not None else None,
    part="problem",
)

OURS: Mapping[str, Rows[Any]] = {
    kind.stage: kind
    for kind in (
        PROBLEMS, GIVEN, REUSED, PATHS, INJECTED, MISLED, ROLLOUTS, PITS, PROVED, TREE, GROUNDED,
        LABELS, RATIONALES, TRANSLATIONS, FORMALIZED, JUDGEMENTS, REASONS, AGREEMENTS, REWRITTEN,
        REPAIRED, RETRIED, EXAMPLES, RESPONSES, VERIFICATIONS, CRITIQUES, REFINED, SOLVED,
    )
}  # fmt: skip
"""Stage -> its rows, for every stage of Stepmill. A run's spec lists the stages that it has, in
order."""

ROAD: tuple[str, ...] = tuple(
    kind.stage for kind in (PROBLEMS, PATHS, ROLLOUTS, LABELS, RATIONALES, AGREEMENTS, EXAMPLES)
)
"""The stages of a run by default, in order: the paper's."""
SCORING = (RESPONSES.stage, VERIFICATIONS.stage)
"""The stages of a run that scores responses."""
REFINING = (CRITIQUES.stage, REFINED.stage)
"""The stages of a run that asks a generator to refine its responses, once."""
SOLVING = (PROBLEMS.stage, SOLVED.stage)
"""The stages of a run that searches for solutions."""


def handed(stages: Iterable[str]) -> Rows[Any] | None:
    """The rows of a road's solutions that a file has; None: it has none."""
    return next((OURS[stage] for stage in stages if stage in (GIVEN.stage, REUSED.stage)), None)


def stage_rows(stage: str) -> Rows[Any]:
    """The rows of a stage, of Stepmill or of an installed package.

    Raises ConfigurationError.
    """
    if stage in OURS:
        return OURS[stage]
    rows: Rows[Any] = stage_elsewhere(stage).rows
    return rows


def unfolding(stages: Iterable[str]) -> Rows[Any] | None:
    """The rows of a road whose paths stand in the place of the sampled ones; None: it has none."""
    ours = (OURS[stage] for stage in stages if stage in OURS)
    return next((kind for kind in ours if kind.unfold is not None), None)


def names_elsewhere() -> list[str]:
    """Names of the stages that installed packages add."""
    return sorted({entry.name for entry in entry_points(group=STAGES_ELSEWHERE)} - OURS.keys())


@cache
def stage_elsewhere(stage: str) -> Any:
    """An installed package's description of its stage (`workflows.stages.kit.Stage`).

    Raises ConfigurationError if no package or several have it, or if it is no description.
    """
    brought = {entry.value: entry for entry in entry_points(group=STAGES_ELSEWHERE, name=stage)}
    if not brought:
        raise ConfigurationError(
            f"no stage {stage!r} is known here: install the package that has it"
        )
    if len(brought) > 1:
        raise ConfigurationError(
            f"stage {stage!r} is brought by {' and by '.join(sorted(brought))}: remove all but one"
        )
    ((value, entry),) = brought.items()
    try:
        described = entry.load()
    except Exception as error:  # whatever the package raises when it is imported
        raise ConfigurationError(f"stage {stage!r} ({value}): {first_line(error)}") from error
    rows = getattr(described, "rows", None)
    if not isinstance(rows, Rows) or rows.stage != stage:
        raise ConfigurationError(f"{value} does not describe a stage {stage!r}: correct its name")
    kind = kind_of(rows.record)
    if any(kind == kind_of(ours.record) for ours in OURS.values()):
        raise ConfigurationError(
            f"stage {stage!r} ({value}): rows of kind {kind!r} are ours: rename its record"
        )
    return described
