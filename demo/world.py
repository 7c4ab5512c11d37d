"""The demo world: problems by id, split into training and held-out, and written as JSON lines.

Invariant: a problem follows from its id alone, and its split from its text alone, so no text is
ever in both splits, whatever ids are asked for.
"""

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from demo.families import FAMILIES, LEVELS, SUBJECTS
from demo.problem import Plan, Problem, Unsuitable
from workflows.formats import steps as solution_steps

Split = Literal["train", "heldout"]

_HELDOUT_SHARE = 5
"""One text in so many is held out."""

_MAX_DRAWS = 2000


def problem(problem_id: str) -> Problem:
    """The problem of an id such as "chain/3/000123"; ValueError for any other string."""
    family, level, index = _parse(problem_id)
    rng = random.Random(f"stepmill demo world/{family}/{level}/{index}")
    for _ in range(_MAX_DRAWS):
        plan = Plan()
        try:
            text, answer_nodes = FAMILIES[family](rng, level, plan)
        except Unsuitable:
            continue
        return Problem(
            problem_id, family, level, text, tuple(plan.nodes), tuple(plan.values), answer_nodes
        )
    raise AssertionError(f"{problem_id}: no suitable numbers in {_MAX_DRAWS} draws")


def _parse(problem_id: str) -> tuple[str, int, int]:
    parts = problem_id.split("/")
    if (
        len(parts) != 3
        or parts[0] not in FAMILIES
        or parts[1] not in {str(level) for level in LEVELS}
        or not parts[2].isdecimal()
        or f"{int(parts[2]):06d}" != parts[2]
    ):
        raise ValueError(f"not a problem of the demo world: {problem_id!r}")
    return parts[0], int(parts[1]), int(parts[2])


def split_of(text: str) -> Split:
    """Which split a problem text belongs to."""
    digest = hashlib.sha256(text.encode()).digest()
    return "heldout" if digest[0] % _HELDOUT_SHARE == 0 else "train"


def sample(
    count: int,
    seed: int,
    split: Split,
    levels: Sequence[int] = LEVELS,
    families: Sequence[str] = tuple(FAMILIES),
) -> Iterator[Problem]:
    """Different problems of a split, families and levels in turn."""
    rng = random.Random(f"stepmill demo sample/{seed}/{split}")
    kinds = [(family, level) for level in levels for family in families]
    seen: set[str] = set()
    fresh = 0
    while fresh < count:
        rng.shuffle(kinds)
        before = fresh
        for family, level in kinds:
            if fresh == count:
                return
            for _ in range(50):
                found = problem(f"{family}/{level}/{rng.randrange(10**6):06d}")
                if found.text not in seen and split_of(found.text) == split:
                    seen.add(found.text)
                    fresh += 1
                    yield found
                    break
        if fresh == before:
            raise ValueError(f"the world holds no {count} different problems of this kind")


def row(found: Problem) -> dict[str, str | int]:
    """The problem as one line of a problem file."""
    return {
        "problem_id": found.problem_id,
        "problem": found.text,
        "answer": found.answer,
        "level": found.level,
        "subject": SUBJECTS[found.family],
        "source": f"stepmill-demo/{found.family}",
        "reference_solution": solution_steps.join(found.reference_solution),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m demo.world --out FILE --problems N``."""
    parser = argparse.ArgumentParser(prog="python -m demo.world", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file to write")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--difficulty", type=int, nargs="+", choices=LEVELS, default=list(LEVELS), metavar="1..5"
    )
    parser.add_argument("--family", nargs="+", choices=sorted(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--split", choices=("train", "heldout"), default="heldout")
    chosen = parser.parse_args(arguments)
    try:
        found = list(
            sample(chosen.problems, chosen.seed, chosen.split, chosen.difficulty, chosen.family)
        )
    except ValueError as error:
        print(f"demo.world: {error}", file=sys.stderr)
        return 2
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row(each), ensure_ascii=False) + "\n" for each in found)
    chosen.out.write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
