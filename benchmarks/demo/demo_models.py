"""Measure the demo models on held-out problems with vLLM, and write their model card.

    python -m benchmarks.demo_models --write

Invariant: every figure comes from texts that vLLM sampled for held-out problems with the printed
seed, judged by the exact checker. Missed aims are listed beside the ones that were met. Code of the
rationale writer runs in one child process per solution, see ``demo_judge``.
"""

import argparse
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

from actors.engines.contract import Chat
from benchmarks.demo_judge import Verdict, parses, rationalize
from benchmarks.model_card import CARD
from demo import check, world
from demo.problem import Problem
from workflows.formats import prompts, steps

MODELS = Path(__file__).parents[2] / "demo" / "models"


class Model:
    """A model folder in vLLM: chats in, replies out."""

    def __init__(self, folder: Path) -> None:
        from vllm import LLM

        self._engine: Any = LLM(
            model=str(folder),
            dtype="float32",
            max_model_len=2048,
            max_num_seqs=256,
            # A seeded request whose prompt is split over two steps kills the engine on the CPU.
            enable_chunked_prefill=False,
            max_num_batched_tokens=8192,
            enforce_eager=True,
            disable_log_stats=True,
        )
        self._tokenizer = self._engine.get_tokenizer()

    def render(self, chat: Chat) -> str:
        """The prompt as text, the beginning of the answer included."""
        opened = self._tokenizer.apply_chat_template(
            chat.turns(), tokenize=False, add_generation_prompt=True
        )
        return str(opened) + chat.prefill

    def write(
        self, texts: Sequence[str], seed: int, count: int = 1, **sampling: Any
    ) -> list[list[tuple[str, str, str]]]:
        """``count`` continuations of each text: reply, finish reason, stop string."""
        from vllm import SamplingParams

        settings = [
            SamplingParams(n=count, seed=seed * 1_000_003 + index, **sampling)
            for index in range(len(texts))
        ]
        written = self._engine.generate(list(texts), settings, use_tqdm=False)
        return [
            [
                (done.text, str(done.finish_reason), str(done.stop_reason or ""))
                for done in each.outputs
            ]
            for each in written
        ]


@dataclass(frozen=True)
class Sampled:
    """One sampled solution and how it ended."""

    problem: Problem
    steps: tuple[str, ...]
    correct: bool
    valid: bool


def solve(model: Model, problems: Sequence[Problem], count: int, seed: int) -> list[Sampled]:
    """``count`` solutions per problem at temperature 0.7."""
    chats = [prompts.policy_chat(problem.text) for problem in problems]
    texts = [model.render(chat) for chat in chats]
    written = model.write(texts, seed, count, temperature=0.7, max_tokens=256)
    solutions = []
    for problem, replies in zip(problems, written, strict=True):
        for reply, reason, _ in replies:
            path = steps.split(steps.header(1) + reply)
            answer = check.boxed(path[-1]) if path else None
            valid = reason == "stop" and len(path) > 1 and answer is not None
            correct = valid and answer == Fraction(problem.answer)
            solutions.append(Sampled(problem, path, correct, valid))
    return solutions


def share(values: Iterable[bool]) -> float:
    """The share of true values; 0 of none."""
    counted = list(values)
    return sum(counted) / len(counted) if counted else 0.0


def outcomes(found: Sequence[Sampled]) -> pl.DataFrame:
    """One row a path: problem, level, family, valid, correct."""
    return pl.DataFrame(
        [
            {
                "problem": each.problem.problem_id, "level": each.problem.level,
                "family": each.problem.family, "valid": each.valid, "correct": each.correct,
            }
            for each in found
        ]
    )  # fmt: skip


def by(found: Sequence[Sampled], key: str) -> str:
    """Pass@1 by a property of the problem."""
    groups = outcomes(found).group_by(key).agg(pl.col("correct").mean()).sort(key)
    return ", ".join(f"{name} {value:.2f}" for name, value in groups.iter_rows())


def both_outcomes(found: Sequence[Sampled]) -> float:
    """Share of problems with a right and a wrong valid path among their samples."""
    kinds = pl.col("correct").filter("valid").n_unique()
    return float(outcomes(found).group_by("problem").agg(kinds == 2)["correct"].mean())


def monte_carlo(
    model: Model, found: Sequence[Sampled], count: int, seed: int
) -> tuple[list[float], list[float]]:
    """The completer's success from before, and from after, the true first error of each path."""
    texts, problems = [], []
    for each in found:
        error = check.first_error(each.problem, each.steps) or 0
        for given in (error, error + 1):
            chat = prompts.completion_chat(each.problem.text, each.steps[:given])
            texts.append(model.render(chat))
            problems.append(each.problem)
    written = model.write(texts, seed, count, temperature=0.7, max_tokens=256)
    means = []
    for problem, replies in zip(problems, written, strict=True):
        answers = [check.boxed(reply) for reply, _, _ in replies]
        means.append(share(answer == Fraction(problem.answer) for answer in answers))
    return means[0::2], means[1::2]


def judged(found: Sequence[Sampled], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Shares of the rationale writer's aims."""
    truths = [check.first_error(each.problem, each.steps) for each in found]
    hits = [
        verdict.index == (-1 if truth is None else truth + 1)
        for verdict, truth in zip(verdicts, truths, strict=True)
    ]
    return {
        "parses": share(parses(v, len(e.steps)) for v, e in zip(verdicts, found, strict=True)),
        "code runs": share(ran for verdict in verdicts for ran in verdict.runs),
        "index equal to truth": share(hits),
        "index, wrong solutions": share(
            hit for hit, truth in zip(hits, truths, strict=True) if truth is not None
        ),
        "index, right solutions": share(
            hit for hit, truth in zip(hits, truths, strict=True) if truth is None
        ),
    }


def balanced(found: Sequence[Sampled], count: int, seed: int) -> list[Sampled]:
    """Different paths of as many right as wrong solutions, one of each kind per problem."""
    rng = random.Random(seed)
    kinds: dict[tuple[str, bool], list[Sampled]] = defaultdict(list)
    for each in found:
        if each.valid:
            truth = check.first_error(each.problem, each.steps) is None
            kinds[each.problem.problem_id, truth].append(each)
    chosen: list[Sampled] = []
    for truth in (True, False):
        group = [rng.choice(paths) for (_, right), paths in kinds.items() if right == truth]
        chosen += rng.sample(group, min(count // 2, len(group)))
    return chosen


def measure(models: Path, problems: int, samples: int, seed: int) -> list[tuple[str, str, bool]]:
    """All figures as rows of measure, value, and whether its aim was reached."""
    held = list(world.sample(problems, seed, "heldout"))
    rows: list[tuple[str, str, bool]] = []

    def put(name: str, value: str, reached: bool = True) -> None:
        rows.append((name, value, reached))
        print(f"{name}: {value}{'' if reached else '  (aim missed)'}", flush=True)

    policy = solve(Model(models / "policy"), held, samples, seed)
    pass_1 = share(each.correct for each in policy)
    put("policy Pass@1 (aim 0.35 to 0.75)", f"{pass_1:.3f}", 0.35 <= pass_1 <= 0.75)
    put("policy Pass@1 by level", by(policy, "level"))
    put("policy Pass@1 by family", by(policy, "family"))
    both = both_outcomes(policy)
    name = f"problems with right and wrong paths in {samples} samples (aim 0.80)"
    put(name, f"{both:.3f}", both >= 0.8)
    invalid = share(not each.valid for each in policy)
    put("policy paths that are invalid (aim under 0.05)", f"{invalid:.3f}", invalid < 0.05)
    completer = Model(models / "completer")
    completed = solve(completer, held, 8, seed + 1)
    better = share(each.correct for each in completed)
    put("completer Pass@1 (aim policy + 0.1)", f"{better:.3f}", better >= pass_1 + 0.1)
    put("completer Pass@1 by level", by(completed, "level"))
    put("completer Pass@1 by family", by(completed, "family"))
    paths = balanced(policy, problems, seed)
    wrong = [each for each in paths if check.first_error(each.problem, each.steps) is not None]
    before, after = monte_carlo(completer, wrong, 32, seed + 2)
    put("MC before the true first error, mean", f"{sum(before) / max(1, len(before)):.3f}")
    put("MC after the true first error, mean", f"{sum(after) / max(1, len(after)):.3f}")
    put("MC after it exactly 0", f"{share(value == 0 for value in after):.3f}")
    fallen = share(b > 0 and a / b < 0.8 for a, b in zip(after, before, strict=True))
    put("ratio of MC below 0.8 there", f"{fallen:.3f}")
    writer = Model(models / "rationale")
    aims = {"parses": 0.95, "code runs": 0.9, "index equal to truth": 0.8}
    chats = [prompts.rationale_chat(each.problem.text, each.steps) for each in paths]
    executed = judged(paths, rationalize(writer, chats, seed + 3, execute=True))
    for name, value in executed.items():
        aim = aims.get(name, 0.0)
        put(f"rationale: {name}" + (f" (aim {aim})" if aim else ""), f"{value:.3f}", value >= aim)
    imagined = judged(paths, rationalize(writer, chats, seed + 4, execute=False))
    for name in ("parses", *list(executed)[2:]):
        put(f"rationale without execution: {name}", f"{imagined[name]:.3f}")
    return rows


def card(rows: Sequence[tuple[str, str, bool]], command: str, problems: int) -> str:
    """The measured part of the model card."""
    table = "\n".join(f"| {name} | {value} |" for name, value, _ in rows)
    missed = [name for name, _, reached in rows if not reached]
    reached = "All aims were reached." if not missed else "Not reached: " + "; ".join(missed) + "."
    return (
        f"Measured on {problems} held-out problems (ten families, five levels) with\n"
        f"`{command}`:\n\n| measure | value |\n|---|---|\n{table}\n\n{reached}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; with ``--write``, put them into the model card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_models")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="update demo/MODEL_CARD.md")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    rows = measure(chosen.models, chosen.problems, chosen.samples, chosen.seed)
    command = (
        f"python -m benchmarks.demo_models --problems {chosen.problems} "
        f"--samples {chosen.samples} --seed {chosen.seed}"
    )
    text = card(rows, command, chosen.problems)
    if chosen.write:
        marker = "<!-- measured by benchmarks/demo/demo_models.py -->\n"
        head = CARD.read_text(encoding="utf-8").split(marker)[0]
        CARD.write_text(head + marker + "\n" + text, encoding="utf-8")
    print("\n" + text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
