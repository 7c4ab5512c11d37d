"""Figure 5 with scripted models: its points, what is computed once, and what it draws."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat, Sampling
from actors.engines.scripted import ScriptedEngine
from actors.sandbox.contract import Limits
from benchmarks import figure5
from benchmarks.figure5_values import Judged, Searched, draw, part_of, read_parts, store, values_of
from benchmarks.remembering import RememberingEngine, RememberingSandbox
from tests.scripted_solver import policy
from tests.scripted_verifier import PROBLEMS, verifier, world_responses
from tests.support.scripted_world import InProcessSandbox, world_problems, write_problems

WANTED = Namespace(seeds=1, most=8, histories=5, only=None)


class Counted(ScriptedEngine):
    """Counts the samples that it is asked for."""

    samples = 0

    async def generate(self, chat: Chat, sampling: Sampling) -> Any:
        self.samples += sampling.n
        return await super().generate(chat, sampling)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Counted]]]:
    out = tmp_path_factory.mktemp("figure5")
    bench = out / "benchmark"
    (bench / "processbench").mkdir(parents=True)
    problems = world_problems(PROBLEMS)
    write_problems(problems, bench / "problems.jsonl")
    asked = "".join(json.dumps({"problem_id": p.problem_id}) + "\n" for p in problems[:6])
    (bench / "bon.jsonl").write_text(asked)
    rows = "".join(json.dumps(asdict(row)) + "\n" for row in world_responses())
    (bench / "processbench" / "world.jsonl").write_text(rows)
    engines = [Counted(policy), Counted(verifier)]

    class Scripted(figure5.Making):
        async def bench(self) -> figure5.Bench:
            if self._bench is None:
                self._bench = figure5.Bench(engines[0], engines[1], InProcessSandbox())
                self.held.push_async_callback(self._bench.close)
            return self._bench

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure5, "model_identity", lambda engine: "scripted")
        making = Scripted(out, bench, "cot", lambda line: None)
        asyncio.run(figure5.make(making, WANTED))
        yield out, engines


def test_every_point_is_stored_and_a_second_call_asks_nobody(
    made: tuple[Path, list[Counted]],
) -> None:
    out, engines = made
    before = [engine.samples for engine in engines]
    making = figure5.Making(out, out, "cot", pytest.fail)
    asyncio.run(figure5.make(making, WANTED))
    assert [engine.samples for engine in engines] == before
    assert len(list((out / "searches").iterdir())) == len(figure5.searches(WANTED.most))
    assert len(list((out / "pruning").iterdir())) == len(figure5.prunings(WANTED.histories))


def test_what_two_points_ask_for_is_computed_once_and_counted_by_both(
    made: tuple[Path, list[Counted]],
) -> None:
    out, (policy_engine, _) = made
    rows = read_parts(out, "searches", Searched)
    majority = {n: [row for row in rows if row.label == f"majority {n}"] for n in (1, 2, 4, 8)}
    spent = {n: sum(row.policy_tokens for row in each) for n, each in majority.items()}
    assert spent[1] < spent[2] < spent[4] < spent[8]
    asked = sum(
        point.asked["solve.n"] * 6
        for point in figure5.searches(WANTED.most)
        if point.asked["solve.method"] in ("majority", "best_of_n")
    )
    assert policy_engine.samples < asked


def test_pruning_keeps_f1_and_spends_less(made: tuple[Path, list[Counted]]) -> None:
    out, _ = made
    values = values_of(read_parts(out, "searches", Searched), read_parts(out, "pruning", Judged))
    by_label = {value.label: value for value in values}
    whole = by_label["Maj@4"]
    for label in ("every verdict kept", "first error kept"):
        assert by_label[label].value == whole.value
        assert by_label[label].tokens < whole.tokens
    best, pruned = by_label["best of N 8"], by_label["best of N, pruned 8"]
    assert pruned.value == best.value
    assert pruned.tokens < best.tokens


def test_the_spread_over_seeds_is_that_of_their_values() -> None:
    rows = [
        Searched("majority", "majority 1", seed, f"p{at}", at < right, 1, 0)
        for seed, right in enumerate((2, 3, 4))
        for at in range(4)
    ]
    (value,) = values_of(rows, [])
    assert (value.value, value.seeds) == (0.75, 3)
    assert value.between_seeds == pytest.approx(0.25)


def test_the_picture_and_the_table_have_every_point(
    made: tuple[Path, list[Counted]], tmp_path: Path
) -> None:
    out, _ = made
    values = values_of(read_parts(out, "searches", Searched), read_parts(out, "pruning", Judged))
    draw(values, tmp_path)
    stored = json.loads((tmp_path / "figure5.json").read_text())
    points = [*figure5.searches(WANTED.most), *figure5.prunings(WANTED.histories)]
    assert {row["label"] for row in stored} == {point.label for point in points}
    assert (tmp_path / "figure5.png").stat().st_size > 10_000
    assert all(0 <= row["value"] <= 1 and row["tokens"] > 0 for row in stored)


def test_a_point_whose_writing_was_interrupted_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Searched("beam", "beam 4", 0, "p", True, 1, 2)

    def interrupted(part: Path, file: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", interrupted)
        store(part_of(tmp_path, "search", "beam 4", 0), Searched, [row])
    assert read_parts(tmp_path, "search", Searched) == []
    store(part_of(tmp_path, "search", "beam 4", 0), Searched, [row])
    assert read_parts(tmp_path, "search", Searched) == [row]


async def test_a_remembered_sample_is_the_one_that_the_engine_gave() -> None:
    engine = Counted(lambda chat, seed: f"text {seed}")
    remembering = RememberingEngine(engine)
    chat = Chat(())
    four = await remembering.generate(chat, Sampling(n=4, seed=10))
    two = await remembering.generate(chat, Sampling(n=2, seed=12))
    assert [one.text for one in two.completions] == [one.text for one in four.completions[2:]]
    assert engine.samples == 4


async def test_a_remembered_block_has_the_output_of_those_before_it() -> None:
    sandbox = RememberingSandbox(InProcessSandbox())
    printed = []
    for _ in range(2):
        async with sandbox.session("k") as session:
            await session.run("a = 1", Limits())
            printed.append((await session.run("print(a)", Limits())).stdout)
    async with sandbox.session("k") as session:
        await session.run("a = 1", Limits())
        printed.append((await session.run("print(a + 1)", Limits())).stdout)
    assert printed == ["1\n", "1\n", "2\n"]
