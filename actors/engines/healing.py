"""Forced beginnings of an answer that end where no token of the model ends.

A forced "Step 1: " ends in a blank that a tokenizer joins to the word behind it: the prompt's lone
blank is a token after which the model never learnt to write a word. So the end of the beginning is
left to the model, as far back as a likely continuation would join it.

Invariant: what the caller sees is the text as the model wrote it: a completion goes on behind the
whole beginning, or says how much of its end it replaces (`Completion.rewound`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from actors.engines.contract import Chat, Completion, Engine, Reply, Sampling

Spell = Callable[[str], Sequence[int]]
"""Text -> its token ids, without special ones around."""
Uncut = Callable[[str], int]
"""Beginning -> its characters that can be forced."""

PROBES = ("It", "7", "-1")
"""How a continuation may begin; a line's end joins nothing of these."""
LOOKED_AT = 64
"""Characters at the end of a beginning, within its last line, that are looked at."""
REMEMBERED = 4096


def uncut(spell: Spell, beginning: str) -> int:
    """Characters of `beginning` whose tokens are those of any text that goes on from there."""
    tail = _tail(beginning)
    texts = [list(spell(tail + probe)) for probe in PROBES]
    end = len(tail)
    while end:
        opened = list(spell(tail[:end]))
        if all(text[: len(opened)] == opened for text in texts):
            break
        end -= 1
    return len(beginning) - len(tail) + end


def uncut_by(spell: Spell) -> Uncut:
    """`uncut` by an engine's tokenizer, remembered for a while."""
    remembered = lru_cache(REMEMBERED)(lambda tail: uncut(spell, tail))

    def characters(beginning: str) -> int:
        tail = _tail(beginning)
        return len(beginning) - len(tail) + remembered(tail)

    return characters


def before_blanks(beginning: str) -> int:
    """`uncut` where the tokenizer is not known: tokenizers join a blank to the word behind it."""
    return len(beginning.rstrip(" "))


def _tail(beginning: str) -> str:
    """The part of a beginning that is looked at."""
    return beginning[-LOOKED_AT:].rpartition("\n")[2]


class Healed:
    """An engine to which the end of a forced beginning is left, where it has to be."""

    def __init__(self, engine: Engine, uncut: Uncut) -> None:
        self._engine = engine
        self._uncut = uncut
        self.spell: Spell | None = getattr(engine, "spell", None)
        """The engine's tokenizer, where it has one."""

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`. Raises as `Engine.generate` says."""
        size = self._uncut(chat.prefill)
        left = chat.prefill[size:]
        if not left:
            return await self._engine.generate(chat, sampling)
        reply = await self._engine.generate(replace(chat, prefill=chat.prefill[:size]), sampling)
        completions = tuple(_behind(left, completion) for completion in reply.completions)
        return replace(reply, completions=completions)

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()


def _behind(left: str, completion: Completion) -> Completion:
    """The completion behind what was left to the model, where the model wrote just that."""
    if completion.text.startswith(left):
        return replace(completion, text=completion.text[len(left) :])
    return replace(completion, rewound=len(left))
