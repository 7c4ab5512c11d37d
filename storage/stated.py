"""What `_SUCCESS.json` and summaries say of a run's commits, held against the commits themselves.

Invariant: one block's summaries are in memory at a time; shards come in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from storage.errors import NothingFound, ObjectCorrupt
from storage.runs.commits import Commit, Receipt, receipt_of
from storage.runs.run import Run
from storage.runs.success import Success
from storage.summaries.shards import block_of
from storage.summaries.summary import named_by


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    """`commit_unreadable`, `data_damaged` (or gone), `needed_damaged`, `wrong_rows`,
    `foreign_commit`,
    `commit_without_source`, `plan`, `row_twice`, `problem_twice`, `dropped_twice`,
    `drop_of_unknown`, `row_of_unknown`, `lost`, `dropped_yet_selected`, `summary`, `success`,
    `dataset`.
    `not_executed`: an exported row shows output of code that was not run. `runs_otherwise`: code
    that was run again prints something else."""
    detail: str
    stage: str = ""
    shard: int | None = None

    def __str__(self) -> str:
        """`estimate/3: data_damaged: ...`."""
        place = f"{self.stage}/{self.shard}: " if self.stage else ""
        return f"{place}{self.kind}: {self.detail}"


class Stated:
    """The end of a run, and its summaries; asked shard by shard, in order."""

    def __init__(self, run: Run, success: Success | None) -> None:
        self._run, self._success = run, success
        self._block = -1
        self._said: dict[str, list[Receipt]] = {}
        """Stage -> what the present block's summary says of each of its shards."""

    def against(self, shard: int, commits: Mapping[str, Commit]) -> Iterator[Finding]:
        """What is said otherwise of a shard; `commits`: stage -> the commit that stands."""
        if self._success is not None and not self._success.parts:
            yield from self._in_place(self._success, shard, commits)
        elif self._run.blocks.summed_up:
            if self._block != block_of(shard):
                self._block = block_of(shard)
                yield from self._load()
            yield from self._summed_up(shard, commits)

    def _in_place(
        self, success: Success, shard: int, commits: Mapping[str, Commit]
    ) -> Iterator[Finding]:
        for stage in self._run.spec.stages:
            named = success.commits.get(stage, [])
            entry = named[shard] if shard < len(named) else None
            commit = commits.get(stage)
            if entry != (None if commit is None else named_by(commit)._asdict()):
                yield Finding("success", "it names another commit than is stored", stage, shard)

    def _load(self) -> Iterator[Finding]:
        """Read the summaries of the present block."""
        self._said.clear()
        for stage in self._run.spec.stages:
            try:
                if self._success is None:
                    summary, _ = self._run.blocks.read(stage, self._block)
                else:
                    digests = self._success.parts.get(stage, [])
                    digest = digests[self._block] if self._block < len(digests) else "nothing"
                    summary = self._run.blocks.part(stage, self._block, digest)
                self._said[stage] = list(summary.receipts())
            except NothingFound:  # of a run under way
                continue
            except ObjectCorrupt as error:
                yield Finding("summary", str(error), stage)

    def _summed_up(self, shard: int, commits: Mapping[str, Commit]) -> Iterator[Finding]:
        place = shard - self._run.blocks.shards_in(self._block)[0]
        for stage, said in self._said.items():
            commit = commits.get(stage)
            if commit is None or said[place] != receipt_of(commit):
                yield Finding("summary", "it sums up another commit than is stored", stage, shard)
