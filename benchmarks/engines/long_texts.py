"""`benchmarks.paper_world`'s scripts at the length of real texts, token by token.

Lengths are lognormal (sigma 0.5) around those of the paper's models: some 400 tokens a solution,
250 a rollout, 345 a step of a verification (GenPRM's own on MATH), of which 80 are code.

Invariant: as there, a text is a pure function of the chat and the seed.
"""

from __future__ import annotations

import hashlib
import re
from math import exp
from statistics import NormalDist

from actors.engines.contract import Chat
from benchmarks import paper_world
from workflows.formats import prompts
from workflows.formats.verification import VERDICT_OPENING

SENTENCE = "It follows from what was said before and from the problem itself. "
SENTENCE_TOKENS = 27
"""Of the demo's tokenizer."""
CODE_LINES = 6
SIGMA = 0.5
_STANDARD = NormalDist()
_WORD = re.compile(r"\b(sum|slip) ")


def words(tokens: int, seed: int) -> str:
    """Some sentences, of so many tokens on average."""
    drawn = (paper_world.share(seed * 31 + 7) * (1 << 32) + 0.5) / ((1 << 32) + 1)
    length = tokens * exp(SIGMA * _STANDARD.inv_cdf(drawn) - SIGMA**2 / 2)
    return SENTENCE * max(1, round(length / SENTENCE_TOKENS))


def policy(chat: Chat, seed: int) -> str:
    """A solution after its first header: some 5 steps of 80 tokens."""
    return _WORD.sub(lambda word: word[0] + words(70, seed), paper_world.policy(chat, seed))


def completer(chat: Chat, seed: int) -> str:
    """The rest of a solution."""
    return words(230, seed) + paper_world.completer(chat, seed)


def rationale(chat: Chat, seed: int) -> str:
    """The rest of a verification, or the index of the slip."""
    if chat.prefill.endswith(prompts.CONCLUSION):
        return paper_world.rationale(chat, seed)
    whole = paper_world.verification(chat.user)[0]
    spoken = words(160, _number(chat.user))
    return _coded(whole).replace(paper_world.ANALYSIS, spoken).removeprefix(chat.prefill)


def verifier(chat: Chat, seed: int) -> str:
    """The rest of a step's turn in the training format."""
    right = "slip" not in chat.user
    if chat.prefill.endswith(VERDICT_OPENING):
        return "Yes" if right else "No"
    if prompts.VERIFY_OPEN not in chat.prefill:
        return f"{words(220, seed)}\n{prompts.ANALYZE_CLOSE}\n"
    block = f"{prompts.CODE_OPEN}print({right}){prompts.CODE_CLOSE}"
    shown = f"{block}{prompts.code_output(str(right))}The code says so.\n{prompts.VERIFY_CLOSE}\n"
    done = chat.prefill.rpartition(prompts.VERIFY_LEAD_IN + "\n")[2]
    return _coded(shown).removeprefix(done)


def _coded(text: str) -> str:
    """With some lines before the last one of each block."""
    lines = "".join(f"total_{line} = {line} + {line}\n" for line in range(CODE_LINES))
    return text.replace(f"{prompts.CODE_OPEN}print", f"{prompts.CODE_OPEN}{lines}print")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


SCRIPTS = {
    "policy": policy, "completer": completer, "rationale": rationale, "verifier": verifier
}  # fmt: skip
