"""What a chat server can do, what is made up for, and what a stage can't do without.

Invariant: what is missing is said in one line each; nothing that a result depends on is made up for
in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

NO_N = "no n: samples are asked for one by one"
NO_SEED = "no seeds: the same request gives other samples; what is repeated is another draw"
NO_TOP_K = "no top_k: a stage that sets one is refused, and a default of the server may apply"
NO_STOPS = "no names of stop strings: texts are cut here, and what stands behind is paid for"
NO_LOGPROBS = "no log-probabilities: it can't be a verifier"
NOT_GOING_ON = (
    "does not go on with an answer that was begun: a user's turn asks for the rest, which is not "
    "what the paper does; it can't write rationales"
)
NO_THOUGHTS = "loses a thought in an answer that was begun: it can't write rationales"
NO_USAGE = "no counts of tokens: they are estimated, 4 characters each"

Continuing = Literal["continue_final_message", "prefix", "assistant", "user"]


class Need(StrEnum):
    """What a stage can't do without; closed."""

    CONTINUES = "goes on with an answer that was begun"
    THOUGHTS = "keeps a thought in an answer that was begun"
    LOGPROBS = "gives log-probabilities"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found of one model of one server."""

    many: bool = False
    """Several samples in one request (`n`), each the sample of its own seed where there are
    seeds."""
    takes_seed: bool = False
    """It does not refuse a `seed`."""
    seed: bool = False
    """The same seed gives the same sample, another another."""
    takes_more: bool = False
    """It does not refuse `top_k`, `min_p` and `repetition_penalty`."""
    top_k: bool = False
    """It obeys `top_k`."""
    stops: Literal["named", "kept", "cut"] = "cut"
    """How one learns which stop string ended a text: the server names it, or keeps it at the end
    when asked to; or no stop strings are sent, and texts are cut here."""
    logprobs: int = 0
    """Most alternatives of a token that come with their log-probabilities."""
    continues: Continuing = "user"
    """How it goes on with an answer that was begun; `user`: it does not, a user's turn asks."""
    echoes: bool = False
    """Whether its answer repeats what it went on from."""
    thoughts: bool = False
    """Whether a thought in what it goes on from reaches the model."""
    blanks: bool = False
    """Whether the blank behind a "Step 1:" has to be forced: the model does not write it itself."""
    usage: bool = False
    """It counts tokens."""
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field for the most new tokens."""

    def has(self, need: Need) -> bool:
        """Whether a stage with this need can use the server."""
        match need:
            case Need.CONTINUES:
                return self.continues != "user"
            case Need.THOUGHTS:
                return self.thoughts
            case Need.LOGPROBS:
                return self.logprobs > 0

    def lines(self) -> Iterator[str]:
        """What it has, and what is done about the rest, a line each."""
        has = [
            name
            for name, there in (
                ("n", self.many),
                ("seeds", self.seed),
                ("top_k", self.top_k),
                (f"stop strings ({self.stops})", self.stops != "cut"),
                (f"{self.logprobs} log-probabilities", self.logprobs > 0),
                (f"going on with an answer ({self.continues})", self.continues != "user"),
                ("thoughts in such an answer", self.thoughts),
                ("counts of tokens", self.usage),
            )
            if there
        ]
        yield f"has {', '.join(has) or 'nothing beside plain answers'}"
        missing = (
            (self.many, NO_N),
            (self.seed, NO_SEED),
            (self.top_k, NO_TOP_K),
            (self.stops != "cut", NO_STOPS),
            (self.logprobs > 0, NO_LOGPROBS),
            (self.continues != "user", NOT_GOING_ON),
            (self.thoughts or self.continues == "user", NO_THOUGHTS),
            (self.usage, NO_USAGE),
        )
        yield from (said for there, said in missing if not there)


def lacking(found: Capabilities, needs: Mapping[str, Sequence[Need]], where: str) -> Iterator[str]:
    """Why stages can't use a server, a line each; `needs`: by stage."""
    for stage, wanted in needs.items():
        missing = [need for need in wanted if not found.has(need)]
        if missing:
            yield (
                f"stage {stage} needs a server that {' and '.join(missing)}, and {where} does "
                "not: take `kind: endpoint` (a completions route) or `kind: vllm`"
            )
