"""How many distinct pairs of answers are graded per second, nothing cached.

The mixes are the answers of MATH (or of any JSON lines file with "answer") against each other, the
same against themselves in another spelling, constants in different forms, and identities of
functions. Only the last need algebra in a worker process.

    python -m benchmarks.grading --data FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from workflows.answers.grading import grader
from workflows.settings import AnswerSettings

Pair = tuple[str, str]


def answers_of(path: Path) -> list[str]:
    """Distinct non-empty answers of a file of problems."""
    with path.open(encoding="utf-8") as lines:
        return [a for a in dict.fromkeys(json.loads(line)["answer"] for line in lines) if a.strip()]


def unequal_pairs(answers: Sequence[str], count: int, rng: random.Random) -> list[Pair]:
    """Distinct pairs of different answers."""
    pairs: dict[Pair, None] = {}
    while len(pairs) < count:
        reference, answer = rng.choice(answers), rng.choice(answers)
        if reference != answer:
            pairs[reference, answer] = None
    return list(pairs)


def respelled_pairs(answers: Sequence[str]) -> list[Pair]:
    """Every answer against itself in another spelling: equal, and never the same text."""
    return [
        (answer, re.sub(r"\\[dt]?frac", r"\\cfrac", f"\\left( {answer} \\right)"))
        for answer in answers
    ]


def surd_pairs(count: int, rng: random.Random) -> list[Pair]:
    """Equal constants of different forms: a sqrt(b) against sqrt(a^2 b)."""
    chosen = rng.sample([(a, b) for a in range(2, 60) for b in (2, 3, 5, 6, 7, 10, 11, 13)], count)
    return [(f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * a * b}}}") for a, b in chosen]


def identity_pairs(count: int) -> list[Pair]:
    """Equal functions, which nothing but algebra can show to be equal."""
    return [(f"{a}\\sin x\\cos x", f"\\frac{{{a}}}{{2}}\\sin(2x)") for a in range(3, 3 + count)]


async def measure(pairs: Sequence[Pair], workers: int) -> dict[str, float]:
    """Grade all pairs with a warm, empty-cached grader."""
    pool = grader(AnswerSettings(), workers)
    try:
        await asyncio.gather(
            *(pool.grade("\\cos x", [f"\\sin({k}\\pi + x)"]) for k in range(2 * workers))
        )
        before = asdict(pool.counts)
        wall, cpu = time.perf_counter(), time.process_time()
        verdicts = [
            verdict
            for start in range(0, len(pairs), 512)
            for verdict in await asyncio.gather(
                *(
                    pool.grade(reference, [answer])
                    for reference, answer in pairs[start : start + 512]
                )
            )
        ]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        spent = {name: value - before[name] for name, value in asdict(pool.counts).items()}
    finally:
        await pool.close()
    return {
        "pairs": len(pairs),
        "equal": sum(verdict for (verdict,) in verdicts),
        "pairs_per_s": round(len(pairs) / wall, 1),
        "caller_cpu_us_per_pair": round(1e6 * cpu / len(pairs), 1),
        **spent,
    }


def main() -> None:
    """Measure and print, as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/math_problems.jsonl"))
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    answers = answers_of(chosen.data)
    mixes = {
        "answers against answers": unequal_pairs(answers, chosen.pairs, rng),
        "another spelling": respelled_pairs(answers),
        "surds": surd_pairs(400, rng),
        "identities": identity_pairs(200),
    }
    rates = {name: asyncio.run(measure(pairs, chosen.workers)) for name, pairs in mixes.items()}
    if chosen.json:
        print(json.dumps({"seed": chosen.seed, "cores": os.cpu_count(), "mixes": rates}))
        return
    print(f"{'mix':26}{'pairs':>8}{'equal':>8}{'by algebra':>12}{'pairs/s':>10}{'caller us':>11}")
    for name, row in rates.items():
        print(
            f"{name:26}{row['pairs']:>8,}{row['equal']:>8,}{row['compared']:>12,}"
            f"{row['pairs_per_s']:>10,.0f}{row['caller_cpu_us_per_pair']:>11,.0f}"
        )


if __name__ == "__main__":
    main()
