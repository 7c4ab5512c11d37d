"""The paper's build in small words: three scripts for any problems, by a seeded difficulty.

A problem's chance of a right solution follows from its text. A wrong solution slips at one of its
steps, and all later steps show it; from there the completer is almost never right. The writer's
code finds the slip. One word stands for `WORD` tokens of a real model. So scripts are cheap, and
requests take as long as real ones.

Invariant: a text is a pure function of the chat and the seed; no two solutions of a problem are
equal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from actors.engines.contract import Chat
from actors.engines.scripted import Script
from workflows.formats import prompts, steps

WORD = 10
MOST_STEPS = 8
RECOVERS = 0.005
"""Chance that a rollout from a slip is right."""
ANALYSIS = "It follows from what was said before and from the problem itself. " * 4
_PARAGRAPH = re.compile(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>")
_ROLLOUT = "so that one adds both and then takes what is left \\boxed{%s}"


def answer_of(text: str) -> str:
    """The answer of a problem: a number, so that comparing it costs nothing."""
    return str(_hash(text) % 1_000_000)


def right_of(text: str) -> float:
    """The chance of a right solution: 0.71 on average, above 0.998 for one problem in twelve."""
    drawn = (_hash("p" + text) % 1_000_003) / 1_000_003
    return max(0.0, 1.0 - drawn ** (1 / 0.4))  # type: ignore[no-any-return]


def policy(chat: Chat, seed: int) -> str:
    """A solution after its first header."""
    text = chat.messages[1].content
    right, answer = _of(text)
    count = 3 + seed % (MOST_STEPS - 2)
    wrong = share(seed) >= right
    slip = int(share(seed + 1) * count) if wrong else count
    lines = [("slip" if place >= slip else "sum") + f" {seed}" for place in range(count)]
    lines[-1] += f" \\boxed{{{int(answer) + 1 + seed % 5 if wrong else answer}}}"
    return steps.join(lines).removeprefix(steps.header(1))


def completer(chat: Chat, seed: int) -> str:
    """The rest of a solution."""
    right, answer = _of(chat.messages[1].content)
    chance = RECOVERS if "slip" in chat.prefill else right
    return _ROLLOUT % (answer if share(seed) < chance else f"1{answer}")


def rationale(chat: Chat, seed: int) -> str:
    """The rest of a verification, or the index of the slip."""
    whole, index = verification(chat.messages[1].content)
    if chat.prefill.endswith(prompts.CONCLUSION):
        return f"{index}" + "}"
    return whole.removeprefix(chat.prefill)


@lru_cache(4096)
def verification(asked: str) -> tuple[str, int]:
    """The whole verification of a solution, with its code outputs, and the slip's index."""
    shown = _PARAGRAPH.findall(asked)
    wrong = [number for number, text in enumerate(shown, start=1) if "slip" in text]
    parts = [_paragraph(number, number not in wrong) for number in range(1, len(shown) + 1)]
    whole = prompts.THINK_OPEN + "\n\n".join(parts) + prompts.CONCLUSION
    return whole, wrong[0] if wrong else -1


def _paragraph(number: int, right: bool) -> str:
    return (
        f"{prompts.paragraph_heading(number)}{prompts.ANALYZE_OPEN}\n{ANALYSIS}\n"
        f"{prompts.ANALYZE_CLOSE}\n{prompts.VERIFY_OPEN}\n{prompts.VERIFY_LEAD_IN}\n"
        f"{prompts.CODE_OPEN}print({right}){prompts.CODE_CLOSE}"
        f"{prompts.code_output(str(right))}The code says so.\n{prompts.VERIFY_CLOSE}"
    )


@lru_cache(100_000)
def _of(text: str) -> tuple[float, str]:
    return right_of(text), answer_of(text)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def share(seed: int) -> float:
    """A number in [0, 1) that looks random."""
    mixed = (seed ^ (seed >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
    mixed = (mixed ^ (mixed >> 12)) * 0x297A2D39 & 0xFFFFFFFF
    return (mixed ^ (mixed >> 15)) / 2**32


def write_problems(texts: Sequence[str], file: Path) -> Path:
    """The problems as a build reads them."""
    rows = (
        {"problem_id": f"p/{number}", "problem": text, "answer": answer_of(text)}
        for number, text in enumerate(texts)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


SCRIPTS: Mapping[str, Script] = {
    "policy": policy, "completer": completer, "rationale": rationale
}  # fmt: skip
IN_FLIGHT = {"policy": 512, "completer": 512, "rationale": 128}
"""Sequences at once on an engine of each role, as `configs/genprm.yaml` has them."""
