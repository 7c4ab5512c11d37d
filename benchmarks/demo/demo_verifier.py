"""Measure the demo's verifier on what the demo's judge writes, and write it into the model card.

    python -m benchmarks.demo_verifier --write

Solutions are the demo policy's own, half of them wrong. Critiques of them are the judge's, which
sees no answer, or written by rule, with other truths in some paragraphs (`demo.judgements.doubts`).
The verifier scores those that report an error, as stage `metaverify` asks it. The score that is due
is the exact checker's (`demo.judgements.reasons`).

Invariant: every figure comes from texts that the engines sampled with the printed seed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.engines.contract import Engine, EngineSettings
from actors.engines.opening import open_engine
from benchmarks.demo_judge_forms import MODELS, Case, cases, first_no, replies, share
from benchmarks.model_card import write_figures
from demo import judgements
from workflows.formats import judge_prompts
from workflows.judging.reasons import read_score
from workflows.judging.seats import Seat

BLIND = Seat("critique", "none")


@dataclass(frozen=True)
class Scored:
    """A critique that reports an error."""

    true: bool
    """Whether the first step that it calls wrong is the first wrong one."""
    due: float
    score: float | None
    """None: it can't be read."""


def by_rule(case: Case, rng: random.Random) -> str:
    """A critique with other truths in some paragraphs; none where the checker can't give one."""
    judged = judgements.judge(case.problem, case.steps)
    if judged is None:
        return ""
    return judge_prompts.OPENED + judgements.critique(judged, judgements.doubts(judged, rng))


async def measure(
    problems: int, samples: int, votes: int, seed: int
) -> Mapping[str, Sequence[Scored]]:
    """Who wrote critiques that report an error -> their scores."""
    policy = await open_engine(EngineSettings(model=str(MODELS / "policy")))
    drawn = [case for case in await cases(policy, problems, samples, seed) for _ in range(votes)]
    await policy.close()
    judge = await open_engine(EngineSettings(model=str(MODELS / "judge")))
    chats = [BLIND.chat(case.row, case.steps) for case in drawn]
    written = await replies(judge, chats, "critique", seed)
    own = [done.text if done.finish_reason == "stop" else "" for done in written]
    await judge.close()
    rng = random.Random(seed)
    texts = {"the judge": own, "a rule": [by_rule(case, rng) for case in drawn]}
    verifier = await open_engine(EngineSettings(model=str(MODELS / "verifier")))
    found = {name: await scored(verifier, drawn, each, seed) for name, each in texts.items()}
    await verifier.close()
    return found


async def scored(
    verifier: Engine, of: Sequence[Case], texts: Sequence[str], seed: int
) -> list[Scored]:
    """Scores of the critiques that report an error."""
    reported: list[tuple[Case, str, float]] = []
    for case, text in zip(of, texts, strict=True):
        judged = judgements.judge(case.problem, case.steps)
        due = None if judged is None else judgements.reasons(judged, text)
        if due is not None:
            reported.append((case, text, due[1]))
    asked = [
        judge_prompts.reasons_chat(case.row.problem, case.steps, text) for case, text, _ in reported
    ]
    scores = [
        read_score(done.text, done.finish_reason)
        for done in await replies(verifier, asked, "score", seed)
    ]
    return [
        Scored(first_no(BLIND.read(text, len(case.steps))) == case.first_error, due, score)
        for (case, text, due), score in zip(reported, scores, strict=True)
    ]


def table(found: Mapping[str, Sequence[Scored]]) -> str:
    """Critiques by score: how many, how many of them name the first wrong step, what was due."""
    lines = ["| critiques by | score | number | first error true | due 0, 0.5, 1 |",
             "|" + " --- |" * 5]  # fmt: skip
    for author, of in found.items():
        kinds = {"any": of} | {
            name: [each for each in of if each.score == score]
            for name, score in (("0", 0.0), ("0.5", 0.5), ("1", 1.0), ("unreadable", None))
        }
        for name, mine in kinds.items():
            due = Counter(each.due for each in mine)
            cells = (author, name, str(len(mine)), share([each.true for each in mine]),
                     ", ".join(str(due[score]) for score in (0.0, 0.5, 1.0)))  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; with ``--write``, put it into the model card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_verifier")
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--votes", type=int, default=4, help="critiques of each solution")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="update demo/MODEL_CARD.md")
    chosen = parser.parse_args(arguments)
    found = asyncio.run(measure(chosen.problems, chosen.samples, chosen.votes, chosen.seed))
    command = f"python -m benchmarks.demo_verifier --problems {chosen.problems} " + (
        f"--samples {chosen.samples} --votes {chosen.votes} --seed {chosen.seed}"
    )
    text = f"Critiques that report an error, by their score, with `{command}`:\n\n{table(found)}"
    print(text)
    if chosen.write:
        write_figures("verifier", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
