"""Settings of stage `solve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.bounds import STRICT, Positive, Share, Temperature
from workflows.settings.sampling import WorkedSolution

Method = Literal["best_of_n", "majority", "beam", "dvts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveSettings:
    """Stage `solve`: how solutions are searched, and which answer is taken."""

    __pydantic_config__ = STRICT

    method: Method = "beam"
    """`best_of_n`: whole solutions, judged; `majority`: whole solutions, not judged; `beam`: the
    best beginnings go on step by step; `dvts`: the same in separate subtrees, one beam each."""
    n: Positive = 16
    """Solutions (`best_of_n`, `majority`), or next steps that are sampled in one round (`beam`,
    `dvts`)."""
    width: Positive = 4
    """Next steps of each beginning under `beam` and `dvts`: n / `width` beginnings go on."""
    choose: Literal["best", "vote"] = "best"
    """`best`: the answer of the solution with the highest score; `vote`: the answer with the
    highest sum of scores. Under `majority` every solution has one vote."""
    aggregate: Literal["min", "last", "mean", "product"] = "min"
    """Rewards of the steps -> score, also of a beginning."""
    round: Positive = 4
    """Solutions that `best_of_n` and `majority` sample at once, between two looks at what is still
    open."""
    early: bool = True
    """`best_of_n` and `majority` stop where no further solution can change the answer, or one has
    the score `enough`; a solution is judged only as far as it can still become the best (`min`,
    `product`). False: all n are sampled and judged to their ends."""
    enough: Share = 1.0
    """Score with which a solution is taken without sampling others (`best_of_n` with `best`); below
    1 the answer may differ from that of all n."""
    depth: Positive = 40
    """Most steps of a solution under `beam` and `dvts`."""
    step_tokens: Positive = 512
    """Most tokens of one step under `beam` and `dvts`; one that needs more is a dead end."""
    max_tokens: Positive = 2048
    """Most tokens of a solution; one that needs more is a dead end."""
    nodes: Positive = 2048
    """Most samples (steps or solutions) of one problem."""
    budget: Positive | None = None
    """Generated tokens of one problem, by policy and verifier together, after which no further
    round begins; None: no limit but the others."""
    temperature: Temperature = 0.7
    top_p: Share = 1.0
    top_k: int = -1
    system: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """System prompt of the policy."""
    examples: tuple[WorkedSolution, ...] = ()
    """Worked examples that the policy is shown before the problem, as `stages.sample.examples`."""
    heal: bool = True
    """Leave the end of a forced beginning to the policy, as `stages.heal` does in a build."""
    seed: int = 0
    """Seeds of the policy's requests derive from (seed, problem, beginning)."""
