"""A benchmark in ProcessBench's format from the demo world, with true labels.

    python -m demo.benchmark --out FOLDER

    FOLDER/processbench/{easy,medium,hard}.jsonl   one response each, half of them with a wrong step
    FOLDER/bon.jsonl                               several responses to every problem
    FOLDER/refine.jsonl                            two of them each, for refinement
    FOLDER/kinds/KIND.jsonl                        with --per-kind N: N responses for each kind of
                                                   error, half of them with one such error
    FOLDER/problems.jsonl                          the problems, with answers

The responses are the demo policy's own, but for those below `kinds/`: right solutions of the
world's writer, into half of which `workflows.injecting` put an error. Which step of one is wrong is
said by `demo.check`.

Invariant: no problem was ever trained on (all are of the held-out split) or stands in the demo's
run (`DEMO_RUN`) or in a file named with `--exclude`; the problems of `bon.jsonl` are none of
ProcessBench's; the same seed asks for the same samples.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from actors.engines.contract import Engine, EngineSettings, Sampling
from actors.engines.opening import open_engine
from demo import check, world
from demo.families import LEVELS
from demo.problem import Problem
from demo.solutions import Habits, write
from storage.errors import StepmillError
from storage.seeds import request_seed
from workflows.formats import prompts, steps
from workflows.injecting.errors import drawn
from workflows.settings.injecting import KINDS

POLICY = Path(__file__).parent / "models" / "policy"
SUBSETS: Mapping[str, tuple[int, ...]] = {"easy": (1, 2), "medium": (3,), "hard": (4, 5)}
"""Subset -> levels of the world."""
DEMO_RUN = (96, 1)
"""Problems and seed of the run that `make demo` makes from the held-out split."""
SAMPLES = 8
"""Responses per problem; ProcessBench's part takes one of them, best-of-N all."""
REFINED = 2
"""Responses per problem of best-of-N that are refined."""
WRITER = Habits(check=0.06, swap=0.15)
"""Who writes the solutions of `kinds/`: without slips."""
SPARE = 2
"""Drawn beyond these, in place of solutions with an empty step."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One valid solution of the policy, with the truth about it."""

    problem: Problem
    steps: tuple[str, ...]
    first_error: int | None
    correct: bool


async def sampled(
    engine: Engine, problems: Sequence[Problem], count: int, seed: int
) -> list[list[Sampled]]:
    """`count` solutions of each problem at temperature 0.7."""

    async def one(problem: Problem) -> list[Sampled]:
        asked = prompts.policy_chat(problem.text)
        reply = await engine.generate(
            asked,
            Sampling(
                n=count + SPARE,
                temperature=0.7,
                max_tokens=256,
                seed=request_seed(seed, "benchmark", problem.problem_id, 0),
            ),
        )
        found = [truth(problem, asked.prefill + each.text) for each in reply.completions]
        return [each for each in found if each.steps and all(each.steps)][:count]

    return list(await asyncio.gather(*(one(problem) for problem in problems)))


def truth(problem: Problem, text: str) -> Sampled:
    """A solution with what the checker says of it."""
    path = steps.split(text)
    answer = check.boxed(path[-1]) if path else None
    return Sampled(
        problem, path, check.first_error(problem, path), answer == Fraction(problem.answer)
    )


def fresh_problems(
    count: int, seed: int, levels: Sequence[int], taken: set[str]
) -> Iterator[Problem]:
    """`count` held-out problems whose texts are not taken yet; they are from now on."""
    found = 0
    for problem in world.sample(count + len(taken), seed, "heldout", levels):
        if problem.text not in taken:
            taken.add(problem.text)
            yield problem
            found += 1
        if found == count:
            return


def balanced(drawn: Sequence[Sequence[Sampled]], each: int, rng: random.Random) -> list[Sampled]:
    """`each` wrong and `each` right solutions, every one of another problem.

    A problem gives the class that is still the rarer one, if it has it. ValueError where the
    problems don't suffice.
    """
    chosen: dict[bool, list[Sampled]] = {True: [], False: []}
    for samples in drawn:
        kinds = {wrong: [s for s in samples if (s.first_error is not None) == wrong and
                         len(s.steps) > 1] for wrong in (True, False)}  # fmt: skip
        for wrong in sorted(kinds, key=lambda kind: len(chosen[kind])):
            if kinds[wrong] and len(chosen[wrong]) < each:
                chosen[wrong].append(rng.choice(kinds[wrong]))
                break
    if min(map(len, chosen.values())) < each:
        raise ValueError(f"{len(drawn)} problems give no {each} right and {each} wrong solutions")
    return [one for pair in zip(chosen[True], chosen[False], strict=True) for one in pair]


def of_kind(kind: str, count: int, seed: int, taken: set[str]) -> list[Sampled]:
    """`count` solutions, each of another problem, every second one with an error of a kind."""
    found: list[Sampled] = []
    rng = random.Random(f"{seed}/{kind}")
    for problem in fresh_problems(20 * count, seed, LEVELS, taken):
        path = write(problem, WRITER, rng).steps
        if len(found) % 2 == 0:
            errors = drawn(problem.text, path, [kind], rng)
            whole = ((*e.before, e.wrong, *e.behind) for e in errors if e.behind is not None)
            wrong = (one for one in whole if check.boxed(one[-1]) != check.boxed(path[-1]))
            path = next(wrong, ())
        if path:
            found.append(truth(problem, steps.join(path)))
        if len(found) == count:
            return found
    raise ValueError(f"the problems give no {count} solutions with errors of kind {kind}")


def processbench_row(
    subset: str, number: int, one: Sampled, generator: str = "demo-policy"
) -> dict[str, object]:
    """One line of ProcessBench's format (0-based label, -1: no wrong step)."""
    return {
        "id": f"{subset}-{number}",
        "problem_id": one.problem.problem_id,
        "generator": generator,
        "problem": one.problem.text,
        "steps": list(one.steps),
        "final_answer_correct": one.correct,
        "label": -1 if one.first_error is None else one.first_error,
        "subset": subset,
    }


def bon_row(number: int, one: Sampled) -> dict[str, object]:
    """One of several responses to a problem."""
    return {
        "id": f"{one.problem.problem_id}#{number}",
        "problem_id": one.problem.problem_id,
        "generator": "demo-policy",
        "problem": one.problem.text,
        "steps": list(one.steps),
        "final_answer_correct": one.correct,
    }


async def make(
    out: Path,
    policy: Path,
    per_subset: int,
    bon_problems: int,
    seed: int,
    taken: set[str],
    per_kind: int = 0,
) -> dict[str, int]:
    """Write the benchmark; returns rows per file."""
    engine = await open_engine(EngineSettings(model=str(policy), max_in_flight=256))
    files: dict[str, list[dict[str, object]]] = {}
    asked: list[Problem] = []
    try:
        for number, (subset, levels) in enumerate(SUBSETS.items()):
            # The rarer class of a level is in some 60 % of its problems' eight samples.
            problems = list(fresh_problems(2 * per_subset, seed + number, levels, taken))
            drawn = await sampled(engine, problems, SAMPLES, seed)
            chosen = balanced(drawn, per_subset // 2, random.Random(f"{seed}/{subset}"))
            files[f"processbench/{subset}.jsonl"] = [
                processbench_row(subset, at, one) for at, one in enumerate(chosen)
            ]
            asked += [one.problem for one in chosen]
        problems = list(fresh_problems(bon_problems, seed + len(SUBSETS), LEVELS, taken))
        drawn = await sampled(engine, problems, SAMPLES, seed)
        files["bon.jsonl"] = [bon_row(at, one) for each in drawn for at, one in enumerate(each)]
        files["refine.jsonl"] = [
            bon_row(at, one) for each in drawn for at, one in enumerate(each[:REFINED])
        ]
        asked += problems
    finally:
        await engine.close()
    for number, kind in enumerate(KINDS if per_kind else ()):
        cases = of_kind(kind, per_kind, seed + len(SUBSETS) + 1 + number, taken)
        files[f"kinds/{kind}.jsonl"] = [
            processbench_row(kind, at, one, "demo-writer") for at, one in enumerate(cases)
        ]
        asked += [one.problem for one in cases]
    files["problems.jsonl"] = [dict(world.row(problem)) for problem in asked]
    for name, rows in files.items():
        file = out / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.write_text(lines, encoding="utf-8")
    return {name: len(rows) for name, rows in files.items()}


def taken_texts(files: Sequence[Path]) -> set[str]:
    """Texts of the demo's own problems and of those in other files."""
    count, seed = DEMO_RUN
    taken = {problem.text for problem in world.sample(count, seed, "heldout")}
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        taken |= {json.loads(line)["problem"] for line in lines if line.strip()}
    return taken


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the benchmark and say how many rows it has."""
    parser = argparse.ArgumentParser(prog="python -m demo.benchmark", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--policy", type=Path, default=POLICY)
    parser.add_argument("--per-subset", type=int, default=64, help="responses per subset (even)")
    parser.add_argument("--bon-problems", type=int, default=48, help="problems of best-of-N")
    parser.add_argument(
        "--per-kind", type=int, default=0, help="responses per kind of error (even)"
    )
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument(
        "--exclude", type=Path, nargs="*", default=[], help="files of problems to stay away from"
    )
    chosen = parser.parse_args(arguments)
    try:
        rows = asyncio.run(
            make(
                chosen.out,
                chosen.policy,
                chosen.per_subset,
                chosen.bon_problems,
                chosen.seed,
                taken_texts(chosen.exclude),
                chosen.per_kind,
            )
        )
    except (OSError, ValueError, KeyError, StepmillError) as error:
        print(f"demo.benchmark: {error}", file=sys.stderr)
        return 2
    for name, count in rows.items():
        print(f"{chosen.out / name}: {count} rows")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
