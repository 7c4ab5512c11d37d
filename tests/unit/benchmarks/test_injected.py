"""What `benchmarks.injected` builds, takes for right, and says of rewards whose worth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from benchmarks import injected, loop
from benchmarks.verifier_kinds import Part
from demo import benchmark, check, world
from launch.config import load
from storage.rows import schemas
from storage.rows.records import Response, Verification
from tests.support.scripted_build import Build, configure
from workflows.settings.injecting import KINDS

PER_KIND = 4


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of solutions with errors, without the policy's own."""
    folder = tmp_path_factory.mktemp("injected")
    taken: set[str] = set()
    of_kinds = {f"kinds/{kind}": benchmark.of_kind(kind, PER_KIND, 3, taken) for kind in KINDS}
    for name, found in (of_kinds | {"processbench/easy": of_kinds["kinds/off_by_one"]}).items():
        file = folder / "benchmark" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = (benchmark.processbench_row(name, at, one) for at, one in enumerate(found))
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def judged(part: Part, *sure_of: str) -> None:
    """Rewards that are true for the errors of some kinds, and call every other step right."""
    rows = {}
    for kind, responses in injected.cases(part.work).items():
        for row in responses:
            rows[row.response_id] = _judged(row, kind in sure_of)
    part.folder.mkdir(parents=True)
    pq.write_table(schemas.to_table(Verification, list(rows.values())), part.rows)
    (part.folder / "times.json").write_text(json.dumps({"training_s": 1.0, "scoring_s": 1.0}))


def _judged(row: Response, sure: bool) -> Verification:
    steps = len(row.steps)
    rewards = [float(not sure or row.label in (-1, None) or at < row.label) for at in range(steps)]
    none = [""] * steps
    return Verification(row.response_id, 0, "read", rewards, none, none, [], [False] * steps, 1,
                        "m", 0)  # fmt: skip


@pytest.mark.parametrize("kind", ["discriminative", "generative"])
def test_both_runs_are_configurations_that_can_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ran: list[loop.Command] = []
    monkeypatch.setattr(loop, "run", lambda command, console: ran.append(command))
    for source, solutions in ((injected.DEMO, None), (injected.STRATEGY, tmp_path / "s.jsonl")):
        file = tmp_path / "made.yaml"
        injected.built(
            source, file, "r", tmp_path / "p.jsonl", "file:s", kind, Console(), solutions
        )
        config = load(file)
        road = [stage.name for stage in config.road]
        assert ("rationalize" in road) == (kind == "generative")
        assert ("inject" in road) == (solutions is not None)
        assert all(Path(engine.model).is_dir() for engine in config.engines.values())
        assert config.limit is None
    assert [command.arguments[:2] for command in ran] == [("stepmill", "build")] * 2


async def test_only_solutions_that_the_checker_calls_right_are_given_on(tmp_path: Path) -> None:
    build = Build(configure(tmp_path))
    await build.work()
    file = tmp_path / "right.jsonl"
    injected.write_right(build.run, file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows and {row["label"] for row in rows} == {-1}
    for row in rows:
        assert check.first_error(world.problem(row["problem_id"]), row["steps"]) is None
    texts = [(row["problem_id"], *row["steps"]) for row in rows]
    assert len(texts) == len(set(texts))


def test_f1_is_said_kind_by_kind_and_a_claim_that_is_not_shown_is_called_so(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = injected.arms_of("discriminative")
    parts = [Part(arm, 1, work, "file:s", 1.0) for arm in arms]
    judged(parts[0], "off_by_one", injected.POLICYS)
    for part in parts[1:]:
        judged(part, "sign_lost")
    f1 = [injected.by_kind(part) for part in parts]
    assert [(of["off_by_one"], of["sign_lost"]) for of in f1] == [(1, 0), (0, 1), (0, 1)]
    injected.show(parts, arms, work, Console(width=120))
    said = capsys.readouterr().out
    assert "injected alone above Monte Carlo: 14.3, 0.0: shown" in said
    assert "both not below Monte Carlo: 0.0, 100.0: NOT SHOWN" in said
    assert "Monte Carlo alone: 16.7 % of first errors found, 100.0 % of right" in said
    assert "sign_lost (injected)" in said and "off_by_one (injected)" not in said
    stored = json.loads((work / "injected.json").read_text())
    assert [row["arm"] for row in stored] == [arm.name for arm in arms]
