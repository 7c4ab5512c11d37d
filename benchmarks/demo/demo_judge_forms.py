"""Measure the demo's judge in every form on held-out problems, and write it into the model card.

    python -m benchmarks.demo_judge_forms --write

Invariant: the solutions are the demo policy's own, half of them wrong. Every figure comes from
texts that the engine sampled with the printed seed. They are read as stage `judge` reads them and
judged by the exact checker.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actors.engines.contract import Chat, Completion, Engine, EngineSettings, Sampling
from actors.engines.opening import open_engine
from benchmarks.model_card import write_figures
from demo import check, world
from demo.problem import Problem
from storage.rows import records
from storage.seeds import request_seed
from workflows.formats import steps
from workflows.formats.solving import policy_chat
from workflows.judging.seats import Opinion, Seat, repair_chat

MODELS = Path(__file__).parents[2] / "demo" / "models"
SEATS = (
    Seat("critique", "none"),
    Seat("critique", "answer"),
    Seat("critique", "reference_solution"),
    Seat("resolve", "none"),
    Seat("resolve", "reference_solution"),
    Seat("align", "reference_solution"),
)


@dataclass(frozen=True)
class Case:
    """A sampled solution of a held-out problem, and its true first error."""

    problem: Problem
    row: records.Problem
    steps: tuple[str, ...]
    first_error: int | None


async def cases(engine: Engine, problems: int, samples: int, seed: int) -> list[Case]:
    """One right and one wrong solution of each problem where the policy wrote both."""
    rng = random.Random(seed)

    async def of(problem: Problem) -> list[Case]:
        known = world.row(problem)
        row = records.Problem(
            problem.problem_id, problem.text, problem.answer,
            reference_solution=str(known["reference_solution"]),
        )  # fmt: skip
        chat = policy_chat("Please reason step by step, and put your final answer within "
                           "\\boxed{}.", row)  # fmt: skip
        sampling = Sampling(n=samples, temperature=0.7, max_tokens=256, seed=rng.randrange(2**31))
        reply = await engine.generate(chat, sampling)
        ended = [done.text for done in reply.completions if done.finish_reason == "stop"]
        paths = [steps.split(chat.prefill + text) for text in ended]
        candidates = [Case(problem, row, path, check.first_error(problem, path)) for path in paths]
        right = [case for case in candidates if case.first_error is None]
        kinds = (right, [case for case in candidates if case.first_error is not None])
        return [rng.choice(kind) for kind in kinds] if all(kinds) else []

    held = list(world.sample(problems, seed, "heldout"))
    parts = await asyncio.gather(*(of(problem) for problem in held))
    return [case for part in parts for case in part]


def first_no(opinion: Opinion) -> int | str | None:
    """The first step that is called wrong; None: none is; "?": a verdict is missing."""
    if None in opinion.verdicts:
        return "?"
    return opinion.verdicts.index(False) if False in opinion.verdicts else None


def share(values: Sequence[bool]) -> str:
    """A share with three digits."""
    return f"{sum(values) / len(values):.3f}" if values else "-"


def figures(of: Sequence[Case], opinions: Sequence[Opinion]) -> list[str]:
    """Shares: readable, first error true, the same of wrong and of right solutions."""
    named = [first_no(opinion) for opinion in opinions]
    hits = [index == case.first_error for index, case in zip(named, of, strict=True)]
    wrong = [hit for hit, case in zip(hits, of, strict=True) if case.first_error is not None]
    right = [hit for hit, case in zip(hits, of, strict=True) if case.first_error is None]
    return [
        share([index != "?" for index in named]),
        share(hits),
        share(wrong),
        share(right),
    ]


async def replies(engine: Engine, chats: Sequence[Chat], name: str, seed: int) -> list[Completion]:
    """A reply to each chat, its prefill before it; `name` tells the seeds of requests apart."""

    async def one(number: int, chat: Chat) -> Completion:
        sampling = Sampling(
            temperature=0.6, top_p=0.95, max_tokens=700,
            seed=request_seed(seed, name, str(number), 0),
        )  # fmt: skip
        done = (await engine.generate(chat, sampling)).completions[0]
        return replace(done, text=chat.prefill + done.text)

    return list(await asyncio.gather(*(one(n, chat) for n, chat in enumerate(chats))))


async def measure(problems: int, samples: int, seed: int) -> list[list[str]]:
    """A row per form."""
    policy = await open_engine(EngineSettings(model=str(MODELS / "policy")))
    drawn = await cases(policy, problems, samples, seed)
    await policy.close()
    judge = await open_engine(EngineSettings(model=str(MODELS / "judge")))
    rows = []

    async def texts(chats: Sequence[Chat], name: str) -> list[str]:
        return [done.text for done in await replies(judge, chats, name, seed)]

    for seat in SEATS:
        chats = [seat.chat(case.row, case.steps) for case in drawn]
        written = await texts(chats, f"{seat.prompt}/{seat.sees}")
        opinions = [
            seat.read(text, len(case.steps)) for text, case in zip(written, drawn, strict=True)
        ]
        rows.append([f"{seat.prompt}, sees {seat.sees}", *figures(drawn, opinions)])
        print(rows[-1], flush=True)
        if seat == SEATS[0]:
            first = written
    seat = SEATS[0]
    pairs = list(zip(drawn, first, strict=True))
    critiques = await texts(
        [seat.critique_chat(case.row, case.steps, text) for case, text in pairs], "meta"
    )
    merged = await texts(
        [
            seat.merge_chat(case.row, case.steps, text, critique)
            for (case, text), critique in zip(pairs, critiques, strict=True)
        ],
        "merge",
    )
    opinions = [seat.read(text, len(case.steps)) for text, case in zip(merged, drawn, strict=True)]
    rows.append(["critique after its meta-critique", *figures(drawn, opinions)])
    print(rows[-1], flush=True)
    wrong = [case for case in drawn if case.first_error is not None]
    requests = [
        repair_chat("reference_solution", case.row, case.steps[: case.first_error],
                    case.steps[case.first_error or 0])
        for case in wrong
    ]  # fmt: skip
    repaired = [
        check.first_error(case.problem, (*case.steps[: case.first_error], text.strip())) is None
        for case, text in zip(wrong, await texts(requests, "repair"), strict=True)
    ]
    rows.append(["repair, sees reference_solution: step right", "-", share(repaired), "-", "-"])
    print(rows[-1], flush=True)
    await judge.close()
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; with ``--write``, put it into the model card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_judge_forms")
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="update demo/MODEL_CARD.md")
    chosen = parser.parse_args(arguments)
    rows = asyncio.run(measure(chosen.problems, chosen.samples, chosen.seed))
    head = ["form", "readable", "first error true", "of wrong", "of right"]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    command = f"python -m benchmarks.demo_judge_forms --problems {chosen.problems} " + (
        f"--samples {chosen.samples} --seed {chosen.seed}"
    )
    table = f"Measured on the policy's solutions with `{command}`:\n\n" + "\n".join(lines) + "\n"
    print(table)
    if chosen.write:
        write_figures("judge", table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
