"""What a critique is worth to the demo's refiner: accuracy per turn with it, another one, and none.

    python -m benchmarks.refiner --write

The policy solves held-out problems. Each turn, every solution with a wrong step is asked about
again in the paper's conversation (`workflows.formats.refinement`); whoever asks knows the truth.

  true      the critique of its first wrong step, in the words of the verifier's analysis
  other     the critique of another wrong solution, of the same problem where there is one
  none      the request alone, without paragraph and critique
  policy    the true critique, shown to the policy, which never learnt to read one
  prefix    the policy goes on from the steps before the wrong one (`form: prefix`)

Invariant: the same solutions stand before the first turn of every way. Every text is sampled by
vLLM with the printed seed and judged by the exact checker. A new solution that can't be read
leaves the old one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from actors.engines.contract import Chat, Engine, EngineSettings, Sampling
from actors.engines.opening import open_engine
from benchmarks.model_card import write_figures
from demo import check, refinements, world
from demo.problem import Problem
from storage.errors import ItemError
from storage.rows.records import Critique
from storage.seeds import request_seed
from workflows.formats import prompts, steps
from workflows.formats.refinement import RefineSettings, refine_chat, refined_steps
from workflows.settings import sampling_of

MODELS = Path(__file__).parents[2] / "demo" / "models"
WAYS = {"true": "refiner", "other": "refiner", "none": "refiner", "policy": "policy",
        "prefix": "policy"}  # fmt: skip
"""Way of asking -> the model that is asked."""
MOST_TOKENS = 256


@dataclass(frozen=True)
class Case:
    """A solution as it stands."""

    name: str
    problem: Problem
    steps: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether its answer is."""
        answer = check.boxed(self.steps[-1])
        return answer is not None and answer == Fraction(self.problem.answer)


@dataclass(frozen=True)
class Turn:
    """What stands after a turn; turn 0 is before the first one."""

    way: str
    turn: int
    accuracy: float
    spread: float
    """Standard deviation of a share of so many problems, each with all its solutions."""
    asked: int
    mended: float | None
    """Of the solutions that were asked about in this turn, the share whose first wrong step was
    right and in its place afterwards."""
    kept: float | None
    """The share that came back unchanged."""


async def solved(engine: Engine, problems: int, samples: int, seed: int) -> list[Case]:
    """The policy's solutions that have steps and an end."""

    async def of(problem: Problem) -> list[Case]:
        chat = prompts.policy_chat(problem.text)
        wanted = Sampling(
            n=samples, temperature=0.7, max_tokens=MOST_TOKENS,
            seed=request_seed(seed, "solve", problem.problem_id, 0),
        )  # fmt: skip
        reply = await engine.generate(chat, wanted)
        return [
            Case(
                f"{problem.problem_id}#{number}",
                problem,
                tuple(steps.split(done.after(chat.prefill))),
            )
            for number, done in enumerate(reply.completions)
            if done.finish_reason == "stop"
        ]

    drawn = await asyncio.gather(*(of(each) for each in world.sample(problems, seed, "heldout")))
    return [case for cases in drawn for case in cases]


def others(told: Sequence[Critique], rng: random.Random) -> dict[str, Critique]:
    """Solution -> the critique of another one that quotes none of its paragraphs."""
    found = {}
    for own in told:
        near = [each for each in told if each.problem_id == own.problem_id]
        for pool in (near, rng.sample(list(told), min(len(told), 20))):
            fitting = [each for each in pool if not refinements.applies(own, each)]
            if fitting:
                found[own.response_id] = rng.choice(fitting)
                break
    return found


def asked(way: str, own: Critique, other: Critique | None) -> Chat | None:
    """What a way asks about a solution; None where nothing can be shown."""
    if way == "prefix":
        return refine_chat(own, RefineSettings(form="prefix"))
    if way == "other":
        return None if other is None else refinements.chat(own, other)
    return refinements.chat(own, None if way == "none" else own)


async def turned(
    engine: Engine, way: str, standing: Sequence[Case], turn: int, seed: int
) -> tuple[list[Case], list[tuple[Critique, tuple[str, ...]]]]:
    """The solutions after a turn, and (critique, new steps) of those that were asked about."""
    told = {
        case.name: replace(found, response_id=case.name)
        for case in standing
        if (found := refinements.critique(case.problem, case.steps)) is not None
    }
    shown = others(list(told.values()), random.Random(f"{seed} {turn}"))
    settings = sampling_of(replace(RefineSettings(), max_tokens=MOST_TOKENS))

    async def new(own: Critique) -> tuple[str, ...] | None:
        chat = asked(way, own, shown.get(own.response_id))
        if chat is None:
            return None
        drawn = request_seed(seed, f"refine {way}", own.response_id, turn)
        reply = await engine.generate(chat, replace(settings, n=1, seed=drawn))
        written = reply.completions[0]
        try:
            read = tuple(refined_steps(written.after(chat.prefill)))
        except ItemError:
            return None
        return read if read and written.finish_reason == "stop" else None

    answers = dict(zip(told, await asyncio.gather(*map(new, told.values())), strict=True))
    after = [replace(case, steps=answers.get(case.name) or case.steps) for case in standing]
    changed = [(told[name], written or ()) for name, written in answers.items()]
    return after, changed


def figures(
    way: str,
    turn: int,
    standing: Sequence[Case],
    changed: Sequence[tuple[Critique, tuple[str, ...]]],
) -> Turn:
    """What a turn came to."""
    of: dict[str, list[bool]] = {}
    for case in standing:
        of.setdefault(case.problem.problem_id, []).append(case.right)
    shares = [sum(rights) / len(rights) for rights in of.values()]
    accuracy = sum(case.right for case in standing) / len(standing)
    mean = sum(shares) / len(shares)
    spread = math.sqrt(sum((each - mean) ** 2 for each in shares) / (len(shares) - 1) / len(shares))
    problems = {case.name: case.problem for case in standing}

    def mended(own: Critique, new: tuple[str, ...]) -> bool:
        wrong = check.first_error(problems[own.response_id], new) if new else 0
        return bool(new) and (wrong is None or wrong > own.step)

    count = len(changed)
    return Turn(
        way, turn, accuracy, spread, count,
        sum(mended(*each) for each in changed) / count if count else None,
        sum(list(new) == own.steps for own, new in changed) / count if count else None,
    )  # fmt: skip


async def measure(problems: int, samples: int, turns: int, seed: int) -> list[Turn]:
    """Every way, turn after turn."""
    rows: list[Turn] = []
    begun: list[Case] = []
    for model in ("policy", "refiner"):
        settings = EngineSettings(model=str(MODELS / model), max_in_flight=256, dtype="float32")
        engine = await open_engine(settings, heal=True)
        try:
            begun = begun or await solved(engine, problems, samples, seed)
            for way in (way for way, asks in WAYS.items() if asks == model):
                standing = begun
                rows.append(figures(way, 0, standing, ()))
                for turn in range(1, turns + 1):
                    standing, changed = await turned(engine, way, standing, turn, seed)
                    rows.append(figures(way, turn, standing, changed))
                    print(rows[-1], flush=True)
        finally:
            await engine.close()
    return sorted(rows, key=lambda row: (list(WAYS).index(row.way), row.turn))


def table(rows: Sequence[Turn]) -> str:
    """Markdown: a line a way."""
    turns = max(row.turn for row in rows)
    head = ["shown", *(f"turn {turn}" for turn in range(turns + 1)), "mended", "unchanged"]
    lines = [head, ["---"] * len(head)]
    for way in WAYS:
        of = [row for row in rows if row.way == way]
        first = of[1]
        lines.append(
            [
                way, *(f"{row.accuracy:.3f} ± {row.spread:.3f}" for row in of),
                f"{first.mended or 0:.3f}", f"{first.kept or 0:.3f}",
            ]
        )  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; with ``--write``, put it into the model card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refiner")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also as JSON")
    parser.add_argument("--write", action="store_true", help="update demo/MODEL_CARD.md")
    chosen = parser.parse_args(arguments)
    rows = asyncio.run(measure(chosen.problems, chosen.samples, chosen.turns, chosen.seed))
    command = (
        f"python -m benchmarks.refiner --problems {chosen.problems} --samples {chosen.samples} "
        f"--turns {chosen.turns} --seed {chosen.seed}"
    )
    shown = (
        f"Share of right answers after each turn with `{command}`; of the solutions asked about in "
        f"turn 1 ({max(row.asked for row in rows if row.turn == 1)}), the shares whose wrong step "
        f"was mended and that came back unchanged:\n\n{table(rows)}\n"
    )
    print(shown)
    if chosen.out:
        chosen.out.write_text(json.dumps([row.__dict__ for row in rows], indent=1) + "\n")
    if chosen.write:
        write_figures("refiner", shown)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
