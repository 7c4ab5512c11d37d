"""Labels of a real model's solutions to word problems, against what arithmetic proves of each step.

    python -m benchmarks.word_problems                     # on two cores some 25 minutes
    python -m benchmarks.word_problems --folder F          # goes on, or prints again

SmolLM2-135M-Instruct is policy and completion model, by the user's command, in two runs:

    sampled   its own solutions of generated problems (`benchmarks.word_world`). A problem that it
              never solves in 16 samples has no rollouts and is in no figure.
    given     of the problems that it solves: the right solution, and ones with a slip put in by
              rule (`workflows.injecting`), the rest carried on. It judges them too.

The checker (`benchmarks.word_checker`) proves steps right or false, or nothing. Recall is of false
equations, false alarms are steps proved right that are called wrong (`benchmarks.word_labels`).
Judges' figures come from scripted replies (`benchmarks.word_judges`).

Invariant: every figure comes from what the runs stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.real_model import ROOT, prepare, stepmill
from benchmarks.word_checker import Verdict, check
from benchmarks.word_judges import JUDGES, by_manner, judged, readable
from benchmarks.word_labels import STRATEGIES, Figures, K, labelled, measured, share
from benchmarks.word_world import KINDS, WordProblem, problem, problems
from launch.config import load
from storage.objects.opening import open_store
from storage.rows.kinds import JUDGEMENTS, PATHS, PROBLEMS, ROLLOUTS, ShardRows
from storage.rows.records import Path as SampledPath
from storage.rows.records import Problem
from storage.runs.run import Run
from workflows.answers.grading import grader
from workflows.formats import steps
from workflows.injecting.errors import drawn
from workflows.settings import AnswerSettings

SAMPLES = 16
SLIPS = ("off_by_one", "digits_swapped", "digit_lost", "place_shifted", "operation_mistaken")
"""Kinds of error whose equation is false."""
SLIPS_EACH = 2
"""Solutions with a slip of each problem."""
SHOWN = (
    ("Eva has 14 plums and gives 6 of them to Leo. How many plums does Eva have left?",
     "Eva gives away 6 of 14 plums, so we subtract: $14 - 6 = 8$.", 8),
    ("Max has 9 coins. Leo has 13 coins. How many coins do they have together?",
     "Together means that we add: $9 + 13 = 22$.", 22),
    ("Each of 4 crates holds 8 melons. How many melons are there in all?",
     "There are 4 crates of 8 melons, so we multiply: $4 \\times 8 = 32$.", 32),
    ("Eva shares 18 plums equally among 3 children. How many plums does each child get?",
     "The plums are shared, so we divide: $18 / 3 = 6$.", 6),
    ("Max had 40 dollars. He bought 3 mugs at 7 dollars each. How many dollars does he have left?",
     "The mugs cost $3 \\times 7 = 21$ dollars.\n\n"
     "Step 2: He had 40 dollars, so we subtract: $40 - 21 = 19$.", 19),
)  # fmt: skip
"""Worked examples: problem, steps, answer. A model so small keeps no form without."""
ESTIMATE = {"mc_budget": "exact", "max_tokens": 100,
            **dict.fromkeys(("k_hard", "k_medium", "k_easy", "probe"), K)}  # fmt: skip


def examples() -> list[dict[str, str]]:
    """The worked examples as a configuration has them."""
    return [
        {"problem": question,
         "solution": f"Step 1: {solved_by}\n\nStep {solved_by.count('Step') + 2}: "
                     f"The answer is $\\boxed{{{answer}}}$."}
        for question, solved_by, answer in SHOWN
    ]  # fmt: skip


def configured(
    folder: Path, run: str, given: Sequence[WordProblem], road: Sequence[str], **change: Any
) -> Path:
    """The configuration of a run; `change`: other settings of its stages."""
    stages: dict[str, Any] = {"estimate": ESTIMATE} | change
    stages["sample"] = {"max_tokens": 120, "examples": examples()} | change.get("sample", {})
    (folder / run).mkdir(exist_ok=True)
    file = prepare(folder / run, [each.row for each in given], stages, run)
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["stages"] = {name: config["stages"][name] for name in ("seed", *stages)}
    config["stages"]["road"] = list(road)
    models = config["models"]
    config["models"] = {"policy": models["policy"], "completer": models["completer"]}
    config |= {"store": f"file://{folder}/store", "shard_size": 12}
    file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return file


def sampled(folder: Path, given: Sequence[WordProblem]) -> Path:
    """The run of the model's own solutions."""
    return configured(
        folder, "sampled", given, road=["sample", "estimate", "label"],
        sample={"first_round": SAMPLES, "cap": SAMPLES, "correct": 2, "incorrect": 2,
                "least_pass_at_1": 0.9 / SAMPLES},
        estimate=ESTIMATE | {"start": "policy"},
    )  # fmt: skip


def slipped(given: WordProblem) -> Iterator[tuple[int | None, Sequence[str]]]:
    """(First error, steps) of the right solution and of some with a slip."""
    yield None, given.steps
    rng = random.Random(f"slips/{given.problem_id}")
    places: set[int] = set()
    for error in drawn(given.text, given.steps, SLIPS, rng):
        at = len(error.before)
        if error.behind is not None and at not in places and len(places) < SLIPS_EACH:
            places.add(at)
            yield at, (*error.before, error.wrong, *error.behind)


def as_paths(given: Sequence[WordProblem]) -> ShardRows:
    """The same as rows, without a run: problems, and a path of each solution."""
    paths = [
        SampledPath(
            f"{each.problem_id}#{at}", each.problem_id, at, 0, steps.join(written), list(written),
            "stop", each.answer if first is None else None, first is None, True, None, None, True,
            1, 0,
        )
        for each in given
        for at, (first, written) in enumerate(slipped(each))
    ]  # fmt: skip
    return ShardRows({PROBLEMS: [Problem(**each.row) for each in given], PATHS: paths})


def with_slips(folder: Path, given: Sequence[WordProblem]) -> Path:
    """The run of given solutions, which the model completes and judges."""
    file = configured(
        folder, "given", given, road=["given", "sample", "estimate", "label", "judge"],
        judge={"verdicts": "index", "max_tokens": 300},
    )  # fmt: skip
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    solutions = file.parent / "solutions.jsonl"
    rows = ({"problem_id": each.problem_id, "steps": list(written)}
            for each in given for _, written in slipped(each))  # fmt: skip
    solutions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config["models"] = {"completer": config["models"]["completer"],
                        "judge": config["models"]["policy"]}  # fmt: skip
    config["solutions"] = str(solutions)
    file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return file


def built(file: Path) -> Run:
    """Build a configuration, or go on. Raises SystemExit where that fails."""
    if code := stepmill(file.parent, "build", file.name).returncode:
        raise SystemExit(code)
    return Run.open(open_store(load(file).store), load(file).run)


def rows_of(run: Run) -> ShardRows:
    """Problems, paths, rollouts and verifications of a run."""
    shards = range(run.spec.plan.shards)
    kinds = [kind for kind in (PROBLEMS, PATHS, ROLLOUTS, JUDGEMENTS)
             if kind is PROBLEMS or kind.stage in run.spec.stages]  # fmt: skip
    return ShardRows(
        {kind: [row for shard in shards for row in run.read_rows(kind, shard)] for kind in kinds}
    )


def problem_of(problem_id: str) -> WordProblem:
    """The problem of an id."""
    kind, seed, place = problem_id.split("/")
    return problem(kind.replace("-", " "), int(place), int(seed))


def proved(rows: ShardRows) -> dict[str, list[Verdict]]:
    """path_id -> what is proved of its steps."""
    return {path.path_id: check(problem_of(path.problem_id), path.steps) for path in rows[PATHS]}


def solved(rows: ShardRows) -> Iterator[str]:
    """What the model solved, kind by kind."""
    yield "| kind | steps | problems | solved once or more | samples right | samples valid |"
    yield "|---|---|---|---|---|---|"
    for kind in KINDS:
        of = [problem_of(row.problem_id) for row in rows[PROBLEMS]]
        mine = [each for each in of if each.kind == kind]
        names = {each.problem_id for each in mine}
        paths = [path for path in rows[PATHS] if path.problem_id in names]
        right = Counter(path.problem_id for path in paths if path.correct)
        yield (f"| {kind} | {len(mine[0].plan)} | {len(mine)} | {len(right)} | {right.total()} of "
               f"{len(paths)} | {sum(path.valid for path in paths)} |")  # fmt: skip


def table(found: Mapping[str, Figures], seeds: int) -> Iterator[str]:
    """The strategies' figures."""
    yield ("| strategy | solutions | recall on first false steps | on all false steps | false "
           "alarms | without last steps |")  # fmt: skip
    yield "|---|---|---|---|---|---|"
    for name, each in found.items():
        cells = [share(part, seeds) for part in (each.first, each.false, each.right, each.inner)]
        yield f"| {name} | {len(each.paths)} | {' | '.join(cells)} |"


async def report(own: ShardRows, given: ShardRows, seeds: int) -> None:
    """Print all tables."""
    graded_by = grader(AnswerSettings())
    for line in solved(own):
        print(line)
    for name, rows in (("its own", own), ("given", given)):
        of = proved(rows)
        chosen = [path for path in rows[PATHS] if path.selected]
        says = Counter(each.proved.value for path in chosen for each in of[path.path_id])
        alive = len(await labelled(STRATEGIES[0], rows, 0, graded_by))
        print(f"\n{name}: {len(chosen)} solutions, {alive} with MC(s1) > 0, the others not shown; "
              f"steps proved: {dict(says)}\n")  # fmt: skip
        for line in table(await measured(rows, of, seeds, graded_by), seeds):
            print(line)
    await judges(given, seeds)
    await graded_by.close()


def first_errors(rows: ShardRows) -> dict[str, int | None]:
    """path_id -> the known first error of a given solution."""
    known = {
        (each.problem_id, tuple(written)): first
        for each in (problem_of(row.problem_id) for row in rows[PROBLEMS])
        for first, written in slipped(each)
    }
    return {path.path_id: known[path.problem_id, tuple(path.steps)] for path in rows[PATHS]}


async def judges(rows: ShardRows, seeds: int) -> None:
    """Print what becomes of scripted replies, and of the model's own."""
    of, first, graded_by = proved(rows), first_errors(rows), grader(AnswerSettings())
    hard = next(each for each in STRATEGIES if each.name == "math_shepherd_hard")
    found: dict[str, Figures] = {}
    lost: dict[str, Counter[str]] = {}
    for each in JUDGES:
        if each.labelled and not rows[ROLLOUTS]:
            continue
        found[each.name], lost[each.name] = Figures(), Counter()
        for seed in range(seeds):
            labels = await labelled(hard, rows, seed, graded_by) if each.labelled else {}
            kept, drops = await judged(each, rows, first, labels, seed)
            lost[each.name] += drops
            for name, given in kept.items():
                found[each.name].add(name, given, of[name])
    await graded_by.close()
    print(f"\njudges, from scripted replies to {len(first)} given solutions, {seeds} times\n")
    for line in table(found, seeds):
        print(line)
    for name, drops in lost.items():
        said = ", ".join(f"{reason} {count}" for reason, count in drops.items())
        print(f"{name}: not kept, of {seeds} times: {said or 'none'}")
    print("\nmanner of a reply: " + "; ".join(
        f"{manner}: {dict(fates)}" for manner, fates in by_manner((2, 3, 4, 5), 0).items()
    ))  # fmt: skip
    print(f"\nSmolLM2's own verifications: {dict(readable(rows[JUDGEMENTS]))}")


def main() -> None:
    """Build what is missing, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=24, help=f"of {len(KINDS)} kinds in turn")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=5, help="orders in which rollouts are dealt")
    parser.add_argument("--folder", type=Path, help="where runs are continued; default: a new one")
    parser.add_argument("--judges", action="store_true", help="scripted replies alone, no model")
    chosen = parser.parse_args()
    asked = problems(chosen.problems, chosen.seed)
    if chosen.judges:
        asyncio.run(judges(as_paths(asked), chosen.seeds))
        return
    began, place = time.perf_counter(), ROOT / ".stepmill"
    place.mkdir(exist_ok=True)
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="words-", dir=place))).resolve()
    folder.mkdir(exist_ok=True)
    print(f"folder {folder}", file=sys.stderr)
    own = rows_of(built(sampled(folder, asked)))
    at_least_once = {path.problem_id for path in own[PATHS] if path.correct}
    again = [problem_of(row.problem_id) for row in own[PROBLEMS] if row.problem_id in at_least_once]
    given = rows_of(built(with_slips(folder, again)))
    print(f"two runs: {time.perf_counter() - began:.0f} s\n", flush=True)
    asyncio.run(report(own, given, chosen.seeds))


if __name__ == "__main__":
    main()
