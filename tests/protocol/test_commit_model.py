"""The commit protocol as a model that somebody else's tool checks, in all states of small worlds.

Each rule of the protocol is taken away in turn, and the checker names the property that falls.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.spin import Verdict, search

MODEL = Path(__file__).with_name("commit.pml")
TEXT = MODEL.read_text()

TWO_DRIVERS = ["DRIVERS=2", "WORKERS=3", "FAULTS=1", "STAGES=1"]
TWO_STAGES = ["DRIVERS=1", "WORKERS=3", "FAULTS=2", "STAGES=2"]
THREE_FAULTS = ["DRIVERS=1", "WORKERS=2", "FAULTS=3", "STAGES=1"]
QUIETER = ["DRIVERS=1", "WORKERS=2", "FAULTS=2", "STAGES=1"]
KEPT = [*TWO_DRIVERS, "KEPT"]
"""Where nobody removes the run there are far fewer states."""

ENDS = "ends"


WORLDS = {"two drivers": TWO_DRIVERS, "two stages": TWO_STAGES, "three faults": THREE_FAULTS}
"""Those whose states are all looked at, with `remove`."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Verdict]:
    """The verdict of a world, each searched once."""
    return cache(lambda world: search(MODEL, tmp_path_factory.mktemp("world"), WORLDS[world]))


@pytest.mark.parametrize(
    ("world", "least", "most"),
    [
        ("two drivers", 1_500_000, 5_000_000),
        ("two stages", 1_500_000, 5_000_000),
        ("three faults", 800_000, 3_000_000),
    ],
)
def test_no_state_breaks_a_property(
    searched: Callable[[str], Verdict], world: str, least: int, most: int
) -> None:
    verdict = searched(world)
    print(f"{world}: {verdict.states:,} states")
    assert verdict.broken is None, verdict.says
    assert least < verdict.states < most


def test_every_step_of_the_model_is_taken_in_some_world(
    searched: Callable[[str], Verdict],
) -> None:
    never = frozenset.intersection(*(searched(world).unreached for world in WORLDS))
    assert {step for step in never if step[0] != ENDS} == set()


@pytest.mark.parametrize("world", [KEPT, QUIETER], ids=["two drivers", "removed or not"])
def test_every_run_that_keeps_a_live_driver_ends(tmp_path: Path, world: list[str]) -> None:
    verdict = search(MODEL, tmp_path, world, ltl=ENDS)
    print(f"{verdict.states:,} states")
    assert verdict.broken is None, verdict.says
    assert verdict.states > 100_000


LACKING = [
    ("NO_CONDITION", "one_commit", KEPT, "the commit's PUT replaces what is there"),
    ("NO_READ_BACK", "receipt_true", KEPT, "an answer that it exists is taken for success"),
    ("TIDY", "commit_true", KEPT, "who gets no plain success takes its data away"),
    ("DEAF", "receipt_true", KEPT, "the commit that was read back is taken for one's own"),
    ("COMMIT_FIRST", "commit_true", KEPT, "the commit is stored before its data"),
    ("GREEDY", "commit_true", KEPT, "a sweep takes what is not committed yet"),
    ("ONE_NAME", "receipt_true", [*QUIETER, "KEPT"], "attempts of one worker have one name"),
    ("START_OVER", "no_repeat", KEPT, "a driver is resumed without listing commits"),
    ("LIST_DATA", "success_true", KEPT, "a driver lists data, not commits"),
    ("DEFIANT", "removed_whole", QUIETER, "a writer does not look for the tombstone"),
    ("NAME_AGAIN", "commit_true", QUIETER, "the tombstone goes with the run"),
    ("FAITHFUL", ENDS, KEPT, "a driver waits for a worker that is dead"),
    ("DOGGED", ENDS, KEPT, "a commit that is not there is read again, not stored again"),
]


@pytest.mark.parametrize(
    ("lacks", "falls", "world"), [row[:3] for row in LACKING], ids=[row[3] for row in LACKING]
)
def test_without_one_of_its_rules_the_protocol_fails(
    tmp_path: Path, lacks: str, falls: str, world: list[str]
) -> None:
    ltl = falls if falls == ENDS else None
    assert search(MODEL, tmp_path, [*world, lacks], ltl, quick=True).broken == falls


def test_every_rule_that_can_be_taken_away_is() -> None:
    knobs = {"FAULTS", "STAGES", "DRIVERS", "WORKERS", "KEPT"}
    named = set(re.findall(r"^#(?:ifn?def |elif !?defined\()(\w+)", TEXT, re.MULTILINE))
    assert named - knobs == {row[0] for row in LACKING}


def test_every_property_falls_with_some_rule() -> None:
    properties = set(re.findall(r"^ \*   (\w+) {2,}", TEXT, re.MULTILINE))
    assert len(properties) == 7
    assert properties == {row[1] for row in LACKING}


def test_every_function_that_the_model_names_exists() -> None:
    named = re.findall(r"\[([\w.]+:[\w.]+)\]", TEXT)
    for name in named:
        pkgutil.resolve_name(name)
    assert {
        "storage.runs.commits:put_content",
        "storage.runs.commits:settle",
        "storage.runs.commits:read_commit",
        "storage.sweep:sweep",
        "storage.runs.run:Run.shards_of",
        "storage.runs.run:Run.finish",
        "storage.runs.run:put_settled",
        "workflows.schedule.driver:Driver.drive",
    } <= set(named)
