"""The scorer that a kit's model asks for.

Invariant: a scorer is made of the settings, the engine and the sandbox of its kit alone.
"""

from __future__ import annotations

from workflows.formats.verification import EXECUTING, READ, VerifySettings
from workflows.stages.kit import Kit
from workflows.stages.scorers.contract import Scorer
from workflows.stages.scorers.generative import GenerativeScorer
from workflows.stages.scorers.reading import ReadingScorer


def scorer_of(kit: Kit[VerifySettings]) -> Scorer:
    """The scorer of a kit's model. The kit closes what it holds.

    Raises InputError for a model whose tokenizer has no single tokens for its verdicts.
    """
    if kit.settings.mode == READ:
        return ReadingScorer(kit.reader, kit.model)
    return GenerativeScorer(
        kit.engine,
        kit.sandbox if kit.settings.mode in EXECUTING else None,
        kit.settings,
        seed_of=kit.seed_of,
        model=kit.model,
        limits=kit.limits,
        spell=kit.spell,
    )
