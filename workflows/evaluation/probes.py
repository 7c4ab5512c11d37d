"""Probes of a verifier beside ProcessBench: rewritten solutions, whose rewards are compared.

Each function is pure: it rewrites a response, or computes a figure from rewards. An ordinary score
run verifies the rewritten responses.

    reversed_steps, bidirectional   BiPRM: steps read right to left; the mean of both readings
    min_at_last                     share of solutions whose worst step is the last
    restyled, style_delta           other words, same mathematics: scores should stay
    corrupted, corruption_caught    one number of one step changes: its score should fall

Invariant: a rewrite keeps the number of steps, and its response_id says which probe made it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from storage.rows.records import Response

REVERSED, RESTYLED, CORRUPTED = "reversed", "restyled", "corrupted"

_OPENERS = ("Clearly, we see the following. ", "As anyone can verify: ", "Now, with care: ")
_NUMBER = re.compile(r"(?<![\w.])\d{1,6}(?![\w.]*\d)")


def reversed_steps(response: Response) -> Response:
    """Reverse the steps of a solution (BiPRM's right-to-left reading)."""
    first = None if response.label is None or response.label < 0 else response.label
    return replace(
        response,
        response_id=f"{response.response_id}#{REVERSED}",
        steps=response.steps[::-1],
        label=response.label if first is None else len(response.steps) - 1 - first,
    )


def bidirectional(forward: Sequence[float], backward: Sequence[float]) -> list[float]:
    """r_t = (r_t left to right + r_{T-1-t} right to left) / 2 (BiPRM, first version).

    `backward` are the rewards of the reversed solution, in the order in which it was read.
    """
    pairs = zip(forward, reversed(backward), strict=True)
    return [(left + right) / 2 for left, right in pairs]


def min_at_last(rewards: Sequence[Sequence[float]]) -> float | None:
    """Share of solutions whose (first) lowest reward is that of the last step; None: no solution.

    High where a process verifier has drifted towards judging outcomes (Lessons of Developing PRMs,
    arXiv 2501.07301, Figure 8: 9 to 55 %).
    """
    lowest = [min(range(len(each)), key=each.__getitem__) == len(each) - 1 for each in rewards]
    return fmean(lowest) if lowest else None


def restyled(response: Response, seed: int = 0) -> Response:
    """Put a phrase that asserts nothing before every step."""
    rng = random.Random(f"{seed}/{response.response_id}")
    return replace(
        response,
        response_id=f"{response.response_id}#{RESTYLED}",
        steps=[rng.choice(_OPENERS) + step for step in response.steps],
    )


def style_delta(plain: Mapping[str, float], styled: Mapping[str, float]) -> float:
    """Mean |score - score of the restyled twin| over the responses in both; 0 where none is.

    `styled` is by the plain response's id. Reward Under Attack calls a verifier invariant below
    0.1.
    """
    both = plain.keys() & styled.keys()
    return fmean(abs(plain[name] - styled[name]) for name in both) if both else 0.0


def corrupted(response: Response, seed: int = 0) -> Response | None:
    """Change one number of one step of a right solution; the label becomes that step.

    The step is drawn among those with a number. Its last number (mostly a result) is raised by 1
    to 9. None for a solution that is not labelled right, or has no number.
    """
    if response.label != -1:
        return None
    with_number = [at for at, step in enumerate(response.steps) if _NUMBER.search(step)]
    if not with_number:
        return None
    rng = random.Random(f"{seed}/{response.response_id}")
    at = rng.choice(with_number)
    last = list(_NUMBER.finditer(response.steps[at]))[-1]
    changed = str(int(last[0]) + rng.randint(1, 9))
    step = response.steps[at][: last.start()] + changed + response.steps[at][last.end() :]
    return replace(
        response,
        response_id=f"{response.response_id}#{CORRUPTED}",
        steps=[*response.steps[:at], step, *response.steps[at + 1 :]],
        label=at,
        correct=None,
        answer=None,
    )


def corruption_caught(
    corruptions: Sequence[Response],
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
) -> tuple[float, float]:
    """(share of corrupted steps with a reward below 0.5, mean fall of that step's reward).

    `before`: rewards of the steps by the plain response's id; `after`: by the corrupted one's.
    (0, 0) where no corrupted response has both.
    """
    falls: list[float] = []
    caught: list[bool] = []
    for response in corruptions:
        plain = response.response_id.removesuffix(f"#{CORRUPTED}")
        if response.label is None or plain not in before or response.response_id not in after:
            continue
        now = after[response.response_id][response.label]
        caught.append(now < 0.5)
        falls.append(before[plain][response.label] - now)
    return (fmean(caught), fmean(falls)) if caught else (0.0, 0.0)


def plain_rewards(rewards: Mapping[str, Sequence[float]], probe: str) -> dict[str, Sequence[float]]:
    """The rewards of a probe's responses, by the ids of the responses that it rewrote."""
    suffix = f"#{probe}"
    return {
        name.removesuffix(suffix): each for name, each in rewards.items() if name.endswith(suffix)
    }


def plain_scores(
    rewards: Mapping[str, Sequence[float]], probe: str, score: Callable[[Sequence[float]], float]
) -> dict[str, float]:
    """The same with each response's rewards made one score."""
    return {name: score(each) for name, each in plain_rewards(rewards, probe).items()}
