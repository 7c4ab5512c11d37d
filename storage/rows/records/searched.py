"""The rows of stage `solve`: what a search for a problem's answer saw, and what it chose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchedStep:
    """One step that a search sampled: a node of the problem's tree of beginnings."""

    parent: int
    """Index of the beginning that it continues, in the row's `steps`; -1: the bare problem."""
    text: str
    """Header stripped; "" where none could be read."""
    reward: float | None
    """Mean over the verifier's histories; None: not judged."""
    copies: int
    """Samples that came out as this step of this beginning."""
    end: str | None
    """`answered` for the last step of a solution, or why the search can't go on from here; None:
    it can."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A whole solution that a search found."""

    step: int
    """Index of its last step in the row's `steps`."""
    answer: str
    score: float | None
    """Its rewards, aggregated as far as it was judged; None under `majority`."""
    copies: int
    """Samples that came out as this solution: its votes."""
    correct: bool | None
    """Whether the answer is right; None: the right one is not known."""


@dataclass(frozen=True, slots=True)
class Solved:
    """One problem's search, and the answer that it led to."""

    problem_id: str
    method: str
    """`best_of_n`, `majority`, `beam` or `dvts`."""
    answer: str | None
    """None: no solution was found, or none could be judged."""
    correct: bool | None
    """Whether the answer is right; None: the right one is not known."""
    chosen: int
    """Index of the solution that the answer was taken from, in `candidates`; -1: none."""
    candidates: list[Candidate]
    """In the order in which they were found."""
    steps: list[SearchedStep]
    """All steps that were sampled, each behind the one that it continues."""
    ended: str
    """Why the search ended: `done`, `enough`, `dead_end`, `depth`, `budget` or `nodes`."""
    rounds: int
    samples: int
    """Steps (`beam`, `dvts`) or solutions (the others) that were sampled, copies included."""
    judged: int
    """Steps that were judged, in all histories."""
    policy_tokens: int
    verifier_tokens: int
    """Generated tokens, those of dead ends and of failed tries included."""
    policy: str
    verifier: str | None
    """None under `majority`."""
    seed: int

    @property
    def solution(self) -> list[str]:
        """The steps of the chosen solution; empty where there is none."""
        return self.steps_of(self.candidates[self.chosen]) if self.chosen >= 0 else []

    def steps_of(self, candidate: Candidate) -> list[str]:
        """The steps of a solution."""
        return [self.steps[at].text for at in self._chain(candidate)]

    def rewards_of(self, candidate: Candidate) -> list[float]:
        """The rewards of a solution's steps, as far as they were judged."""
        rewards = [self.steps[at].reward for at in self._chain(candidate)]
        judged = next((at for at, reward in enumerate(rewards) if reward is None), len(rewards))
        return [reward for reward in rewards[:judged] if reward is not None]

    def _chain(self, candidate: Candidate) -> list[int]:
        chain, at = [], candidate.step
        while at >= 0:
            chain.append(at)
            at = self.steps[at].parent
        return chain[::-1]
