"""The rows of each stage: what is true of them for whoever reads them.

A stage works on items: on problems until `sample`, on paths from there on, on responses where those
are scored. A stage may store rows of an item that it drops (what it saw was paid for); such an item
goes no further.

Invariant: a stage has one kind, a kind belongs to one stage, and audit, isolation, derivation,
cards and readers ask the kind instead of comparing the names of stages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, TypeVar

from storage.errors import ConfigurationError, first_line
from storage.rows import records
from storage.rows.schemas import kind_of
from storage.rows.tree_chains import unfolded
from storage.rows.tree_records import TreeNode

Record = TypeVar("Record")

STAGES_ELSEWHERE = "stepmill.stages"
"""Entry points of installed packages: stages that are none of ours, each with its `rows`."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows(Generic[Record]):
    """One kind of rows: those that one stage makes."""

    stage: str
    record: type[Record]
    of: Literal["problem_id", "path_id", "response_id"] = "path_id"
    """The field that says what a row is about."""
    key: tuple[str, ...] = ()
    """Fields in which two rows may not both be equal; empty: `of`."""
    made_of: Callable[[Record], str | None] | None = None
    """The id of the item that a row was made of, None for a row of no item; unset: `of`."""
    on: Callable[[Record], str | None] | None = None
    """The id under which a row goes on, None where it doesn't; unset: `of`."""
    shown: Callable[[Record], bool] = lambda row: True
    """Whether the stages that read these rows are shown this one."""
    part: Literal["problem", "paths", "item"] = "paths"
    """The smallest part of a shard that its stage can work on: one problem, all paths of a problem
    together, or one path or response."""
    unfold: Callable[[ShardRows], ShardRows] | None = None
    """What a stage that reads these rows is shown in the place of others."""

    def key_of(self, row: Record) -> Hashable:
        """What no other row of the stage has."""
        values = tuple(getattr(row, name) for name in self.key or (self.of,))
        return values if len(values) > 1 else values[0]

    def came(self, row: Record) -> str | None:
        """The item that a row was made of."""
        name: str | None = getattr(row, self.of) if self.made_of is None else self.made_of(row)
        return name

    def goes_on(self, row: Record) -> str | None:
        """The item that a row goes on as."""
        name: str | None = getattr(row, self.of) if self.on is None else self.on(row)
        return name


class ShardRows:
    """The committed rows of one shard that a stage reads; what it doesn't read is empty."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[Rows[Any], Iterable[Any]] | None = None) -> None:
        """`parts`: the rows of each kind."""
        self._parts = {kind: tuple(rows) for kind, rows in (parts or {}).items()}

    def __getitem__(self, kind: Rows[Record]) -> tuple[Record, ...]:
        """The rows of a kind."""
        return self._parts.get(kind, ())

    def but(self, parts: Mapping[Rows[Any], Iterable[Any]]) -> ShardRows:
        """The same with other rows of some kinds."""
        return ShardRows({**self._parts, **parts})

    def only(self, of: Callable[[Rows[Any], Any], bool]) -> ShardRows:
        """Those rows of every kind for which `of` holds."""
        return ShardRows(
            {kind: [row for row in rows if of(kind, row)] for kind, rows in self._parts.items()}
        )


def _leaf(node: TreeNode) -> str | None:
    return node.node_id if node.leaf else None


def _sampled_leaf(node: TreeNode) -> str | None:
    """A leaf that was sampled; rollouts of a tree have an `r` in what follows the problem."""
    return None if "r" in node.node_id.rpartition("#")[2] else _leaf(node)


def _tree_paths(rows: ShardRows) -> ShardRows:
    if not rows[TREE]:
        return rows
    paths, rollouts = unfolded(rows[PATHS], rows[TREE])
    return rows.but({PATHS: paths, ROLLOUTS: rollouts})


PROBLEMS = Rows("problems", records.Problem, of="problem_id")
GIVEN = Rows("given", records.GivenSolutions, of="problem_id", part="problem")
PATHS = Rows(
    "sample",
    records.Path,
    made_of=lambda row: row.problem_id,
    on=lambda row: row.path_id if row.selected else None,
    part="problem",
)
ROLLOUTS = Rows("estimate", records.StateRollouts, key=("path_id", "state", "round"))
PROVED = Rows("prover", records.StateRollouts, key=("path_id", "state", "round"))
TREE = Rows(
    "search",
    TreeNode,
    of="problem_id",
    key=("node_id",),
    made_of=_sampled_leaf,
    on=_leaf,
    unfold=_tree_paths,
)
LABELS = Rows("label", records.PathLabels)
RATIONALES = Rows(
    "rationalize",
    records.Rationale,
    key=("path_id", "attempt"),
    on=lambda row: row.path_id if row.dropped is None else None,
    shown=lambda row: row.dropped is None,
    part="item",
)
FORMALIZED = Rows("formalize", records.Rationale, part="item")
JUDGEMENTS = Rows(
    "judge",
    records.Judgement,
    key=("path_id", "prompt", "sees", "number", "round"),
    part="item",
)
AGREEMENTS = Rows("consensus", records.Agreement, on=lambda row: row.path_id if row.kept else None)
REPAIRED = Rows("repair", records.Intervention, part="item")
RETRIED = Rows("retry", records.Intervention, on=lambda row: row.path_id if row.kept else None)
EXAMPLES = Rows("export", records.Example)
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

OURS: Mapping[str, Rows[Any]] = {
    kind.stage: kind
    for kind in (
        PROBLEMS, GIVEN, PATHS, ROLLOUTS, PROVED, TREE, LABELS, RATIONALES, FORMALIZED, JUDGEMENTS,
        AGREEMENTS, REPAIRED, RETRIED, EXAMPLES, RESPONSES, VERIFICATIONS, CRITIQUES, REFINED,
    )
}  # fmt: skip
"""Stage -> its rows, for every stage of ours that some run may have. Which stages a run has, and in
which order, is in its spec."""

ROAD: tuple[str, ...] = tuple(
    kind.stage for kind in (PROBLEMS, PATHS, ROLLOUTS, LABELS, RATIONALES, AGREEMENTS, EXAMPLES)
)
"""The stages of a run whose spec says nothing else: the paper's."""
SCORING = (RESPONSES.stage, VERIFICATIONS.stage)
"""The stages of a run that scores responses."""
REFINING = (CRITIQUES.stage, REFINED.stage)
"""The stages of a run that asks a generator to refine its responses, once."""


def stage_rows(stage: str) -> Rows[Any]:
    """The rows of a stage: of ours, or of one that an installed package brings.

    Raises ConfigurationError.
    """
    if stage in OURS:
        return OURS[stage]
    rows: Rows[Any] = stage_elsewhere(stage).rows
    return rows


def names_elsewhere() -> list[str]:
    """The stages that installed packages bring, beside ours."""
    return sorted({entry.name for entry in entry_points(group=STAGES_ELSEWHERE)} - OURS.keys())


@cache
def stage_elsewhere(stage: str) -> Any:
    """What an installed package says of its stage (`workflows.stages.kit.Stage`).

    Raises ConfigurationError where none has it, or several have, or it is no description.
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
        found = entry.load()
    except Exception as error:  # whatever the package raises when it is imported
        raise ConfigurationError(f"stage {stage!r} ({value}): {first_line(error)}") from error
    rows = getattr(found, "rows", None)
    if not isinstance(rows, Rows) or rows.stage != stage:
        raise ConfigurationError(f"{value} does not describe a stage {stage!r}: correct its name")
    kind = kind_of(rows.record)
    if any(kind == kind_of(ours.record) for ours in OURS.values()):
        raise ConfigurationError(
            f"stage {stage!r} ({value}): rows of kind {kind!r} are ours: rename its record"
        )
    return found
