"""What was kept of the rationales, by attempt and reading: in commits, `status` and the card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console

from launch.verbs.runs.status import show_status, status_tables
from storage.datasets.card import dataset_card
from storage.datasets.view import GENPRM
from storage.objects.memory import MemoryStore
from storage.rows.readings import Kept, counts_of, kept_by_reading
from storage.rows.records import FORGIVING, STRICT, Example, Rationale
from storage.runs.layout import success_key
from storage.runs.run import Run
from tests.support.altered import rewrite
from tests.support.whole_run import example, finished, path, rationale
from workflows.runs.status import run_status

PATHS = [path("train/1", index) for index in range(5)]


def read(index: int, attempt: int, reading: str | None) -> Rationale:
    return replace(rationale(PATHS[index]), attempt=attempt, reading=reading)


def kept(index: int, labels: Sequence[bool]) -> Example:
    return replace(example(PATHS[index], "r"), labels=list(labels))


WRITTEN = [
    read(0, 0, STRICT), read(1, 0, STRICT), read(2, 0, FORGIVING), read(3, 1, FORGIVING),
    read(4, 1, None),
]  # fmt: skip
EXPORTED = [kept(0, [True, False]), kept(2, [True, True]), kept(3, [True, False, False])]
GROUPS = [
    Kept(1, "strict", 2, 1, 2, 1),
    Kept(1, "forgiving", 1, 1, 2, 0),
    Kept(2, "forgiving", 1, 1, 3, 2),
    Kept(2, "not recorded", 1, 0, 0, 0),
]


def counted() -> Run:
    """A finished run whose first shard has these counts."""
    run = finished(MemoryStore(), per_shard=7)
    counts = {"steps": 9, **counts_of(WRITTEN, EXPORTED)}
    rewrite(run, "export", 0, lambda commit: replace(commit, counts=counts))
    run.store.delete(success_key(run.name))
    run.finish()
    return run


def said(run: Run) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(status_tables(run_status(run)))
    return captured.get()


def test_each_rationale_is_counted_once_by_its_attempt_and_reading() -> None:
    assert kept_by_reading(counts_of(WRITTEN, EXPORTED)) == GROUPS


def test_shards_add_up() -> None:
    half = [counts_of(WRITTEN[:2], EXPORTED[:1]), counts_of(WRITTEN[2:], EXPORTED[1:])]
    names = {name for counts in half for name in counts}
    summed = {name: sum(counts.get(name, 0) for counts in half) for name in names}
    assert kept_by_reading(summed) == GROUPS


def test_status_and_the_card_show_the_same_shares() -> None:
    run = counted()
    success = run.success()
    assert success is not None
    card = dataset_card("r", run.spec, success, GENPRM, 3, ())
    for line in ("1 strict 2 1 50.0% 50.0%", "1 forgiving 1 1 100.0% 0.0%",
                 "2 forgiving 1 1 100.0% 66.7%", "2 not recorded 1 0 0.0%"):  # fmt: skip
        for text in (said(run), card):
            shown = [" ".join(row.replace("│", " ").replace("|", " ").split()) for row in
                     text.splitlines()]  # fmt: skip
            assert line in shown
    assert "kept_wrong_steps" not in card
    assert json.loads(json.dumps(asdict(run_status(run))))["kept"][0]["kept_steps"] == 2


def test_an_older_run_says_that_it_was_not_recorded() -> None:
    run = finished(MemoryStore())
    success = run.success()
    assert success is not None
    assert "kept by attempt and reading: not recorded" in said(run)
    assert "Not recorded" in dataset_card("r", run.spec, success, GENPRM, 3, ())


def test_a_run_without_rationales_says_nothing_of_them() -> None:
    run = finished(MemoryStore())
    stages = tuple(stage for stage in run.spec.stages if stage != "rationalize")
    bare = Run(run.store, run.name, replace(run.spec, stages=stages))
    success = run.success()
    assert success is not None
    assert "reading" not in said(bare)
    assert "attempt and reading" not in dataset_card("r", bare.spec, success, GENPRM, 3, ())
    show_status(run_status(bare))
