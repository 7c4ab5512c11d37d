"""What rollouts that are cut should count as, on the demo world with tight limits.

The solutions, banks and chain are those of `benchmarks.equal_cost`. Under a limit a rollout keeps
its first tokens. Each reading (`estimate.cut`) labels all solutions with the paper's K. `error` is
the share of labels that are not those of all 512 rollouts without a limit; F1 and first errors are
against the world's exact checker. What a reading drops is no part of its labels, so the same
figures stand beside it for the solutions that every reading labels.

    python -m benchmarks.cut_rollouts [--problems 20] [--seeds 5]
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path as File
from statistics import mean
from typing import Any

import torch
from tokenizers import Tokenizer

from actors.engines.contract import Chat, Completion, Reply, Sampling
from benchmarks.equal_cost import MODELS, Table, laboratory, options
from benchmarks.label_methods import EXACT, RATIO, Method
from benchmarks.labels import MOST_TOKENS
from benchmarks.rollout_bank import BankEngine
from storage.rows.records import PathLabels
from workflows.labels.scores import Scores

CUTS = ("wrong", "last_number", "censored")
WORDS = Tokenizer.from_file(str(MODELS / "completer" / "tokenizer.json"))


@cache
def first_tokens(text: str, limit: int) -> str:
    """The beginning of a text; the bank's come again and again."""
    decoded: str = WORDS.decode(WORDS.encode(text).ids[:limit], skip_special_tokens=False)
    return decoded


class CutEngine(BankEngine):
    """Hands out the first tokens of the bank's rollouts."""

    limit = MOST_TOKENS

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """As the bank says, cut at `limit`."""
        whole = await super().generate(chat, sampling)
        return Reply(tuple(map(self._cut, whole.completions)), whole.prompt_tokens)

    def _cut(self, done: Completion) -> Completion:
        if done.tokens <= self.limit:
            return done
        text = first_tokens(done.text, self.limit)
        return replace(done, text=text, tokens=self.limit, finish_reason="length")


def scored(
    table: Table, method: Method, labels: Mapping[str, PathLabels], of: set[str]
) -> tuple[Scores, Scores]:
    """(against all rollouts, against the checker) of the solutions `of`."""
    rule, checker = Scores(), Scores()
    for path in table.lab.selected:
        if path.path_id in of:
            rule.add_labels(labels[path.path_id].labels, table.true_labels(method, path))
            checker.add(labels[path.path_id].labels, table.lab.truth[path.path_id])
    return rule, checker


async def at_limit(table: Table, engine: CutEngine, limit: int, seeds: int) -> list[str]:
    """A line per reading."""
    engine.limit = limit
    found: dict[str, list[tuple[Any, ...]]] = {cut: [] for cut in CUTS}
    for seed in range(seeds):
        labels, cut_share, drops = {}, {}, {}
        for cut in CUTS:
            method = Method(cut, "ratio", replace(EXACT, cut=cut), RATIO)  # type: ignore[arg-type]
            labels[cut], counts, drops[cut] = await table.labels(method, seed, None)
            cut_share[cut] = counts["truncated"] / counts["rollouts"]
        everywhere = set.intersection(*(set(each) for each in labels.values()))
        for cut in CUTS:
            method = Method(cut, "ratio", EXACT, RATIO)
            own = scored(table, method, labels[cut], set(labels[cut]))
            same = scored(table, method, labels[cut], everywhere)
            found[cut].append((
                cut_share[cut], len(labels[cut]) / len(table.lab.selected),
                drops[cut]["all_cut"] / len(table.lab.selected),
                *(figure for rule, checker in (own, same)
                  for figure in (rule.error, checker.f1, checker.first_accuracy)),
            ))  # fmt: skip
    return [line(limit, cut, rows) for cut, rows in found.items()]


def line(limit: int, cut: str, rows: Sequence[tuple[float, ...]]) -> str:
    """Means of the seeds, and half their range."""
    cells = [f"{100 * mean(each):.1f} ± {50 * (max(each) - min(each)):.1f}"
             for each in zip(*rows, strict=True)]  # fmt: skip
    return f"| {limit} | {cut} | " + " | ".join(cells) + " |"


async def measured(folder: File, problems: int, pilot: int, seeds: int, limits: list[int]) -> None:
    """Print the table."""
    lab, judge = await laboratory(folder, problems, pilot)
    table = Table(lab, judge)
    engine = CutEngine(lab.bank, MOST_TOKENS)
    table.use(engine)
    print(f"{len(lab.selected)} solutions, {seeds} seeds, percent\n\n| limit | reading | cut | "
          "labelled | all cut | error | F1 | 1st | error, same | F1, same | 1st, same |\n"
          + "|---" * 11 + "|")  # fmt: skip
    for limit in limits:
        for each in await at_limit(table, engine, limit, seeds):
            print(each, flush=True)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__)
    parser.add_argument("--limits", type=int, nargs="+", default=[256, 70, 55, 45, 35])
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are too small to share
    started = time.process_time()
    asyncio.run(measured(chosen.banks, chosen.problems, chosen.pilot, chosen.seeds, chosen.limits))
    print(f"\n{time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
