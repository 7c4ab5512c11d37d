"""What rollouts of an earlier run save the policy, with the demo world's own models.

A first run samples and rolls out; a second one, of the same problems and with another seed, samples
anew, without the first one's rollouts and with them. All three run the product's stages over texts
that the demo's models wrote: 512 solutions of each problem, 64 rollouts of each state, drawn once
and handed out by seed. A problem is hard where fewer than one in ten of its solutions are right, or
wrong.

    tokens   of the policy in stage `sample` of the second run, a problem
    quotas   share of the wanted paths (4 right, 4 wrong) that are there, without topping up
    none     problems that end because a class is missing

    python -m benchmarks.reused_rollouts [--problems 16] [--seeds 3] [--keep 2] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path as File

from actors.sandbox.contract import Limits
from benchmarks.equal_cost import bank_of
from benchmarks.labels import MOST_TOKENS, SYSTEM, TEMPERATURE
from benchmarks.rollout_bank import Bank, BankEngine
from demo import world
from storage.rows.kinds import PATHS, PROBLEMS, REUSED, ShardRows
from storage.rows.records import Path, Problem, Response, ReusedSolutions
from workflows.answers import read_answer
from workflows.answers.grading import grader
from workflows.formats.solving import opened_chat, policy_chat
from workflows.formats.steps import openings
from workflows.settings import AnswerSettings, EstimateSettings, SampleSettings, StageSettings
from workflows.stages.estimate import ESTIMATE, Completer
from workflows.stages.kit import Kit, Stage
from workflows.stages.sample import SAMPLE, PolicySampler
from workflows.views.rollouts import rolled_out

SAMPLES, ROLLOUTS, K = 512, 64, 8
HARD = 0.1
CAP = 256


def kit(stage: Stage, of: Bank, seed: int, keep: int = 0) -> Kit[StageSettings]:
    """What the stage of a run with this seed is made of."""
    settings = StageSettings(
        seed=seed,
        sample=SampleSettings(
            temperature=TEMPERATURE, max_tokens=MOST_TOKENS, cap=CAP, top_up=False
        ),
        estimate=EstimateSettings(
            temperature=TEMPERATURE, max_tokens=MOST_TOKENS, k_hard=K, k_medium=K, k_easy=K,
            probe=K, keep_texts=keep,
        ),
    )  # fmt: skip
    engine, graded_by = BankEngine(of, MOST_TOKENS), grader(AnswerSettings())
    models = {"policy": "policy", "completer": "completer"}
    return Kit("r", settings, stage.spec, models, Limits(), None, engine, graded_by=graded_by)


def handed(
    seed: int, given: Sequence[Problem], first: Sequence[Path], rows: Sequence[object]
) -> list[ReusedSolutions]:
    """What the first run hands out, as the second one reads it."""
    found = defaultdict(list)
    for row in rolled_out("first", seed, given, first, rows):  # type: ignore[arg-type]
        found[row.problem_id].append(row)
    return [
        ReusedSolutions(
            each.problem_id,
            [Response("", each.problem_id, "", row.steps, "", answer=row.answer)
             for row in found[each.problem_id]],
            [row.origin for row in found[each.problem_id]],
        )
        for each in given
    ]  # fmt: skip


async def measure(given: Sequence[Problem], policy: Bank, completer: Bank, keep: int, seed: int
                  ) -> dict[tuple[str, str], tuple[int, int, int]]:  # fmt: skip
    """(second run, problem_id) -> its tokens, selected paths, and whether it ended."""
    sampler = PolicySampler(kit(SAMPLE, policy, seed))
    first = await sampler.run(ShardRows({PROBLEMS: given}))
    of = {each.problem_id: each for each in given}
    completer.fill(
        opened_chat(SYSTEM, of[path.problem_id], opening)
        for path in first.rows
        if path.selected
        for opening in openings(path.text, path.steps)
    )
    roller = Completer(kit(ESTIMATE, completer, seed, keep))
    rolled = await roller.run(ShardRows({PROBLEMS: given, PATHS: first.rows}))
    reused = handed(seed, given, first.rows, rolled.rows)
    found = {}
    for name, rows in (("without", {PROBLEMS: given}), ("with", {PROBLEMS: given, REUSED: reused})):
        second = await PolicySampler(kit(SAMPLE, policy, seed + 1000)).run(ShardRows(rows))
        ended = {drop.item for drop in second.drops}
        for each in given:
            mine = [path for path in second.rows if path.problem_id == each.problem_id]
            found[name, each.problem_id] = (
                sum(path.tokens for path in mine),
                sum(path.selected for path in mine),
                each.problem_id in ended,
            )
    return found


def main() -> None:
    """Draw, run, print a line for each second run and kind of problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--folder", type=File)
    asked = parser.parse_args()
    folder = asked.folder or File(tempfile.mkdtemp())
    given = [Problem(**world.row(each) | {"level": str(each.level)})
             for each in world.sample(asked.problems, 1, "heldout")]  # fmt: skip
    policy = bank_of(folder, "policy", TEMPERATURE, MOST_TOKENS, SAMPLES)
    completer = bank_of(folder, "completer", TEMPERATURE, MOST_TOKENS, ROLLOUTS)
    policy.fill(policy_chat(SYSTEM, each) for each in given)
    hard = set()
    for each in given:
        drawn = policy.state(policy_chat(SYSTEM, each))
        right = sum(one.count for one in drawn if read_answer(one.text) == each.answer) / SAMPLES
        if not HARD <= right <= 1 - HARD:
            hard.add(each.problem_id)
    runs = [asyncio.run(measure(given, policy, completer, asked.keep, s))
            for s in range(asked.seeds)]  # fmt: skip
    for kind, names in (("hard", hard), ("other", {p.problem_id for p in given} - hard)):
        for way in ("without", "with"):
            rows = [run[way, name] for run in runs for name in sorted(names)]
            tokens, selected, ended = (sum(column) for column in zip(*rows, strict=True))
            print(
                f"{kind:6} {len(names):3} problems, {way:8} tokens {tokens / len(rows):8,.0f}  "
                f"quotas {selected / len(rows) / 8:6.1%}  none {ended / len(rows):6.1%}"
            )


if __name__ == "__main__":
    main()
